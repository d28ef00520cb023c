// Requests one by one, the newest of them, as sidecars tell of them. A ring, bounded in number and in bytes of text; who is told of faster
// than it can hold is told over by who comes later.
import { REQUEST_BYTES_MAX, REQUESTS_MAX, TEXT_CHARS_MAX } from './limits.ts';

export interface Party {
  readonly workload: string;
  readonly namespace: string;
  readonly service: string;
  readonly version: string;
  readonly principal: string;
}

/** Empty texts: not known. */
export interface RecentRequest {
  readonly atMs: number;
  readonly reporter: 'source' | 'destination' | 'gateway';
  /** `name.namespace` of who tells. */
  readonly proxy: string;
  readonly source: Party;
  readonly destination: Party;
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly status: number;
  readonly flags: string;
  readonly details: string;
  readonly durationMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly route: string;
  readonly cluster: string;
  readonly protocol: string;
  readonly requestId: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly attempts: number;
}

export interface RequestFilter {
  readonly trace?: string;
  readonly workload?: string;
  readonly status?: string;
  readonly path?: string;
}

/** Numbers, and the object itself. */
const FIXED_BYTES = 400;

export class RecentRequests {
  /** Told of each as it comes. */
  onAdd: ((request: RecentRequest) => void) | undefined;
  #ring: (RecentRequest | undefined)[] = [];
  #first = 0;
  #count = 0;
  #bytes = 0;

  get size(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(request: RecentRequest): void {
    this.onAdd?.(request);
    this.#bytes += sizeOf(request);
    while (this.#count > 0 && (this.#count >= REQUESTS_MAX || this.#bytes > REQUEST_BYTES_MAX)) this.#dropOldest();
    this.#ring[(this.#first + this.#count) % REQUESTS_MAX] = request;
    this.#count++;
  }

  /** Newest first. */
  find(filter: RequestFilter, limit: number): RecentRequest[] {
    const found: RecentRequest[] = [];
    for (let i = this.#count - 1; i >= 0 && found.length < limit; i--) {
      const request = this.#ring[(this.#first + i) % REQUESTS_MAX];
      if (request !== undefined && matches(request, filter)) found.push(request);
    }
    return found;
  }

  /** Oldest first, of a span of time. */
  *between(fromMs: number, toMs: number): Iterable<RecentRequest> {
    for (let i = 0; i < this.#count; i++) {
      const request = this.#ring[(this.#first + i) % REQUESTS_MAX];
      if (request !== undefined && request.atMs >= fromMs && request.atMs <= toMs) yield request;
    }
  }

  #dropOldest(): void {
    const oldest = this.#ring[this.#first];
    if (oldest !== undefined) this.#bytes -= sizeOf(oldest);
    this.#ring[this.#first] = undefined;
    this.#first = (this.#first + 1) % REQUESTS_MAX;
    this.#count--;
  }
}

const sizeOf = (r: RecentRequest): number =>
  FIXED_BYTES + r.path.length + r.authority.length + r.details.length + r.requestId.length + r.traceId.length + r.proxy.length;

const matches = (r: RecentRequest, { trace, workload, status, path }: RequestFilter): boolean =>
  (trace === undefined || r.requestId === trace || (r.traceId !== '' && r.traceId.padStart(32, '0') === trace.padStart(32, '0'))) &&
  (workload === undefined || r.source.workload === workload || r.destination.workload === workload) &&
  (status === undefined || String(r.status) === status || status === `${Math.floor(r.status / 100)}xx`) &&
  (path === undefined || r.path.startsWith(path));

/** As it may be kept and shown: no line breaks or other controls, and not without end. */
export const shownText = (text: string): string => {
  // A copy: a slice would hold all of the text that it is of.
  const cut = text.length > TEXT_CHARS_MAX ? Buffer.from(text.slice(0, TEXT_CHARS_MAX)).toString() : text;
  return /\p{Cc}/u.test(cut) ? cut.replaceAll(/\p{Cc}/gu, ' ') : cut;
};
