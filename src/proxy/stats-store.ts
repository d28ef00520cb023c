// Envoy-named counters, gauges and histograms (`cluster.NAME.upstream_rq_total`). A handle is looked up once, when
// configuration is compiled; the hot path only adds to it. A name lives until its owner drops its prefix. Stores of several
// threads can be added up name by name.

export type StatKind = 'counter' | 'gauge';

export class Stat {
  readonly name: string;
  readonly kind: StatKind;
  value = 0;
  constructor(name: string, kind: StatKind) {
    this.name = name;
    this.kind = kind;
  }
}

/** Counts by itself, and says under which names when somebody looks: what is seldom asked for takes no place in the store. */
export interface Teller {
  /** Names behind its prefix. */
  tell(): Iterable<readonly [name: string, value: number, kind: StatKind]>;
  reset(): void;
  /** Its prefix was dropped: nothing is to be put into the store any more. */
  dropped(): void;
}

/** A histogram's counts as they lie, for adding up. */
export interface HistogramParts {
  readonly count: number;
  readonly sum: number;
  readonly belowOne: number;
  readonly decades: readonly (Uint32Array | undefined)[];
}

const PER_DECADE = 90;
const DECADES = 12;

/** Ninety buckets a decade, as Envoy keeps them: 1.0, 1.1 … 9.9 times a power of ten. Everything below 1 is one bucket. */
export class HistogramStat {
  readonly name: string;
  count = 0;
  sum = 0;
  #belowOne = 0;
  readonly #decades: (Uint32Array | undefined)[] = [];

  constructor(name: string) {
    this.name = name;
  }

  record(value: number): void {
    this.count++;
    if (value < 1) {
      this.#belowOne++;
      return;
    }
    this.sum += value;
    let decade = 0;
    let scale = 10;
    while (value >= scale && decade < DECADES - 1) {
      decade++;
      scale *= 10;
    }
    const at = Math.min(PER_DECADE - 1, Math.floor((value * 100) / scale) - 10);
    const counts = this.#decade(decade);
    counts[at] = (counts[at] as number) + 1;
  }

  /** Buckets that hold something, ascending. */
  buckets(): { readonly low: number; readonly high: number; readonly count: number }[] {
    const out = this.#belowOne > 0 ? [{ low: 0, high: 0, count: this.#belowOne }] : [];
    let width = 0.1;
    for (let d = 0; d < this.#decades.length; d++, width *= 10) {
      this.#decades[d]?.forEach((count, i) => {
        if (count > 0) out.push({ low: (i + 10) * width, high: (i + 11) * width, count });
      });
    }
    return out;
  }

  /** Values at the shares [0, 1], ascending; undefined while nothing was recorded. */
  quantiles(shares: readonly number[]): number[] | undefined {
    const buckets = this.buckets();
    const last = buckets.at(-1);
    if (last === undefined) return undefined;
    let at = 0;
    let before = 0;
    return shares.map((share) => {
      const wanted = share * this.count;
      for (; at < buckets.length; at++) {
        const { low, high, count } = buckets[at] as (typeof buckets)[number];
        // The values of a bucket stand evenly within it.
        if (before + count >= wanted) return low + ((high - low) * Math.max(1, Math.ceil(wanted - before))) / (count + 1);
        before += count;
      }
      return last.high;
    });
  }

  get parts(): HistogramParts {
    return { count: this.count, sum: this.sum, belowOne: this.#belowOne, decades: this.#decades };
  }

  add({ count, sum, belowOne, decades }: HistogramParts): void {
    this.count += count;
    this.sum += sum;
    this.#belowOne += belowOne;
    decades.forEach((counts, d) => {
      if (counts === undefined) return;
      const own = this.#decade(d);
      counts.forEach((n, i) => {
        own[i] = (own[i] as number) + n;
      });
    });
  }

  #decade(d: number): Uint32Array {
    let counts = this.#decades[d];
    if (counts === undefined) {
      while (this.#decades.length < d) this.#decades.push(undefined);
      counts = new Uint32Array(PER_DECADE);
      this.#decades[d] = counts;
    }
    return counts;
  }
}

export class StatsStore {
  readonly #stats = new Map<string, Stat>();
  readonly #histograms = new Map<string, HistogramStat>();
  readonly #tellers = new Map<string, Teller>();
  readonly #computed = new Map<string, () => Iterable<readonly [string, number]>>();

  counter(name: string): Stat {
    return this.#stat(name, 'counter');
  }

  gauge(name: string): Stat {
    return this.#stat(name, 'gauge');
  }

  /** Gauges whose names (behind `prefix`) and values are found when somebody looks. */
  computed(prefix: string, gauges: () => Iterable<readonly [name: string, value: number]>): void {
    this.#computed.set(prefix, gauges);
  }

  /** The one of this prefix. A prefix has one kind of them. */
  teller<T extends Teller>(prefix: string, make: () => T): T {
    let found = this.#tellers.get(prefix);
    if (found === undefined) {
      found = make();
      this.#tellers.set(prefix, found);
    }
    return found as T;
  }

  histogram(name: string): HistogramStat {
    let found = this.#histograms.get(name);
    if (found === undefined) {
      found = new HistogramStat(name);
      this.#histograms.set(name, found);
    }
    return found;
  }

  /** Every counter and gauge, in no order. */
  *all(): Iterable<Stat> {
    yield* this.#stats.values();
    for (const prefix of this.#computed.keys()) yield* this.#compute(prefix);
    for (const [prefix, teller] of this.#tellers) yield* told(prefix, teller);
  }

  histograms(): Iterable<HistogramStat> {
    return this.#histograms.values();
  }

  find(name: string): Stat | undefined {
    const found = this.#stats.get(name);
    if (found !== undefined) return found;
    for (const prefix of this.#computed.keys())
      if (name.startsWith(prefix)) for (const stat of this.#compute(prefix)) if (stat.name === name) return stat;
    for (const [prefix, teller] of this.#tellers)
      if (name.startsWith(prefix)) for (const stat of told(prefix, teller)) if (stat.name === name) return stat;
    return undefined;
  }

  /** Forgets every stat whose name begins with `prefix` (a removed cluster or listener). Held handles go on counting unseen. */
  drop(prefix: string): void {
    for (const name of this.#stats.keys()) if (name.startsWith(prefix)) this.#stats.delete(name);
    for (const name of this.#computed.keys()) if (name.startsWith(prefix)) this.#computed.delete(name);
    for (const [name, teller] of this.#tellers) {
      if (!name.startsWith(prefix)) continue;
      this.#tellers.delete(name);
      teller.dropped();
    }
    for (const name of this.#histograms.keys()) if (name.startsWith(prefix)) this.#histograms.delete(name);
  }

  resetCounters(): void {
    for (const stat of this.#stats.values()) if (stat.kind === 'counter') stat.value = 0;
    for (const teller of this.#tellers.values()) teller.reset();
  }

  *#compute(prefix: string): Iterable<Stat> {
    for (const [name, value] of this.#computed.get(prefix)?.() ?? []) {
      const stat = new Stat(prefix + name, 'gauge');
      stat.value = value;
      yield stat;
    }
  }

  #stat(name: string, kind: StatKind): Stat {
    let stat = this.#stats.get(name);
    if (stat === undefined) {
      stat = new Stat(name, kind);
      this.#stats.set(name, stat);
    }
    return stat;
  }
}

function* told(prefix: string, teller: Teller): Iterable<Stat> {
  for (const [name, value, kind] of teller.tell()) {
    const stat = new Stat(prefix + name, kind);
    stat.value = value;
    yield stat;
  }
}
