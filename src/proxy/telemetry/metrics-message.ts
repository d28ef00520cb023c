// Writes StreamMetricsMessage: families of Prometheus' client model, with labels that were encoded before. Pure.

import { encode } from '../../xds/codec.ts';
import type { Node } from '../../xds/gen/types.ts';
import { Writer } from '../../xds/wire-format.ts';

export type FamilyType = 'counter' | 'gauge' | 'summary' | 'histogram';

const TYPES: Readonly<Record<FamilyType, number>> = { counter: 0, gauge: 1, summary: 2, histogram: 4 };
/** The field of a metric that has its value. */
const VALUES: Readonly<Record<FamilyType, number>> = { gauge: 2, counter: 3, summary: 4, histogram: 7 };
const LENGTH = 2;
const FIXED64 = 1;
const VARINT = 0;

export type LabelPairs = readonly (readonly [name: string, value: string])[];

// --- fields ---

const message = (w: Writer, field: number, write: () => void): void => {
  w.tag(field, LENGTH);
  w.nested(write);
};

const text = (w: Writer, field: number, value: string): void => {
  w.tag(field, LENGTH);
  w.string(value);
};

const whole = (w: Writer, field: number, value: number): void => {
  w.tag(field, VARINT);
  w.varint(value);
};

const double = (w: Writer, field: number, value: number): void => {
  w.tag(field, FIXED64);
  w.double(value);
};

// --- messages ---

/** As every metric with these labels has them. */
export const encodeLabels = (labels: LabelPairs): Uint8Array => {
  const w = new Writer();
  for (const [name, value] of labels)
    message(w, 1, () => {
      text(w, 1, name);
      text(w, 2, value);
    });
  return w.finish();
};

/** A message that says who sends it, which the first one of a stream must be. */
export const metricsIdentifier = (node: Node): Uint8Array => {
  const w = new Writer();
  message(w, 1, () => {
    w.tag(1, LENGTH);
    w.bytes(encode('envoy.config.core.v3.Node', node));
  });
  return w.finish();
};

export const writeFamily = (w: Writer, name: string, type: FamilyType, metrics: () => void): void =>
  message(w, 2, () => {
    text(w, 1, name);
    whole(w, 3, TYPES[type]);
    metrics();
  });

/** One metric of a family; without `nowMs` it does not say when it was so. */
const writeMetric = (w: Writer, type: FamilyType, labels: Uint8Array, nowMs: number | undefined, value: () => void): void =>
  message(w, 4, () => {
    w.raw(labels);
    message(w, VALUES[type], value);
    if (nowMs !== undefined) whole(w, 6, nowMs);
  });

/** Within a family of counters or gauges. */
export const writeValue = (w: Writer, type: 'counter' | 'gauge', labels: Uint8Array, value: number, nowMs?: number): void =>
  writeMetric(w, type, labels, nowMs, () => double(w, 1, value));

/** Within a family of summaries. */
export const writeSummary = (
  w: Writer,
  labels: Uint8Array,
  count: number,
  sum: number,
  quantiles: readonly (readonly [share: number, value: number])[],
  nowMs: number,
): void =>
  writeMetric(w, 'summary', labels, nowMs, () => {
    whole(w, 1, count);
    double(w, 2, sum);
    for (const [share, value] of quantiles)
      message(w, 3, () => {
        double(w, 1, share);
        double(w, 2, value);
      });
  });

/** Within a family of histograms. `counts` are not cumulative, and one more than `bounds`; buckets at which nothing changes are left out when `sparse`. */
export const writeHistogram = (
  w: Writer,
  labels: Uint8Array,
  sum: number,
  bounds: readonly number[],
  counts: ArrayLike<number>,
  sparse: boolean,
  at?: { readonly nowMs: number; readonly count: number },
): void => {
  let total = at?.count ?? 0;
  if (at === undefined) for (let i = 0; i < counts.length; i++) total += counts[i] ?? 0;
  writeMetric(w, 'histogram', labels, at?.nowMs, () => {
    whole(w, 1, total);
    double(w, 2, sum);
    let seen = 0;
    for (let i = 0; i < counts.length; i++) {
      const count = counts[i] ?? 0;
      seen += count;
      if (!sparse || count !== 0) writeBucket(w, seen, bounds[i] ?? Number.POSITIVE_INFINITY);
    }
  });
};

const writeBucket = (w: Writer, cumulative: number, bound: number): void =>
  message(w, 3, () => {
    whole(w, 1, cumulative);
    double(w, 2, bound);
  });
