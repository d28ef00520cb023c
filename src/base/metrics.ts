// Metric families in memory and their Prometheus text. A series is found once by its labels and then held: adding to it
// touches no map and makes no text. No clock, no sockets; whoever serves the text is elsewhere.

export type MetricKind = 'counter' | 'gauge' | 'histogram';

export interface Counter {
  value: number;
}
export type Gauge = Counter;

export class Histogram {
  readonly bounds: readonly number[];
  /** Per bucket, not cumulative; the last one is +Inf. */
  readonly counts: Float64Array;
  sum = 0;
  count = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let low = 0;
    let high = this.bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (value <= (this.bounds[middle] ?? 0)) high = middle;
      else low = middle + 1;
    }
    this.counts[low] = (this.counts[low] ?? 0) + 1;
    this.sum += value;
    this.count++;
  }
}

export type Labels = readonly (readonly [name: string, value: string])[];

/** All series of one name. `S` is what a series holds. */
export class Family<S extends Counter | Histogram = Counter | Histogram> {
  readonly name: string;
  readonly help: string;
  readonly kind: MetricKind;
  /** Of histograms: ascending, without +Inf. */
  readonly bounds: readonly number[];
  readonly #make: () => S;
  /** Rendered labels without braces → series. */
  readonly #series = new Map<string, S>();

  constructor(name: string, help: string, kind: MetricKind, bounds: readonly number[], make: () => S) {
    this.name = name;
    this.help = help;
    this.kind = kind;
    this.bounds = bounds;
    this.#make = make;
  }

  get size(): number {
    return this.#series.size;
  }

  /** The series of these labels, in this order; made at first use. Keep it. */
  series(labels: Labels = []): S {
    return this.at(labelText(labels));
  }

  /** The series of labels that were rendered before. */
  at(key: string): S {
    let found = this.#series.get(key);
    if (!found) {
      found = this.#make();
      this.#series.set(key, found);
    }
    return found;
  }

  /** Forgets every series that is not in `kept`; who holds one of them goes on unseen. */
  keepOnly(kept: ReadonlySet<unknown>): void {
    for (const [key, series] of this.#series) if (!kept.has(series)) this.#series.delete(key);
  }

  entries(): Iterable<[string, S]> {
    return this.#series;
  }
}

/** `a="1",b="x"`; values escaped as the text format asks. */
export const labelText = (labels: Labels): string => {
  const parts: string[] = [];
  for (const [name, value] of labels) parts.push(`${name}="${escapeLabelValue(value)}"`);
  return parts.join();
};

export const escapeLabelValue = (v: string): string =>
  /[\\"\n]/.test(v) ? v.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n') : v;
const escapeHelp = (v: string): string => v.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');

export class MetricRegistry {
  readonly #families = new Map<string, Family>();

  counter(name: string, help: string): Family<Counter> {
    return this.#family(name, help, 'counter', () => ({ value: 0 })) as Family<Counter>;
  }

  gauge(name: string, help: string): Family<Gauge> {
    return this.#family(name, help, 'gauge', () => ({ value: 0 })) as Family<Gauge>;
  }

  /** `bounds` ascending, without +Inf. */
  histogram(name: string, help: string, bounds: readonly number[]): Family<Histogram> {
    return this.#family(name, help, 'histogram', () => new Histogram(bounds), bounds) as Family<Histogram>;
  }

  families(): Iterable<Family> {
    return this.#families.values();
  }

  /** Prometheus text format 0.0.4. */
  render(wanted: (name: string) => boolean = () => true): string {
    let out = '';
    for (const piece of this.pieces(wanted)) out += piece;
    return out;
  }

  /** The same text in pieces of some thousand characters, for who has other things to do in between. */
  *pieces(wanted: (name: string) => boolean = () => true): Generator<string> {
    for (const family of this.#families.values()) if (family.size > 0 && wanted(family.name)) yield* familyPieces(family);
  }

  #family(name: string, help: string, kind: MetricKind, make: () => Counter | Histogram, bounds: readonly number[] = []): Family {
    let found = this.#families.get(name);
    if (!found) {
      found = new Family(name, help, kind, bounds, make);
      this.#families.set(name, found);
    }
    return found;
  }
}

/** Head lines of a family, for text made elsewhere as well. */
export const familyHead = (name: string, help: string, kind: MetricKind): string =>
  `${help === '' ? '' : `# HELP ${name} ${escapeHelp(help)}\n`}# TYPE ${name} ${kind}\n`;

const PIECE_LENGTH = 16_384;

function* familyPieces(family: Family): Generator<string> {
  const { name } = family;
  let out = familyHead(name, family.help, family.kind);
  for (const [labels, series] of family.entries()) {
    if (series instanceof Histogram) out += renderHistogram(name, labels, series);
    else out += `${name}${labels === '' ? '' : `{${labels}}`} ${formatNumber(series.value)}\n`;
    if (out.length <= PIECE_LENGTH) continue;
    yield out;
    out = '';
  }
  yield out;
}

const renderHistogram = (name: string, labels: string, h: Histogram): string => {
  const open = `${name}_bucket{${labels}${labels === '' ? '' : ','}le="`;
  const all = labels === '' ? '' : `{${labels}}`;
  let out = '';
  let seen = 0;
  for (let i = 0; i < h.bounds.length; i++) {
    seen += h.counts[i] ?? 0;
    out += `${open}${h.bounds[i]}"} ${seen}\n`;
  }
  return `${out}${open}+Inf"} ${h.count}\n${name}_sum${all} ${formatNumber(h.sum)}\n${name}_count${all} ${h.count}\n`;
};

const formatNumber = (n: number): string => (Number.isFinite(n) ? String(n) : Number.isNaN(n) ? 'NaN' : n > 0 ? '+Inf' : '-Inf');
