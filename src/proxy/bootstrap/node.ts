// Who this proxy says it is on every xDS stream: the bootstrap's node, this program's name and version, and the
// extensions that it honours. A control plane sends the configuration of an extension only to who announces it.

import { HTTP2_FEATURE, IDEMPOTENT_RETRIES_FEATURE, ON_DEMAND_FEATURE, PEAK_EWMA_FEATURE } from '../../xds/client-features.ts';
import { TYPE_URL_PREFIX } from '../../xds/codec.ts';
import type { Extension, Node } from '../../xds/gen/types.ts';

export const USER_AGENT = 'skein';

type Row = readonly [name: string, category: string, ...types: string[]];

const ROWS: readonly Row[] = [
  [
    'envoy.filters.network.http_connection_manager',
    'envoy.filters.network',
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
  ],
  [
    'envoy.access_loggers.extension_filters.cel',
    'envoy.access_loggers.extension_filters',
    'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter',
  ],
  ['envoy.filters.network.tcp_proxy', 'envoy.filters.network', 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'],
  ['envoy.filters.http.router', 'envoy.filters.http', 'envoy.extensions.filters.http.router.v3.Router'],
  ['envoy.filters.http.grpc_stats', 'envoy.filters.http', 'envoy.extensions.filters.http.grpc_stats.v3.FilterConfig'],
  ['envoy.filters.http.grpc_web', 'envoy.filters.http', 'envoy.extensions.filters.http.grpc_web.v3.GrpcWeb'],
  ['envoy.filters.http.fault', 'envoy.filters.http', 'envoy.extensions.filters.http.fault.v3.HTTPFault'],
  ['envoy.filters.http.cors', 'envoy.filters.http', 'envoy.extensions.filters.http.cors.v3.Cors'],
  ['envoy.filters.http.compressor', 'envoy.filters.http', 'envoy.extensions.filters.http.compressor.v3.Compressor'],
  ['envoy.compression.gzip.compressor', 'envoy.compression.compressor', 'envoy.extensions.compression.gzip.compressor.v3.Gzip'],
  ['envoy.filters.http.csrf', 'envoy.filters.http', 'envoy.extensions.filters.http.csrf.v3.CsrfPolicy'],
  ['envoy.filters.http.buffer', 'envoy.filters.http', 'envoy.extensions.filters.http.buffer.v3.Buffer'],
  [
    'envoy.filters.http.ext_authz',
    'envoy.filters.http',
    'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz',
    'envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute',
  ],
  [
    'envoy.filters.http.header_mutation',
    'envoy.filters.http',
    'envoy.extensions.filters.http.header_mutation.v3.HeaderMutation',
    'envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute',
  ],
  ['envoy.filters.http.health_check', 'envoy.filters.http', 'envoy.extensions.filters.http.health_check.v3.HealthCheck'],
  ['envoy.filters.http.header_to_metadata', 'envoy.filters.http', 'envoy.extensions.filters.http.header_to_metadata.v3.Config'],
  ['envoy.filters.http.set_metadata', 'envoy.filters.http', 'envoy.extensions.filters.http.set_metadata.v3.Config'],
  ['envoy.filters.http.on_demand', 'envoy.filters.http', 'envoy.extensions.filters.http.on_demand.v3.OnDemand'],
  [
    'envoy.filters.http.rbac',
    'envoy.filters.http',
    'envoy.extensions.filters.http.rbac.v3.RBAC',
    'envoy.extensions.filters.http.rbac.v3.RBACPerRoute',
  ],
  [
    'envoy.filters.http.jwt_authn',
    'envoy.filters.http',
    'envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication',
    'envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig',
  ],
  ['envoy.filters.network.rbac', 'envoy.filters.network', 'envoy.extensions.filters.network.rbac.v3.RBAC'],
  ['envoy.filters.network.ext_authz', 'envoy.filters.network', 'envoy.extensions.filters.network.ext_authz.v3.ExtAuthz'],
  ['envoy.filters.http.local_ratelimit', 'envoy.filters.http', 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit'],
  [
    'envoy.filters.http.ratelimit',
    'envoy.filters.http',
    'envoy.extensions.filters.http.ratelimit.v3.RateLimit',
    'envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute',
  ],
  ['envoy.filters.network.local_ratelimit', 'envoy.filters.network', 'envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit'],
  [
    'envoy.filters.listener.local_ratelimit',
    'envoy.filters.listener',
    'envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit',
  ],
  ['envoy.filters.listener.tls_inspector', 'envoy.filters.listener', 'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'],
  ['envoy.filters.listener.http_inspector', 'envoy.filters.listener', 'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector'],
  ['envoy.filters.listener.proxy_protocol', 'envoy.filters.listener', 'envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol'],
  [
    'envoy.filters.network.connection_limit',
    'envoy.filters.network',
    'envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit',
  ],
  ['envoy.filters.network.direct_response', 'envoy.filters.network', 'envoy.extensions.filters.network.direct_response.v3.Config'],
  ['envoy.filters.network.set_filter_state', 'envoy.filters.network', 'envoy.extensions.filters.network.set_filter_state.v3.Config'],
  ['envoy.filters.network.sni_cluster', 'envoy.filters.network', 'envoy.extensions.filters.network.sni_cluster.v3.SniCluster'],
  [
    'envoy.transport_sockets.upstream_proxy_protocol',
    'envoy.transport_sockets.upstream',
    'envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport',
  ],
  ['envoy.filters.listener.original_dst', 'envoy.filters.listener', 'envoy.extensions.filters.listener.original_dst.v3.OriginalDst'],
  ['envoy.access_loggers.file', 'envoy.access_loggers', 'envoy.extensions.access_loggers.file.v3.FileAccessLog'],
  ['envoy.access_loggers.stdout', 'envoy.access_loggers', 'envoy.extensions.access_loggers.stream.v3.StdoutAccessLog'],
  ['envoy.access_loggers.stderr', 'envoy.access_loggers', 'envoy.extensions.access_loggers.stream.v3.StderrAccessLog'],
  ['envoy.access_loggers.http_grpc', 'envoy.access_loggers', 'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig'],
  ['envoy.access_loggers.tcp_grpc', 'envoy.access_loggers', 'envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig'],
  [
    'envoy.access_loggers.open_telemetry',
    'envoy.access_loggers',
    'envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig',
  ],
  ['envoy.stat_sinks.metrics_service', 'envoy.stats_sinks', 'envoy.config.metrics.v3.MetricsServiceConfig'],
  ['envoy.tracers.zipkin', 'envoy.tracers', 'envoy.config.trace.v3.ZipkinConfig'],
  ['envoy.tracers.opentelemetry', 'envoy.tracers', 'envoy.config.trace.v3.OpenTelemetryConfig'],
  [
    'envoy.tracers.opentelemetry.resource_detectors.environment',
    'envoy.tracers.opentelemetry.resource_detectors',
    'envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig',
  ],
  [
    'envoy.tracers.opentelemetry.resource_detectors.static_config',
    'envoy.tracers.opentelemetry.resource_detectors',
    'envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig',
  ],
  [
    'envoy.tracers.opentelemetry.samplers.always_on',
    'envoy.tracers.opentelemetry.samplers',
    'envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig',
  ],
  [
    'envoy.tracers.opentelemetry.samplers.parent_based',
    'envoy.tracers.opentelemetry.samplers',
    'envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig',
  ],
  [
    'envoy.tracers.opentelemetry.samplers.trace_id_ratio_based',
    'envoy.tracers.opentelemetry.samplers',
    'envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig',
  ],
  ['envoy.request_id.uuid', 'envoy.request_id', 'envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig'],
  ['envoy.transport_sockets.tls', 'envoy.transport_sockets.upstream', 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'],
  ['envoy.tls.cert_validator.spiffe', 'envoy.tls.cert_validator', 'envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig'],
  ['envoy.transport_sockets.tls', 'envoy.transport_sockets.downstream', 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'],
  ['envoy.transport_sockets.raw_buffer', 'envoy.transport_sockets.upstream', 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'],
  ['envoy.upstreams.http.http_protocol_options', 'envoy.upstream_options', 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'],
  [
    'envoy.internal_redirect_predicates.allow_listed_routes',
    'envoy.internal_redirect_predicates',
    'envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig',
  ],
  [
    'envoy.internal_redirect_predicates.previous_routes',
    'envoy.internal_redirect_predicates',
    'envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig',
  ],
  [
    'envoy.internal_redirect_predicates.safe_cross_scheme',
    'envoy.internal_redirect_predicates',
    'envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig',
  ],
  [
    'envoy.retry_host_predicates.omit_canary_hosts',
    'envoy.retry_host_predicates',
    'envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate',
  ],
  [
    'envoy.retry_host_predicates.omit_host_metadata',
    'envoy.retry_host_predicates',
    'envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig',
  ],
  [
    'envoy.retry_priorities.previous_priorities',
    'envoy.retry_priorities',
    'envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
  ],
  [
    'envoy.path.match.uri_template.uri_template_matcher',
    'envoy.path.match',
    'envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
  ],
  [
    'envoy.path.rewrite.uri_template.uri_template_rewriter',
    'envoy.path.rewrite',
    'envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig',
  ],
  [
    'envoy.retry_host_predicates.previous_hosts',
    'envoy.retry_host_predicates',
    'envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate',
  ],
  ['istio.stats', 'envoy.filters.http', 'stats.PluginConfig'],
  ['istio.stats', 'envoy.filters.network', 'stats.PluginConfig'],
  ['istio.metadata_exchange', 'envoy.filters.http', 'io.istio.http.peer_metadata.Config'],
  ['istio.metadata_exchange', 'envoy.filters.network', 'envoy.tcp.metadataexchange.config.MetadataExchange'],
  ['istio.alpn', 'envoy.filters.http', 'istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig'],
];

const BALANCERS = [
  ['round_robin', 'RoundRobin'],
  ['least_request', 'LeastRequest'],
  ['random', 'Random'],
  ['ring_hash', 'RingHash'],
  ['maglev', 'Maglev'],
  ['subset', 'Subset'],
  ['wrr_locality', 'WrrLocality'],
] as const;
const BALANCER_ROWS: readonly Row[] = BALANCERS.map(([name, type]) => [
  `envoy.load_balancing_policies.${name}`,
  'envoy.load_balancing_policies',
  `envoy.extensions.load_balancing_policies.${name}.v3.${type}`,
]);

export const EXTENSIONS: readonly Extension[] = [...ROWS, ...BALANCER_ROWS].map(([name, category, ...types]) => ({
  name,
  category,
  type_urls: types.map((t) => TYPE_URL_PREFIX + t),
}));

/** What this proxy can do beyond its extensions. */
const FEATURES: readonly string[] = [HTTP2_FEATURE, IDEMPOTENT_RETRIES_FEATURE, ON_DEMAND_FEATURE, PEAK_EWMA_FEATURE];

export interface NodeOverrides {
  /** `--service-node` and `--service-cluster` win over the file, as in Envoy. */
  readonly id?: string | undefined;
  readonly cluster?: string | undefined;
}

export const announcedNode = (node: Node | undefined, version: string, overrides: NodeOverrides = {}): Node => ({
  ...node,
  ...(overrides.id === undefined ? {} : { id: overrides.id }),
  ...(overrides.cluster === undefined ? {} : { cluster: overrides.cluster }),
  user_agent_name: USER_AGENT,
  user_agent_build_version: buildVersion(version),
  extensions: EXTENSIONS,
  client_features: [...(node?.client_features ?? []), ...FEATURES],
});

const buildVersion = (version: string): NonNullable<Node['user_agent_build_version']> => {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map((n) => Number.parseInt(n, 10) || 0);
  return {
    version: { major_number: major, minor_number: minor, patch },
    metadata: { 'build.type': 'RELEASE', 'revision.status': 'Clean' },
  };
};
