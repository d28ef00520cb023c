// HealthCheck of a cluster, compiled: what is asked of each host and how often. Pure. Event logs (event_log_path, event_logger,
// event_service, always_log_health_check_failures, always_log_health_check_success) are inert: nothing writes them; alt_port is, in
// Envoy too. Throws PlanError for what must be refused.

import { compileHeaderOps, type HeaderOps } from '../../plan/header-ops.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { compileStringMatcher, type TextMatch } from '../../plan/string-matcher.ts';
import type { Cluster, HealthCheck, HealthCheck_Payload, Int64Range, JsonObject } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';

export interface HttpQuestion {
  readonly kind: 'http';
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly http2: boolean;
  readonly send: Buffer | undefined;
  readonly receive: readonly Buffer[];
  /** Of the body. */
  readonly bodyBytesMax: number;
  readonly headers: HeaderOps | undefined;
  readonly serviceName: TextMatch | undefined;
  expects(status: number): boolean;
  /** Such an answer counts like a lost connection: only several in a row make a host unhealthy. */
  forgives(status: number): boolean;
}

export interface GrpcQuestion {
  readonly kind: 'grpc';
  readonly service: string;
  readonly host: string;
  readonly headers: HeaderOps | undefined;
}

export interface TcpQuestion {
  readonly kind: 'tcp';
  readonly send: Buffer | undefined;
  /** In this order, with anything between them. */
  readonly receive: readonly Buffer[];
  readonly proxyProtocol: 'V1' | 'V2' | undefined;
}

export interface HealthPlan {
  readonly question: HttpQuestion | GrpcQuestion | TcpQuestion;
  readonly timeoutMs: number;
  readonly intervalMs: number;
  readonly jitterMs: number;
  readonly jitterPercent: number;
  readonly initialJitterMs: number;
  readonly unhealthyThreshold: number;
  readonly healthyThreshold: number;
  readonly unhealthyMs: number;
  readonly unhealthyEdgeMs: number;
  readonly healthyEdgeMs: number;
  /** While the cluster has had no connection. */
  readonly noTrafficMs: number;
  readonly noTrafficHealthyMs: number;
  readonly reuse: boolean;
  readonly alpn: readonly string[] | undefined;
  /** Chooses among transport_socket_matches in place of the host's metadata. */
  readonly transportCriteria: JsonObject | undefined;
}

const NO_TRAFFIC_MS = 60_000;
const BODY_BYTES = 1024;
const BODY_BYTES_MAX = 1024 * 1024;

/** undefined: hosts are not checked. */
export const compileHealth = (cluster: Cluster, http2: boolean): HealthPlan | undefined => {
  const checks = cluster.health_checks ?? [];
  const config = checks[0];
  if (config === undefined) return undefined;
  if (checks.length > 1) throw new PlanError('health_checks', 'Multiple health checks not supported');
  const path = 'health_checks[0]';
  const time = (name: TimeField, otherwise: number | undefined): number => {
    const text = config[name];
    if (text === undefined) {
      if (otherwise === undefined) throw new PlanError(`${path}.${name}`, 'is required');
      return otherwise;
    }
    const ms = durationMs(text);
    if (!(ms > 0) && !MAY_BE_ZERO.has(name)) throw new PlanError(`${path}.${name}`, 'must be above 0s');
    return ms;
  };
  const count = (name: 'unhealthy_threshold' | 'healthy_threshold'): number => {
    const value = config[name];
    if (value === undefined) throw new PlanError(`${path}.${name}`, 'is required');
    return value;
  };
  const intervalMs = time('interval', undefined);
  const unhealthyMs = time('unhealthy_interval', intervalMs);
  const noTrafficMs = time('no_traffic_interval', NO_TRAFFIC_MS);
  const alpn = config.tls_options?.alpn_protocols ?? [];
  return {
    question: questionOf(config, http2, path),
    timeoutMs: time('timeout', undefined),
    intervalMs,
    jitterMs: time('interval_jitter', 0),
    jitterPercent: config.interval_jitter_percent ?? 0,
    initialJitterMs: time('initial_jitter', 0),
    unhealthyThreshold: count('unhealthy_threshold'),
    healthyThreshold: count('healthy_threshold'),
    unhealthyMs,
    unhealthyEdgeMs: time('unhealthy_edge_interval', unhealthyMs),
    healthyEdgeMs: time('healthy_edge_interval', intervalMs),
    noTrafficMs,
    noTrafficHealthyMs: time('no_traffic_healthy_interval', noTrafficMs),
    reuse: config.reuse_connection ?? true,
    alpn: alpn.length === 0 ? undefined : alpn,
    transportCriteria: config.transport_socket_match_criteria,
  };
};

type TimeField =
  | 'timeout'
  | 'interval'
  | 'interval_jitter'
  | 'initial_jitter'
  | 'unhealthy_interval'
  | 'unhealthy_edge_interval'
  | 'healthy_edge_interval'
  | 'no_traffic_interval'
  | 'no_traffic_healthy_interval';
const MAY_BE_ZERO: ReadonlySet<TimeField> = new Set(['interval_jitter', 'initial_jitter']);

const questionOf = (config: HealthCheck, http2: boolean, path: string): HealthPlan['question'] => {
  if (config.custom_health_check !== undefined)
    throw new PlanError(`${path}.custom_health_check`, `${config.custom_health_check.name ?? ''} is not supported`);
  if (config.http_health_check !== undefined) return httpQuestion(config.http_health_check, `${path}.http_health_check`);
  if (config.tcp_health_check !== undefined) return tcpQuestion(config.tcp_health_check, `${path}.tcp_health_check`);
  const grpc = config.grpc_health_check;
  if (grpc === undefined) throw new PlanError(path, 'http_health_check, grpc_health_check or tcp_health_check is required');
  if (!http2) throw new PlanError(`${path}.grpc_health_check`, 'the cluster must support HTTP/2 for gRPC healthchecking');
  return {
    kind: 'grpc',
    service: grpc.service_name ?? '',
    host: grpc.authority ?? '',
    headers: compileHeaderOps({ add: grpc.initial_metadata, remove: undefined }, `${path}.grpc_health_check`, 'request'),
  };
};

const httpQuestion = (config: NonNullable<HealthCheck['http_health_check']>, path: string): HttpQuestion => {
  if ((config.path ?? '') === '') throw new PlanError(`${path}.path`, 'is required');
  const method = config.method ?? 'METHOD_UNSPECIFIED';
  if (method === 'CONNECT' || typeof method !== 'string') throw new PlanError(`${path}.method`, `${method} is not supported`);
  if (config.codec_client_type === 'HTTP3') throw new PlanError(`${path}.codec_client_type`, 'HTTP3 is not supported');
  const send = config.send === undefined ? undefined : payload(config.send, `${path}.send`);
  if (send !== undefined && (method === 'METHOD_UNSPECIFIED' || !WITH_BODY.has(method)))
    throw new PlanError(`${path}.send`, 'needs a method that has a body: POST, PUT, PATCH or OPTIONS');
  const expected = (config.expected_statuses ?? []).map((r, i) => range(r, `${path}.expected_statuses[${i}]`));
  const retriable = (config.retriable_statuses ?? []).map((r, i) => range(r, `${path}.retriable_statuses[${i}]`));
  const bytes = config.response_buffer_size ?? BODY_BYTES;
  return {
    kind: 'http',
    method: method === 'METHOD_UNSPECIFIED' ? 'GET' : method,
    path: config.path ?? '',
    host: config.host ?? '',
    http2: config.codec_client_type === 'HTTP2',
    send,
    receive: (config.receive ?? []).map((p, i) => payload(p, `${path}.receive[${i}]`)),
    bodyBytesMax: bytes === 0 ? BODY_BYTES_MAX : Math.min(bytes, BODY_BYTES_MAX),
    headers: compileHeaderOps({ add: config.request_headers_to_add, remove: config.request_headers_to_remove }, path, 'request'),
    serviceName:
      config.service_name_matcher === undefined
        ? undefined
        : compileStringMatcher(config.service_name_matcher, `${path}.service_name_matcher`),
    expects: (status) => (expected.length === 0 ? status === 200 : expected.some((within) => within(status))),
    forgives: (status) => retriable.some((within) => within(status)),
  };
};
const WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'OPTIONS']);

const tcpQuestion = (config: NonNullable<HealthCheck['tcp_health_check']>, path: string): TcpQuestion => {
  const proxy = config.proxy_protocol_config;
  return {
    kind: 'tcp',
    send: config.send === undefined ? undefined : payload(config.send, `${path}.send`),
    receive: (config.receive ?? []).map((p, i) => payload(p, `${path}.receive[${i}]`)),
    proxyProtocol: proxy === undefined ? undefined : proxy.version === 'V2' ? 'V2' : 'V1',
  };
};

const range = (config: Int64Range, path: string): ((status: number) => boolean) => {
  const [start, end] = [config.start ?? 0, config.end ?? 0];
  if (start < 100 || end > 600 || start >= end) throw new PlanError(path, `[${start}, ${end}) is not within [100, 600)`);
  return (status) => status >= start && status < end;
};

/** `text` is hexadecimal. */
const payload = (config: HealthCheck_Payload, path: string): Buffer => {
  if (config.text === undefined) return Buffer.from(config.binary ?? new Uint8Array(0));
  if (!/^([0-9a-f]{2})+$/i.test(config.text)) throw new PlanError(`${path}.text`, `invalid hex string '${config.text}'`);
  return Buffer.from(config.text, 'hex');
};

/** Whether the pieces stand in `bytes` one behind the other, with anything between them. */
export const holds = (bytes: Buffer, pieces: readonly Buffer[]): boolean => {
  let at = 0;
  for (const piece of pieces) {
    const found = bytes.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return true;
};
