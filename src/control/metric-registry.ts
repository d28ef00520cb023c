// The control plane's own metrics, under istiod's names, in Prometheus' text format. Numbers that stand somewhere else already are read when
// the page is asked for.
import { type Counter, type Labels as LabelList, MetricRegistry } from '../base/metrics.ts';
import { TOLD } from './metric-help.ts';

type Labels = Readonly<Record<string, string>>;
type Read = () => number | Iterable<readonly [labels: Labels, value: number]>;

/** Of one name: labels here are the mesh's own, but their number may follow what is written or connects. */
const SERIES_MAX = 2000;

/** Told by type of resource from their first push on. */
const BY_TYPE: ReadonlySet<string> = new Set(['pilot_xds_push_time', 'pilot_xds_config_size_bytes']);

export class ControlMetrics {
  readonly #registry = new MetricRegistry();
  readonly #gauges = new Map<string, Read>();

  constructor() {
    for (const [name, { plain, bounds }] of Object.entries(TOLD)) {
      if (plain === true) this.#counter(name, {});
      if (bounds !== undefined && !BY_TYPE.has(name)) this.#registry.histogram(name, helpOf(name), bounds).series();
    }
  }

  count(name: string, labels: Labels = {}, by = 1): void {
    const series = this.#counter(name, labels);
    if (series !== undefined) series.value += by;
  }

  gauge(name: string, read: Read): void {
    this.#gauges.set(name, read);
  }

  /** Into a histogram that metric-help.ts names. */
  observe(name: string, value: number, labels: Labels = {}): void {
    const { help, bounds = [] } = TOLD[name] ?? { help: '' };
    this.#registry.histogram(name, help, bounds).series(listOf(labels)).observe(value);
  }

  /** From the moment a generation was made to the proxy's last acknowledgement of it. */
  converged(ms: number): void {
    this.observe('pilot_proxy_convergence_time', ms / 1000);
  }

  text(): string {
    for (const [name, read] of this.#gauges) {
      const family = this.#registry.gauge(name, helpOf(name));
      const value = read();
      const kept = new Set<unknown>();
      for (const [labels, number] of typeof value === 'number' ? [[{}, value] as const] : value) {
        if (kept.size >= SERIES_MAX) break;
        const series = family.series(listOf(labels));
        series.value = number;
        kept.add(series);
      }
      family.keepOnly(kept);
    }
    return this.#registry.render();
  }

  #counter(name: string, labels: Labels): Counter | undefined {
    const family = this.#registry.counter(name, helpOf(name));
    return family.size < SERIES_MAX || Object.keys(labels).length === 0 ? family.series(listOf(labels)) : undefined;
  }
}

const helpOf = (name: string): string => TOLD[name]?.help ?? `${name.replace(/^skein_/, '').replaceAll('_', ' ')}.`;

const listOf = (labels: Labels): LabelList => Object.entries(labels);
