// What an expression of a dashboard has to answer, from what was done: its selectors and groups, applied to events instead of series. Pure.
import type { IstioExpression } from '../dashboards/istio-expressions.ts';

/** What one sidecar has to tell of things that are alike. */
export interface Told {
  /** Whose scrapes carry it. */
  readonly pod: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly values: { readonly requests: number; readonly received: number; readonly sent: number; readonly connections: number };
  /** As the caller saw them, and what its own sidecar held them up for: what a sidecar says is between the two. */
  readonly durations: readonly { readonly seenMs: number; readonly heldMs: number }[];
  /** Of bodies. */
  readonly sizes: readonly { readonly request: number; readonly response: number }[];
}

export interface Expected {
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined: the number agrees. */
  near(value: number | undefined): string | undefined;
}

/** `seconds`: over which each pod's numbers were counted. */
export const expectedOf = (
  form: IstioExpression['form'],
  text: string,
  told: readonly Told[],
  seconds: ReadonlyMap<string, number>,
): readonly Expected[] => {
  const [first, second] = selectorsOf(text);
  if (first === undefined) return [];
  const by = groupOf(text);
  const precision = Number(/, (0\.\d+)\)/.exec(text)?.[1] ?? 0);
  return [
    ...grouped(
      told.filter((t) => countOf(first.metric, t) !== 0 && matches((form === 'share' && second) || first, t)),
      by,
    ),
  ].map(([key, all]) => {
    const labels = Object.fromEntries(by.map((name, i) => [name, JSON.parse(key)[i] as string]));
    return { labels, near: judge(form, text, first, all, seconds, precision) };
  });
};

const judge = (
  form: IstioExpression['form'],
  text: string,
  selector: Selector,
  all: readonly Told[],
  seconds: ReadonlyMap<string, number>,
  precision: number,
): Expected['near'] => {
  const rate = (of: readonly Told[]): number =>
    of.reduce((sum, t) => sum + countOf(selector.metric, t) / (seconds.get(t.pod) ?? Number.NaN), 0);
  if (form === 'rate') return within(rate(all), precision / 2);
  if (form === 'share') return within(rate(all.filter((t) => matches(selector, t))) / rate(all), 0);
  const q = Number(/histogram_quantile\(([\d.]+)/.exec(text)?.[1]);
  const scale = text.includes('/ 1000') ? 1000 : 1;
  const at = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.ceil(q * values.length) - 1] ?? Number.NaN;
  if (selector.metric.includes('duration')) {
    const durations = all.flatMap((t) => t.durations);
    return inBuckets(TIMES_MS, at(durations.map((d) => d.heldMs)), at(durations.map((d) => d.seenMs)), scale);
  }
  const size = at(all.flatMap((t) => sizesOf(selector.metric, t)));
  return inBuckets(SIZES, size, size, scale);
};

const within =
  (wanted: number, tolerance: number): Expected['near'] =>
  (value = 0) =>
    Math.abs(value - wanted) <= tolerance + Math.abs(wanted) * ROUNDING ? undefined : `Prometheus says ${value}, ${wanted} was done`;

/** Times of scrapes are told in milliseconds. */
const ROUNDING = 1e-6;

/** Istio's. */
const TIMES_MS = [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
const SIZES = [1, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 50_000, 100_000];
/** What heads are taken to have: of a request before and after its sidecar has added to it, of a response. The truth is within a bucket of it. */
const HEAD = { source: 90, destination: 600, response: 250 };

/** Within one bucket. */
const inBuckets =
  (bounds: readonly number[], least: number, most: number, scale: number): Expected['near'] =>
  (value = Number.NaN) => {
    const bucket = (v: number): number => bounds.filter((bound) => bound < v).length;
    const told = bucket(value * scale);
    if (!Number.isNaN(value) && told >= bucket(least) - 1 && told <= bucket(most) + 1) return undefined;
    return `Prometheus says ${value}, ${least / scale} to ${most / scale} was seen`;
  };

const sizesOf = (metric: string, { labels, sizes }: Told): readonly number[] =>
  metric.includes('response')
    ? sizes.map((s) => s.response + HEAD.response)
    : sizes.map((s) => s.request + (labels['reporter'] === 'source' ? HEAD.source : HEAD.destination));

const countOf = (metric: string, { values }: Told): number => {
  if (metric.includes('received_bytes')) return values.received;
  if (metric.includes('sent_bytes')) return values.sent;
  if (metric.includes('connections')) return values.connections;
  return values.requests;
};

interface Selector {
  readonly metric: string;
  readonly matchers: readonly (readonly [label: string, how: string, value: string])[];
}

const selectorsOf = (text: string): readonly Selector[] =>
  [...text.matchAll(/(\w+)\{([^}]*)\}\[/g)].map(([, metric = '', inner = '']) => ({
    metric,
    matchers: [...inner.matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g)].map(
      ([, label = '', how = '', value = '']) => [label, how, value] as const,
    ),
  }));

const matches = ({ matchers }: Selector, { labels }: Told): boolean =>
  matchers.every(([label, how, value]) => {
    const is = how.endsWith('~') ? new RegExp(`^(?:${value})$`).test(labels[label] ?? '') : (labels[label] ?? '') === value;
    return how.startsWith('!') ? !is : is;
  });

const groupOf = (text: string): readonly string[] =>
  (/\bby \(([^)]*)\)/.exec(text)?.[1] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'le');

const grouped = (told: readonly Told[], by: readonly string[]): ReadonlyMap<string, readonly Told[]> => {
  const groups = new Map<string, Told[]>();
  for (const t of told) {
    const key = JSON.stringify(by.map((name) => t.labels[name] ?? ''));
    groups.set(key, [...(groups.get(key) ?? []), t]);
  }
  return groups;
};
