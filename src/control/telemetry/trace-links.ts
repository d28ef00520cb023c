// Who caused whom among the spans of a trace: by the parents that they name, and where those were not told of, by who called whom and when.
// What comes of it is a forest, whatever was told: a circle is cut. The work grows with the number of spans, not with its square. Pure.
import type { RecentRequest } from './recent-requests.ts';
import type { ReportedSpan } from './recent-spans.ts';

/** What is known of one span, as far as its place in the trace goes; of `request` and `reported` one at least. */
export interface LinkedSpan {
  readonly id: string;
  /** As it was told; '' for none. */
  readonly toldParent: string;
  readonly request: RecentRequest | undefined;
  readonly reported: ReportedSpan | undefined;
  /** '' while there is none. */
  parent: string;
}

export interface Links<Span> {
  /** Their parents were guessed, though they named one: it was not told of. */
  readonly foreign: readonly Span[];
  /** Parents were guessed of spans that named none, or that nobody reported. */
  readonly guessed: boolean;
  /** The first of each circle that was told: it has no parent any more. */
  readonly cut: readonly Span[];
}

/** Clocks of two machines, and of two measures on one. */
const SLACK_MS = 5;

/** `spans` in the order of their beginnings, the longer first. */
export const linkSpans = <Span extends LinkedSpan>(spans: readonly Span[]): Links<Span> => {
  // Nobody names an id that was made up here.
  const byId = new Map(spans.filter((s) => s.reported !== undefined || s.request?.spanId !== '').map((s) => [s.id, s]));
  const lost: Span[] = [];
  for (const span of spans) {
    const said = byId.get(span.toldParent);
    if (said !== undefined && said !== span) span.parent = said.id;
    else lost.push(span);
  }
  const causes = new Causes(spans);
  const guesses = new Set<Span>();
  const foreign: Span[] = [];
  let guessed = false;
  for (const span of inOrderOfRequests(lost)) {
    const found = causes.of(span);
    if (found === undefined) continue;
    span.parent = found.id;
    guesses.add(span);
    if (span.reported === undefined || span.toldParent === '') guessed = true;
    else foreign.push(span);
  }
  return { foreign, guessed, cut: cutCircles(spans, guesses) };
};

export const sideOf = ({ reporter }: RecentRequest): 'client' | 'server' => (reporter === 'destination' ? 'server' : 'client');

const atOf = ({ request }: LinkedSpan): number => request?.atMs ?? 0;

const inOrderOfRequests = <Span extends LinkedSpan>(spans: readonly Span[]): Span[] =>
  spans.filter((s) => s.request !== undefined).sort((a, b) => atOf(a) - atOf(b));

/**
 * What may have caused a request, the latest first. Asked in the order of time: what has ended is forgotten. A client span causes the server
 * span at its far side, which has another clock; a server span causes what its workload calls meanwhile, by the same clock.
 */
class Causes<Span extends LinkedSpan> {
  readonly #clients: readonly Span[];
  readonly #servers: readonly Span[];
  readonly #under = new Map<string, Span[]>();
  #clientsIn = 0;
  #serversIn = 0;
  readonly #place: ReadonlyMap<Span, number>;

  constructor(spans: readonly Span[]) {
    const ordered = inOrderOfRequests(spans);
    this.#place = new Map(ordered.map((s, i) => [s, i]));
    this.#clients = ordered.filter(({ request }) => request !== undefined && sideOf(request) === 'client');
    this.#servers = ordered.filter(({ request }) => request !== undefined && sideOf(request) === 'server');
  }

  of(span: Span): Span | undefined {
    const { request } = span;
    if (request === undefined) return undefined;
    const { source, destination, atMs } = request;
    if (sideOf(request) === 'server') {
      this.#admitClients(atMs + SLACK_MS);
      const way = nameOf(destination.workload, destination.namespace);
      return this.#latest(source.workload === '' ? `to ${way}` : `from ${source.workload} to ${way}`, span);
    }
    this.#admitServers(this.#place.get(span) ?? 0);
    return this.#latest(`in ${nameOf(source.workload, source.namespace)}`, span);
  }

  #admitClients(untilMs: number): void {
    for (let next = this.#clients[this.#clientsIn]; next?.request && atOf(next) <= untilMs; next = this.#clients[++this.#clientsIn]) {
      const { source, destination } = next.request;
      const way = nameOf(destination.workload, destination.namespace);
      this.#add(`to ${way}`, next);
      this.#add(`from ${source.workload} to ${way}`, next);
    }
  }

  #admitServers(place: number): void {
    for (
      let next = this.#servers[this.#serversIn];
      next?.request && (this.#place.get(next) ?? 0) < place;
      next = this.#servers[++this.#serversIn]
    ) {
      const { workload, namespace } = next.request.destination;
      this.#add(`in ${nameOf(workload, namespace)}`, next);
    }
  }

  /** The latest is the last; of several at one time the first, which is the longest. */
  #add(where: string, span: Span): void {
    const stack = this.#under.get(where) ?? [];
    const last = stack.at(-1);
    if (last !== undefined && atOf(last) === atOf(span)) stack.splice(-1, 1, span, last);
    else stack.push(span);
    this.#under.set(where, stack);
  }

  /** Each of what a span has caused itself is passed over once, by it alone. */
  #latest(where: string, caused: Span): Span | undefined {
    const stack = this.#under.get(where) ?? [];
    const passed: Span[] = [];
    let found: Span | undefined;
    for (let last = stack.at(-1); last !== undefined && found === undefined; last = stack.at(-1)) {
      if (atOf(caused) > atOf(last) + (last.request?.durationMs ?? 0) + SLACK_MS) stack.pop();
      else if (last.parent === caused.id) {
        passed.push(last);
        stack.pop();
      } else found = last;
    }
    stack.push(...passed.reverse());
    return found;
  }
}

const nameOf = (workload: string, namespace: string): string => `${workload}.${namespace}`;

/** A guess is given up before what was told, and is not answered; else the first of the circle begins it. */
const cutCircles = <Span extends LinkedSpan>(spans: readonly Span[], guesses: ReadonlySet<Span>): readonly Span[] => {
  const byId = new Map(spans.map((s) => [s.id, s]));
  const place = new Map(spans.map((s, i) => [s, i]));
  const settled = new Set<Span>();
  const cut: Span[] = [];
  for (const span of spans) {
    const way = new Set<Span>();
    let at: Span | undefined = span;
    while (at !== undefined && !settled.has(at) && !way.has(at)) {
      way.add(at);
      at = at.parent === '' ? undefined : byId.get(at.parent);
    }
    if (at !== undefined && way.has(at)) {
      const met = [...way];
      const circle = met.slice(met.indexOf(at)).sort((a, b) => (place.get(a) ?? 0) - (place.get(b) ?? 0));
      const first = circle.find((s) => guesses.has(s)) ?? circle[0];
      if (first !== undefined) first.parent = '';
      if (first !== undefined && !guesses.has(first)) cut.push(first);
    }
    for (const s of way) settled.add(s);
  }
  return cut;
};
