// One monotonic clock for all workers of a process: each thread's own begins when the thread does. On Bun that holds for
// process.hrtime too, so what the threads have in common is the time of day at which their clocks began.

import { type Clock, systemClock } from '../clock.ts';

/** When this thread's clock began. */
export const clockOrigin = (): number => performance.timeOrigin;

/** `origin`: of the thread whose clock all follow. */
export const sharedClock = (origin: number): Clock => {
  const ahead = clockOrigin() - origin;
  return { ...systemClock, monotonicMs: () => performance.now() + ahead };
};
