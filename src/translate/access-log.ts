// Access logs: of the mesh's own settings, one file log in TEXT or JSON, and of extension providers: files and services that take logs.

import type { ExtensionProvider, MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { AccessLog, AccessLogFilter, JsonObject } from '../xds/gen/types.ts';
import { type Collector, findCollector, typed } from './telemetry-providers.ts';

const TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% ' +
  '%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" ' +
  '"%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ' +
  '%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n';

const JSON_FORMAT: JsonObject = {
  start_time: '%START_TIME%',
  route_name: '%ROUTE_NAME%',
  method: '%REQ(:METHOD)%',
  path: '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
  protocol: '%PROTOCOL%',
  response_code: '%RESPONSE_CODE%',
  response_flags: '%RESPONSE_FLAGS%',
  response_code_details: '%RESPONSE_CODE_DETAILS%',
  connection_termination_details: '%CONNECTION_TERMINATION_DETAILS%',
  bytes_received: '%BYTES_RECEIVED%',
  bytes_sent: '%BYTES_SENT%',
  duration: '%DURATION%',
  upstream_service_time: '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%',
  x_forwarded_for: '%REQ(X-FORWARDED-FOR)%',
  user_agent: '%REQ(USER-AGENT)%',
  request_id: '%REQ(X-REQUEST-ID)%',
  authority: '%REQ(:AUTHORITY)%',
  upstream_host: '%UPSTREAM_HOST%',
  upstream_transport_failure_reason: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
  upstream_cluster: '%UPSTREAM_CLUSTER_RAW%',
  upstream_local_address: '%UPSTREAM_LOCAL_ADDRESS%',
  downstream_local_address: '%DOWNSTREAM_LOCAL_ADDRESS%',
  downstream_remote_address: '%DOWNSTREAM_REMOTE_ADDRESS%',
  requested_server_name: '%REQUESTED_SERVER_NAME%',
};

const GRPC_LOGS = 'envoy.extensions.access_loggers.grpc.v3';

/** What a filter given as an expression needs of a proxy. */
export const CEL_FILTER = 'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter';

/** The mesh's own log. */
export const meshLog = (mesh: MeshConfig, path: string): AccessLog => fileLog(path, meshFormat(mesh));

/** What is logged: HTTP requests, connections, or connections that no filter chain took. */
export type Logged = 'http' | 'tcp' | 'listener';

/** The mesh's log service, which the proxy's bootstrap names. */
const LOG_SERVICE = 'envoy_accesslog_service';

export const serviceLog = (logged: Logged): AccessLog => {
  const collector = { cluster: LOG_SERVICE };
  return logged === 'http'
    ? log('envoy.access_loggers.http_grpc', `${GRPC_LOGS}.HttpGrpcAccessLogConfig`, {
        common_config: common(collector, 'http_envoy_accesslog', WASM_STATE),
      })
    : log('envoy.tcp_grpc_access_log', `${GRPC_LOGS}.TcpGrpcAccessLogConfig`, {
        common_config: common(collector, `${logged}_envoy_accesslog`, WASM_STATE),
      });
};

/** The way to the control plane, in every bootstrap that our agent writes. */
const CONTROL_PLANE = 'xds-grpc';
const TRACE_HEADERS = ['traceparent', 'b3', 'x-b3-traceid', 'x-b3-spanid', 'content-type'];

/** Everything, for the control plane's summaries: of a proxy that cannot sum up itself. */
export const summariesLog = (logged: 'http' | 'tcp'): AccessLog => {
  const common_config = {
    log_name: 'skein-summaries',
    grpc_service: { envoy_grpc: { cluster_name: CONTROL_PLANE } },
    transport_api_version: 'V3',
    buffer_flush_interval: '1s',
  };
  if (logged === 'tcp') return log('envoy.tcp_grpc_access_log', `${GRPC_LOGS}.TcpGrpcAccessLogConfig`, { common_config });
  return log('envoy.access_loggers.http_grpc', `${GRPC_LOGS}.HttpGrpcAccessLogConfig`, {
    common_config,
    additional_request_headers_to_log: TRACE_HEADERS,
    additional_response_headers_to_log: ['grpc-status'],
    additional_response_trailers_to_log: ['grpc-status'],
  });
};

/** Undefined: the provider takes no logs, or its service is not in the mesh. */
export const providerLog = (snapshot: Snapshot, provider: ExtensionProvider): AccessLog | undefined => {
  const { envoyFileAccessLog: file, envoyHttpAls: http, envoyTcpAls: tcp, envoyOtelAls: otel } = provider;
  if (file !== undefined) {
    const path = file.path || '/dev/stdout';
    if (provider.name === 'envoy' && file.logFormat === undefined && file.omitEmptyValues !== true)
      return meshLog(snapshot.meshConfig, path);
    const { text, labels } = file.logFormat ?? {};
    const format = labels === undefined ? textFormat(text ?? '') : jsonFormat(Object.keys(labels).length === 0 ? JSON_FORMAT : labels);
    return fileLog(path, { ...format, ...(file.omitEmptyValues === true ? { omit_empty_values: true } : {}) });
  }
  const service = http ?? tcp ?? otel;
  const collector = findCollector(snapshot, service?.service, service?.port);
  if (collector === undefined) return undefined;
  if (http !== undefined) {
    return log('envoy.access_loggers.http_grpc', `${GRPC_LOGS}.HttpGrpcAccessLogConfig`, {
      common_config: common(collector, http.logName || 'http_envoy_accesslog', http.filterStateObjectsToLog ?? []),
      ...listed('additional_request_headers_to_log', http.additionalRequestHeadersToLog),
      ...listed('additional_response_headers_to_log', http.additionalResponseHeadersToLog),
      ...listed('additional_response_trailers_to_log', http.additionalResponseTrailersToLog),
    });
  }
  if (tcp !== undefined) {
    return log('envoy.tcp_grpc_access_log', `${GRPC_LOGS}.TcpGrpcAccessLogConfig`, {
      common_config: common(collector, tcp.logName || 'tcp_envoy_accesslog', tcp.filterStateObjectsToLog ?? []),
    });
  }
  return otelLog(collector, otel ?? {});
};

const otelLog = (collector: Collector, otel: NonNullable<ExtensionProvider['envoyOtelAls']>): AccessLog => {
  const text = otel.logFormat?.text || TEXT_FORMAT;
  const labels = Object.entries(otel.logFormat?.labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return log('envoy.access_loggers.open_telemetry', 'envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig', {
    common_config: common(collector, otel.logName || 'otel_envoy_accesslog', WASM_STATE),
    disable_builtin_labels: true,
    body: { string_value: text },
    ...(labels.length === 0
      ? {}
      : { attributes: { values: labels.map(([key, v]) => ({ key, value: { string_value: typeof v === 'string' ? v : '' } })) } }),
    ...formatters([text, ...labels.map(([, v]) => v)]),
  });
};

/** Who the peers are, as the metadata exchange found out; the longer list is what older proxies called it. */
const PEER_STATE = ['upstream_peer', 'downstream_peer'];
const WASM_STATE = [...PEER_STATE, 'wasm.upstream_peer', 'wasm.upstream_peer_id', 'wasm.downstream_peer', 'wasm.downstream_peer_id'];

const common = (collector: Pick<Collector, 'cluster'> & Partial<Collector>, name: string, state: readonly string[]) => ({
  log_name: name,
  grpc_service: { envoy_grpc: { cluster_name: collector.cluster, ...(collector.host === undefined ? {} : { authority: collector.host }) } },
  transport_api_version: 'V3',
  filter_state_objects_to_log: state.length === 0 ? PEER_STATE : state,
});

const listed = (field: string, values: readonly string[] | undefined) =>
  values === undefined || values.length === 0 ? {} : { [field]: values };

const log = (name: string, type: string, fields: Readonly<Record<string, unknown>>): AccessLog => ({
  name,
  typed_config: typed(type, fields),
});

const fileLog = (path: string, format: JsonObject): AccessLog =>
  log('envoy.access_loggers.file', 'envoy.extensions.access_loggers.file.v3.FileAccessLog', { path, log_format: format });

const meshFormat = (mesh: MeshConfig): JsonObject =>
  mesh.accessLogEncoding === 'JSON' ? jsonFormat(parseFormat(mesh.accessLogFormat)) : textFormat(mesh.accessLogFormat);

const textFormat = (format: string): JsonObject => {
  const line = format === '' ? TEXT_FORMAT : format.endsWith('\n') ? format : `${format}\n`;
  return { text_format_source: { inline_string: line }, ...formatters([line]) };
};

const jsonFormat = (format: Readonly<Record<string, unknown>>): JsonObject => ({
  json_format: format as JsonObject,
  json_format_options: {},
  ...formatters(Object.values(format)),
});

/** An operator that Envoy has only as an extension. */
const formatters = (texts: readonly unknown[]): JsonObject =>
  texts.some((t) => typeof t === 'string' && t.includes('%REQ_WITHOUT_QUERY'))
    ? {
        formatters: [
          {
            name: 'envoy.formatter.req_without_query',
            typed_config: { '@type': 'type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery' },
          },
        ],
      }
    : {};

/** A format that is not a JSON object falls back to the default, as in Istio. */
const parseFormat = (format: string): JsonObject => {
  if (format === '') return JSON_FORMAT;
  try {
    const parsed: unknown = JSON.parse(format);
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed) ? (parsed as JsonObject) : JSON_FORMAT;
  } catch {
    return JSON_FORMAT;
  }
};

/** Connections that no filter chain took. */
export const UNTAKEN: AccessLogFilter = { response_flag_filter: { flags: ['NR'] } };

export const celFilter = (expression: string): AccessLogFilter => ({
  extension_filter: { name: 'envoy.access_loggers.extension_filters.cel', typed_config: typed(CEL_FILTER, { expression }) },
});

/** The log of what all filters let through. */
export const filtered = (one: AccessLog, filters: readonly AccessLogFilter[]): AccessLog => {
  const [first] = filters;
  if (first === undefined) return one;
  return { ...one, filter: filters.length === 1 ? first : { and_filter: { filters } } };
};
