// Fixed buckets of response times, in milliseconds: fine enough for percentiles, and every bound of Envoy's own buckets is one of them, so
// that histograms of stock proxies fit. Pure.

export const BOUNDS_MS: readonly number[] = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250, 300, 400, 500, 600, 800, 1000, 1500, 2000,
  2500, 4000, 5000, 7500, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000,
];
/** The last one has everything beyond. */
export const BUCKETS = BOUNDS_MS.length + 1;

/** The bucket whose upper bound is the first that is not below. */
export const bucketOf = (ms: number): number => {
  let low = 0;
  let high = BOUNDS_MS.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ms <= (BOUNDS_MS[middle] ?? 0)) high = middle;
    else low = middle + 1;
  }
  return low;
};

/** As Prometheus: values stand evenly within their bucket; beyond the last bound it is the last bound. Null without values. */
export const percentile = (counts: ArrayLike<number>, share: number): number | null => {
  let total = 0;
  for (let i = 0; i < counts.length; i++) total += counts[i] ?? 0;
  if (total === 0) return null;
  const wanted = share * total;
  let before = 0;
  for (let i = 0; i < BOUNDS_MS.length; i++) {
    const count = counts[i] ?? 0;
    if (count > 0 && before + count >= wanted) {
      const low = i === 0 ? 0 : (BOUNDS_MS[i - 1] ?? 0);
      const high = BOUNDS_MS[i] ?? 0;
      return low + ((high - low) * Math.max(0, wanted - before)) / count;
    }
    before += count;
  }
  return BOUNDS_MS.at(-1) ?? null;
};
