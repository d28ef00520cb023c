// Limits of a cluster's connections. Zero means "not set" for every count, as in Istio.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { ConnectionPoolSettings, TrafficPolicy } from '../api/specs.ts';
import { isHttp, isHttp2, type Protocol } from '../mesh/protocol.ts';
import type { AnyMessage, CircuitBreakers, Cluster } from '../xds/gen/types.ts';

/** "No limit", where Envoy's own default would be 1024 (or 3 retries). */
const UNLIMITED = 4_294_967_295;

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

const orUnlimited = (n: number | undefined): number => (n === undefined || n <= 0 ? UNLIMITED : n);

export const circuitBreakers = (pool: ConnectionPoolSettings | undefined, policy?: TrafficPolicy): CircuitBreakers => {
  const budget = policy?.retryBudget;
  return {
    thresholds: [
      {
        max_connections: orUnlimited(pool?.tcp?.maxConnections),
        max_pending_requests: orUnlimited(pool?.http?.http1MaxPendingRequests),
        max_requests: orUnlimited(pool?.http?.http2MaxRequests),
        max_retries: orUnlimited(pool?.http?.maxRetries),
        ...(budget === undefined
          ? {}
          : {
              retry_budget: {
                budget_percent: { value: budget.percent ?? 20 },
                min_retry_concurrency: budget.minRetryConcurrency ?? 3,
                ...(budget.budgetInterval === undefined ? {} : { budget_interval: budget.budgetInterval }),
              },
            }),
      },
    ],
  };
};

/** The mesh's setting, field by field replaced by the rule's. */
export const keepalive = (mesh: MeshConfig, pool: ConnectionPoolSettings | undefined): Cluster => {
  const own = pool?.tcp?.tcpKeepalive;
  const all = mesh.tcpKeepalive;
  if (own === undefined && all === undefined) return {};
  const probes = (own?.probes ?? 0) > 0 ? own?.probes : all?.probes;
  const [time, interval] = [own?.time ?? all?.time, own?.interval ?? all?.interval];
  const seconds = (d: string): number => Math.trunc(Number.parseFloat(d));
  return {
    upstream_connection_options: {
      tcp_keepalive: {
        ...(probes === undefined || probes === 0 ? {} : { keepalive_probes: probes }),
        ...(time === undefined ? {} : { keepalive_time: seconds(time) }),
        ...(interval === undefined ? {} : { keepalive_interval: seconds(interval) }),
      },
    },
  };
};

/** How the upstream speaks HTTP: as HTTP/2, as the client did, or (the default) HTTP/1.1. */
export type UpstreamHttp = 'http1' | 'http2' | 'as-client';

/** What is asked for, cut down to what the proxy speaks. */
export const speakable = (wanted: UpstreamHttp, speaksHttp2: boolean): UpstreamHttp => (speaksHttp2 ? wanted : 'http1');

export interface HttpOptions {
  readonly http: UpstreamHttp;
  readonly pool: ConnectionPoolSettings | undefined;
  /** SNI and expected name from the Host header, where a client TLS setting leaves them open. */
  readonly autoSni?: boolean | undefined;
  readonly autoSan?: boolean | undefined;
  readonly idleTimeout?: string | undefined;
  /** Of HTTP/1. */
  readonly http1?: Readonly<Record<string, unknown>> | undefined;
  /** What counts as a failure of the host. */
  readonly outlier?: Readonly<Record<string, unknown>> | undefined;
}

/** A rule upgrades any port it is told to, the mesh only ports that say they speak HTTP. */
export const upstreamHttp = (port: Protocol, pool: ConnectionPoolSettings | undefined, meshUpgrades: boolean): UpstreamHttp => {
  const wish = pool?.http?.h2UpgradePolicy ?? 'DEFAULT';
  if (wish === 'UPGRADE') return 'http2';
  if (pool?.http?.useClientProtocol === true) return 'as-client';
  if (isHttp2(port) || (isHttp(port) && wish === 'DEFAULT' && meshUpgrades)) return 'http2';
  return port === 'UNSUPPORTED' ? 'as-client' : 'http1';
};

/** Absent when everything is Envoy's default. */
export const httpProtocolOptions = (o: HttpOptions): Cluster => {
  const common = commonOptions(o);
  const names = o.autoSni === true || o.autoSan === true;
  if (o.http === 'http1' && common === undefined && !names && o.http1 === undefined && o.outlier === undefined) return {};
  const http2 = http2Options(o.pool);
  const message: AnyMessage = {
    '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
    ...(common === undefined ? {} : { common_http_protocol_options: common }),
    ...(names
      ? {
          upstream_http_protocol_options: {
            ...(o.autoSni === true ? { auto_sni: true } : {}),
            ...(o.autoSan === true ? { auto_san_validation: true } : {}),
          },
        }
      : {}),
    ...(o.http === 'http1'
      ? { explicit_http_config: { http_protocol_options: o.http1 ?? {} } }
      : o.http === 'http2'
        ? { explicit_http_config: { http2_protocol_options: http2 } }
        : { use_downstream_protocol_config: { http_protocol_options: o.http1 ?? {}, http2_protocol_options: http2 } }),
    ...(o.outlier === undefined ? {} : { outlier_detection: o.outlier }),
  };
  return { typed_extension_protocol_options: { [HTTP_OPTIONS]: message } };
};

const commonOptions = (o: HttpOptions): Readonly<Record<string, unknown>> | undefined => {
  const idle = o.idleTimeout ?? o.pool?.http?.idleTimeout ?? o.pool?.tcp?.idleTimeout;
  const perConnection = o.pool?.http?.maxRequestsPerConnection ?? 0;
  const duration = o.pool?.tcp?.maxConnectionDuration;
  if (idle === undefined && perConnection <= 0 && duration === undefined) return undefined;
  return {
    ...(idle === undefined ? {} : { idle_timeout: idle }),
    ...(perConnection <= 0 ? {} : { max_requests_per_connection: perConnection }),
    ...(duration === undefined ? {} : { max_connection_duration: duration }),
  };
};

const http2Options = (pool: ConnectionPoolSettings | undefined): Readonly<Record<string, unknown>> => {
  const streams = pool?.http?.maxConcurrentStreams ?? 0;
  const alive = pool?.http?.http2KeepAlive;
  return {
    ...(streams <= 0 ? {} : { max_concurrent_streams: streams }),
    ...(alive === undefined ? {} : { connection_keepalive: { interval: alive.interval, timeout: alive.timeout } }),
  };
};
