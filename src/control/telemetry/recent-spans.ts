// Spans that were reported here, the newest of them: a ring, bounded in number and in bytes of text; whoever comes later takes the place of
// the oldest.
import { SPAN_BYTES_MAX, SPANS_MAX } from './limits.ts';
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
  readonly #ring: (ReportedSpan | undefined)[] = [];
  #first = 0;
  #count = 0;
  #bytes = 0;

  get size(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(span: ReportedSpan): void {
    this.#bytes += sizeOf(span);
    while (this.#count > 0 && (this.#count >= SPANS_MAX || this.#bytes > SPAN_BYTES_MAX)) this.#dropOldest();
    this.#ring[(this.#first + this.#count) % SPANS_MAX] = span;
    this.#count++;
  }

  /** Of a trace, or of the traces that a request with that x-request-id is in; oldest first, each span of a teller once. */
  find(id: string, limit: number): ReportedSpan[] {
    const traces = new Set([id.padStart(32, '0')]);
    for (const span of this.#all()) if (span.attributes[REQUEST_ID] === id) traces.add(span.traceId);
    const found = new Map<string, ReportedSpan>();
    for (const span of this.#all()) {
      if (!traces.has(span.traceId) || found.size >= limit) continue;
      // A batch that was sent again brings the same spans; one that somebody else sent takes no span's place.
      const key = `${span.teller} ${span.spanId}`;
      if (!found.has(key)) found.set(key, span);
    }
    return [...found.values()];
  }

  *#all(): Iterable<ReportedSpan> {
    for (let i = 0; i < this.#count; i++) {
      const span = this.#ring[(this.#first + i) % SPANS_MAX];
      if (span !== undefined) yield span;
    }
  }

  #dropOldest(): void {
    const oldest = this.#ring[this.#first];
    if (oldest !== undefined) this.#bytes -= sizeOf(oldest);
    this.#ring[this.#first] = undefined;
    this.#first = (this.#first + 1) % SPANS_MAX;
    this.#count--;
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
