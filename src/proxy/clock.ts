// Time as the data plane sees it: two clocks and one way to be called back. Tests pass a virtual one.
// Nothing in proxy/ reads another clock or starts another timer.

export interface Clock {
  /** Monotonic milliseconds, fractions allowed: durations and deadlines. */
  monotonicMs(): number;
  /** Milliseconds since 1970: log lines and `date` headers. */
  wallMs(): number;
  /** Calls `fire` once after `delayMs`; the returned function takes it back. A pending call never keeps the process alive. */
  after(delayMs: number, fire: () => void): () => void;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
