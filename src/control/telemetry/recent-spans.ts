// Spans that were reported here, the newest of them: bounded in number and in bytes of text.
import { SPAN_BYTES_MAX, SPANS_MAX } from './limits.ts';
import { Newest } from './newest.ts';
import type { ReadSpan } from './span-reader.ts';

export interface ReportedSpan extends ReadSpan {
  /** Of a sidecar: the workload that it is of, as the control plane knows it. */
  readonly service: string;
  /** `name.namespace` of who reported it; 'nobody proven' on an insecure port. */
  readonly teller: string;
  /** The teller is a replica's sidecar, and `teller` its name; else it may be an account of the same name. */
  readonly sidecar: boolean;
}

/** Numbers, and the objects themselves. */
const FIXED_BYTES = 300;
const ATTRIBUTE_BYTES = 32;

/** What a sidecar's span says of its request. */
const REQUEST_ID = 'guid:x-request-id';

/** Zipkin's traces may have ids of 16 digits: those of 32 with as many zeros in front are the same. */
export const sameTrace = (a: string, b: string): boolean => a.padStart(32, '0') === b.padStart(32, '0');

export class RecentSpans {
  readonly #newest = new Newest<ReportedSpan>({ countMax: SPANS_MAX, bytesMax: SPAN_BYTES_MAX, bytesOf: sizeOf });

  get size(): number {
    return this.#newest.size;
  }

  get bytes(): number {
    return this.#newest.bytes;
  }

  add(span: ReportedSpan): void {
    this.#newest.add(span);
  }

  /** Of a trace, or of the traces that a request with that x-request-id is in; oldest first, each span of a teller once. */
  find(id: string, limit: number): ReportedSpan[] {
    const traces = new Set([id.padStart(32, '0')]);
    for (const span of this.#newest.oldestFirst()) if (span.attributes[REQUEST_ID] === id) traces.add(span.traceId);
    const found = new Map<string, ReportedSpan>();
    for (const span of this.#newest.oldestFirst()) {
      if (!traces.has(span.traceId) || found.size >= limit) continue;
      // A batch that was sent again brings the same spans; one that somebody else sent takes no span's place.
      const key = `${span.teller} ${span.spanId}`;
      if (!found.has(key)) found.set(key, span);
    }
    return [...found.values()];
  }
}

const sizeOf = (span: ReportedSpan): number => {
  let bytes = FIXED_BYTES + span.name.length + span.service.length + span.teller.length;
  for (const key in span.attributes) {
    const value = span.attributes[key];
    bytes += ATTRIBUTE_BYTES + key.length + (typeof value === 'string' ? value.length : 8);
  }
  return bytes;
};
