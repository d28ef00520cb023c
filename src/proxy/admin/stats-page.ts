// GET /stats: counters and gauges by Envoy's names, as text, JSON or Prometheus; and the map from Envoy's dotted names to
// Prometheus names with labels.
import { escapeLabelValue, familyHead, type MetricKind, type MetricRegistry } from '../../base/metrics.ts';
import type { Stat, StatsStore } from '../stats-store.ts';
import { type AdminContext, type AdminResponse, json, text } from './admin-context.ts';

export const statsPage = (context: AdminContext, query: URLSearchParams): AdminResponse => {
  const format = query.get('format') ?? 'text';
  const pattern = query.get('filter');
  let regex: RegExp | undefined;
  try {
    regex = pattern ? new RegExp(pattern) : undefined;
  } catch {
    return text('Invalid re2 regex\n', 400);
  }
  if (format === 'prometheus') return prometheusPage(context, query);
  context.refreshStats();
  const type = query.get('type')?.toLowerCase();
  const shown = [...context.dataPlane.stats.all()].filter(
    (s) =>
      (!regex || regex.test(s.name)) &&
      (!query.has('usedonly') || s.value !== 0) &&
      (type === undefined || type === 'all' || type === `${s.kind}s`),
  );
  shown.sort((a, b) => (a.name < b.name ? -1 : 1));
  if (format === 'json') return json({ stats: shown.map(({ name, value }) => ({ name, value })) });
  if (format !== 'text') return text('usage: /stats?format=json  or /stats?format=prometheus\n\n', 400);
  return text(shown.map((s) => `${s.name}: ${s.value}\n`).join(''));
};

export const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export const prometheusPage = (context: AdminContext, query: URLSearchParams): AdminResponse => {
  context.refreshStats();
  return {
    status: 200,
    headers: { 'content-type': PROMETHEUS_TYPE },
    body: prometheusText(context.dataPlane.stats, context.metrics, query.has('usedonly')),
  };
};

/** Everything that the process counts. */
export const prometheusText = (stats: StatsStore, metrics: MetricRegistry, usedOnly = false): string =>
  metrics.render() + envoyStatsText(stats.all(), usedOnly);

const envoyStatsText = (stats: Iterable<Stat>, usedOnly: boolean): string => {
  const families = new Map<string, { kind: MetricKind; lines: string }>();
  for (const stat of stats) {
    if (usedOnly && stat.value === 0) continue;
    const { name, labels } = prometheusName(stat.name);
    let family = families.get(name);
    if (!family) {
      family = { kind: stat.kind, lines: '' };
      families.set(name, family);
    }
    family.lines += `${name}{${labels}} ${stat.value}\n`;
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
    labels = `${label}="${escapeLabelValue(m[1] ?? '')}"`;
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
