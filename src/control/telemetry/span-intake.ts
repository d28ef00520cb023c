// Batches of spans from sidecars and applications, as OTLP brings them: one call a batch. A sidecar's spans are of the workload that it
// has proven to be, whatever their resource says; an application's keep the name that it gives itself, beside who reported them. What
// comes faster than it is read is rejected, counted, and told in the answer.
import { err, ok, type Result } from '../../base/result.ts';
import { GRPC, type GrpcStatus } from '../../wire/grpc-frames.ts';
import { WireError, Writer } from '../../xds/wire-format.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import type { IntakeBudgets } from './intake-budgets.ts';
import { TEXT_CHARS_MAX } from './limits.ts';
import { shownText } from './recent-requests.ts';
import type { RecentSpans } from './recent-spans.ts';
import { readSpans, type SpanReading } from './span-reader.ts';
import type { Directory } from './speaker.ts';

export const TRACE_METHOD = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';

/** Who exports, as far as it is proven. */
export interface SpanTeller {
  /** `name.namespace`, or `account.namespace`. */
  readonly name: string;
  /** The replica whose sidecar it is; undefined: an application. */
  readonly sidecarOf: { readonly namespace: string; readonly name: string } | undefined;
}

/** What of a batch was not taken, and why; 0 and '': all was. */
export interface Rejected {
  readonly spans: number;
  readonly why: string;
}

/** Reads the spans of a batch; throws WireError for what is none. */
export type ReadBatch = (bytes: Uint8Array, reading: SpanReading) => void;

/** One batch, `read` from protobuf unless told otherwise: what was not taken of it, or why nothing was. */
export type SpanIntake = (bytes: Uint8Array, teller: SpanTeller, read?: ReadBatch) => Result<Rejected, GrpcStatus>;

export interface SpanIntakeOptions {
  readonly spans: RecentSpans;
  readonly directory: Directory;
  readonly budgets: IntakeBudgets;
  readonly counters: ControlMetrics;
  readonly now: () => number;
}

export const spanIntake =
  ({ spans, directory, budgets, counters, now }: SpanIntakeOptions): SpanIntake =>
  (bytes, teller, read = readSpans) => {
    if (!budgets.bytes(teller.name, bytes.length, now())) {
      counters.count('skein_telemetry_messages_dropped');
      return err({ code: GRPC.RESOURCE_EXHAUSTED, message: 'spans come faster than they are read' });
    }
    const own = teller.sidecarOf && directory.workload(teller.sidecarOf);
    let broken = 0;
    let late = 0;
    try {
      read(bytes, {
        span: (span, said) => {
          if (span === undefined) broken++;
          else if (!budgets.entry(teller.name, now())) late++;
          else spans.add({ ...span, service: own ?? (shownText(said) || teller.name), teller: teller.name, sidecar: own !== undefined });
        },
      });
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      return err({ code: GRPC.INVALID_ARGUMENT, message: `malformed message: ${error.message}` });
    }
    counters.count('skein_telemetry_messages', { stream: 'traces' });
    if (late > 0) counters.count('skein_telemetry_entries_dropped', {}, late);
    return ok(rejected(broken, late));
  };

const rejected = (broken: number, late: number): Rejected => {
  const why = [broken > 0 ? `${broken} spans without a valid trace id and span id` : '', late > 0 ? `${late} came too fast` : ''];
  return {
    spans: broken + late,
    why: why
      .filter((text) => text !== '')
      .join(', ')
      .slice(0, TEXT_CHARS_MAX),
  };
};

/** ExportTraceServiceResponse: nothing, or the partial success. */
export const exportResponse = ({ spans, why }: Rejected): Uint8Array => {
  const w = new Writer();
  if (spans === 0) return w.finish();
  w.tag(1, 2);
  w.nested(() => {
    w.tag(1, 0);
    w.varint(spans);
    w.tag(2, 2);
    w.string(why);
  });
  return w.finish();
};
