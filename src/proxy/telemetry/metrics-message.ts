// Writes StreamMetricsMessage: families of Prometheus' client model, with labels that were encoded before. Pure.

import { encode } from '../../xds/codec.ts';
import type { Node } from '../../xds/gen/types.ts';
import { Writer } from '../../xds/wire-format.ts';

export type FamilyType = 'counter' | 'gauge' | 'summary' | 'histogram';

const TYPES: Readonly<Record<FamilyType, number>> = { counter: 0, gauge: 1, summary: 2, histogram: 4 };
const LENGTH = 2;
const FIXED64 = 1;
const VARINT = 0;

export type LabelPairs = readonly (readonly [name: string, value: string])[];

/** As every metric with these labels has them. */
export const encodeLabels = (labels: LabelPairs): Uint8Array => {
  const w = new Writer();
  for (const [name, value] of labels) {
    w.tag(1, LENGTH);
    w.nested(() => {
      w.tag(1, LENGTH);
      w.string(name);
      w.tag(2, LENGTH);
      w.string(value);
    });
  }
  return w.finish();
};

/** A message that says who sends it, which the first one of a stream must be. */
export const metricsIdentifier = (node: Node): Uint8Array => {
  const w = new Writer();
  w.tag(1, LENGTH);
  w.nested(() => {
    w.tag(1, LENGTH);
    w.bytes(encode('envoy.config.core.v3.Node', node));
  });
  return w.finish();
};

export const writeFamily = (w: Writer, name: string, type: FamilyType, metrics: () => void): void => {
  w.tag(2, LENGTH);
  w.nested(() => {
    w.tag(1, LENGTH);
    w.string(name);
    w.tag(3, VARINT);
    w.varint(TYPES[type]);
    metrics();
  });
};

/** Field 6: when. */
const writeTime = (w: Writer, nowMs: number): void => {
  w.tag(6, VARINT);
  w.varint(nowMs);
};

/** Within a family of counters or gauges. */
export const writeValue = (w: Writer, type: 'counter' | 'gauge', labels: Uint8Array, value: number, nowMs?: number): void => {
  w.tag(4, LENGTH);
  w.nested(() => {
    w.raw(labels);
    w.tag(type === 'gauge' ? 2 : 3, LENGTH);
    w.nested(() => {
      w.tag(1, FIXED64);
      w.double(value);
    });
    if (nowMs !== undefined) writeTime(w, nowMs);
  });
};

/** Within a family of summaries. */
export const writeSummary = (
  w: Writer,
  labels: Uint8Array,
  count: number,
  sum: number,
  quantiles: readonly (readonly [share: number, value: number])[],
  nowMs: number,
): void => {
  w.tag(4, LENGTH);
  w.nested(() => {
    w.raw(labels);
    w.tag(4, LENGTH);
    w.nested(() => {
      w.tag(1, VARINT);
      w.varint(count);
      w.tag(2, FIXED64);
      w.double(sum);
      for (const [share, value] of quantiles) {
        w.tag(3, LENGTH);
        w.nested(() => {
          w.tag(1, FIXED64);
          w.double(share);
          w.tag(2, FIXED64);
          w.double(value);
        });
      }
    });
    writeTime(w, nowMs);
  });
};

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
  w.tag(4, LENGTH);
  w.nested(() => {
    w.raw(labels);
    w.tag(7, LENGTH);
    w.nested(() => {
      w.tag(1, VARINT);
      w.varint(total);
      w.tag(2, FIXED64);
      w.double(sum);
      let seen = 0;
      for (let i = 0; i < counts.length; i++) {
        seen += counts[i] ?? 0;
        if (sparse && (counts[i] ?? 0) === 0) continue;
        writeBucket(w, seen, bounds[i] ?? Number.POSITIVE_INFINITY);
      }
    });
    if (at !== undefined) writeTime(w, at.nowMs);
  });
};

const writeBucket = (w: Writer, cumulative: number, bound: number): void => {
  w.tag(3, LENGTH);
  w.nested(() => {
    w.tag(1, VARINT);
    w.varint(cumulative);
    w.tag(2, FIXED64);
    w.double(bound);
  });
};
