// What a rate limit service's answer tells the client: x-ratelimit headers (draft-polli-ratelimit-headers-03 as Envoy writes them)
// and how long to wait.
import type { RateLimitResponse_DescriptorStatus } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';

const DAY = 86_400;
const SECONDS: Readonly<Record<string | number, number>> = {
  SECOND: 1,
  MINUTE: 60,
  HOUR: 3600,
  DAY,
  WEEK: 7 * DAY,
  MONTH: 30 * DAY,
  YEAR: 365 * DAY,
};

type Status = RateLimitResponse_DescriptorStatus;
type Pair = readonly [name: string, value: string];

/** The limit with the least left, and all limits with their windows. None: no status names its limit. */
export const rateLimitHeaders = (statuses: readonly Status[]): readonly Pair[] => {
  let least: Status | undefined;
  let all = '';
  for (const status of statuses) {
    const limit = status.current_limit;
    if (limit === undefined) continue;
    if (least === undefined || (status.limit_remaining ?? 0) < (least.limit_remaining ?? 0)) least = status;
    const window = (SECONDS[limit.unit ?? ''] ?? 0) * (limit.unit_multiplier ?? 1);
    const named = (limit.name ?? '') === '' ? '' : `;name="${limit.name}"`;
    all += `, ${limit.requests_per_unit ?? 0}${window === 0 ? '' : `;w=${window}`}${named}`;
  }
  if (least === undefined) return [];
  return [
    ['x-ratelimit-limit', `${least.current_limit?.requests_per_unit ?? 0}${all}`],
    ['x-ratelimit-remaining', String(least.limit_remaining ?? 0)],
    ['x-ratelimit-reset', String(wholeSeconds(least.duration_until_reset))],
  ];
};

/** Until every limit that was exceeded begins anew; undefined: none says. */
export const retryAfterSeconds = (statuses: readonly Status[]): number | undefined => {
  let most: number | undefined;
  for (const { code, duration_until_reset: until } of statuses)
    if (code === 'OVER_LIMIT' && until !== undefined) most = Math.max(most ?? 0, wholeSeconds(until));
  return most;
};

const wholeSeconds = (duration: string | undefined): number => (duration === undefined ? 0 : Math.trunc(durationMs(duration) / 1000));
