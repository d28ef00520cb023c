// Requests one by one, the newest of them, as sidecars tell of them: bounded in number and in bytes of text.
import { REQUEST_BYTES_MAX, REQUESTS_MAX, TEXT_CHARS_MAX } from './limits.ts';
import { Newest } from './newest.ts';

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
  readonly #newest = new Newest<RecentRequest>({ countMax: REQUESTS_MAX, bytesMax: REQUEST_BYTES_MAX, bytesOf: sizeOf });

  get size(): number {
    return this.#newest.size;
  }

  get bytes(): number {
    return this.#newest.bytes;
  }

  add(request: RecentRequest): void {
    this.onAdd?.(request);
    this.#newest.add(request);
  }

  /** Newest first. */
  find(filter: RequestFilter, limit: number): RecentRequest[] {
    const found: RecentRequest[] = [];
    for (const request of this.#newest.newestFirst()) {
      if (found.length >= limit) break;
      if (matches(request, filter)) found.push(request);
    }
    return found;
  }

  /** Oldest first, of a span of time. */
  *between(fromMs: number, toMs: number): Iterable<RecentRequest> {
    for (const request of this.#newest.oldestFirst()) if (request.atMs >= fromMs && request.atMs <= toMs) yield request;
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
