// envoy.filters.http.local_ratelimit: token buckets of the sidecar as a whole, or of one connection. Nothing is limited unless
// filter_enabled and filter_enforced say so.

import { applyHeaderOps, compileHeaderOps, type HeaderOps } from '../../plan/header-ops.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { limitedStatus } from '../../plan/rate-limit/limited-status.ts';
import { compileLocalLimits, type LocalLimits } from '../../plan/rate-limit/local-limits.ts';
import { compileOwnRateLimits, type RateLimitPolicy } from '../../plan/rate-limit/policy.ts';
import { untilTokenMs } from '../../plan/rate-limit/token-bucket.ts';
import { FLAG } from '../../plan/response-flag.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import type { AnyMessage, HttpLocalRatelimit_LocalRateLimit } from '../../xds/gen/types.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { type Bucket, LocalBucket } from '../shared-counts.ts';
import type { Stat, StatsStore } from '../stats-store.ts';
import { type Chance, compileChance } from './chance.ts';
import type { FilterExchange, FilterVerdict, HttpFilter, HttpFilterFactory } from './http-filter.ts';
import { LocalLimiter, ofOneConnection } from './local-limiter.ts';
import { compileVirtualHostRule, describeByRoute, type RuleReader, type VirtualHostRule } from './rate-limit-descriptors.ts';

const RESOURCE_EXHAUSTED = 8;
const TOO_MANY = 429;

interface LocalPlan {
  readonly stats: Stats;
  readonly enabled: Chance;
  readonly enforced: Chance;
  readonly status: number;
  readonly grpcStatus: number | undefined;
  readonly requestOps: readonly HeaderOps[];
  readonly responseOps: readonly HeaderOps[];
  /** Descriptors are made only for limits that name some. */
  readonly describes: boolean;
  readonly own: RateLimitPolicy;
  readonly stage: number;
  readonly virtualHost: VirtualHostRule;
  readonly tellsLimit: boolean;
  readonly tellsRetryAfter: boolean;
  readonly limits: LocalLimits;
  /** undefined: each connection has its own. */
  readonly limiter: LocalLimiter | undefined;
  readonly connections: WeakMap<DownstreamFacts, LocalLimiter>;
}

interface Stats {
  readonly enabled: Stat;
  readonly enforced: Stat;
  readonly limited: Stat;
  readonly ok: Stat;
  readonly shadow: Stat;
}
const statsOf = (store: StatsStore, prefix: string): Stats => {
  const counter = (name: string): Stat => store.counter(`${prefix}.http_local_rate_limit.${name}`);
  return {
    enabled: counter('enabled'),
    enforced: counter('enforced'),
    limited: counter('rate_limited'),
    ok: counter('ok'),
    shadow: counter('shadow_mode'),
  };
};

const compile = (typed: AnyMessage | undefined, env: ProxyEnvironment, place: () => string, ofRoute: boolean): LocalPlan => {
  const config = (typed ?? {}) as unknown as HttpLocalRatelimit_LocalRateLimit;
  if ((config.stat_prefix ?? '') === '') throw new PlanError('stat_prefix', 'is required');
  if (config.local_cluster_rate_limit !== undefined) throw new PlanError('local_cluster_rate_limit', 'is not supported');
  if ((config.stage ?? 0) > 10) throw new PlanError('stage', 'must be at most 10');
  if (ofRoute && config.token_bucket === undefined) throw new PlanError('token_bucket', 'is required');
  const limits = compileLocalLimits(config);
  const shared = config.local_rate_limit_per_downstream_connection !== true;
  // Two in one place never take from the same buckets, and what takes from none asks for none.
  const key = shared && (limits.all !== undefined || limits.exact.length > 0 || limits.open.length > 0) ? place() : '';
  return {
    stats: statsOf(env.stats, config.stat_prefix ?? ''),
    enabled: compileChance(config.filter_enabled, 'filter_enabled'),
    enforced: compileChance(config.filter_enforced, 'filter_enforced'),
    status: limitedStatus(config.status, TOO_MANY),
    grpcStatus: config.rate_limited_as_resource_exhausted === true ? RESOURCE_EXHAUSTED : undefined,
    requestOps: opsOf(config.request_headers_to_add_when_not_enforced, 'request_headers_to_add_when_not_enforced', 'request'),
    responseOps: opsOf(config.response_headers_to_add, 'response_headers_to_add', 'response'),
    describes: limits.exact.length > 0 || limits.open.length > 0,
    own: compileOwnRateLimits(config.rate_limits, false, 'rate_limits'),
    stage: config.stage ?? 0,
    virtualHost: compileVirtualHostRule(config.vh_rate_limits),
    tellsLimit: config.enable_x_ratelimit_headers === 'DRAFT_VERSION_03',
    tellsRetryAfter: config.enable_retry_after_header === true,
    limits,
    limiter: shared ? new LocalLimiter(limits, (name, size) => bucketOf(env, `${key}\n${name}`, size)) : undefined,
    connections: new WeakMap(),
  };
};

/** A request can bring more values than all workers can count together: then each counts by itself. */
const bucketOf = (env: ProxyEnvironment, key: string, size: Bucket['size']): Bucket => {
  try {
    return env.sharing.bucket(key, size);
  } catch (problem) {
    if (!(problem instanceof PlanError)) throw problem;
    return new LocalBucket(size);
  }
};

const HEADERS_MAX = 10;
const opsOf = (
  add: HttpLocalRatelimit_LocalRateLimit['response_headers_to_add'],
  path: string,
  side: 'request' | 'response',
): readonly HeaderOps[] => {
  if ((add?.length ?? 0) > HEADERS_MAX) throw new PlanError(path, `must not be more than ${HEADERS_MAX}`);
  const ops = compileHeaderOps({ add, remove: undefined }, '', side);
  return ops === undefined ? [] : [ops];
};

class LocalRateLimitFilter implements HttpFilter {
  readonly #own: LocalPlan;
  readonly #env: ProxyEnvironment;

  constructor(own: LocalPlan, env: ProxyEnvironment) {
    this.#own = own;
    this.#env = env;
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    const plan = (perRoute as LocalPlan | undefined) ?? this.#own;
    const { stats } = plan;
    const random = this.#env.random;
    if (!plan.enabled(random)) return undefined;
    stats.enabled.value++;
    const now = this.#env.clock.monotonicMs();
    const descriptors = plan.describes
      ? describeByRoute(exchange, this.#env.nodeCluster, plan.own, plan.stage, plan.virtualHost, READS)
      : NO_DESCRIPTORS;
    const { allowed, shadow, bucket, headers } = limiterOf(plan, exchange.facts).decide(descriptors, now);
    if (bucket !== undefined && (headers ?? plan.tellsLimit)) exchange.note(this, bucket);
    if (allowed) {
      stats.ok.value++;
      return undefined;
    }
    stats.limited.value++;
    if (shadow) {
      stats.shadow.value++;
      return undefined;
    }
    if (!plan.enforced(random)) {
      if (plan.requestOps.length > 0) applyHeaderOps(plan.requestOps, exchange.requestHeaders, exchange.info, exchange.requestHeaders);
      return undefined;
    }
    stats.enforced.value++;
    return this.#refusal(plan, exchange, bucket, now);
  }

  onResponse(exchange: FilterExchange, response: HeaderBlock): void {
    const bucket = exchange.noteOf(this) as Bucket | undefined;
    if (bucket === undefined) return;
    const tokens = bucket.tokens(this.#env.clock.monotonicMs());
    response.add('x-ratelimit-limit', String(bucket.size.max));
    response.add('x-ratelimit-remaining', String(Math.max(0, Math.floor(tokens))));
    response.add('x-ratelimit-reset', String(untilTokenSeconds(bucket, tokens)));
  }

  #refusal(plan: LocalPlan, exchange: FilterExchange, bucket: Bucket | undefined, now: number): FilterVerdict {
    let headers: [string, string][] = NO_HEADERS;
    if (plan.responseOps.length > 0) {
      const block = new HeaderBlock();
      applyHeaderOps(plan.responseOps, block, exchange.info, exchange.requestHeaders, block);
      headers = block.entries();
    }
    if (plan.tellsRetryAfter && plan.status === TOO_MANY && bucket !== undefined)
      headers = [...headers, ['retry-after', String(untilTokenSeconds(bucket, bucket.tokens(now)))]];
    return {
      kind: 'reply',
      status: plan.status,
      body: 'local_rate_limited',
      details: 'local_rate_limited',
      headers,
      flag: FLAG.RL,
      ...(plan.grpcStatus === undefined ? {} : { grpcStatus: plan.grpcStatus }),
    };
  }
}

const NO_HEADERS: [string, string][] = [];
const NO_DESCRIPTORS: ReturnType<typeof describeByRoute> = [];
const READS: RuleReader = { skipsDisabled: true, waitsForEnd: false };

const untilTokenSeconds = ({ size }: Bucket, tokens: number): number => Math.ceil(untilTokenMs(size, tokens) / 1000);

const limiterOf = (plan: LocalPlan, facts: DownstreamFacts): LocalLimiter => {
  if (plan.limiter !== undefined) return plan.limiter;
  let limiter = plan.connections.get(facts);
  if (limiter === undefined) {
    limiter = ofOneConnection(plan.limits);
    plan.connections.set(facts, limiter);
  }
  return limiter;
};

export const localRateLimitFilter: HttpFilterFactory = {
  compile: (typed, _context, { env, place }) =>
    new LocalRateLimitFilter(
      compile(typed, env, () => place, false),
      env,
    ),
  compilePerRoute: (typed, env, place) => compile(typed, env, () => env.sharing.version(place, typed), true),
};
