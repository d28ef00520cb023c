// The control plane's own metrics, under istiod's names, in Prometheus' text format.

const CONVERGENCE_BUCKETS_S = [0.1, 0.5, 1, 3, 5, 10, 20, 30] as const;

type Labels = Readonly<Record<string, string>>;

const series = (name: string, labels: Labels): string => {
  const inside = Object.entries(labels)
    .map(([k, v]) => `${k}="${v.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`)
    .join(',');
  return inside === '' ? name : `${name}{${inside}}`;
};

export class ControlMetrics {
  readonly #counters = new Map<string, Map<string, number>>();
  readonly #gauges = new Map<string, () => number>();
  readonly #buckets = new Array<number>(CONVERGENCE_BUCKETS_S.length + 1).fill(0);
  #convergenceSumS = 0;

  count(name: string, labels: Labels = {}, by = 1): void {
    const family = this.#counters.get(name) ?? new Map<string, number>();
    const key = series(name, labels);
    this.#counters.set(name, family.set(key, (family.get(key) ?? 0) + by));
  }

  gauge(name: string, read: () => number): void {
    this.#gauges.set(name, read);
  }

  /** From the moment a generation was made to the proxy's last acknowledgement of it. */
  converged(ms: number): void {
    const seconds = ms / 1000;
    const at = CONVERGENCE_BUCKETS_S.findIndex((bound) => seconds <= bound);
    const index = at < 0 ? CONVERGENCE_BUCKETS_S.length : at;
    this.#buckets[index] = (this.#buckets[index] ?? 0) + 1;
    this.#convergenceSumS += seconds;
  }

  text(): string {
    const lines: string[] = [];
    for (const [name, read] of this.#gauges) lines.push(`# TYPE ${name} gauge`, `${name} ${read()}`);
    for (const [name, family] of this.#counters) {
      lines.push(`# TYPE ${name} counter`);
      for (const [key, value] of family) lines.push(`${key} ${value}`);
    }
    const name = 'pilot_proxy_convergence_time';
    lines.push(`# TYPE ${name} histogram`);
    let total = 0;
    for (const [i, bound] of [...CONVERGENCE_BUCKETS_S, '+Inf'].entries()) {
      total += this.#buckets[i] ?? 0;
      lines.push(`${name}_bucket{le="${bound}"} ${total}`);
    }
    lines.push(`${name}_sum ${this.#convergenceSumS}`, `${name}_count ${total}`);
    return `${lines.join('\n')}\n`;
  }
}
