// GET /stats: counters, gauges and histograms by Envoy's names, as text, JSON or Prometheus; and the map from Envoy's dotted names to
// Prometheus names with labels.
import { escapeLabelValue, familyHead, type MetricKind, type MetricRegistry } from '../../base/metrics.ts';
import type { HistogramStat, StatsStore } from '../stats-store.ts';
import { DEFAULT_BUCKETS } from '../telemetry/stats-config.ts';
import { type AdminContext, type AdminResponse, json, text } from './admin-context.ts';

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

/** How many values are at or below each of Envoy's default bounds. */
const cumulative = (h: HistogramStat): [bound: number, count: number][] => {
  const buckets = h.buckets();
  let at = 0;
  let seen = 0;
  return DEFAULT_BUCKETS.map((bound) => {
    for (; at < buckets.length && (buckets[at]?.low ?? 0) <= bound; at++) seen += buckets[at]?.count ?? 0;
    return [bound, seen];
  });
};

export const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export const prometheusPage = (context: AdminContext, query: URLSearchParams): AdminResponse => {
  const wanted = nameFilter(query);
  if (wanted === undefined) return text('Invalid re2 regex\n', 400);
  context.refreshStats();
  return {
    status: 200,
    headers: { 'content-type': PROMETHEUS_TYPE },
    body: prometheusText(context.dataPlane.stats, context.metrics, query.has('usedonly'), wanted),
  };
};

/** Everything that the process counts. */
export const prometheusText = (
  stats: StatsStore,
  metrics: MetricRegistry,
  usedOnly = false,
  wanted: (name: string) => boolean = () => true,
): string => metrics.render(wanted) + envoyStatsText(stats, usedOnly, wanted);

const envoyStatsText = (stats: StatsStore, usedOnly: boolean, wanted: (name: string) => boolean): string => {
  const families = new Map<string, { kind: MetricKind; lines: string }>();
  const add = (name: string, kind: MetricKind, lines: string): void => {
    const family = families.get(name);
    if (family) family.lines += lines;
    else families.set(name, { kind, lines });
  };
  for (const stat of stats.all()) {
    if ((usedOnly && stat.value === 0) || !wanted(stat.name)) continue;
    const { name, labels } = prometheusName(stat.name);
    add(name, stat.kind, `${name}{${labels}} ${stat.value}\n`);
  }
  for (const h of stats.histograms()) {
    if ((usedOnly && h.count === 0) || !wanted(h.name)) continue;
    const { name, labels } = prometheusName(h.name);
    const open = `${name}_bucket{${labels}${labels === '' ? '' : ','}le="`;
    let lines = '';
    for (const [bound, count] of cumulative(h)) lines += `${open}${bound}"} ${count}\n`;
    lines += `${open}+Inf"} ${h.count}\n${name}_sum{${labels}} ${h.sum}\n${name}_count{${labels}} ${h.count}\n`;
    add(name, 'histogram', lines);
  }
  let out = '';
  for (const [name, { kind, lines }] of families) out += familyHead(name, '', kind) + lines;
  return out;
};

/** Names begin after a cluster's or listener's own name, which may have dots itself. */
const SCOPES: readonly { readonly pattern: RegExp; readonly root: string; readonly label: string }[] = [
  {
    pattern:
      /^cluster\.(.+?)\.((?:upstream_|membership_|lb_|update_|outlier_detection\.|circuit_breakers\.|ssl\.|tls|external\.|internal\.|canary\.|zone\.|health_check\.|max_host_weight|bind_errors|original_dst_|retry_|assignment_|default\.|http1\.|http2\.|tcp_proxy\.|version|warming_state|init_fetch_timeout|control_plane\.).*)$/,
    root: 'cluster',
    label: 'envoy_cluster_name',
  },
  {
    pattern: /^listener\.(.+?)\.((?:downstream_|no_filter_|ssl\.|http\.|extension_|connections_|global_|worker_).*)$/,
    root: 'listener',
    label: 'envoy_listener_address',
  },
  {
    pattern: /^http\.(.+?)\.((?:downstream_|no_|passthrough_|rq_|rs_|tracing\.|fault\.|rds\.|user_agent\.|rbac\.).*)$/,
    root: 'http',
    label: 'envoy_http_conn_manager_prefix',
  },
  { pattern: /^tcp\.(.+?)\.((?:downstream_|idle_|max_|upstream_|no_|on_demand_).*)$/, root: 'tcp', label: 'envoy_tcp_prefix' },
];

const names = new Map<string, { readonly name: string; readonly labels: string }>();

/** `cluster.web.upstream_rq_2xx` → `envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="web"}`. */
export const prometheusName = (stat: string): { readonly name: string; readonly labels: string } => {
  const known = names.get(stat);
  if (known) return known;
  let rest = stat;
  let labels = '';
  for (const { pattern, root, label } of SCOPES) {
    const m = pattern.exec(stat);
    if (!m) continue;
    // Istio ends names with a semicolon, to be told apart from what follows.
    labels = `${label}="${escapeLabelValue((m[1] ?? '').replace(/;$/, ''))}"`;
    rest = `${root}.${m[2]}`;
    break;
  }
  const code = /^(.*_rq)_(\d{3}|\dxx)$/.exec(rest);
  if (code) {
    const isClass = code[2]?.endsWith('xx');
    const label = isClass ? `envoy_response_code_class="${code[2]?.[0]}"` : `envoy_response_code="${code[2]}"`;
    labels = labels === '' ? label : `${label},${labels}`;
    rest = `${code[1]}${isClass ? '_xx' : ''}`;
  }
  const made = { name: `envoy_${rest.replace(/[^a-zA-Z0-9_]/g, '_')}`, labels };
  if (names.size > 50_000) names.clear();
  names.set(stat, made);
  return made;
};
