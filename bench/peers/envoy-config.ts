// Static Envoy configuration of both hops: plain (router only, no log), and full: the filters of Istio's sidecars in Istio's order, as far as
// stock Envoy has them, the JSON access log to a file, RBAC by the client's principal. Also what Skein is given where it stands alone;
// where its telemetry is measured, with Istio's own filters for metrics, a tracer, and the admin port.
import type { BackendPorts } from './backends.ts';
import type { RelayPorts } from './host-relays.ts';

type Json = Record<string, unknown>;
const EXT = 'type.googleapis.com/envoy.extensions';
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const COLLECTOR = 'collector';
const PRINCIPAL = 'spiffe://cluster.local/ns/bench/sa/client';

export interface EnvoyOptions {
  readonly full: boolean;
  /** Folder with ca.pem, leaf.pem, leaf-key.pem. */
  readonly certificates: string;
  /** Empty: there is none. */
  readonly accessLog: string;
  /** Without it only HTTP/1.1. */
  readonly http2: boolean;
  /** Istio's filters for metrics: not for stock Envoy. */
  readonly metrics?: boolean;
  readonly tracing?: { readonly collectorPort: number; readonly percent: number };
  readonly adminPort?: number;
}

const typed = (name: string, type: string, config: Json = {}): Json => ({
  name,
  typed_config: { '@type': `${EXT}.${type}`, ...config },
});
const address = (port: number): Json => ({ socket_address: { address: '127.0.0.1', port_value: port } });

const LOG_FIELDS: Readonly<Record<string, string>> = {
  authority: 'REQ(:AUTHORITY)',
  bytes_received: 'BYTES_RECEIVED',
  bytes_sent: 'BYTES_SENT',
  connection_termination_details: 'CONNECTION_TERMINATION_DETAILS',
  downstream_local_address: 'DOWNSTREAM_LOCAL_ADDRESS',
  downstream_remote_address: 'DOWNSTREAM_REMOTE_ADDRESS',
  duration: 'DURATION',
  method: 'REQ(:METHOD)',
  path: 'REQ(X-ENVOY-ORIGINAL-PATH?:PATH)',
  protocol: 'PROTOCOL',
  request_id: 'REQ(X-REQUEST-ID)',
  requested_server_name: 'REQUESTED_SERVER_NAME',
  response_code: 'RESPONSE_CODE',
  response_code_details: 'RESPONSE_CODE_DETAILS',
  response_flags: 'RESPONSE_FLAGS',
  route_name: 'ROUTE_NAME',
  start_time: 'START_TIME',
  upstream_cluster: 'UPSTREAM_CLUSTER_RAW',
  upstream_host: 'UPSTREAM_HOST',
  upstream_local_address: 'UPSTREAM_LOCAL_ADDRESS',
  upstream_service_time: 'RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)',
  upstream_transport_failure_reason: 'UPSTREAM_TRANSPORT_FAILURE_REASON',
  user_agent: 'REQ(USER-AGENT)',
  x_forwarded_for: 'REQ(X-FORWARDED-FOR)',
};

const accessLog = (o: EnvoyOptions): Json[] =>
  o.accessLog !== ''
    ? [
        typed('envoy.access_loggers.file', 'access_loggers.file.v3.FileAccessLog', {
          path: o.accessLog,
          log_format: { json_format: Object.fromEntries(Object.entries(LOG_FIELDS).map(([k, v]) => [k, `%${v}%`])) },
        }),
      ]
    : [];

const rules = (): Json => ({
  action: 'ALLOW',
  policies: {
    'ns[bench]-policy[client]-rule[0]': {
      permissions: [{ any: true }],
      principals: [{ authenticated: { principal_name: { exact: PRINCIPAL } } }],
    },
  },
});

const peerMetadata = (inbound: boolean): Json => {
  const side = inbound ? 'downstream' : 'upstream';
  const value = { [`${side}_discovery`]: [{ istio_headers: {} }], [`${side}_propagation`]: [{ istio_headers: {} }] };
  const type_url = 'type.googleapis.com/io.istio.http.peer_metadata.Config';
  return { name: 'istio.metadata_exchange', typed_config: { '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct', type_url, value } };
};

const istioStats = (inbound: boolean): Json => ({
  name: 'istio.stats',
  typed_config: { '@type': 'type.googleapis.com/stats.PluginConfig', ...(inbound ? { disable_host_header_fallback: true } : {}) },
});

const tracing = ({ tracing: wanted }: EnvoyOptions): Json =>
  wanted === undefined
    ? {}
    : {
        tracing: {
          random_sampling: { value: wanted.percent },
          provider: {
            name: 'envoy.tracers.opentelemetry',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig',
              service_name: 'bench',
              http_service: { http_uri: { uri: 'http://collector/v1/traces', cluster: COLLECTOR, timeout: '5s' } },
            },
          },
        },
      };

const httpFilters = (o: EnvoyOptions, inbound: boolean): Json[] => {
  const router = typed('envoy.filters.http.router', 'filters.http.router.v3.Router');
  if (!o.full) return [router];
  return [
    ...(o.metrics ? [peerMetadata(inbound)] : []),
    ...(inbound ? [typed('envoy.filters.http.rbac', 'filters.http.rbac.v3.RBAC', { rules: rules() })] : []),
    typed('envoy.filters.http.grpc_stats', 'filters.http.grpc_stats.v3.FilterConfig', {
      emit_filter_state: true,
      stats_for_all_methods: false,
    }),
    typed('envoy.filters.http.fault', 'filters.http.fault.v3.HTTPFault'),
    typed('envoy.filters.http.cors', 'filters.http.cors.v3.Cors'),
    ...(o.metrics ? [istioStats(inbound)] : []),
    router,
  ];
};

const http = (o: EnvoyOptions, inbound: boolean, name: string, cluster: string): Json =>
  typed('envoy.filters.network.http_connection_manager', 'filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: name,
    use_remote_address: false,
    stream_idle_timeout: '0s',
    ...(o.full ? { normalize_path: true, upgrade_configs: [{ upgrade_type: 'websocket' }] } : {}),
    ...(o.full && inbound
      ? { forward_client_cert_details: 'APPEND_FORWARD', set_current_client_cert_details: { subject: true, uri: true, dns: true } }
      : {}),
    route_config: {
      name,
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [
            {
              match: { prefix: '/' },
              route: {
                cluster,
                timeout: '0s',
                ...(o.full && !inbound
                  ? {
                      retry_policy: {
                        retry_on: 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes',
                        num_retries: 2,
                      },
                    }
                  : {}),
              },
            },
          ],
        },
      ],
    },
    ...tracing(o),
    access_log: accessLog(o),
    http_filters: httpFilters(o, inbound),
  });

const tcp = (o: EnvoyOptions, inbound: boolean, name: string, cluster: string): Json[] => [
  ...(o.full && inbound
    ? [typed('envoy.filters.network.rbac', 'filters.network.rbac.v3.RBAC', { stat_prefix: 'tcp.', rules: rules() })]
    : []),
  typed('envoy.filters.network.tcp_proxy', 'filters.network.tcp_proxy.v3.TcpProxy', {
    stat_prefix: name,
    cluster,
    access_log: accessLog(o),
  }),
];

const commonTls = (o: EnvoyOptions, alpn: readonly string[]): Json => ({
  tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
  alpn_protocols: alpn,
  tls_certificates: [
    { certificate_chain: { filename: `${o.certificates}/leaf.pem` }, private_key: { filename: `${o.certificates}/leaf-key.pem` } },
  ],
  validation_context: {
    trusted_ca: { filename: `${o.certificates}/ca.pem` },
    match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: PRINCIPAL } }],
  },
});

const downstreamTls = (o: EnvoyOptions, alpn: readonly string[]): Json =>
  typed('envoy.transport_sockets.tls', 'transport_sockets.tls.v3.DownstreamTlsContext', {
    require_client_certificate: true,
    common_tls_context: commonTls(o, alpn),
  });

const upstreamTls = (o: EnvoyOptions, alpn: readonly string[]): Json =>
  typed('envoy.transport_sockets.tls', 'transport_sockets.tls.v3.UpstreamTlsContext', {
    sni: 'bench',
    common_tls_context: commonTls(o, alpn),
  });

const cluster = (name: string, port: number, http2: boolean, tls?: Json): Json => ({
  name,
  type: 'STATIC',
  connect_timeout: '10s',
  ...(tls === undefined ? {} : { transport_socket: tls }),
  circuit_breakers: { thresholds: [{ max_connections: 100_000, max_pending_requests: 100_000, max_requests: 100_000 }] },
  ...(http2
    ? {
        typed_extension_protocol_options: {
          [HTTP_OPTIONS]: { '@type': `type.googleapis.com/${HTTP_OPTIONS}`, explicit_http_config: { http2_protocol_options: {} } },
        },
      }
    : {}),
  load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
});

const listener = (o: EnvoyOptions, name: string, port: number, filters: readonly Json[], tls?: Json): Json => ({
  name,
  address: address(port),
  ...(o.metrics || o.tracing !== undefined ? { traffic_direction: tls === undefined ? 'OUTBOUND' : 'INBOUND' } : {}),
  ...(o.full && tls !== undefined
    ? { listener_filters: [typed('envoy.filters.listener.tls_inspector', 'filters.listener.tls_inspector.v3.TlsInspector')] }
    : {}),
  filter_chains: [{ filters, ...(tls === undefined ? {} : { transport_socket: tls }) }],
});

const bootstrap = (o: EnvoyOptions, id: string, listeners: readonly Json[], clusters: readonly Json[]): string => {
  const metadata = { NAME: `${id}-0`, NAMESPACE: 'bench', WORKLOAD_NAME: id, CLUSTER_ID: 'Kubernetes', LABELS: { app: id, version: 'v1' } };
  const all = o.tracing === undefined ? clusters : [...clusters, cluster(COLLECTOR, o.tracing.collectorPort, false)];
  return JSON.stringify(
    {
      node: { id, cluster: 'bench', ...(o.metrics ? { metadata } : {}) },
      ...(o.adminPort === undefined ? {} : { admin: { address: address(o.adminPort) } }),
      static_resources: { listeners, clusters: all },
    },
    null,
    1,
  );
};

export const outboundConfig = (o: EnvoyOptions, p: RelayPorts, backend: BackendPorts): string =>
  bootstrap(
    o,
    'out',
    [
      listener(o, 'one', p.oneHop, [http(o, false, 'one', 'backend')]),
      listener(o, 'two', p.twoHops, [http(o, false, 'two', 'second')]),
      listener(o, 'tcp', p.twoHopsTcp, tcp(o, false, 'tcp', 'second-tcp')),
      ...(o.http2
        ? [
            listener(o, 'h2', p.twoHopsH2, [http(o, false, 'h2', 'second-h2')]),
            listener(o, 'grpc', p.oneHopGrpc, [http(o, false, 'grpc', 'grpc')]),
          ]
        : []),
    ],
    [
      cluster('backend', backend.http, false),
      cluster('second', p.tls, false, upstreamTls(o, ['http/1.1'])),
      cluster('second-tcp', p.tlsTcp, false, upstreamTls(o, [])),
      ...(o.http2 ? [cluster('second-h2', p.tlsH2, true, upstreamTls(o, ['h2'])), cluster('grpc', backend.grpc, true)] : []),
    ],
  );

export const inboundConfig = (o: EnvoyOptions, p: RelayPorts, backend: BackendPorts): string =>
  bootstrap(
    o,
    'into',
    [
      listener(o, 'tls', p.tls, [http(o, true, 'tls', 'backend')], downstreamTls(o, ['http/1.1'])),
      listener(o, 'tcp', p.tlsTcp, tcp(o, true, 'tcp', 'backend-tcp'), downstreamTls(o, [])),
      ...(o.http2 ? [listener(o, 'h2', p.tlsH2, [http(o, true, 'h2', 'backend-h2')], downstreamTls(o, ['h2']))] : []),
    ],
    [
      cluster('backend', backend.http, false),
      cluster('backend-tcp', backend.tcp, false),
      ...(o.http2 ? [cluster('backend-h2', backend.http2, true)] : []),
    ],
  );
