// Whether and when a request is tried again, as Envoy's router decides it. The caller counts attempts, holds the retry
// budget (circuit breaker) and the clock, and lets x-envoy-retry-on … through from internal clients only.
import type { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import { IDEMPOTENT_RETRIES_TYPE } from '../xds/client-features.ts';
import type { JsonObject, OmitHostMetadataConfig, RetryPolicy_ResetHeader, Route_RetryPolicy } from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import { typeNameOf } from './extension-type.ts';
import { compileHeaderMatcher, compileResponseMatcher, type RequestMatch } from './header-matcher.ts';
import { PlanError } from './plan-error.ts';

/** How an attempt ended without a usable response. */
export type ResetKind =
  | 'connect-failure' // the connection could not be made (refused, timeout, TLS)
  | 'reset' // the upstream closed or reset after the request began, or spoke nonsense
  | 'refused-stream' // REFUSED_STREAM or GOAWAY beyond the stream: surely not processed
  | 'per-try-timeout'
  | 'overflow'; // a circuit limit of ours: never retried

export interface RetryPlan {
  /** For methods that are not idempotent, where they have a policy of their own. */
  readonly ofUnsafe?: RetryPlan;
  /** Extra attempts beyond the first. */
  readonly numRetries: number;
  /** 0: bounded by the route timeout only. */
  readonly perTryTimeoutMs: number;
  /** 0: none. */
  readonly perTryIdleTimeoutMs: number;
  readonly baseIntervalMs: number;
  readonly maxIntervalMs: number;
  /** Avoid hosts already tried, with so many draws at most. */
  readonly avoidPreviousHosts: boolean;
  readonly omitCanaryHosts: boolean;
  /** Hosts with this metadata in `envoy.lb` are avoided. */
  readonly omitHosts: JsonObject | undefined;
  readonly hostSelectionMaxAttempts: number;
  /** previous_priorities: exclude priorities tried, every so many attempts; 0 off. */
  readonly previousPrioritiesEvery: number;
  /** Bits of RETRY_ON. */
  readonly on: number;
  readonly statusCodes: readonly number[];
  readonly responseHeaders: readonly ResponseMatch[];
  readonly requestHeaders: readonly RequestMatch[];
  readonly rateLimited: { readonly headers: readonly RateLimitHeader[]; readonly maxIntervalMs: number } | undefined;
}
export type ResponseMatch = (headers: HeaderBlock, status: number) => boolean;
interface RateLimitHeader {
  readonly name: string;
  readonly unixTimestamp: boolean;
}

const RETRY_ON: Readonly<Record<string, number>> = {
  '5xx': 1 << 0,
  'gateway-error': 1 << 1,
  reset: 1 << 2,
  'reset-before-request': 1 << 3,
  'connect-failure': 1 << 4,
  'refused-stream': 1 << 5,
  'retriable-4xx': 1 << 6,
  'retriable-status-codes': 1 << 7,
  'retriable-headers': 1 << 8,
  'envoy-ratelimited': 1 << 9,
  cancelled: 1 << 10,
  'deadline-exceeded': 1 << 11,
  internal: 1 << 12,
  'resource-exhausted': 1 << 13,
  unavailable: 1 << 14,
};
const wordsOf = (text: string | undefined): string[] =>
  (text === undefined ? [] : text.split(',').map((w) => w.trim())).filter((w) => w !== '');
/** Unknown words are passed over, as by Envoy. */
export const retryOnBits = (text: string | undefined): number => wordsOf(text).reduce((bits, word) => bits | bit(word), 0);
const bit = (name: string): number => RETRY_ON[name] ?? 0;
const ON_5XX = bit('5xx');
const ON_GATEWAY_ERROR = bit('gateway-error');
const ON_RESET = bit('reset');
const ON_RESET_BEFORE_REQUEST = bit('reset-before-request');
const ON_CONNECT_FAILURE = bit('connect-failure');
const ON_REFUSED_STREAM = bit('refused-stream');
const ON_4XX = bit('retriable-4xx');
const ON_STATUS_CODES = bit('retriable-status-codes');
const ON_HEADERS = bit('retriable-headers');
const ON_RATELIMITED = bit('envoy-ratelimited');
const ON_GRPC_STATUS: Readonly<Record<string, number>> = {
  '1': bit('cancelled'),
  '4': bit('deadline-exceeded'),
  '13': bit('internal'),
  '8': bit('resource-exhausted'),
  '14': bit('unavailable'),
};
/** Whether all words of a list are conditions of a kind. */
export const knowsRetryWords = (text: string, kind: 'http' | 'grpc'): boolean =>
  wordsOf(text).every((word) => RETRY_ON[word] !== undefined && ((bit(word) & ON_ANY_GRPC) !== 0) === (kind === 'grpc'));
export const ON_ANY_GRPC = Object.values(ON_GRPC_STATUS).reduce((a, b) => a | b, 0);

/** Envoy's `upstream.base_retry_backoff_ms`. */
const BASE_INTERVAL_MS = 25;
const MAX_INTERVAL_FACTOR = 10;
/** Envoy's default for rate-limited back-off. */
const RATE_LIMITED_MAX_MS = 300_000;

const PREVIOUS_HOSTS = 'envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate';
const OMIT_CANARY = 'envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate';
const OMIT_METADATA = 'envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig';
const PREVIOUS_PRIORITIES = 'envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig';
export const compileRetry = (policy: Route_RetryPolicy, path = 'retry_policy'): RetryPlan => {
  const all = compilePolicy(policy, path);
  let idempotentOnly = false;
  policy.retry_options_predicates?.forEach((predicate, i) => {
    if (predicate.name !== IDEMPOTENT_RETRIES_TYPE)
      throw new PlanError(`${path}.retry_options_predicates[${i}]`, `${predicate.name} is not supported`);
    idempotentOnly = true;
  });
  return idempotentOnly ? { ...all, ofUnsafe: { ...all, on: unsentOnly(all.on) } } : all;
};

/** Skein's own predicate: a request that may do harm twice is tried again only where nothing of it was sent, or surely nothing done. */
const unsentOnly = (on: number): number => {
  const kept = on & (ON_CONNECT_FAILURE | ON_REFUSED_STREAM | ON_RESET_BEFORE_REQUEST);
  return (on & (ON_5XX | ON_GATEWAY_ERROR | ON_RESET)) === 0 ? kept : ON_CONNECT_FAILURE | ON_REFUSED_STREAM | ON_RESET_BEFORE_REQUEST;
};

const compilePolicy = (policy: Route_RetryPolicy, path: string): RetryPlan => {
  const base = durationMs(policy.retry_back_off?.base_interval);
  if (policy.retry_back_off !== undefined && (base === undefined || base <= 0))
    throw new PlanError(`${path}.retry_back_off.base_interval`, 'must be longer than 0');
  const baseIntervalMs = Math.max(1, base ?? BASE_INTERVAL_MS);
  const maxIntervalMs = durationMs(policy.retry_back_off?.max_interval) ?? baseIntervalMs * MAX_INTERVAL_FACTOR;
  if (maxIntervalMs < baseIntervalMs) throw new PlanError(`${path}.retry_back_off.max_interval`, 'must not be shorter than base_interval');
  return {
    numRetries: policy.num_retries ?? 1,
    perTryTimeoutMs: durationMs(policy.per_try_timeout) ?? 0,
    perTryIdleTimeoutMs: durationMs(policy.per_try_idle_timeout) ?? 0,
    baseIntervalMs,
    maxIntervalMs,
    ...hostPredicates(policy, path),
    hostSelectionMaxAttempts: policy.host_selection_retry_max_attempts ?? 1,
    previousPrioritiesEvery: previousPriorities(policy, path),
    on: retryOnBits(policy.retry_on),
    statusCodes: policy.retriable_status_codes ?? [],
    responseHeaders: (policy.retriable_headers ?? []).map((m, i) => compileResponseMatcher(m, `${path}.retriable_headers[${i}]`)),
    requestHeaders: (policy.retriable_request_headers ?? []).map((m, i) =>
      compileHeaderMatcher(m, `${path}.retriable_request_headers[${i}]`),
    ),
    rateLimited: rateLimited(policy, path),
  };
};

type HostPredicates = Pick<RetryPlan, 'avoidPreviousHosts' | 'omitCanaryHosts' | 'omitHosts'>;
const hostPredicates = (policy: Route_RetryPolicy, path: string): HostPredicates => {
  let [avoidPreviousHosts, omitCanaryHosts, omitHosts]: [boolean, boolean, JsonObject | undefined] = [false, false, undefined];
  policy.retry_host_predicate?.forEach((p, i) => {
    const type = typeNameOf(p.typed_config);
    if (type === PREVIOUS_HOSTS || (type === '' && p.name === 'envoy.retry_host_predicates.previous_hosts')) avoidPreviousHosts = true;
    else if (type === OMIT_CANARY || (type === '' && p.name === 'envoy.retry_host_predicates.omit_canary_hosts')) omitCanaryHosts = true;
    else if (type === OMIT_METADATA) {
      const { metadata_match: match } = p.typed_config as unknown as OmitHostMetadataConfig;
      omitHosts = match?.filter_metadata?.['envoy.lb'];
    } else throw new PlanError(`${path}.retry_host_predicate[${i}]`, `${p.name} is not supported`);
  });
  return { avoidPreviousHosts, omitCanaryHosts, omitHosts };
};

const previousPriorities = (policy: Route_RetryPolicy, path: string): number => {
  const plugin = policy.retry_priority;
  if (plugin === undefined) return 0;
  const config = plugin.typed_config;
  if (typeNameOf(config) !== PREVIOUS_PRIORITIES && plugin.name !== 'envoy.retry_priorities.previous_priorities')
    throw new PlanError(`${path}.retry_priority`, `${plugin.name} is not supported`);
  const every = config !== undefined && '@type' in config ? config['update_frequency'] : undefined;
  return typeof every === 'number' && every > 0 ? every : 1;
};

const rateLimited = (policy: Route_RetryPolicy, path: string): RetryPlan['rateLimited'] => {
  const config = policy.rate_limited_retry_back_off;
  if (config === undefined) return undefined;
  const headers = (config.reset_headers ?? []).map((h: RetryPolicy_ResetHeader, i) => {
    if (h.name === undefined || h.name === '')
      throw new PlanError(`${path}.rate_limited_retry_back_off.reset_headers[${i}].name`, 'is required');
    return { name: h.name.toLowerCase(), unixTimestamp: h.format === 'UNIX_TIMESTAMP' };
  });
  if (headers.length === 0) throw new PlanError(`${path}.rate_limited_retry_back_off.reset_headers`, 'must not be empty');
  return { headers, maxIntervalMs: durationMs(config.max_interval) ?? RATE_LIMITED_MAX_MS };
};

/** `headers` may carry grpc-status (a trailers-only response). Retries left are the caller's to count. */
export const shouldRetryStatus = (plan: RetryPlan, status: number, headers: HeaderBlock): boolean => {
  const on = plan.on;
  if (on === 0) return false;
  if (headers.hasId(H.X_ENVOY_RATELIMITED)) return (on & ON_RATELIMITED) !== 0;
  if ((on & ON_5XX) !== 0 && status >= 500 && status < 600) return true;
  if ((on & ON_GATEWAY_ERROR) !== 0 && status >= 502 && status <= 504) return true;
  if ((on & ON_4XX) !== 0 && status === 409) return true;
  if ((on & ON_STATUS_CODES) !== 0 && plan.statusCodes.includes(status)) return true;
  if ((on & ON_HEADERS) !== 0 && plan.responseHeaders.some((match) => match(headers, status))) return true;
  if ((on & ON_ANY_GRPC) === 0) return false;
  const grpc = headers.getById(H.GRPC_STATUS);
  return grpc !== undefined && (on & (ON_GRPC_STATUS[grpc] ?? 0)) !== 0;
};

/** `requestSent`: any byte of the request was handed to an established upstream connection. */
export const shouldRetryReset = (plan: RetryPlan, kind: ResetKind, requestSent: boolean): boolean => {
  if (kind === 'overflow') return false;
  const on = plan.on;
  if ((on & (ON_5XX | ON_GATEWAY_ERROR | ON_RESET)) !== 0) return true;
  if ((on & ON_REFUSED_STREAM) !== 0 && kind === 'refused-stream') return true;
  if ((on & ON_CONNECT_FAILURE) !== 0 && kind === 'connect-failure') return true;
  return (on & ON_RESET_BEFORE_REQUEST) !== 0 && !requestSent;
};

/** Milliseconds before retry number `attempt` (1 is the first): full jitter below an interval that doubles up to the maximum. */
export const retryBackOffMs = (plan: RetryPlan, attempt: number, random: () => number): number => {
  const interval = Math.min(plan.maxIntervalMs, plan.baseIntervalMs * 2 ** Math.min(attempt - 1, 30));
  return Math.floor(random() * interval);
};

/** The wait a response asks for (`rate_limited_retry_back_off`), jittered up to half more; undefined when it asks for none that is allowed. */
export const rateLimitedBackOffMs = (plan: RetryPlan, headers: HeaderBlock, nowMs: number, random: () => number): number | undefined => {
  if (plan.rateLimited === undefined) return undefined;
  for (const { name, unixTimestamp } of plan.rateLimited.headers) {
    const text = headers.get(name);
    if (text === undefined || !/^\d{1,12}$/.test(text)) continue;
    const wait = unixTimestamp ? Number(text) * 1000 - nowMs : Number(text) * 1000;
    if (wait <= 1 || wait > plan.rateLimited.maxIntervalMs) continue;
    return Math.floor(wait + random() * wait * 0.5);
  }
  return undefined;
};
