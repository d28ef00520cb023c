// ShouldRateLimit: which limits a request's descriptors meet, what is counted for them, and what is answered.
import { decode, encode } from '../xds/codec.ts';
import type {
  RateLimitDescriptor,
  RateLimitRequest,
  RateLimitResponse,
  RateLimitResponse_DescriptorStatus,
  RateLimitResponse_RateLimit_Unit,
} from '../xds/gen/types.ts';
import type { Domains } from './config-folder.ts';
import type { Counters, Hit } from './counters.ts';
import { type Limit, unitOf, windowSeconds } from './limit.ts';
import type { LimitMetrics, LimitSeries } from './limit-metrics.ts';
import { findLimit, type RequestEntry } from './limit-tree.ts';
import { OverLimitCache } from './over-limit-cache.ts';

export interface ServiceOptions {
  readonly domains: () => Domains;
  readonly counters: Counters;
  readonly metrics: LimitMetrics;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** [0, 1) */
  readonly random: () => number;
  /** Keys live up to so many seconds longer, so that not all of a window's end at once. */
  readonly jitterSeconds: number;
  readonly localCacheKeys: number;
  /** Of a limit, from which on a hit is near it. */
  readonly nearRatio: number;
  readonly responseHeaders: boolean;
  /** Nobody is ever over a limit. */
  readonly shadow: boolean;
  readonly keyPrefix: string;
}

/** What a caller did wrong, in words for it. */
export class RequestProblem extends Error {}
/** Nobody could count. */
export class CountersProblem extends Error {}

const DESCRIPTORS_MAX = 256;

interface Check {
  readonly limit: Limit;
  readonly key: string;
  readonly hits: number;
  readonly windowEnd: number;
  readonly series: LimitSeries;
  /** Known to be over without asking. */
  readonly cached: boolean;
}

type Status = RateLimitResponse_DescriptorStatus;

export class RateLimitService {
  readonly #options: ServiceOptions;
  readonly #over: OverLimitCache;

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#over = new OverLimitCache(options.localCacheKeys);
  }

  /** Throws RequestProblem, CountersProblem, and CodecError for what is no request. */
  async shouldRateLimit(message: Uint8Array): Promise<Uint8Array> {
    this.#options.metrics.requests.value++;
    const request = decode('envoy.service.ratelimit.v3.RateLimitRequest', message);
    return encode('envoy.service.ratelimit.v3.RateLimitResponse', await this.decide(request));
  }

  async decide(request: RateLimitRequest): Promise<RateLimitResponse> {
    const { domain = '', descriptors = [] } = request;
    const { metrics, now } = this.#options;
    const refuse = (message: string): never => {
      metrics.serviceErrors.value++;
      throw new RequestProblem(message);
    };
    if (domain === '') return refuse('rate limit domain must not be empty');
    if (descriptors.length === 0) return refuse('rate limit descriptor list must not be empty');
    if (descriptors.length > DESCRIPTORS_MAX) return refuse(`more than ${DESCRIPTORS_MAX} descriptors`);
    const nowSeconds = Math.floor(now() / 1000);
    const limits = this.#limitsOf(domain, descriptors);
    const checks = limits.map((limit, i) => {
      const descriptor = descriptors[i];
      return limit === undefined || limit.unlimited || descriptor === undefined
        ? undefined
        : this.#check(domain, descriptor, limit, request, nowSeconds);
    });
    const counts = await this.#count(checks);
    const statuses = checks.map((check, i) =>
      check === undefined ? freeStatus(limits[i]) : this.#judge(check, counts.get(check), nowSeconds),
    );
    const over = !this.#options.shadow && statuses.some((status) => status.code === 'OVER_LIMIT');
    return {
      overall_code: over ? 'OVER_LIMIT' : 'OK',
      statuses,
      ...(this.#options.responseHeaders ? { response_headers_to_add: limitHeaders(statuses) } : {}),
    };
  }

  #limitsOf(domain: string, descriptors: readonly RateLimitDescriptor[]): (Limit | undefined)[] {
    const root = this.#options.domains().get(domain)?.root;
    if (root === undefined) return descriptors.map(() => undefined);
    const limits = descriptors.map((descriptor) => {
      const entries = entriesOf(descriptor);
      return descriptor.limit === undefined ? findLimit(root, entries) : overrideOf(domain, descriptor.limit, entries);
    });
    const replaced = new Set<string>();
    for (const limit of limits) for (const name of limit?.replaces ?? []) replaced.add(name);
    return limits.map((limit) => (limit !== undefined && limit.name !== '' && replaced.has(limit.name) ? undefined : limit));
  }

  #check(domain: string, descriptor: RateLimitDescriptor, limit: Limit, request: RateLimitRequest, nowSeconds: number): Check {
    const window = windowSeconds(limit);
    const start = nowSeconds - (nowSeconds % window);
    const entries = entriesOf(descriptor);
    const values = entries.map(({ key, value }) => `${key}_${value}`).join('_');
    // Asked about without a number it is one hit; a descriptor may say none, and look without counting.
    const hits = Math.min(HITS_MAX, descriptor.hits_addend ?? (request.hits_addend || 1));
    const place = [domain, ...entries.flatMap((entry) => [entry.key, entry.value])].map(keyPart).join('_');
    const key = `${this.#options.keyPrefix}${place}_${window}_${start}`;
    const series = this.#options.metrics.of(limit, values);
    return {
      limit,
      key,
      hits: descriptor.is_negative_hits === true ? -hits : hits,
      windowEnd: start + window,
      series,
      cached: this.#over.has(key, nowSeconds),
    };
  }

  async #count(checks: readonly (Check | undefined)[]): Promise<ReadonlyMap<Check, number>> {
    const asked = checks.filter((check): check is Check => check !== undefined && !check.cached);
    const counts = new Map<Check, number>();
    if (asked.length === 0) return counts;
    const { counters, jitterSeconds, random, metrics } = this.#options;
    const hits: Hit[] = asked.map(({ key, hits: by, limit }) => ({
      key,
      hits: by,
      expireSeconds: windowSeconds(limit) + (jitterSeconds > 0 ? Math.floor(random() * jitterSeconds) : 0),
    }));
    let sums: readonly number[];
    try {
      sums = await counters.add(hits);
    } catch (problem) {
      metrics.redisErrors.value++;
      throw new CountersProblem(problem instanceof Error ? problem.message : String(problem));
    }
    asked.forEach((check, i) => {
      counts.set(check, sums[i] ?? 0);
    });
    return counts;
  }

  #judge(check: Check, count: number | undefined, nowSeconds: number): Status {
    const { limit, hits, series, windowEnd } = check;
    const counted = Math.max(0, hits);
    series.total_hits.value += counted;
    const most = limit.requests;
    const over = count === undefined || count > most;
    if (over) {
      // Of several hits at once some may have been within the limit still.
      const within = count === undefined ? 0 : Math.max(0, most - (count - counted));
      series.over_limit.value += counted - within;
      if (count === undefined) series.over_limit_with_local_cache.value += counted;
      else this.#over.put(check.key, windowEnd);
      if (limit.shadow) series.shadow_mode.value += counted - within;
    } else {
      series.within_limit.value += counted;
      series.near_limit.value += Math.max(0, Math.min(counted, count - Math.floor(most * this.#options.nearRatio)));
    }
    return {
      code: over && !limit.shadow ? 'OVER_LIMIT' : 'OK',
      current_limit: currentLimit(limit),
      limit_remaining: over ? 0 : Math.min(most, most - count),
      duration_until_reset: `${windowEnd - nowSeconds}s`,
    };
  }
}

/** Envoy's bound of what one request may add: a greater sum would in the end be none that Redis can hold. */
const HITS_MAX = 1_000_000_000;

/** No two lists of names and values have one key, whatever a client puts into a value. */
const keyPart = (text: string): string => text.replaceAll(/[_\\]/g, '\\$&');

const entriesOf = (descriptor: RateLimitDescriptor): RequestEntry[] =>
  (descriptor.entries ?? []).map(({ key = '', value = '' }) => ({ key, value }));

const overrideOf = (
  domain: string,
  limit: NonNullable<RateLimitDescriptor['limit']>,
  entries: readonly RequestEntry[],
): Limit | undefined => {
  const unit = unitOf(String(limit.unit ?? ''));
  if (unit === undefined) return undefined;
  return {
    path: `${domain}.${entries.map(({ key }) => key).join('.')} (override)`,
    requests: limit.requests_per_unit ?? 0,
    unit,
    multiplier: Math.max(1, limit.unit_multiplier ?? 1),
    unlimited: false,
    shadow: false,
    detailed: false,
    name: '',
    replaces: new Set(),
  };
};

const currentLimit = ({ requests, unit, multiplier, name }: Limit): NonNullable<Status['current_limit']> => ({
  requests_per_unit: requests,
  unit: unit.toUpperCase() as RateLimitResponse_RateLimit_Unit,
  ...(multiplier === 1 ? {} : { unit_multiplier: multiplier }),
  ...(name === '' ? {} : { name }),
});

/** Of what nothing limits, or what has no limit. */
const freeStatus = (limit: Limit | undefined): Status => ({
  code: 'OK',
  ...(limit?.unlimited === true ? { limit_remaining: 0xffffffff } : {}),
});

const limitHeaders = (statuses: readonly Status[]): { key: string; value: string }[] => {
  let least: Status | undefined;
  for (const status of statuses)
    if (status.current_limit !== undefined && (least === undefined || (status.limit_remaining ?? 0) < (least.limit_remaining ?? 0)))
      least = status;
  if (least === undefined) return [];
  return [
    { key: 'RateLimit-Limit', value: String(least.current_limit?.requests_per_unit ?? 0) },
    { key: 'RateLimit-Remaining', value: String(least.limit_remaining ?? 0) },
    { key: 'RateLimit-Reset', value: (least.duration_until_reset ?? '0s').slice(0, -1) },
  ];
};
