// The bounds of histograms that a workload's annotation asks for: lists of numbers by prefix of a metric's name, as Istio reads it. What
// cannot be read leaves the proxy's own bounds; whoever read the workload's object has said so.

import type { HistogramBucketSettings } from '../xds/gen/types.ts';

const ANNOTATION = 'sidecar.istio.io/statsHistogramBuckets';

export const histogramBuckets = (annotations: unknown): readonly HistogramBucketSettings[] => {
  const text = isObject(annotations) ? annotations[ANNOTATION] : undefined;
  const read = typeof text === 'string' ? parsed(text) : undefined;
  if (!isObject(read) || !Object.values(read).every(isBounds)) return [];
  return Object.entries(read).map(([prefix, buckets]) => ({ match: { prefix }, buckets: buckets as readonly number[] }));
};

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isBounds = (value: unknown): boolean =>
  Array.isArray(value) && value.length > 0 && value.every((v) => typeof v === 'number' && Number.isFinite(v) && v > 0);

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};
