// Reads StreamMetricsMessage: Prometheus' client model, metric by metric, without an object for what nobody wants. Throws WireError for
// bytes that are no such message. Pure.

import type { Node } from '../../xds/gen/types.ts';
import { Reader } from '../../xds/wire-format.ts';
import { readNode } from './node-reader.ts';

export interface Bucket {
  readonly bound: number;
  /** Of all that is not above the bound. */
  readonly cumulative: number;
}

export interface MetricValue {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  /** Counter, gauge or untyped. */
  readonly value: number;
  readonly histogram: { readonly count: number; readonly sum: number; readonly buckets: readonly Bucket[] } | undefined;
}

export interface MetricsReading {
  readonly node: (node: Node) => void;
  /** Metrics of other families are not read. */
  readonly wanted: (family: string) => boolean;
  readonly metric: (metric: MetricValue) => void;
}

const MESSAGE = { identifier: 1, families: 2 } as const;
const FAMILY = { name: 1, metric: 4 } as const;
const METRIC = { label: 1, gauge: 2, counter: 3, untyped: 5, histogram: 7 } as const;
const HISTOGRAM = { count: 1, sum: 2, bucket: 3 } as const;
const LABELS_MAX = 64;
const BUCKETS_MAX = 256;

/** Each field of a message: its number and wire type; the reader stands at its value, which `take` reads whole. */
export const eachField = (r: Reader, take: (field: number, wireType: number) => void): void => {
  while (r.pos < r.end) {
    const tag = r.varint();
    take(Math.floor(tag / 8), tag % 8);
  }
};

/** The message that stands here. */
export const inner = (r: Reader): Reader => {
  const end = r.length();
  const found = new Reader(r.buf, r.pos, end);
  r.pos = end;
  return found;
};

const LENGTH = 2;
const FIXED64 = 1;

export const readMetrics = (bytes: Uint8Array, reading: MetricsReading): void => {
  const r = new Reader(bytes);
  eachField(r, (field, type) => {
    if (type !== LENGTH) r.skip(type);
    else if (field === MESSAGE.identifier) readIdentifier(inner(r), reading);
    else if (field === MESSAGE.families) readFamily(inner(r), reading);
    else r.skip(type);
  });
};

const readIdentifier = (r: Reader, { node }: MetricsReading): void =>
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) node(readNode(r.bytes()));
    else r.skip(type);
  });

/** Its name stands before its metrics: every writer keeps the order of field numbers. */
const readFamily = (r: Reader, reading: MetricsReading): void => {
  let name: string | undefined;
  eachField(r, (field, type) => {
    if (field === FAMILY.name && type === LENGTH) name = r.string();
    else if (field === FAMILY.metric && type === LENGTH && name !== undefined && reading.wanted(name)) readMetric(inner(r), name, reading);
    else r.skip(type);
  });
};

const readMetric = (r: Reader, name: string, reading: MetricsReading): void => {
  const labels = new Map<string, string>();
  let value = 0;
  let histogram: MetricValue['histogram'];
  eachField(r, (field, type) => {
    if (type !== LENGTH) r.skip(type);
    else if (field === METRIC.label && labels.size < LABELS_MAX) readLabel(inner(r), labels);
    else if (field === METRIC.counter || field === METRIC.gauge || field === METRIC.untyped) value = readValue(inner(r));
    else if (field === METRIC.histogram) histogram = readHistogram(inner(r));
    else r.skip(type);
  });
  reading.metric({ name, labels, value, histogram });
};

const readLabel = (r: Reader, into: Map<string, string>): void => {
  let name = '';
  let value = '';
  eachField(r, (field, type) => {
    if (type !== LENGTH) r.skip(type);
    else if (field === 1) name = r.string();
    else if (field === 2) value = r.string();
    else r.skip(type);
  });
  into.set(name, value);
};

const readValue = (r: Reader): number => {
  let value = 0;
  eachField(r, (field, type) => {
    if (field === 1 && type === FIXED64) value = r.double();
    else r.skip(type);
  });
  return value;
};

const readHistogram = (r: Reader): NonNullable<MetricValue['histogram']> => {
  let count = 0;
  let sum = 0;
  const buckets: Bucket[] = [];
  eachField(r, (field, type) => {
    if (field === HISTOGRAM.count && type === 0) count = r.varint();
    else if (field === HISTOGRAM.sum && type === FIXED64) sum = r.double();
    else if (field === HISTOGRAM.bucket && type === LENGTH && buckets.length < BUCKETS_MAX) buckets.push(readBucket(inner(r)));
    else r.skip(type);
  });
  return { count, sum, buckets };
};

const readBucket = (r: Reader): Bucket => {
  let cumulative = 0;
  let bound = 0;
  eachField(r, (field, type) => {
    if (field === 1 && type === 0) cumulative = r.varint();
    else if (field === 2 && type === FIXED64) bound = r.double();
    else r.skip(type);
  });
  return { bound, cumulative };
};
