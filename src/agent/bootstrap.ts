// The proxy's bootstrap as Istio's agent writes it: who it is, where its control plane and its secrets are (our socket), its
// admin, metrics and readiness. One value for Envoy (written as JSON) and for the proxy in this process. Pure.
import { join } from 'node:path';
import { SENDS_SUMMARIES, TAKES_PROBES, TAKES_SPANS, WANTS_ON_DEMAND } from '../xds/client-features.ts';
import type {
  AnyMessage,
  BindConfig,
  Bootstrap,
  Cluster,
  ConfigSource,
  JsonObject,
  Listener,
  Node,
  StatsConfig,
  StatsSink,
} from '../xds/gen/types.ts';
import type { AgentConfig } from './agent-config.ts';
import { type BootstrapSettings, bootstrapSettings, ownSettings } from './bootstrap-settings.ts';
import { histogramBuckets } from './histogram-buckets.ts';

export const XDS_CLUSTER = 'xds-grpc';
export const SDS_CLUSTER = 'sds-grpc';

/** The Unix socket of ADS and SDS. */
export const xdsSocketPath = (runDir: string): string => join(runDir, 'xds.sock');

const ofProxy = ({ statusListener, metadata }: AgentConfig, cluster: string): BootstrapSettings =>
  statusListener === 'proxy' ? bootstrapSettings(metadata['PROXY_CONFIG'], cluster) : ownSettings(metadata['PROXY_CONFIG']);

export const makeBootstrap = (config: AgentConfig): Bootstrap => {
  const socket = xdsSocketPath(config.runDir);
  const adsSource: ConfigSource = { ads: {}, initial_fetch_timeout: '0s', resource_api_version: 'V3' };
  const node = makeNode(config);
  const buckets = histogramBuckets(config.metadata['ANNOTATIONS']);
  const { matcher, tags, runtime, tracing, sinks, clusters } = ofProxy(config, node.cluster ?? '');
  const allSinks = config.summaries === true && config.statusListener === 'proxy' ? [...sinks, SUMMARIES_SINK] : sinks;
  return {
    node,
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: config.adminPort } }, profile_path: '/dev/null' },
    layered_runtime: {
      layers: [
        { name: 'static', static_layer: { ...STATIC_LAYER, ...runtime } },
        { name: 'admin', admin_layer: {} },
      ],
    },
    stats_config: {
      ...STATS_CONFIG,
      stats_tags: [...(STATS_CONFIG.stats_tags ?? []), ...tags],
      ...(matcher === undefined ? {} : { stats_matcher: matcher }),
      ...(buckets.length === 0 ? {} : { histogram_bucket_settings: buckets }),
    },
    ...(tracing === undefined ? {} : { tracing }),
    ...(allSinks.length === 0 ? {} : { stats_sinks: allSinks }),
    dynamic_resources: {
      lds_config: adsSource,
      cds_config: adsSource,
      ads_config: {
        // Single names can be asked for on an incremental stream alone.
        api_type: config.metadata[WANTS_ON_DEMAND] === 'true' ? 'DELTA_GRPC' : 'GRPC',
        transport_api_version: 'V3',
        set_node_on_first_message_only: true,
        grpc_services: [
          {
            // Come back soon: the agent holds the stream until the control plane is there.
            envoy_grpc: { cluster_name: XDS_CLUSTER, retry_policy: { retry_back_off: { base_interval: '0.100s', max_interval: '2s' } } },
          },
        ],
      },
    },
    static_resources: {
      clusters: [
        localHttpCluster('prometheus_stats', config.adminPort),
        localHttpCluster('agent', config.statsPort),
        // A proxy in this process is given the transports of these two names instead.
        ...(config.statusListener === 'proxy' ? [socketCluster(SDS_CLUSTER, socket), socketCluster(XDS_CLUSTER, socket)] : []),
        ...clusters,
      ],
      listeners: [
        staticListener('metrics', config.prometheusPort, '/stats/prometheus', 'prometheus_stats'),
        ...(config.statusListener === 'proxy' ? [staticListener('readiness', config.statusPort, '/healthz/ready', 'agent')] : []),
      ],
    },
    ...(config.bindSource === undefined ? {} : { cluster_manager: { upstream_bind_config: bindTo(config.bindSource) } }),
  };
};

/** Id and metadata as istiod reads them. */
export const makeNode = (config: AgentConfig): Node => {
  const { name, namespace, domain, labels } = config;
  const kind = config.gateway ? 'router' : 'sidecar';
  const metadata: JsonObject = {
    NAME: name,
    NAMESPACE: namespace,
    INSTANCE_IPS: config.ips.join(','),
    LABELS: labels,
    SERVICE_ACCOUNT: config.serviceAccount,
    WORKLOAD_NAME: config.workload,
    CLUSTER_ID: config.clusterId,
    MESH_ID: config.meshId,
    INTERCEPTION_MODE: config.gateway ? 'NONE' : 'REDIRECT',
    ENVOY_PROMETHEUS_PORT: config.prometheusPort,
    ENVOY_STATUS_PORT: config.statusPort,
    // Services are called at addresses that lead nowhere past the proxy: HTTP/1.0 too must be routed by it.
    HTTP10: '1',
    ...(config.dns ? { DNS_CAPTURE: 'true' } : {}),
    ...(config.appPorts.length > 0
      ? { POD_PORTS: JSON.stringify(config.appPorts.map((p) => ({ containerPort: p, protocol: 'TCP' }))) }
      : {}),
    ...(config.metadata as JsonObject),
    ...(takesProbe(config) ? { [TAKES_PROBES]: 'true' } : {}),
    // An Envoy is told by xDS to log to the control plane, which its bootstrap leads to.
    ...(config.summaries === true && config.statusListener === 'proxy' ? { [SENDS_SUMMARIES]: 'true' } : {}),
    ...(config.summaries === true ? { [TAKES_SPANS]: xdsSocketPath(config.runDir) } : {}),
  };
  return {
    id: `${kind}~${config.ips[0] ?? ''}~${name}.${namespace}~${namespace}.svc.${domain}`,
    cluster: `${labels['app'] ?? config.workload}.${namespace}`,
    locality: config.locality,
    metadata,
  };
};

/** It registers, and has no probe of its own: its group's is asked for. */
export const takesProbe = ({ metadata }: Pick<AgentConfig, 'metadata'>): boolean =>
  typeof metadata['AUTO_REGISTER_GROUP'] === 'string' && metadata['AUTO_REGISTER_GROUP'] !== '' && ownProbe(metadata) === undefined;

/** Of the ProxyConfig that the agent was started with. */
export const ownProbe = (metadata: AgentConfig['metadata']): unknown =>
  (metadata['PROXY_CONFIG'] as { readonly readinessProbe?: unknown } | null | undefined)?.readinessProbe ?? undefined;

const bindTo = (address: string): BindConfig => ({ source_address: { address, port_value: 0 } });

const HTTP2_OPTIONS: { readonly [name: string]: AnyMessage } = {
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    explicit_http_config: { http2_protocol_options: {} },
  },
};

const SUMMARIES_SINK: StatsSink = {
  name: 'envoy.stat_sinks.metrics_service',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig',
    grpc_service: { envoy_grpc: { cluster_name: XDS_CLUSTER } },
    transport_api_version: 'V3',
    report_counters_as_deltas: true,
    emit_tags_as_labels: true,
  },
};

const socketCluster = (name: string, path: string): Cluster => ({
  name,
  type: 'STATIC',
  connect_timeout: '1s',
  typed_extension_protocol_options: HTTP2_OPTIONS,
  load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path } } } }] }] },
});

/** Of this machine: bound to loopback, whatever source address the others take. */
const localHttpCluster = (name: string, port: number): Cluster => ({
  name,
  type: 'STATIC',
  connect_timeout: '0.250s',
  upstream_bind_config: bindTo('127.0.0.1'),
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }] }],
  },
});

const staticListener = (name: string, port: number, path: string, cluster: string): Listener => ({
  name,
  address: { socket_address: { address: '0.0.0.0', port_value: port } },
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
            stat_prefix: name,
            route_config: {
              name,
              virtual_hosts: [{ name: 'backend', domains: ['*'], routes: [{ match: { prefix: path }, route: { cluster } }] }],
            },
            http_filters: [
              {
                name: 'envoy.filters.http.router',
                typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
              },
            ],
          },
        },
      ],
    },
  ],
});

const STATIC_LAYER: JsonObject = {
  // Without a number Envoy warns at each start; the limit is the operating system's.
  'overload.global_downstream_max_connections': '2147483647',
  // Long alternations in host and path rules are legal.
  're2.max_program_size.error_level': '32768',
};

const STATS_CONFIG: StatsConfig = {
  use_all_default_tags: false,
  stats_tags: [
    // Names that end with a semicolon are whole up to it; those of the bootstrap's own clusters have no dot.
    { tag_name: 'cluster_name', regex: '^cluster\\.(([^;]+(?=;\\.)|[^.]+);?\\.)' },
    { tag_name: 'tcp_prefix', regex: '^tcp\\.((.*?)\\.)\\w+?$' },
    { tag_name: 'response_code', regex: '_rq(_(\\d{3}))$' },
    { tag_name: 'response_code_class', regex: '_rq(_(\\dxx))$' },
    {
      tag_name: 'http_conn_manager_listener_prefix',
      regex: '^listener(?=\\.).*?\\.http\\.(((?:[_.[:digit:]]*|[_\\[\\]aAbBcCdDeEfF[:digit:]]*))\\.)',
    },
    { tag_name: 'http_conn_manager_prefix', regex: '^http\\.(([^;]+(?=;\\.)|[_.[:digit:]]*|[_\\[\\]aAbBcCdDeEfF[:digit:]]*);?\\.)' },
    { tag_name: 'listener_address', regex: '^listener\\.(((?:[_.[:digit:]]*|[_\\[\\]aAbBcCdDeEfF[:digit:]]*))\\.)' },
  ],
};
