// What HttpProtocolOptions say about connections of a cluster; the old fields of Cluster where a cluster has none.

import { PlanError } from '../../plan/plan-error.ts';
import type { Http1Limits } from '../../wire/http1-parser.ts';
import type { Http2Options } from '../../wire/http2-connection.ts';
import type {
  Cluster,
  Core_HttpProtocolOptions,
  Http1ProtocolOptions,
  Http2ProtocolOptions,
  UpstreamsHttp_HttpProtocolOptions,
} from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { configAs } from '../extension-config.ts';
import { IDLE_TIMEOUT_MS } from '../limits.ts';
import { responseLimits } from '../sockets/http1-options.ts';
import { compileHttp2, compileKeepalive, type KeepalivePlan } from '../sockets/http2-options.ts';

export interface ClusterProtocol {
  /** 'downstream': what the client spoke; 'auto': what the TLS handshake chooses. */
  readonly kind: 'http1' | 'http2' | 'downstream' | 'auto';
  readonly http2: Http2Options;
  readonly keepalive: KeepalivePlan | undefined;
  /** HTTP/1: trailers pass. */
  readonly enableTrailers: boolean;
  /** HTTP/1: what a response may be. */
  readonly responseLimits: Http1Limits;
  /** HTTP/1: requests are written with Proper-Case names. */
  readonly properCaseRequests: boolean;
  readonly idleTimeoutMs: number;
  readonly requestsPerConnection: number;
  /** 0: no bound. */
  readonly maxConnectionDurationMs: number;
  /** Of one request on its connection; 0: no bound. */
  readonly maxStreamDurationMs: number;
  readonly autoSni: boolean;
  readonly autoSanValidation: boolean;
}

export type UpstreamProtocol = 'http1' | 'http2' | 'auto';

/** `http2`: the client speaks HTTP/2. */
export const upstreamProtocol = ({ kind }: ClusterProtocol, http2: boolean): UpstreamProtocol =>
  kind === 'downstream' ? (http2 ? 'http2' : 'http1') : kind;

const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

interface Chosen {
  readonly kind: ClusterProtocol['kind'];
  readonly http1: Http1ProtocolOptions | undefined;
  readonly http2: Http2ProtocolOptions | undefined;
  readonly path: string;
}

const choose = (cluster: Cluster, options: UpstreamsHttp_HttpProtocolOptions | undefined, path: string): Chosen => {
  if (options === undefined) {
    const [http1, http2] = [cluster.http_protocol_options, cluster.http2_protocol_options];
    const kind = cluster.protocol_selection === 'USE_DOWNSTREAM_PROTOCOL' ? 'downstream' : http2 !== undefined ? 'http2' : 'http1';
    return { kind, http1, http2, path: 'http2_protocol_options' };
  }
  const { explicit_http_config: explicit, use_downstream_protocol_config: downstream, auto_config: auto } = options;
  if ((explicit ?? downstream ?? auto)?.http3_protocol_options !== undefined) throw new PlanError(path, 'HTTP/3 is not supported');
  if (auto?.alternate_protocols_cache_options !== undefined)
    throw new PlanError(`${path}.auto_config.alternate_protocols_cache_options`, 'not supported');
  const of = (name: string, kind: Chosen['kind'], config: typeof downstream): Chosen => ({
    kind,
    http1: config?.http_protocol_options,
    http2: config?.http2_protocol_options,
    path: `${path}.${name}.http2_protocol_options`,
  });
  if (downstream !== undefined) return of('use_downstream_protocol_config', 'downstream', downstream);
  if (auto !== undefined) return of('auto_config', 'auto', auto);
  return of('explicit_http_config', explicit?.http2_protocol_options === undefined ? 'http1' : 'http2', explicit);
};

/** Of responses over HTTP/2; the machine's own defaults are Envoy's. */
const responseBounds = (common: Core_HttpProtocolOptions | undefined): Http2Options => ({
  ...(common?.max_response_headers_kb === undefined ? {} : { maxHeadBytes: common.max_response_headers_kb * 1024 }),
  ...(common?.max_headers_count === undefined ? {} : { maxHeaderCount: common.max_headers_count }),
});

export const compileClusterProtocol = (cluster: Cluster): ClusterProtocol => {
  const path = `typed_extension_protocol_options.${OPTIONS}`;
  const raw = cluster.typed_extension_protocol_options?.[OPTIONS];
  const options = raw === undefined ? undefined : configAs<UpstreamsHttp_HttpProtocolOptions>(raw, path);
  const chosen = choose(cluster, options, path);
  const filters = options?.http_filters ?? [];
  if (filters.some((f) => f.name !== 'envoy.filters.http.upstream_codec'))
    throw new PlanError(`${path}.http_filters`, 'upstream HTTP filters are not supported');
  const common = options?.common_http_protocol_options ?? cluster.common_http_protocol_options;
  const upstream = options?.upstream_http_protocol_options ?? cluster.upstream_http_protocol_options;
  if (upstream?.override_auto_sni_header !== undefined && upstream.override_auto_sni_header !== '')
    throw new PlanError(`${path}.upstream_http_protocol_options.override_auto_sni_header`, 'not supported');
  return {
    kind: chosen.kind,
    http2: compileHttp2(chosen.http2, chosen.path, responseBounds(common)),
    keepalive: compileKeepalive(chosen.http2?.connection_keepalive, `${chosen.path}.connection_keepalive`),
    enableTrailers: chosen.http1?.enable_trailers ?? false,
    properCaseRequests: chosen.http1?.header_key_format?.proper_case_words !== undefined,
    responseLimits: responseLimits(chosen.http1, common, chosen.path.replace('http2_', 'http_')),
    idleTimeoutMs: common?.idle_timeout === undefined ? IDLE_TIMEOUT_MS : durationMs(common.idle_timeout),
    requestsPerConnection: common?.max_requests_per_connection ?? cluster.max_requests_per_connection ?? 0,
    maxConnectionDurationMs: common?.max_connection_duration === undefined ? 0 : durationMs(common.max_connection_duration),
    maxStreamDurationMs: common?.max_stream_duration === undefined ? 0 : durationMs(common.max_stream_duration),
    autoSni: upstream?.auto_sni ?? false,
    autoSanValidation: upstream?.auto_san_validation ?? false,
  };
};
