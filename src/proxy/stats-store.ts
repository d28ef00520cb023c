// Envoy-named counters and gauges (`cluster.NAME.upstream_rq_total`). A handle is looked up once, when configuration is
// compiled; the hot path only adds to `value`. A name lives until its owner drops its prefix.

export class Stat {
  readonly name: string;
  readonly kind: 'counter' | 'gauge';
  value = 0;
  constructor(name: string, kind: 'counter' | 'gauge') {
    this.name = name;
    this.kind = kind;
  }
}

export class StatsStore {
  readonly #stats = new Map<string, Stat>();

  counter(name: string): Stat {
    return this.#stat(name, 'counter');
  }

  gauge(name: string): Stat {
    return this.#stat(name, 'gauge');
  }

  /** Every stat, in no order. */
  all(): Iterable<Stat> {
    return this.#stats.values();
  }

  find(name: string): Stat | undefined {
    return this.#stats.get(name);
  }

  /** Forgets every stat whose name begins with `prefix` (a removed cluster or listener). Held handles go on counting unseen. */
  drop(prefix: string): void {
    for (const name of this.#stats.keys()) if (name.startsWith(prefix)) this.#stats.delete(name);
  }

  resetCounters(): void {
    for (const stat of this.#stats.values()) if (stat.kind === 'counter') stat.value = 0;
  }

  #stat(name: string, kind: 'counter' | 'gauge'): Stat {
    let stat = this.#stats.get(name);
    if (stat === undefined) {
      stat = new Stat(name, kind);
      this.#stats.set(name, stat);
    }
    return stat;
  }
}
