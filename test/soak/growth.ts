// Does it grow? A series after its warm-up has grown when two independent looks agree: the least-squares line rises by more than the
// allowance over the time looked at, and the median of the last third lies above the median of the first third by more than it.
// One look alone is noise of a garbage-collected heap: a late collection tilts the line, a burst at the end lifts the median.
// Pure.

export interface Growth {
  /** By the fitted line, from first to last sample. */
  readonly fitted: number;
  /** Median of the last third less median of the first. */
  readonly shifted: number;
  /** Between the least and the greatest sample. */
  readonly spread: number;
  readonly grew: boolean;
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;

/** Samples at equal distances. */
export const growthOf = (samples: readonly number[], allowance: number): Growth => {
  const n = samples.length;
  if (n < 3) return { fitted: 0, shifted: 0, spread: 0, grew: false };
  const meanX = (n - 1) / 2;
  const meanY = samples.reduce((sum, y) => sum + y, 0) / n;
  let above = 0;
  let below = 0;
  for (const [x, y] of samples.entries()) {
    above += (x - meanX) * (y - meanY);
    below += (x - meanX) ** 2;
  }
  const third = Math.max(1, Math.floor(n / 3));
  const fitted = (above / below) * (n - 1);
  const shifted = median(samples.slice(-third)) - median(samples.slice(0, third));
  return { fitted, shifted, spread: Math.max(...samples) - Math.min(...samples), grew: fitted > allowance && shifted > allowance };
};
