// A bucket that fills all the time, as Envoy's. All it has to remember is when it was, or would have been, empty: one number, so
// that several workers can change it in one step.
import type { TokenBucket } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { PlanError } from '../plan-error.ts';

export interface BucketSize {
  readonly max: number;
  readonly tokensPerMs: number;
}

/** Envoy's. */
const FILL_INTERVAL_MIN_MS = 50;

export const compileBucket = (config: TokenBucket, path: string): BucketSize => {
  const every = config.fill_interval === undefined ? 0 : durationMs(config.fill_interval);
  if (every < FILL_INTERVAL_MIN_MS) throw new PlanError(`${path}.fill_interval`, `must be at least ${FILL_INTERVAL_MIN_MS} ms`);
  const tokens = config.tokens_per_fill ?? 1;
  if (tokens === 0) throw new PlanError(`${path}.tokens_per_fill`, 'must be greater than 0');
  return { max: config.max_tokens ?? 0, tokensPerMs: tokens / every };
};

/** When a bucket was empty that is full, whatever the time is. */
export const NEVER_EMPTY = Number.NEGATIVE_INFINITY;

export const tokensIn = (size: BucketSize, emptyAtMs: number, nowMs: number): number =>
  Math.min(size.max, (nowMs - emptyAtMs) * size.tokensPerMs);

/** When the bucket was empty, less `tokens`; NaN when there are not so many. Nothing cannot be taken: Envoy refuses that too. */
export const takeTokens = (size: BucketSize, emptyAtMs: number, nowMs: number, tokens: number): number => {
  const had = tokensIn(size, emptyAtMs, nowMs);
  if (tokens === 0 || had < tokens) return Number.NaN;
  return nowMs - (had - tokens) / size.tokensPerMs;
};

/** Until there is a whole token. */
export const untilTokenMs = (size: BucketSize, tokens: number): number => (tokens >= 1 ? 0 : (1 - tokens) / size.tokensPerMs);
