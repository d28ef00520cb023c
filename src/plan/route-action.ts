// What a route does with the requests it takes: RouteAction, RedirectAction, DirectResponseAction, compiled.
import type {
  HeaderMutation,
  HedgePolicy,
  RedirectAction,
  Route,
  RouteAction,
  RouteAction_RequestMirrorPolicy,
  VirtualHost,
} from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import { probabilityOf } from './fraction.ts';
import { compileHashPolicy } from './hash-policy.ts';
import { compileHeaderOps, type HeaderOps } from './header-ops.ts';
import { compileInternalRedirect } from './internal-redirect.ts';
import { compileSubstitutionFormat } from './log-format.ts';
import { PlanError } from './plan-error.ts';
import { compileRateLimits } from './rate-limit/policy.ts';
import { compileRetry } from './retry.ts';
import { compileHostRewrite, compilePathRewrite } from './rewrite.ts';
import type { PathCriterion } from './route-criteria.ts';
import type { CompiledRoute, ConnectPlan, DirectResponsePlan, MirrorPlan, RedirectPlan } from './route-plan.ts';
import { compileRouteTracing } from './tracing/route-tracing.ts';

/** Envoy's route timeout when none is set. */
const ROUTE_TIMEOUT_MS = 15_000;
/** Envoy's `max_direct_response_body_size_bytes` default. */
const DIRECT_BODY_BYTES_MAX = 4096;

export interface ActionContext {
  readonly virtualHost: VirtualHost;
  readonly directBodyBytesMax: number | undefined;
  readonly inheritedMirrors: readonly RouteAction_RequestMirrorPolicy[];
}

export const compileAction = (route: Route, matched: PathCriterion, context: ActionContext, path: string): CompiledRoute => {
  if (route.filter_action !== undefined) throw new PlanError(`${path}.filter_action`, 'is not supported');
  if (route.route !== undefined) return compileForward(route, route.route, matched, context, `${path}.route`);
  const none = withoutForwarding(route, path);
  if (route.redirect !== undefined) {
    const redirectPath = `${path}.redirect`;
    const pathRewrite = compilePathRewrite(route.redirect, matched, redirectPath);
    return { ...none, action: 'redirect', redirect: compileRedirect(route.redirect, redirectPath), pathRewrite };
  }
  if (route.direct_response !== undefined)
    return {
      ...none,
      action: 'direct',
      direct: compileDirect(route, context.directBodyBytesMax ?? DIRECT_BODY_BYTES_MAX, `${path}.direct_response`),
    };
  if (route.non_forwarding_action !== undefined) return none;
  throw new PlanError(path, 'one of route, redirect, direct_response, non_forwarding_action is required');
};

const withoutForwarding = (route: Route, path: string): CompiledRoute => ({
  name: route.name ?? '',
  action: 'non-forwarding',
  redirect: undefined,
  direct: undefined,
  timeoutMs: 0,
  idleTimeoutMs: undefined,
  maxStreamDurationMs: undefined,
  streamTimes: false,
  grpcHeaderMaxMs: undefined,
  grpcHeaderOffsetMs: 0,
  maxGrpcTimeoutMs: undefined,
  grpcTimeoutOffsetMs: 0,
  hedges: false,
  retry: undefined,
  internalRedirect: undefined,
  hashPolicy: [],
  priority: 'default',
  upgrades: new Map(),
  connect: undefined,
  mirrors: [],
  clusterNotFoundStatus: 503,
  autoHostRewrite: false,
  hostRewrite: undefined,
  pathRewrite: undefined,
  appendXForwardedHost: false,
  includeVirtualHostRateLimits: false,
  rateLimits: [],
  metadata: route.metadata,
  decorator: route.decorator?.propagate === false ? undefined : route.decorator?.operation,
  operation: route.decorator?.operation ?? '',
  tracing: compileRouteTracing(route.tracing, `${path}.tracing`),
  bufferLimitBytes: undefined,
  statPrefix: route.stat_prefix ?? '',
});

/** Fields that change where a request goes or what happens to it, which this proxy does not carry out. */
const REFUSED = ['cluster_specifier_plugin', 'inline_cluster_specifier_plugin', 'early_data_policy', 'cors'] as const;

const compileForward = (route: Route, action: RouteAction, matched: PathCriterion, context: ActionContext, path: string): CompiledRoute => {
  for (const field of REFUSED) if (action[field] !== undefined) throw new PlanError(`${path}.${field}`, 'is not supported');
  if (action.retry_policy_typed_config !== undefined) throw new PlanError(`${path}.retry_policy_typed_config`, 'is not supported');
  const specifiers = [action.cluster, action.cluster_header, action.weighted_clusters].filter((s) => s !== undefined && s !== '');
  if (specifiers.length !== 1) throw new PlanError(path, 'exactly one of cluster, cluster_header, weighted_clusters is required');
  const host = context.virtualHost;
  const retry = action.retry_policy ?? host.retry_policy;
  const duration = action.max_stream_duration;
  const hostRewrite = compileHostRewrite(action, path);
  return {
    ...withoutForwarding(route, path),
    action: action.weighted_clusters === undefined ? 'cluster' : 'weighted',
    timeoutMs: durationMs(action.timeout) ?? ROUTE_TIMEOUT_MS,
    idleTimeoutMs: durationMs(action.idle_timeout),
    maxStreamDurationMs: durationMs(duration?.max_stream_duration),
    streamTimes: duration !== undefined,
    grpcHeaderMaxMs: durationMs(duration?.grpc_timeout_header_max),
    grpcHeaderOffsetMs: durationMs(duration?.grpc_timeout_header_offset) ?? 0,
    maxGrpcTimeoutMs: durationMs(action.max_grpc_timeout),
    grpcTimeoutOffsetMs: durationMs(action.grpc_timeout_offset) ?? 0,
    hedges: compileHedge(
      action.hedge_policy ?? host.hedge_policy,
      action.hedge_policy === undefined ? 'hedge_policy' : `${path}.hedge_policy`,
    ),
    retry:
      retry === undefined ? undefined : compileRetry(retry, action.retry_policy === undefined ? 'retry_policy' : `${path}.retry_policy`),
    internalRedirect: compileInternalRedirect(action, route.name ?? '', path),
    hashPolicy: (action.hash_policy ?? []).map((p, i) => compileHashPolicy(p, `${path}.hash_policy[${i}]`)),
    priority: action.priority === 'HIGH' ? 'high' : 'default',
    upgrades: compileUpgrades(action, path),
    connect: compileConnect(action, path),
    mirrors: mirrorsOf(action, context).map((m, i) => compileMirror(m, `${path}.request_mirror_policies[${i}]`)),
    clusterNotFoundStatus: NOT_FOUND_STATUS[action.cluster_not_found_response_code ?? ''] ?? 503,
    autoHostRewrite: hostRewrite?.kind === 'auto',
    hostRewrite,
    pathRewrite: compilePathRewrite(action, matched, path),
    appendXForwardedHost: action.append_x_forwarded_host === true,
    includeVirtualHostRateLimits: action.include_vh_rate_limits === true,
    rateLimits: compileRateLimits(action.rate_limits, `${path}.rate_limits`),
    bufferLimitBytes:
      route.request_body_buffer_limit ??
      host.request_body_buffer_limit ??
      route.per_request_buffer_limit_bytes ??
      host.per_request_buffer_limit_bytes,
  };
};

/** initial_requests and additional_request_chance are accepted as Envoy accepts them: it does not carry them out either. */
const compileHedge = (policy: HedgePolicy | undefined, path: string): boolean => {
  if (policy?.initial_requests === 0) throw new PlanError(`${path}.initial_requests`, 'must be at least 1');
  return policy?.hedge_on_per_try_timeout === true;
};

const NOT_FOUND_STATUS: Readonly<Record<string, 503 | 404 | 500>> = {
  SERVICE_UNAVAILABLE: 503,
  NOT_FOUND: 404,
  INTERNAL_SERVER_ERROR: 500,
};

const mirrorsOf = (action: RouteAction, context: ActionContext): readonly RouteAction_RequestMirrorPolicy[] => {
  const own = action.request_mirror_policies ?? [];
  return own.length > 0 ? own : context.inheritedMirrors;
};

const compileMirror = (policy: RouteAction_RequestMirrorPolicy, path: string): MirrorPlan => {
  const clusterName = policy.cluster ?? '';
  const clusterHeader = (policy.cluster_header ?? '').toLowerCase();
  if ((clusterName === '') === (clusterHeader === '')) throw new PlanError(path, 'exactly one of cluster, cluster_header is required');
  return {
    clusterName,
    clusterHeader,
    probability:
      policy.runtime_fraction === undefined
        ? 1
        : probabilityOf(policy.runtime_fraction.default_value, `${path}.runtime_fraction.default_value`),
    traceSampled: policy.trace_sampled,
    appendShadowSuffix: policy.disable_shadow_host_suffix_append !== true,
    host: policy.host_rewrite_literal ?? '',
    headerOps: (policy.request_headers_mutations ?? []).map((m, i) => compileMutation(m, `${path}.request_headers_mutations[${i}]`)),
  };
};

const compileMutation = ({ append, remove }: HeaderMutation, path: string): HeaderOps => {
  const ops = compileHeaderOps(
    { add: append === undefined ? [] : [append], remove: remove === undefined ? [] : [remove] },
    path,
    'request',
  );
  if (ops === undefined) throw new PlanError(path, 'one of remove, append is required');
  return ops;
};

const compileUpgrades = (action: RouteAction, path: string): ReadonlyMap<string, boolean> => {
  const upgrades = new Map<string, boolean>();
  action.upgrade_configs?.forEach((config, i) => {
    const type = (config.upgrade_type ?? '').toLowerCase();
    if (upgrades.has(type)) throw new PlanError(`${path}.upgrade_configs[${i}]`, `${type} is configured twice`);
    upgrades.set(type, config.enabled ?? true);
  });
  return upgrades;
};

const compileConnect = (action: RouteAction, path: string): ConnectPlan | undefined => {
  let plan: ConnectPlan | undefined;
  action.upgrade_configs?.forEach(({ connect_config: connect, upgrade_type: type, enabled }, i) => {
    if (connect === undefined) return;
    const at = `${path}.upgrade_configs[${i}].connect_config`;
    if (type?.toLowerCase() !== 'connect') throw new PlanError(at, 'is for CONNECT alone');
    const proxy = connect.proxy_protocol_config;
    if (proxy?.pass_through_tlvs !== undefined) throw new PlanError(`${at}.proxy_protocol_config.pass_through_tlvs`, 'is not supported');
    if (enabled === false) return;
    plan = {
      allowPost: connect.allow_post ?? false,
      proxyProtocol: proxy === undefined ? '' : proxy.version === 'V2' || proxy.version === 1 ? 'V2' : 'V1',
    };
  });
  return plan;
};

const REDIRECT_STATUS: Readonly<Record<string, RedirectPlan['status']>> = {
  MOVED_PERMANENTLY: 301,
  FOUND: 302,
  SEE_OTHER: 303,
  TEMPORARY_REDIRECT: 307,
  PERMANENT_REDIRECT: 308,
};

const compileRedirect = (redirect: RedirectAction, path: string): RedirectPlan => {
  const status = REDIRECT_STATUS[redirect.response_code ?? 'MOVED_PERMANENTLY'];
  if (status === undefined) throw new PlanError(`${path}.response_code`, `${redirect.response_code} is not known`);
  const scheme =
    redirect.scheme_redirect !== undefined && redirect.scheme_redirect !== '' ? redirect.scheme_redirect.toLowerCase() : undefined;
  return {
    status,
    scheme: scheme ?? (redirect.https_redirect === true ? 'https' : undefined),
    host: redirect.host_redirect ?? '',
    port: redirect.port_redirect ?? 0,
    path: redirect.path_redirect ?? '',
    stripQuery: redirect.strip_query === true,
    keepHost: false,
  };
};

const compileDirect = (route: Route, bytesMax: number, path: string): DirectResponsePlan => {
  const { status, body, body_format: format } = route.direct_response ?? {};
  if (status === undefined || status < 200 || status >= 600) throw new PlanError(`${path}.status`, 'must be in [200, 600)');
  const bytes = body?.inline_bytes ?? (body?.inline_string === undefined ? undefined : Buffer.from(body.inline_string, 'utf8'));
  if (body !== undefined && bytes === undefined) throw new PlanError(`${path}.body`, 'only inline bodies are supported');
  if (bytes !== undefined && bytes.length > bytesMax) throw new PlanError(`${path}.body`, `larger than ${bytesMax} bytes`);
  const usual = format?.json_format === undefined ? 'text/plain' : 'application/json';
  return {
    status,
    body: bytes ?? new Uint8Array(0),
    format: format === undefined ? undefined : compileSubstitutionFormat(format, `${path}.body_format`),
    contentType: (format?.content_type ?? '') === '' ? usual : (format?.content_type ?? usual),
  };
};

/** The route that answers 301 to https where the virtual host requires TLS. */
export const HTTPS_REDIRECT: CompiledRoute = {
  ...withoutForwarding({}, ''),
  action: 'redirect',
  redirect: { status: 301, scheme: 'https', host: '', port: 0, path: '', stripQuery: false, keepHost: true },
};
