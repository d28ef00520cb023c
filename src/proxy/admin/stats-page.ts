// GET /stats: counters, gauges and histograms by Envoy's names, as text, JSON or Prometheus.
import type { HistogramStat } from '../stats-store.ts';
import { type AdminContext, type AdminResponse, json, text } from './admin-context.ts';
import { cumulative, PROMETHEUS_TYPE, prometheusPieces, prometheusText, sendPieces, type Wanted } from './prometheus-text.ts';

export const statsPage = (context: AdminContext, query: URLSearchParams): AdminResponse => {
  const format = query.get('format') ?? 'text';
  if (format === 'prometheus') return prometheusPage(context, query);
  const wanted = nameFilter(query);
  if (wanted === undefined) return text('Invalid re2 regex\n', 400);
  if (format !== 'json' && format !== 'text') return text('usage: /stats?format=json  or /stats?format=prometheus\n\n', 400);
  const type = query.get('type')?.toLowerCase() ?? 'all';
  if (!TYPES.has(type)) return text('invalid &type= param', 400);
  const display = query.get('histogram_buckets') ?? 'summary';
  const show = HISTOGRAM_TEXT[display];
  if (show === undefined) return text('usage: /stats?histogram_buckets=(summary|cumulative|disjoint)\n', 400);
  context.refreshStats();
  const { stats } = context.dataPlane;
  const usedOnly = query.has('usedonly');
  const byName = (x: { readonly name: string }, y: { readonly name: string }): number => (x.name < y.name ? -1 : 1);
  const shown = [...stats.all()]
    .filter((s) => wanted(s.name) && (!usedOnly || s.value !== 0) && (type === 'all' || type === `${s.kind}s`))
    .sort(byName);
  const histograms = [...stats.histograms()]
    .filter((h) => wanted(h.name) && (!usedOnly || h.count > 0) && (type === 'all' || type === 'histograms'))
    .sort(byName);
  if (format === 'text') {
    return text(shown.map((s) => `${s.name}: ${s.value}\n`).join('') + histograms.map((h) => `${h.name}: ${show(h)}\n`).join(''));
  }
  const values = shown.map(({ name, value }): object => ({ name, value }));
  return json({ stats: histograms.length === 0 ? values : [...values, { histograms: histogramsJson(histograms) }] });
};

const TYPES: ReadonlySet<string> = new Set(['all', 'counters', 'gauges', 'histograms', 'textreadouts']);

/** Undefined: the expression is none. */
const nameFilter = (query: URLSearchParams): ((name: string) => boolean) | undefined => {
  const pattern = query.get('filter');
  if (!pattern) return () => true;
  try {
    const regex = new RegExp(pattern);
    const inverted = query.has('invert_filter');
    return (name) => regex.test(name) !== inverted;
  } catch {
    return undefined;
  }
};

/** Envoy's shares, in percent. */
const PERCENTS = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100];
const SHARES = PERCENTS.map((p) => p / 100);
const rounded = (n: number): number => Number(n.toPrecision(6));

/** Two figures each as Envoy prints them: of the last interval, of all time. There are no intervals here. */
const HISTOGRAM_TEXT: { readonly [display: string]: ((h: HistogramStat) => string) | undefined } = {
  summary: (h) => {
    const values = h.quantiles(SHARES);
    return values === undefined ? 'No recorded values' : values.map((v, i) => `P${PERCENTS[i]}(nan,${rounded(v)})`).join(' ');
  },
  cumulative: (h) =>
    cumulative(h)
      .map(([bound, n]) => `B${bound}(0,${n})`)
      .join(' '),
  disjoint: (h) =>
    cumulative(h)
      .map(([bound, n], i, all) => `B${bound}(0,${n - (all[i - 1]?.[1] ?? 0)})`)
      .join(' '),
};

const histogramsJson = (histograms: readonly HistogramStat[]): object => ({
  supported_quantiles: PERCENTS,
  computed_quantiles: histograms.map((h) => ({
    name: h.name,
    values: (h.quantiles(SHARES) ?? SHARES.map(() => null)).map((v) => ({ cumulative: v === null ? null : rounded(v), interval: null })),
  })),
});

export const prometheusPage = (context: AdminContext, query: URLSearchParams): AdminResponse => {
  const wanted = prometheusWanted(query);
  if (wanted === undefined) return text('Invalid re2 regex\n', 400);
  context.refreshStats();
  return { ...PROMETHEUS_ANSWER, body: prometheusText({ stats: context.dataPlane.stats, metrics: context.metrics }, wanted) };
};

/** The same page, made while it is read. */
export const prometheusStream = (context: AdminContext, query: URLSearchParams): AdminResponse => {
  const wanted = prometheusWanted(query);
  if (wanted === undefined) return text('Invalid re2 regex\n', 400);
  context.refreshStats();
  const counted = { stats: context.dataPlane.stats, metrics: context.metrics };
  const now = (): number => context.clock.monotonicMs();
  return { ...PROMETHEUS_ANSWER, body: '', stream: (reader) => sendPieces(prometheusPieces(counted, wanted), reader, now) };
};

const PROMETHEUS_ANSWER = { status: 200, headers: { 'content-type': PROMETHEUS_TYPE } };

const prometheusWanted = (query: URLSearchParams): Wanted | undefined => {
  const name = nameFilter(query);
  return name && { usedOnly: query.has('usedonly'), name };
};
