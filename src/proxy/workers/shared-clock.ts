// One monotonic clock for all workers of a process: each thread's own begins when the thread does.

import { type Clock, systemClock } from '../clock.ts';

/** When this thread's clock began, on the machine's. */
export const clockOrigin = (): number => Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** `origin`: of the thread whose clock all follow. */
export const sharedClock = (origin: number): Clock => {
  const ahead = clockOrigin() - origin;
  return { ...systemClock, monotonicMs: () => performance.now() + ahead };
};
