// One trace: from spans that were reported here, and from the requests that sidecars told of, where a request that left a workload is a
// client span and one that came in a server span. What both tell of is one span. Span ids are the sidecars' where they trace; where they
// do not, spans have made-up ids and their parents are found by who called whom and when. What cannot be known is said: a trace whose
// application does not hand its headers on comes in parts. Pure.
import type { RecentRequest } from './recent-requests.ts';
import { type ReportedSpan, sameTrace } from './recent-spans.ts';
import type { AttributeValue, SpanKind } from './span-reader.ts';
import { type LinkedSpan, linkSpans, sideOf } from './trace-links.ts';

export interface Span {
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly kind: SpanKind;
  readonly service: string;
  readonly name: string;
  readonly startUs: number;
  readonly durationUs: number;
  /** Of HTTP; of a span without one, whether it failed. */
  readonly status: number | 'ok' | 'error';
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

export interface Trace {
  readonly traceId: string;
  readonly partial: boolean;
  readonly notes: readonly string[];
  readonly spans: readonly Span[];
}

interface Node extends LinkedSpan {
  readonly kind: SpanKind;
  readonly startMs: number;
  readonly durationMs: number;
}

/** Spans without a parent that are named one by one. */
const ORPHANS_NAMED = 20;

/** `id` of a trace or of a request; `others` are of the same time. Undefined: nobody told of it. */
export const buildTrace = (
  id: string,
  requests: readonly RecentRequest[],
  reported: readonly ReportedSpan[],
  others: Iterable<RecentRequest>,
): Trace | undefined => {
  if (requests.length + reported.length === 0) return undefined;
  const nodes = nodesOf(requests, reported);
  const { notes, broken } = linkAll(nodes);
  const roots = nodes.filter((n) => n.parent === '');
  const [first] = roots;
  for (const root of roots.slice(1, 1 + ORPHANS_NAMED))
    notes.push(`${nameOf(root)} at ${workloadOf(root)} has no parent here: what caused it was not told of, or did not hand the headers on`);
  if (roots.length > 1 + ORPHANS_NAMED) notes.push(`${roots.length - 1 - ORPHANS_NAMED} more have no parent here`);
  if (first !== undefined && first.toldParent !== '' && (first.request === undefined || isCaller(first)))
    notes.push(`the caller's own span ${first.toldParent} was not told of`);
  broken.push(...begunAnew(nodes, id, others));
  notes.push(...broken);
  const partial = roots.length > 1 || broken.length > 0;
  const traceId = reported[0]?.traceId ?? requests.find((r) => r.traceId !== '')?.traceId ?? id;
  return { traceId, partial, notes, spans: nodes.map(spanOf) };
};

const isCaller = ({ kind, request }: Node): boolean => kind === 'client' && request?.reporter === 'source';

const nodesOf = (requests: readonly RecentRequest[], reported: readonly ReportedSpan[]): Node[] => {
  const told = new Map(requests.filter((r) => r.spanId !== '').map((r) => [tellingOf(r.proxy, r.spanId), r]));
  const seen = new Set<string>();
  const taken = new Set(requests.map((r) => r.spanId));
  const nodes: Node[] = [];
  // Whoever knows a span's id can report one under it: sidecars, who have proven whose they are, come before others.
  for (const span of reported.toSorted((a, b) => Number(b.sidecar) - Number(a.sidecar))) {
    const telling = tellingOf(span.teller, span.spanId);
    const request = span.sidecar ? told.get(telling) : undefined;
    if (request !== undefined && sameTrace(request.traceId, span.traceId)) {
      seen.add(telling);
      nodes.push(reportedNode(span, span.spanId, request));
    } else nodes.push(reportedNode(span, taken.has(span.spanId) ? `${span.spanId}-of-${span.teller}` : span.spanId, undefined));
    taken.add(span.spanId);
  }
  const alone = requests.filter((r) => !seen.has(tellingOf(r.proxy, r.spanId)));
  nodes.push(...alone.toSorted(byTime).map((request, i) => toldNode(request, i)));
  return nodes.sort((a, b) => a.startMs - b.startMs || b.durationMs - a.durationMs);
};

const tellingOf = (teller: string, spanId: string): string => `${teller} ${spanId}`;

const byTime = (a: RecentRequest, b: RecentRequest): number => a.atMs - b.atMs || b.durationMs - a.durationMs;

const reportedNode = (reported: ReportedSpan, id: string, request: RecentRequest | undefined): Node => ({
  request,
  reported,
  kind: reported.kind,
  id,
  toldParent: reported.parentSpanId,
  startMs: reported.startUs / 1000,
  durationMs: reported.durationUs / 1000,
  parent: '',
});

const toldNode = (request: RecentRequest, i: number): Node => ({
  request,
  reported: undefined,
  kind: sideOf(request),
  id: request.spanId || `made-up-${String(i + 1).padStart(4, '0')}`,
  toldParent: request.parentSpanId,
  startMs: request.atMs,
  durationMs: request.durationMs,
  parent: '',
});

/** Answers what had to be guessed, and what is not as it was told. */
const linkAll = (nodes: readonly Node[]): { readonly notes: string[]; readonly broken: string[] } => {
  const { guessed, foreign, cut } = linkSpans(nodes);
  const notes: string[] = [];
  if (guessed) notes.push('sidecars report no spans of their own here: parents are found by who called whom, and when');
  for (const [workload, count] of countedBy(foreign, workloadOf))
    notes.push(
      `${count === 1 ? 'a span of' : `${count} spans of`} ${workload} itself ${count === 1 ? 'was' : 'were'} not told of: what they caused stands below its request`,
    );
  const broken = [...countedBy(cut, workloadOf)].map(
    ([workload, count]) =>
      `${count === 1 ? 'a span of' : `${count} spans of`} ${workload} named ${count === 1 ? 'its own descendant' : 'their own descendants'} as parent: the circle is shown from there on`,
  );
  return { notes, broken };
};

const countedBy = <T>(items: Iterable<T>, by: (item: T) => string): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(by(item), (counts.get(by(item)) ?? 0) + 1);
  return counts;
};

/** Calls of other traces that a workload made while it served this one, though none of this one's: it begins each anew. */
function* begunAnew(nodes: readonly Node[], id: string, others: Iterable<RecentRequest>): Iterable<string> {
  const ids = new Set(nodes.flatMap(({ request }) => (request === undefined ? [] : [request.traceId, request.requestId])));
  const times = leafTimes(nodes);
  const anew: string[] = [];
  for (const other of others) {
    if (other.reporter === 'destination' || other.traceId === id || other.requestId === id) continue;
    if ((other.traceId !== '' && ids.has(other.traceId)) || ids.has(other.requestId)) continue;
    // With a parent it goes on with a trace that somebody else began.
    if (other.parentSpanId !== '') continue;
    const who = `${other.source.workload}.${other.source.namespace}`;
    if (times.get(who)?.hold(other.atMs, other.atMs + other.durationMs) === true) anew.push(who);
  }
  for (const [who, count] of countedBy(anew, (workload) => workload))
    yield `${who} made ${count === 1 ? 'a request' : `${count} requests`} with another trace meanwhile: does it hand x-request-id and traceparent on?`;
}

/** By workload: when it served requests of the trace that caused nothing more. */
const leafTimes = (nodes: readonly Node[]): ReadonlyMap<string, Times> => {
  const parents = new Set(nodes.map((n) => n.parent));
  const leaves = nodes.flatMap(({ kind, request, id }) =>
    kind === 'server' && request !== undefined && !parents.has(id) ? [request] : [],
  );
  const times = new Map<string, Times>();
  for (const { atMs, durationMs, destination } of leaves.sort((a, b) => a.atMs - b.atMs)) {
    const who = `${destination.workload}.${destination.namespace}`;
    const own = times.get(who) ?? new Times();
    own.add(atMs, atMs + durationMs);
    times.set(who, own);
  }
  return times;
};

/** Spans of time in the order of their beginnings. */
class Times {
  readonly #begins: number[] = [];
  /** The latest end of all up to this one. */
  readonly #ends: number[] = [];

  add(begin: number, end: number): void {
    this.#begins.push(begin);
    this.#ends.push(Math.max(end, this.#ends.at(-1) ?? end));
  }

  /** Whether one of them holds all from `begin` to `end`. */
  hold(begin: number, end: number): boolean {
    let [low, high] = [0, this.#begins.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#begins[middle] ?? 0) <= begin) low = middle + 1;
      else high = middle;
    }
    return low > 0 && (this.#ends[low - 1] ?? 0) >= end;
  }
}

const workloadOf = ({ request, reported }: Node): string => {
  if (request === undefined) return reported?.service ?? '';
  const { workload, namespace } = sideOf(request) === 'client' ? request.source : request.destination;
  return workload === '' ? request.proxy : `${workload}.${namespace}`;
};

const nameOf = ({ request, reported }: Node): string =>
  request === undefined ? (reported?.name ?? '') : `${request.method || request.protocol} ${request.path}`.trim();

const requestAttributes = (request: RecentRequest): Record<string, AttributeValue> => {
  const { source, destination } = request;
  const attributes: Record<string, AttributeValue> = {
    'http.method': request.method,
    'http.host': request.authority,
    'http.path': request.path,
    'http.status_code': request.status,
    'guid:x-request-id': request.requestId,
    upstream_cluster: request.cluster,
    route: request.route,
    response_flags: request.flags || '-',
    response_code_details: request.details,
    source: source.workload === '' ? 'unknown' : `${source.workload}.${source.namespace}`,
    destination: destination.workload === '' ? destination.service || 'unknown' : `${destination.workload}.${destination.namespace}`,
    'destination.version': destination.version,
    request_size: request.bytesIn,
    response_size: request.bytesOut,
    attempts: request.attempts,
    reporter: request.reporter,
  };
  for (const [name, value] of Object.entries(attributes)) if (value === '' || value === 0) delete attributes[name];
  return attributes;
};

/** Names of old and of now. */
const STATUS_ATTRIBUTES = ['http.status_code', 'http.response.status_code'] as const;

const statusOf = ({ attributes, failed }: ReportedSpan): Span['status'] => {
  for (const name of STATUS_ATTRIBUTES) {
    const value = attributes[name];
    if (value !== undefined && /^\d{1,3}$/.test(String(value))) return Number(value);
  }
  return failed ? 'error' : 'ok';
};

const spanOf = (node: Node): Span => {
  const { request, reported, kind, id, parent } = node;
  const attributes = {
    ...(request === undefined ? {} : requestAttributes(request)),
    ...reported?.attributes,
    ...(reported === undefined ? {} : { 'reported.by': reported.teller }),
  };
  return {
    spanId: id,
    parentSpanId: parent,
    kind,
    service: workloadOf(node),
    name: request === undefined ? nameOf(node) : kind === sideOf(request) || reported === undefined ? nameOf(node) : reported.name,
    startUs: Math.round(reported?.startUs ?? node.startMs * 1000),
    durationUs: Math.round(reported?.durationUs ?? node.durationMs * 1000),
    status: request?.status ?? (reported === undefined ? 'ok' : statusOf(reported)),
    attributes,
  };
};
