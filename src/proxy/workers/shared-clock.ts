// One monotonic clock for all workers of a process: each thread's own begins when the thread does.

import { type Clock, systemClock } from '../clock.ts';

/** Looks at both clocks that are closer together than this are believed. */
const TOGETHER_MS = 0.02;
const LOOKS = 50;

/** When this thread's clock began, on the machine's. A thread may lose its processor between two looks, so the closest pair counts. */
export const clockOrigin = (): number => {
  let origin = 0;
  let closest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < LOOKS && closest > TOGETHER_MS; i++) {
    const before = machineMs();
    const own = performance.now();
    const after = machineMs();
    if (after - before >= closest) continue;
    closest = after - before;
    origin = (before + after) / 2 - own;
  }
  return origin;
};

const machineMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** `origin`: of the thread whose clock all follow. */
export const sharedClock = (origin: number): Clock => {
  const ahead = clockOrigin() - origin;
  return { ...systemClock, monotonicMs: () => performance.now() + ahead };
};
