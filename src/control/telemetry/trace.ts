// One trace from the requests that sidecars told of: a client span where a request left a workload, a server span where it came in. Span
// ids are the sidecars' where they trace; where they do not, spans have made-up ids and their parents are found by who called whom and
// when. What cannot be known is said: a trace whose application does not hand its headers on comes in parts. Pure.
import type { RecentRequest } from './recent-requests.ts';

export interface Span {
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly kind: 'client' | 'server';
  readonly service: string;
  readonly name: string;
  readonly startUs: number;
  readonly durationUs: number;
  readonly status: number;
  readonly attributes: Readonly<Record<string, string | number>>;
}

export interface Trace {
  readonly traceId: string;
  readonly partial: boolean;
  readonly notes: readonly string[];
  readonly spans: readonly Span[];
}

interface Node {
  readonly request: RecentRequest;
  readonly kind: 'client' | 'server';
  readonly id: string;
  /** '' while there is none. */
  parent: string;
}

/** Clocks of two machines, and of two measures on one. */
const SLACK_MS = 5;

/** `id` of a trace or of a request; `others` are of the same time. Undefined: nobody told of it. */
export const buildTrace = (id: string, requests: readonly RecentRequest[], others: Iterable<RecentRequest>): Trace | undefined => {
  if (requests.length === 0) return undefined;
  const sorted = [...requests].sort((a, b) => a.atMs - b.atMs || b.durationMs - a.durationMs);
  const nodes = sorted.map((request, i): Node => {
    const kind = request.reporter === 'destination' ? 'server' : 'client';
    return { request, kind, id: request.spanId || madeUp(i), parent: '' };
  });
  const guessed = linkAll(nodes);
  const notes: string[] = [];
  if (guessed) notes.push('sidecars report no spans of their own here: parents are found by who called whom, and when');
  const roots = nodes.filter((n) => n.parent === '');
  const [first] = roots;
  for (const root of roots.slice(1)) {
    notes.push(
      `${nameOf(root.request)} at ${workloadOf(root)} has no parent here: what caused it was not told of, or did not hand the headers on`,
    );
  }
  if (first !== undefined && first.kind === 'client' && first.request.reporter === 'source' && first.request.parentSpanId !== '')
    notes.push(`the caller's own span ${first.request.parentSpanId} was not told of`);
  const broken = [...brokenAt(nodes, id, others)];
  notes.push(...broken);
  const partial = roots.length > 1 || broken.length > 0;
  return { traceId: sorted.find((r) => r.traceId !== '')?.traceId ?? id, partial, notes, spans: nodes.map(spanOf) };
};

const madeUp = (i: number): string => `made-up-${String(i + 1).padStart(4, '0')}`;

/** Answers whether a parent had to be guessed. */
const linkAll = (nodes: readonly Node[]): boolean => {
  const byId = new Map(nodes.filter((n) => n.request.spanId !== '').map((n) => [n.id, n]));
  let guessed = false;
  for (const node of nodes) {
    const said = byId.get(node.request.parentSpanId);
    if (said !== undefined && said !== node) {
      node.parent = said.id;
      continue;
    }
    const found = nodes.filter((other) => other !== node && mayCause(other, node)).sort((a, b) => b.request.atMs - a.request.atMs)[0];
    if (found === undefined) continue;
    node.parent = found.id;
    guessed = true;
  }
  return guessed;
};

/** A client span causes the server span at its far side; a server span causes what its workload calls meanwhile. */
const mayCause = (cause: Node, effect: Node): boolean => {
  const [a, b] = [cause.request, effect.request];
  if (cause.kind === effect.kind) return false;
  const within = b.atMs >= a.atMs - SLACK_MS && b.atMs <= a.atMs + a.durationMs + SLACK_MS;
  if (!within) return false;
  if (cause.kind === 'client')
    return (
      a.destination.workload === b.destination.workload &&
      a.destination.namespace === b.destination.namespace &&
      (b.source.workload === '' || a.source.workload === b.source.workload)
    );
  return a.destination.workload === b.source.workload && a.destination.namespace === b.source.namespace;
};

/** Calls of other traces that a workload made while it served this one, though none of this one's: it begins each anew. */
function* brokenAt(nodes: readonly Node[], id: string, others: Iterable<RecentRequest>): Iterable<string> {
  const leaves = nodes.filter((n) => n.kind === 'server' && !nodes.some((m) => m.parent === n.id));
  const counts = new Map<Node, number>();
  for (const other of others) {
    if (other.reporter === 'destination' || other.traceId === id || other.requestId === id) continue;
    // With a parent it goes on with a trace that somebody else began.
    if (other.parentSpanId !== '') continue;
    for (const leaf of leaves) {
      const { request } = leaf;
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

const workloadOf = ({ kind, request }: Node): string => {
  const { workload, namespace } = kind === 'client' ? request.source : request.destination;
  return workload === '' ? request.proxy : `${workload}.${namespace}`;
};

const nameOf = ({ method, path, protocol }: RecentRequest): string => `${method || protocol} ${path}`.trim();

const spanOf = (node: Node): Span => {
  const { request, kind, id, parent } = node;
  const { atMs, durationMs, status, source, destination } = request;
  const attributes: Record<string, string | number> = {
    'http.method': request.method,
    'http.host': request.authority,
    'http.path': request.path,
    'http.status_code': status,
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
  return {
    spanId: id,
    parentSpanId: parent,
    kind,
    service: workloadOf(node),
    name: nameOf(request),
    startUs: Math.round(atMs * 1000),
    durationUs: Math.round(durationMs * 1000),
    status,
    attributes,
  };
};
