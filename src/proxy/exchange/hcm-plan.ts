// An HttpConnectionManager compiled: every setting as the exchange reads it. Refuses what it cannot honour.

import { compilePathPolicy, type PathPolicy } from '../../plan/path.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { compileStrictCheck, type StrictCheck } from '../../plan/strict-headers.ts';
import type { Http1Limits } from '../../wire/http1-parser.ts';
import type { Http2Options } from '../../wire/http2-connection.ts';
import type { CidrRange, HttpConnectionManager, TrafficDirection } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import type { HttpFilterChain } from '../filters/discovered-filter.ts';
import type { CompiledHttpFilter } from '../filters/http-filters.ts';
import { DRAIN_TIMEOUT_MS, HEADERS_MAX, IDLE_TIMEOUT_MS, REQUEST_HEAD_KB, STREAM_IDLE_TIMEOUT_MS } from '../limits.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { requestLimits, underscores } from '../sockets/http1-options.ts';
import { compileHttp2, compileKeepalive, type KeepalivePlan } from '../sockets/http2-options.ts';
import { compileTracing, type TracingPlan } from '../tracing/tracing-plan.ts';
import { type LocalReply, REQUEST_HEADERS_TIMEOUT, REQUEST_TIMEOUT, STREAM_IDLE_REQUEST } from './local-reply.ts';
import { compileLocalReplies, type LocalReplyMap } from './local-reply-map.ts';
import type { ListenerContext } from './observer.ts';
import type { RouteTable } from './route-table.ts';

export type ClientCertForward = 'SANITIZE' | 'FORWARD_ONLY' | 'APPEND_FORWARD' | 'SANITIZE_SET' | 'ALWAYS_FORWARD_ONLY';

export interface HcmPlan {
  readonly context: ListenerContext;
  readonly routes: RouteTable;
  /** In force for the next exchange: read once by each. */
  readonly filters: readonly CompiledHttpFilter[];
  /** Every filter has its configuration. */
  readonly filtersWarm: boolean;
  readonly suppressEnvoyHeaders: boolean;
  /** The router's strict_check_headers. */
  readonly strictCheck: StrictCheck | undefined;
  /** x-envoy-expected-rq-timeout-ms of another proxy stands for the route's timeout. */
  readonly respectsExpectedTimeout: boolean;
  readonly pathPolicy: PathPolicy;
  readonly serverName: string;
  readonly serverHeader: 'OVERWRITE' | 'APPEND_IF_ABSENT' | 'PASS_THROUGH';
  readonly useRemoteAddress: boolean;
  readonly xffTrustedHops: number;
  readonly skipXffAppend: boolean;
  readonly appendXForwardedPort: boolean;
  readonly internalRanges: readonly CidrRange[];
  readonly internalUnix: boolean;
  readonly via: string;
  readonly generateRequestId: boolean;
  readonly preserveExternalRequestId: boolean;
  readonly alwaysSetRequestIdInResponse: boolean;
  readonly forwardClientCert: ClientCertForward;
  readonly clientCertDetails: {
    readonly subject: boolean;
    readonly cert: boolean;
    readonly dns: boolean;
    readonly uri: boolean;
    readonly chain: boolean;
  };
  readonly stripPort: 'none' | 'matching' | 'any';
  readonly stripTrailingDot: boolean;
  readonly schemeOverwrite: string;
  readonly addUserAgent: boolean;
  readonly proxy100Continue: boolean;
  readonly upgrades: ReadonlyMap<string, boolean>;
  /** undefined: requests are not traced. */
  readonly tracing: TracingPlan | undefined;
  readonly idleTimeoutMs: number;
  readonly streamIdleTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** Until a head that has begun is whole, and what is answered then. ms 0: no bound. */
  readonly headTimeout: { readonly ms: number; readonly reply: LocalReply };
  readonly maxStreamDurationMs: number;
  readonly delayedCloseMs: number;
  readonly requestsPerConnection: number;
  /** 0: no bound. */
  readonly maxConnectionDurationMs: number;
  readonly parserLimits: Http1Limits;
  readonly codec: 'AUTO' | 'HTTP1' | 'HTTP2';
  readonly http2: Http2Options;
  readonly keepalive: KeepalivePlan | undefined;
  /** Between the two GOAWAYs. */
  readonly drainTimeoutMs: number;
  readonly defaultHostForHttp10: string;
  readonly enableTrailers: boolean;
  /** HTTP/1: responses are written with Proper-Case names. */
  readonly properCaseResponses: boolean;
  /** undefined: the proxy's own answers go out as they are. */
  readonly localReplies: LocalReplyMap | undefined;
}

const ms = (text: string | undefined, otherwise: number): number => (text === undefined ? otherwise : durationMs(text));

const REFUSED = [
  'scoped_routes',
  'original_ip_detection_extensions',
  'typed_header_validation_config',
  'early_header_mutation_extensions',
  'proxy_status_config',
] as const;

export const compileHcm = (
  hcm: HttpConnectionManager,
  routes: RouteTable,
  chain: HttpFilterChain,
  context: ListenerContext,
  direction: TrafficDirection | undefined,
  env: ProxyEnvironment,
): HcmPlan => {
  for (const field of REFUSED) {
    const value = hcm[field];
    if (value !== undefined && !(Array.isArray(value) && value.length === 0)) throw new PlanError(field, 'not supported');
  }
  if (hcm.codec_type === 'HTTP3') throw new PlanError('codec_type', 'HTTP3 is not supported');
  const common = hcm.common_http_protocol_options;
  const http1 = hcm.http_protocol_options;
  const details = hcm.set_current_client_cert_details;
  return {
    context,
    routes,
    get filters() {
      return chain.filters;
    },
    get filtersWarm() {
      return chain.warm;
    },
    strictCheck: compileStrictCheck(
      chain.filters.flatMap((f) => f.router?.strict_check_headers ?? []),
      'strict_check_headers',
    ),
    respectsExpectedTimeout: chain.filters.some((f) => f.router?.respect_expected_rq_timeout === true),
    suppressEnvoyHeaders: chain.filters.some((f) => f.router?.suppress_envoy_headers === true),
    pathPolicy: compilePathPolicy(hcm),
    serverName: hcm.server_name !== undefined && hcm.server_name !== '' ? hcm.server_name : 'envoy',
    serverHeader:
      hcm.server_header_transformation === 'APPEND_IF_ABSENT' || hcm.server_header_transformation === 'PASS_THROUGH'
        ? hcm.server_header_transformation
        : 'OVERWRITE',
    useRemoteAddress: hcm.use_remote_address ?? false,
    xffTrustedHops: hcm.xff_num_trusted_hops ?? 0,
    skipXffAppend: hcm.skip_xff_append ?? false,
    appendXForwardedPort: hcm.append_x_forwarded_port ?? false,
    internalRanges: internalRanges(hcm),
    internalUnix: hcm.internal_address_config?.unix_sockets ?? false,
    via: hcm.via ?? '',
    generateRequestId: hcm.generate_request_id ?? true,
    preserveExternalRequestId: hcm.preserve_external_request_id ?? false,
    alwaysSetRequestIdInResponse: hcm.always_set_request_id_in_response ?? false,
    forwardClientCert: (typeof hcm.forward_client_cert_details === 'string'
      ? hcm.forward_client_cert_details
      : 'SANITIZE') as ClientCertForward,
    clientCertDetails: {
      subject: details?.subject ?? false,
      cert: details?.cert ?? false,
      dns: details?.dns ?? false,
      uri: details?.uri ?? false,
      chain: details?.chain ?? false,
    },
    stripPort: hcm.strip_any_host_port === true ? 'any' : hcm.strip_matching_host_port === true ? 'matching' : 'none',
    stripTrailingDot: hcm.strip_trailing_host_dot ?? false,
    schemeOverwrite: hcm.scheme_header_transformation?.scheme_to_overwrite ?? '',
    addUserAgent: hcm.add_user_agent ?? false,
    proxy100Continue: hcm.proxy_100_continue ?? false,
    upgrades: compileUpgrades(hcm),
    tracing: compileTracing(
      hcm,
      direction,
      chain.filters.some((f) => f.router?.start_child_span === true),
      env,
    ),
    idleTimeoutMs: ms(common?.idle_timeout, IDLE_TIMEOUT_MS),
    streamIdleTimeoutMs: ms(hcm.stream_idle_timeout, STREAM_IDLE_TIMEOUT_MS),
    requestTimeoutMs: ms(hcm.request_timeout, 0),
    headTimeout: headTimeout(hcm),
    maxStreamDurationMs: ms(common?.max_stream_duration, 0),
    delayedCloseMs: ms(hcm.delayed_close_timeout, 1000),
    requestsPerConnection: common?.max_requests_per_connection ?? 0,
    maxConnectionDurationMs: ms(common?.max_connection_duration, 0),
    parserLimits: requestLimits(hcm),
    codec: hcm.codec_type === 'HTTP1' || hcm.codec_type === 'HTTP2' ? hcm.codec_type : 'AUTO',
    http2: compileHttp2(hcm.http2_protocol_options, 'http2_protocol_options', {
      maxHeadBytes: (hcm.max_request_headers_kb ?? REQUEST_HEAD_KB) * 1024,
      maxHeaderCount: common?.max_headers_count ?? HEADERS_MAX,
      underscores: underscores(common?.headers_with_underscores_action),
    }),
    keepalive: compileKeepalive(hcm.http2_protocol_options?.connection_keepalive, 'http2_protocol_options.connection_keepalive'),
    drainTimeoutMs: ms(hcm.drain_timeout, DRAIN_TIMEOUT_MS),
    defaultHostForHttp10: http1?.default_host_for_http_10 ?? '',
    enableTrailers: http1?.enable_trailers ?? false,
    properCaseResponses: http1?.header_key_format?.proper_case_words !== undefined,
    localReplies: compileLocalReplies(hcm.local_reply_config, Math.random),
  };
};

/** As Envoy, whose stream begins with the first byte of its head: whichever bound comes first. */
const headTimeout = (hcm: HttpConnectionManager): HcmPlan['headTimeout'] => {
  const bounds = [
    { ms: ms(hcm.request_headers_timeout, 0), reply: REQUEST_HEADERS_TIMEOUT },
    { ms: ms(hcm.request_timeout, 0), reply: REQUEST_TIMEOUT },
    { ms: ms(hcm.stream_idle_timeout, STREAM_IDLE_TIMEOUT_MS), reply: STREAM_IDLE_REQUEST },
  ].filter((bound) => bound.ms > 0);
  return bounds.toSorted((a, b) => a.ms - b.ms)[0] ?? { ms: 0, reply: REQUEST_HEADERS_TIMEOUT };
};

// Without ranges of its own the setting means the private networks.
const PRIVATE: readonly CidrRange[] = [
  { address_prefix: '10.0.0.0', prefix_len: 8 },
  { address_prefix: '172.16.0.0', prefix_len: 12 },
  { address_prefix: '192.168.0.0', prefix_len: 16 },
  { address_prefix: '127.0.0.1', prefix_len: 32 },
  { address_prefix: 'fd00::', prefix_len: 8 },
  { address_prefix: '::1', prefix_len: 128 },
];
const internalRanges = ({ internal_address_config: config }: HttpConnectionManager): readonly CidrRange[] => {
  const own = config?.cidr_ranges ?? [];
  return config !== undefined && own.length === 0 ? PRIVATE : own;
};

const compileUpgrades = (hcm: HttpConnectionManager): ReadonlyMap<string, boolean> => {
  const upgrades = new Map<string, boolean>();
  hcm.upgrade_configs?.forEach((config, i) => {
    if ((config.filters?.length ?? 0) > 0) throw new PlanError(`upgrade_configs[${i}].filters`, 'not supported');
    upgrades.set((config.upgrade_type ?? '').toLowerCase(), config.enabled ?? true);
  });
  return upgrades;
};
