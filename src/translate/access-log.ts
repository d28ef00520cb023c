// Access logging from MeshConfig: one file log, TEXT or JSON, for exchanges; at listeners the same log for connections no chain took.

import type { MeshConfig } from '../api/mesh-config.ts';
import type { AccessLog, AnyMessage, JsonObject } from '../xds/gen/types.ts';

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

export const accessLogs = (mesh: MeshConfig): readonly AccessLog[] =>
  mesh.accessLogFile === '' ? [] : [{ name: 'envoy.access_loggers.file', typed_config: fileLog(mesh) }];

/** For connections that no filter chain took (flag NR). */
export const listenerAccessLogs = (logs: readonly AccessLog[]): readonly AccessLog[] =>
  logs.map((l) => ({ ...l, filter: { response_flag_filter: { flags: ['NR'] } } }));

const fileLog = (mesh: MeshConfig): AnyMessage => ({
  '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
  path: mesh.accessLogFile,
  log_format: mesh.accessLogEncoding === 'JSON' ? jsonFormat(mesh.accessLogFormat) : textFormat(mesh.accessLogFormat),
});

const textFormat = (format: string): JsonObject => {
  const line = format === '' ? TEXT_FORMAT : format.endsWith('\n') ? format : `${format}\n`;
  return { text_format_source: { inline_string: line } };
};

const jsonFormat = (format: string): JsonObject => ({ json_format: parseFormat(format), json_format_options: {} });

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
