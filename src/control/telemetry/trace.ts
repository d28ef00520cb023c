// One trace: from spans that were reported here, and from the requests that sidecars told of, where a request that left a workload is a
// client span and one that came in a server span. What both tell of is one span. Span ids are the sidecars' where they trace; where they
// do not, spans have made-up ids and their parents are found by who called whom and when. What cannot be known is said: a trace whose
// application does not hand its headers on comes in parts. Pure.
import type { RecentRequest } from './recent-requests.ts';
import { type ReportedSpan, sameTrace } from './recent-spans.ts';
import type { AttributeValue, SpanKind } from './span-reader.ts';

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

/** What is known of one span; of `request` and `reported` one at least. */
interface Node {
  readonly request: RecentRequest | undefined;
  readonly reported: ReportedSpan | undefined;
  readonly kind: SpanKind;
  readonly id: string;
  /** As it was told; '' for none. */
  readonly toldParent: string;
  readonly startMs: number;
  readonly durationMs: number;
  /** '' while there is none. */
  parent: string;
}

/** Clocks of two machines, and of two measures on one. */
const SLACK_MS = 5;

/** `id` of a trace or of a request; `others` are of the same time. Undefined: nobody told of it. */
export const buildTrace = (
  id: string,
  requests: readonly RecentRequest[],
  reported: readonly ReportedSpan[],
  others: Iterable<RecentRequest>,
): Trace | undefined => {
  if (requests.length + reported.length === 0) return undefined;
  const nodes = nodesOf(requests, reported);
  const notes = linkAll(nodes);
  const roots = nodes.filter((n) => n.parent === '');
  const [first] = roots;
  for (const root of roots.slice(1))
    notes.push(`${nameOf(root)} at ${workloadOf(root)} has no parent here: what caused it was not told of, or did not hand the headers on`);
  if (first !== undefined && first.toldParent !== '' && (first.request === undefined || isCaller(first)))
    notes.push(`the caller's own span ${first.toldParent} was not told of`);
  const broken = [...brokenAt(nodes, id, others)];
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

const sideOf = ({ reporter }: RecentRequest): 'client' | 'server' => (reporter === 'destination' ? 'server' : 'client');

/** Answers what had to be guessed. */
const linkAll = (nodes: readonly Node[]): string[] => {
  const byId = new Map(nodes.filter((n) => n.reported !== undefined || n.request?.spanId !== '').map((n) => [n.id, n]));
  let guessed = false;
  const foreign = new Map<string, number>();
  for (const node of nodes) {
    const said = byId.get(node.toldParent);
    if (said !== undefined && said !== node) {
      node.parent = said.id;
      continue;
    }
    const { request } = node;
    const found = request && nodes.filter((other) => other !== node && mayCause(other, request)).sort((a, b) => b.startMs - a.startMs)[0];
    if (found === undefined) continue;
    node.parent = found.id;
    if (node.reported === undefined || node.toldParent === '') guessed = true;
    else foreign.set(workloadOf(node), (foreign.get(workloadOf(node)) ?? 0) + 1);
  }
  const notes: string[] = [];
  if (guessed) notes.push('sidecars report no spans of their own here: parents are found by who called whom, and when');
  for (const [workload, count] of foreign)
    notes.push(
      `${count === 1 ? 'a span of' : `${count} spans of`} ${workload} itself ${count === 1 ? 'was' : 'were'} not told of: what they caused stands below its request`,
    );
  return notes;
};

/** A client span causes the server span at its far side; a server span causes what its workload calls meanwhile. */
const mayCause = ({ request: a }: Node, b: RecentRequest): boolean => {
  if (a === undefined || sideOf(a) === sideOf(b)) return false;
  const within = b.atMs >= a.atMs - SLACK_MS && b.atMs <= a.atMs + a.durationMs + SLACK_MS;
  if (!within) return false;
  if (sideOf(a) === 'client')
    return (
      a.destination.workload === b.destination.workload &&
      a.destination.namespace === b.destination.namespace &&
      (b.source.workload === '' || a.source.workload === b.source.workload)
    );
  return a.destination.workload === b.source.workload && a.destination.namespace === b.source.namespace;
};

/** Calls of other traces that a workload made while it served this one, though none of this one's: it begins each anew. */
function* brokenAt(nodes: readonly Node[], id: string, others: Iterable<RecentRequest>): Iterable<string> {
  const ids = new Set(nodes.flatMap(({ request }) => (request === undefined ? [] : [request.traceId, request.requestId])));
  const leaves = nodes.filter((n) => n.kind === 'server' && n.request !== undefined && !nodes.some((m) => m.parent === n.id));
  const counts = new Map<Node, number>();
  for (const other of others) {
    if (other.reporter === 'destination' || other.traceId === id || other.requestId === id) continue;
    if ((other.traceId !== '' && ids.has(other.traceId)) || ids.has(other.requestId)) continue;
    // With a parent it goes on with a trace that somebody else began.
    if (other.parentSpanId !== '') continue;
    for (const leaf of leaves) {
      const { request } = leaf;
      if (request === undefined) continue;
      const own = other.source.workload === request.destination.workload && other.source.namespace === request.destination.namespace;
      const within = other.atMs >= request.atMs && other.atMs + other.durationMs <= request.atMs + request.durationMs;
      if (own && within) counts.set(leaf, (counts.get(leaf) ?? 0) + 1);
    }
  }
  for (const [leaf, count] of counts) {
    const who = workloadOf(leaf);
    yield `${who} made ${count === 1 ? 'a request' : `${count} requests`} with another trace meanwhile: does it hand x-request-id and traceparent on?`;
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
