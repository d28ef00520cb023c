// From Envoy's dotted names to Prometheus' names with labels: which part of a name is a label, as Envoy's own tags have it. Labels stand in
// Envoy's order, what was found last in the name first.
import { escapeLabelValue } from '../../base/metrics.ts';

export interface PrometheusName {
  readonly name: string;
  /** Without braces. */
  readonly labels: string;
}

/** Names begin after a cluster's or listener's own name, which may have dots itself. */
const SCOPES: readonly { readonly pattern: RegExp; readonly root: string; readonly label: string }[] = [
  {
    pattern:
      /^cluster\.(.+?)\.((?:upstream_|membership_|lb_|update_|outlier_detection\.|circuit_breakers\.|ssl\.|tls|external\.|internal\.|canary\.|zone\.|health_check\.|max_host_weight|bind_errors|original_dst_|retry_|retry\.|assignment_|default\.|http1\.|http2\.|tcp_proxy\.|version|warming_state|init_fetch_timeout|control_plane\.|ext_authz\.|ratelimit\.|client_ssl_|grpc\.).*)$/,
    root: 'cluster',
    label: 'envoy_cluster_name',
  },
  {
    pattern:
      /^listener\.(.+?)\.((?:downstream_|no_filter_|ssl\.|http\.|extension_|network_extension_|connections_|global_|worker_|main_thread\.|server_ssl_|proxy_proto\.).*)$/,
    root: 'listener',
    label: 'envoy_listener_address',
  },
  {
    pattern:
      /^http\.(.+?)\.((?:downstream_|no_|passthrough_|rq_|rs_|tracing\.|fault\.|rds\.|user_agent\.|rbac\.|ext_authz\.|jwt_authn\.|ratelimit\.|cors\.|buffer\.|http_local_rate_limit\.).*)$/,
    root: 'http',
    label: 'envoy_http_conn_manager_prefix',
  },
  {
    pattern: /^tcp\.(.+?)\.((?:downstream_|idle_|max_|upstream_|no_|on_demand_|early_|route_).*)$/,
    root: 'tcp',
    label: 'envoy_tcp_prefix',
  },
  {
    pattern: /^(?!http\.|cluster\.)(.+?)\.http_local_rate_limit\.(\w+)$/,
    root: 'http_local_rate_limit',
    label: 'envoy_local_http_ratelimit_prefix',
  },
  { pattern: /^local_rate_limit\.(.+)\.(\w+)$/, root: 'local_rate_limit', label: 'envoy_local_network_ratelimit_prefix' },
  { pattern: /^connection_limit\.(.+)\.(\w+)$/, root: 'connection_limit', label: 'envoy_connection_limit_prefix' },
  { pattern: /^ext_authz\.(.+)\.(\w+)$/, root: 'ext_authz', label: 'envoy_ext_authz_prefix' },
  { pattern: /^(?!http\.|cluster\.)(.+?)\.\.?rbac\.(\w+)$/, root: 'rbac', label: 'envoy_rbac_prefix' },
];

/** Within a scope: what stands for `(…)` is a label and goes. In the order in which they are looked for. */
const INNER: readonly { readonly has: string; readonly pattern: RegExp; readonly keeps: string; readonly label: string }[] = [
  { has: '.ssl.', pattern: /^(cluster\.ssl\.ciphers)\.(.+)$/, keeps: '$1', label: 'cipher_suite' },
  { has: '.ssl.', pattern: /^(listener\.ssl\.ciphers)\.(.+)$/, keeps: '$1', label: 'envoy_ssl_cipher' },
  { has: '.ssl.', pattern: /^(.+\.ssl\.versions)\.(.+)$/, keeps: '$1', label: 'envoy_ssl_version' },
  { has: '.ssl.', pattern: /^(.+\.ssl\.curves)\.(.+)$/, keeps: '$1', label: 'envoy_ssl_curve' },
  { has: '.ssl.', pattern: /^(.+\.ssl\.sigalgs)\.(.+)$/, keeps: '$1', label: 'envoy_ssl_sigalg' },
  {
    has: '.ssl.',
    pattern: /^(.+\.ssl)\.certificate\.(.+)(\.expiration_unix_time_seconds)$/,
    keeps: '$1.certificate$3',
    label: 'envoy_tls_certificate',
  },
  { has: 'worker_', pattern: /^(.+\.)?worker_(\d+)(\..+)$/, keeps: '$1worker$3', label: 'envoy_worker_id' },
  { has: 'listener.http.', pattern: /^(listener\.http)\.(.+?)(\.downstream_.+)$/, keeps: '$1$3', label: 'envoy_http_conn_manager_prefix' },
  { has: '.ext_authz.', pattern: /^(.+\.ext_authz)\.(.+)(\.\w+)$/, keeps: '$1$3', label: 'envoy_ext_authz_prefix' },
  {
    has: '.rbac.',
    pattern: /^(http\.rbac)\.(?!policy\.)(.+?)(\.policy\..+|\.\w+)$/,
    keeps: '$1$3',
    label: 'envoy_rbac_http_prefix',
  },
  { has: '.rbac.', pattern: /^(http\.rbac\.policy)\.(.+)(\.\w+)$/, keeps: '$1$3', label: 'envoy_rbac_policy_name' },
];

const NAMES_MAX = 50_000;
const names = new Map<string, PrometheusName>();

/** `cluster.web.upstream_rq_2xx` → `envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="web"}`. */
export const prometheusName = (stat: string): PrometheusName => {
  const known = names.get(stat);
  if (known) return known;
  const { name, tags } = taggedName(stat);
  const labels = tags.map(([label, value]) => `${label}="${escapeLabelValue(value)}"`).join(',');
  const made = { name: `envoy_${name.replace(/[^a-zA-Z0-9_]/g, '_')}`, labels };
  if (names.size >= NAMES_MAX) names.clear();
  names.set(stat, made);
  return made;
};

/** The dotted name without what is a tag, and the tags by Prometheus' names for them. */
export const taggedName = (
  stat: string,
): { readonly name: string; readonly tags: readonly (readonly [label: string, value: string])[] } => {
  let rest = stat;
  const tags: [string, string][] = [];
  const tell = (label: string, value: string): void => {
    tags.unshift([label, value]);
  };
  for (const { pattern, root, label } of SCOPES) {
    const m = pattern.exec(stat);
    if (!m) continue;
    // Istio ends names with a semicolon, to be told apart from what follows.
    tell(label, (m[1] ?? '').replace(/;$/, ''));
    rest = `${root}.${m[2]}`;
    break;
  }
  for (const { has, pattern, keeps, label } of INNER) {
    if (!rest.includes(has)) continue;
    const m = pattern.exec(rest);
    if (!m) continue;
    tell(label, (m[2] ?? '').replace(/;$/, ''));
    rest = rest.replace(pattern, keeps);
  }
  const code = /^(.*_rq)_(\d{3}|\dxx)$/.exec(rest);
  if (code) {
    const isClass = code[2]?.endsWith('xx') === true;
    tell(isClass ? 'envoy_response_code_class' : 'envoy_response_code', (isClass ? code[2]?.[0] : code[2]) ?? '');
    rest = `${code[1]}${isClass ? '_xx' : ''}`;
  }
  return { name: rest, tags };
};
