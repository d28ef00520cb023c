// Microseconds since 1970 for spans: the wall clock of a data plane counts whole milliseconds, too coarse to nest one hop's span in
// another's. The monotonic clock gives the rest; where the wall clock was set anew, it is followed.

import type { Clock } from '../clock.ts';

/** What the wall clock's rounding explains, and a little. */
const ROUNDING_MS = 1.5;
const ahead = new WeakMap<Clock, { ms: number }>();

export const preciseUs = (clock: Clock): number => {
  const monotonic = clock.monotonicMs();
  // Truncated: the true difference is at most a millisecond more.
  const seen = clock.wallMs() - monotonic;
  let offset = ahead.get(clock);
  if (offset === undefined) {
    offset = { ms: seen };
    ahead.set(clock, offset);
  } else if (seen > offset.ms || seen < offset.ms - ROUNDING_MS) offset.ms = seen;
  return Math.round((monotonic + offset.ms) * 1000);
};
