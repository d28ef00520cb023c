// What an adapter makes of a corpus file: cases, each with one verdict. Adapters know shapes of input, never names of cases.

/** An object of a corpus file, `{"$repeat": …}` written out. */
export type Row = Readonly<Record<string, unknown>>;

export interface Corpus {
  readonly rows: readonly Row[];
  /** Rows of another file of the same folder; none when it is absent. */
  other(file: string): readonly Row[];
}

export interface Difference {
  readonly expected: unknown;
  readonly got: unknown;
}
/** Not judged, and why. */
export interface LeftOut {
  readonly leftOut: string;
}
/** Nothing when the case is as expected. */
export type Verdict = Difference | LeftOut | undefined;

export interface Case {
  readonly id: string;
  run(): Verdict;
}

export type Adapter = (corpus: Corpus) => Iterable<Case>;

export const leftOut = (reason: string): LeftOut => ({ leftOut: reason });

/** Equal as JSON, whatever the order of keys. */
export const differs = (got: unknown, expected: unknown): Difference | undefined =>
  stableText(got ?? null) === stableText(expected ?? null) ? undefined : { expected: expected ?? null, got: got ?? null };

const stableText = (value: unknown): string =>
  JSON.stringify(value, (_, v) =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );

export const text = (value: unknown): string => (typeof value === 'string' ? value : '');
export const texts = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);
export const row = (value: unknown): Row => (typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Row) : {});
export const rows = (value: unknown): Row[] => (Array.isArray(value) ? value.map(row) : []);
export const labelsOf = (value: unknown): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(row(value)).map(([k, v]) => [k, String(v)]));
