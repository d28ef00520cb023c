// A rate limit service's answer, read once for all it says, and the refusal it leads to.

import { applyHeaderOps, type HeaderOps } from '../../plan/header-ops.ts';
import { rateLimitHeaders, retryAfterSeconds } from '../../plan/rate-limit/service-answer.ts';
import { FLAG } from '../../plan/response-flag.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { decode } from '../../xds/codec.ts';
import type { HeaderValue, JsonObject } from '../../xds/gen/types.ts';
import type { FilterExchange, FilterVerdict } from './http-filter.ts';

export type Pair = readonly [name: string, value: string];

export interface AnswerPlan {
  readonly status: number;
  readonly grpcStatus: number | undefined;
  readonly tellsLimit: boolean;
  readonly tellsLimited: boolean;
  readonly tellsRetryAfter: boolean;
  readonly responseOps: readonly HeaderOps[];
}

export interface Answer {
  readonly overLimit: boolean;
  readonly requestHeaders: readonly Pair[];
  readonly responseHeaders: readonly Pair[];
  readonly body: string;
  readonly metadata: JsonObject | undefined;
}

/** undefined: not a RateLimitResponse. */
export const readAnswer = (bytes: Uint8Array, plan: AnswerPlan): Answer | undefined => {
  const response = parse(bytes);
  if (response === undefined) return undefined;
  const overLimit = response.overall_code === 'OVER_LIMIT';
  const statuses = response.statuses ?? [];
  const responseHeaders = pairsOf(response.response_headers_to_add);
  if (overLimit && plan.tellsLimited) responseHeaders.push(['x-envoy-ratelimited', 'true']);
  if (plan.tellsLimit) responseHeaders.push(...rateLimitHeaders(statuses));
  const wait = overLimit && plan.tellsRetryAfter ? retryAfterSeconds(statuses) : undefined;
  if (wait !== undefined) responseHeaders.push(['retry-after', String(wait)]);
  return {
    overLimit,
    requestHeaders: pairsOf(response.request_headers_to_add),
    responseHeaders,
    body: Buffer.from(response.raw_body ?? []).toString(),
    metadata: response.dynamic_metadata,
  };
};

export const refusal = (answer: Answer, plan: AnswerPlan, exchange: FilterExchange): FilterVerdict => {
  const { body } = answer;
  // The service may say what its body is; where there is none, or gRPC, it says nothing.
  const isPlain = body !== '' && !(exchange.requestHeaders.get('content-type') ?? '').startsWith('application/grpc');
  const headers = isPlain ? [...answer.responseHeaders] : answer.responseHeaders.filter(([name]) => name !== 'content-type');
  if (plan.responseOps.length > 0) {
    const block = new HeaderBlock();
    applyHeaderOps(plan.responseOps, block, exchange.info, exchange.requestHeaders, block);
    headers.push(...block.entries());
  }
  const { status, grpcStatus } = plan;
  return {
    kind: 'reply',
    status,
    body,
    details: 'request_rate_limited',
    headers,
    flag: FLAG.RL,
    ...(grpcStatus === undefined ? {} : { grpcStatus }),
  };
};

const parse = (bytes: Uint8Array) => {
  try {
    return decode('envoy.service.ratelimit.v3.RateLimitResponse', bytes);
  } catch {
    return undefined;
  }
};

/** What could change how a message is read stays out. */
const pairsOf = (headers: readonly HeaderValue[] | undefined): Pair[] => {
  const pairs: Pair[] = [];
  for (const { key = '', value, raw_value: raw } of headers ?? []) {
    const name = key.toLowerCase();
    if (!NAME.test(name) || FRAMING.has(name)) continue;
    pairs.push([name, raw !== undefined && raw.length > 0 ? Buffer.from(raw).toString('latin1') : (value ?? '')]);
  }
  return pairs;
};
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const FRAMING: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'connection',
  'upgrade',
  'host',
  'te',
  'trailer',
  'keep-alive',
  'proxy-connection',
]);
