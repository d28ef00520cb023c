// Spans on their way to a collector, encoded as they end: bytes in a bounded queue. Batches are sent whole or given up; requests never wait.

import { BatchQueue, type Count } from '../export/batch-queue.ts';
import type { Exporter } from '../export/exporters.ts';
import { SPAN_BATCH_BYTES, SPAN_FLUSH_MS, SPAN_QUEUE_BYTES, SPANS_QUEUED } from '../limits.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Stat } from '../stats-store.ts';

export interface SpanCounts {
  readonly sent: Stat;
  /** They found the queue full. */
  readonly dropped: Stat;
  /** The collector did not take them. */
  readonly failed: Stat;
  /** The collector took their report and said that it did not take them. */
  readonly rejected: Count;
  readonly reportsSent: Stat;
  /** The collector refused. */
  readonly reportsDropped: Stat;
  /** It did not answer. */
  readonly reportsFailed: Stat;
  readonly noCluster: Stat;
}

const BATCH_SPANS = 512;
/** The queue holds more than one batch. */
const QUEUE_SHARE = 2;
/** Fewer wait for the timer, as in Envoy (tracing.opentelemetry.min_flush_spans). */
const FLUSH_SPANS_MIN = 5;
const ATTEMPTS = 3;

/** `spansMax`, and the bound of bytes: of the sidecar. */
export const spanQueue = (
  env: ProxyEnvironment,
  exporter: Exporter,
  counts: SpanCounts,
  encode: (spans: readonly Buffer[]) => Buffer,
  spansMax = SPANS_QUEUED,
): BatchQueue<Buffer> => {
  const itemsMax = Math.ceil(spansMax / env.workers);
  const bytesMax = Math.ceil(SPAN_QUEUE_BYTES / env.workers);
  return new BatchQueue<Buffer>({
    wheel: env.wheel,
    random: env.random,
    counts,
    itemsMax,
    bytesMax,
    batchItems: Math.min(BATCH_SPANS, Math.max(FLUSH_SPANS_MIN, Math.ceil(itemsMax / QUEUE_SHARE))),
    batchBytes: Math.min(SPAN_BATCH_BYTES, bytesMax / QUEUE_SHARE),
    flushMs: SPAN_FLUSH_MS,
    attempts: ATTEMPTS,
    send: (spans, done) => {
      if (!exporter.reachable()) counts.noCluster.value++;
      return exporter.send(encode(spans), (ok, again, rejected) => {
        if (ok) counts.reportsSent.value++;
        else if (again === false) counts.reportsDropped.value++;
        else counts.reportsFailed.value++;
        done(ok, again, rejected);
      });
    },
  });
};

export const spanCounts = (env: ProxyEnvironment, tracer: 'zipkin' | 'opentelemetry'): SpanCounts => {
  const counter = (name: string): Stat => env.stats.counter(`tracing.${tracer}.${name}`);
  return {
    sent: counter('spans_sent'),
    dropped: counter('spans_dropped'),
    failed: counter('spans_failed'),
    rejected: tracer === 'opentelemetry' ? counter('spans_rejected') : { value: 0 },
    reportsSent: counter('reports_sent'),
    reportsDropped: counter('reports_dropped'),
    reportsFailed: counter('reports_failed'),
    noCluster: counter('reports_skipped_no_cluster'),
  };
};
