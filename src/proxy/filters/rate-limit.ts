// envoy.filters.http.ratelimit: asks a rate limit service about a request's descriptors before it goes on. The service's answer can
// refuse it and add headers; when there is none in time, failure_mode_deny decides.

import { compileHeaderOps, type HeaderOps } from '../../plan/header-ops.ts';
import { PlanError } from '../../plan/plan-error.ts';
import type { Descriptor } from '../../plan/rate-limit/descriptor.ts';
import { limitedStatus } from '../../plan/rate-limit/limited-status.ts';
import { compileOwnRateLimits, type RateLimitPolicy } from '../../plan/rate-limit/policy.ts';
import { FLAG } from '../../plan/response-flag.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { encode } from '../../xds/codec.ts';
import type { AnyMessage, HttpRatelimit_RateLimit, RateLimitDescriptor, RateLimitPerRoute } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import { compileGrpcService, type GrpcOutcome, type GrpcServicePlan, grpcSpanName, grpcUnary } from '../grpc-side-call.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Stat } from '../stats-store.ts';
import type { CallTrace } from '../tracing/call-trace.ts';
import { type Chance, compileChance } from './chance.ts';
import type { FilterExchange, FilterTask, FilterVerdict, HttpFilter, HttpFilterFactory } from './http-filter.ts';
import { type AnswerPlan, type Pair, readAnswer, refusal } from './rate-limit-answer.ts';
import {
  compileVirtualHostRule,
  describeAtEnd,
  describeByRoute,
  forwards,
  type RuleReader,
  type VirtualHostRule,
} from './rate-limit-descriptors.ts';

const PATH = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit';
const SPAN = grpcSpanName(PATH);
const TIMEOUT_MS = 20;
const HEADERS_MAX = 10;
/** Of an answer: headers, a body and statuses. */
const ANSWER_BYTES_MAX = 1024 * 1024;
const READS: RuleReader = { skipsDisabled: false, waitsForEnd: true };

interface ServicePlan extends AnswerPlan {
  readonly service: GrpcServicePlan;
  readonly timeoutMs: number;
  readonly domain: string;
  readonly stage: number;
  readonly own: RateLimitPolicy;
  readonly requests: 'internal' | 'external' | 'both';
  readonly enabled: Chance;
  readonly enforced: Chance;
  readonly denies: Chance;
  readonly statusOnError: number;
  readonly statPrefix: string;
  readonly metadataNamespace: string;
}

interface RoutePlan {
  readonly domain: string;
  readonly own: RateLimitPolicy;
  readonly virtualHost: VirtualHostRule;
}
const NO_ROUTE_PLAN: RoutePlan = { domain: '', own: [], virtualHost: 'override' };

/** What is kept of a request. */
interface Noted {
  headers: readonly Pair[];
  /** What is asked about when the response is over. */
  atEnd: (() => readonly Descriptor[]) | undefined;
  readonly domain: string;
}

interface Counters {
  readonly ok: Stat;
  readonly error: Stat;
  readonly overLimit: Stat;
  readonly allowed: Stat;
}

const compile = (typed: AnyMessage | undefined): ServicePlan => {
  const config = (typed ?? {}) as unknown as HttpRatelimit_RateLimit;
  if ((config.domain ?? '') === '') throw new PlanError('domain', 'is required');
  if ((config.stage ?? 0) > 10) throw new PlanError('stage', 'must be at most 10');
  const requests = (config.request_type ?? '') === '' ? 'both' : config.request_type;
  if (requests !== 'internal' && requests !== 'external' && requests !== 'both')
    throw new PlanError('request_type', `"${requests}" is not known`);
  if (config.rate_limit_service === undefined) throw new PlanError('rate_limit_service', 'is required');
  const { grpc_service, transport_api_version: version } = config.rate_limit_service;
  if (version !== undefined && version !== 'AUTO' && version !== 'V3')
    throw new PlanError('rate_limit_service.transport_api_version', 'only V3 is supported');
  if ((config.response_headers_to_add?.length ?? 0) > HEADERS_MAX)
    throw new PlanError('response_headers_to_add', `must not be more than ${HEADERS_MAX}`);
  const ops = compileHeaderOps({ add: config.response_headers_to_add, remove: undefined }, '', 'response');
  const denyPercent = config.failure_mode_deny_percent;
  const deny = config.failure_mode_deny === true;
  return {
    service: compileGrpcService(grpc_service, 'rate_limit_service.grpc_service'),
    timeoutMs: durationMs(config.timeout) ?? TIMEOUT_MS,
    domain: config.domain ?? '',
    stage: config.stage ?? 0,
    own: compileOwnRateLimits(config.rate_limits, true, 'rate_limits'),
    requests,
    enabled: compileChance(config.filter_enabled ?? ALWAYS, 'filter_enabled'),
    enforced: compileChance(config.filter_enforced ?? ALWAYS, 'filter_enforced'),
    denies: denyPercent === undefined ? () => deny : compileChance(denyPercent, 'failure_mode_deny_percent'),
    status: limitedStatus(config.rate_limited_status, 429),
    statusOnError: limitedStatus(config.status_on_error, 500),
    grpcStatus: config.rate_limited_as_resource_exhausted === true ? 8 : undefined,
    tellsLimit: config.enable_x_ratelimit_headers === 'DRAFT_VERSION_03',
    tellsLimited: config.disable_x_envoy_ratelimited_header !== true,
    tellsRetryAfter: config.enable_retry_after_header === true,
    responseOps: ops === undefined ? NO_OPS : [ops],
    statPrefix: (config.stat_prefix ?? '') === '' ? '' : `${config.stat_prefix}.`,
    metadataNamespace: (config.metadata_namespace ?? '') === '' ? 'envoy.filters.http.ratelimit' : (config.metadata_namespace ?? ''),
  };
};
const NO_OPS: readonly HeaderOps[] = [];
const ALWAYS = { default_value: { numerator: 100 } };

const compileRoute = (typed: AnyMessage): RoutePlan => {
  const config = typed as unknown as RateLimitPerRoute;
  const option = config.override_option ?? 'DEFAULT';
  return {
    domain: config.domain ?? '',
    own: compileOwnRateLimits(config.rate_limits, true, 'rate_limits'),
    virtualHost: compileVirtualHostRule(
      option === 'INCLUDE_POLICY'
        ? 'INCLUDE'
        : option === 'IGNORE_POLICY'
          ? 'IGNORE'
          : option === 'DEFAULT'
            ? config.vh_rate_limits
            : 'OVERRIDE',
    ),
  };
};

const toMessage = ({ entries, limit, hits }: Descriptor): RateLimitDescriptor => ({
  entries,
  ...(limit === undefined ? {} : { limit: { requests_per_unit: limit.requests, unit: limit.unit as 'SECOND' } }),
  ...(hits === undefined ? {} : { hits_addend: Math.abs(hits) }),
  ...(hits !== undefined && hits < 0 ? { is_negative_hits: true } : {}),
});

class RateLimitFilter implements HttpFilter {
  readonly #plan: ServicePlan;
  readonly #env: ProxyEnvironment;
  readonly #counters = new WeakMap<ClusterRuntime, Counters>();

  constructor(plan: ServicePlan, env: ProxyEnvironment) {
    this.#plan = plan;
    this.#env = env;
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    const plan = this.#plan;
    const env = this.#env;
    if (plan.requests !== 'both' && (exchange.internal === true) !== (plan.requests === 'internal')) return undefined;
    const cluster = forwards(exchange.route) ? env.cluster(exchange.route.clusterName) : undefined;
    if (cluster === undefined || !plan.enabled(env.random)) return undefined;
    const route = (perRoute as RoutePlan | undefined) ?? NO_ROUTE_PLAN;
    const own = route.own.length > 0 ? route.own : plan.own;
    const descriptors = describeByRoute(exchange, env.nodeCluster, own, plan.stage, route.virtualHost, READS);
    const domain = route.domain === '' ? plan.domain : route.domain;
    const noted: Noted = { headers: [], domain, atEnd: describeAtEnd(exchange, env.nodeCluster, own, plan.stage, route.virtualHost) };
    exchange.note(this, noted);
    if (descriptors.length === 0) return undefined;
    const trace = exchange.trace?.call(SPAN);
    const heard = (outcome: GrpcOutcome): void => exchange.proceed(task, this.#heard(outcome, exchange, cluster, noted, trace));
    const task: FilterTask = this.#ask(domain, descriptors, heard, trace);
    return { kind: 'wait', task };
  }

  onResponse(exchange: FilterExchange, response: HeaderBlock): void {
    const noted = exchange.noteOf(this) as Noted | undefined;
    if (noted === undefined) return;
    for (const [name, value] of noted.headers) response.add(name, value);
  }

  /** The response is over: what counts only now is counted, and nobody waits for it. */
  done(noted: unknown): void {
    const { atEnd, domain } = noted as Noted;
    const descriptors = atEnd?.() ?? [];
    if (descriptors.length > 0) this.#ask(domain, descriptors, () => {});
  }

  #ask(domain: string, descriptors: readonly Descriptor[], done: (outcome: GrpcOutcome) => void, trace?: CallTrace): FilterTask {
    const { service, timeoutMs } = this.#plan;
    const message = encode('envoy.service.ratelimit.v3.RateLimitRequest', { domain, descriptors: descriptors.map(toMessage) });
    const { cluster, authority, metadata, bare } = service;
    return grpcUnary(
      this.#env,
      { cluster, authority, path: PATH, metadata, bare, message, timeoutMs, answerBytesMax: ANSWER_BYTES_MAX, trace },
      done,
    );
  }

  #heard(
    outcome: GrpcOutcome,
    exchange: FilterExchange,
    cluster: ClusterRuntime,
    noted: Noted,
    trace: CallTrace | undefined,
  ): FilterVerdict {
    const plan = this.#plan;
    const counters = this.#countersOf(cluster);
    const answer = outcome.kind === 'message' ? readAnswer(outcome.bytes, plan) : undefined;
    if (answer === undefined) {
      counters.error.value++;
      if (!plan.denies(this.#env.random)) {
        counters.allowed.value++;
        return undefined;
      }
      return { kind: 'reply', status: plan.statusOnError, body: '', details: 'rate_limiter_error', headers: [], flag: FLAG.RLSE };
    }
    trace?.tag('ratelimit_status', answer.overLimit ? 'over_limit' : 'ok');
    if (answer.metadata !== undefined) exchange.info.dynamicMetadata[plan.metadataNamespace] = answer.metadata;
    if (answer.overLimit) {
      counters.overLimit.value++;
      if (plan.enforced(this.#env.random)) return refusal(answer, plan, exchange);
    } else counters.ok.value++;
    noted.headers = answer.responseHeaders;
    for (const [name, value] of answer.requestHeaders) exchange.requestHeaders.add(name, value);
    return undefined;
  }

  #countersOf(cluster: ClusterRuntime): Counters {
    let counters = this.#counters.get(cluster);
    if (counters === undefined) {
      const counter = (name: string): Stat =>
        this.#env.stats.counter(`cluster.${cluster.statName}.ratelimit.${this.#plan.statPrefix}${name}`);
      counters = { ok: counter('ok'), error: counter('error'), overLimit: counter('over_limit'), allowed: counter('failure_mode_allowed') };
      this.#counters.set(cluster, counters);
    }
    return counters;
  }
}

export const rateLimitFilter: HttpFilterFactory = {
  compile: (typed, _context, { env }) => new RateLimitFilter(compile(typed), env),
  compilePerRoute: compileRoute,
};
