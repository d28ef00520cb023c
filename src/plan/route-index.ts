// Finds the first route in configured order that takes a request without trying all: routes with an exact path are found
// by a map, all others are tried in order, and the smaller position wins. Small lists are simply tried in order.
import type { RequestView } from './request-view.ts';
import type { Criteria } from './route-criteria.ts';
import type { RouteMatch, Runtime } from './route-plan.ts';

export interface Candidate {
  readonly criteria: Criteria;
  /** The outcome, by weight where there are weights. */
  readonly choose: (req: RequestView, random: () => number) => RouteMatch;
}
export interface RouteIndex {
  readonly candidates: readonly Candidate[];
  readonly hasFraction: boolean;
  /** Positions of routes with this exact, case-sensitive path; undefined: too few routes to be worth it. */
  readonly byPath: ReadonlyMap<string, readonly number[]> | undefined;
  /** Positions of routes whose prefix holds a whole first segment, by that segment. */
  readonly bySegment: ReadonlyMap<string, readonly number[]>;
  /** Positions of the rest. */
  readonly others: readonly number[];
}

/** Below this, trying in order beats two look-ups. */
const INDEX_MIN = 8;
const NONE: readonly number[] = [];

export const buildRouteIndex = (candidates: readonly Candidate[]): RouteIndex => {
  const hasFraction = candidates.some((c) => c.criteria.hasFraction);
  if (candidates.length < INDEX_MIN) return { candidates, hasFraction, byPath: undefined, bySegment: new Map(), others: NONE };
  const byPath = new Map<string, number[]>();
  const bySegment = new Map<string, number[]>();
  const others: number[] = [];
  const put = (map: Map<string, number[]>, key: string, position: number): void => {
    const list = map.get(key);
    if (list === undefined) map.set(key, [position]);
    else list.push(position);
  };
  candidates.forEach(({ criteria: { path } }, position) => {
    const segment =
      path.caseSensitive && (path.kind === 'prefix' || path.kind === 'separated-prefix') ? wholeSegment(path.text, path.kind) : undefined;
    if (path.kind === 'exact' && path.caseSensitive) put(byPath, path.text, position);
    else if (segment !== undefined) put(bySegment, segment, position);
    else others.push(position);
  });
  return { candidates, hasFraction, byPath, bySegment, others };
};

/** First segment of a prefix when every path it matches must have exactly that segment. */
const wholeSegment = (prefix: string, kind: 'prefix' | 'separated-prefix'): string | undefined => {
  if (prefix.charCodeAt(0) !== 47) return undefined;
  const slash = prefix.indexOf('/', 1);
  if (slash > 0) return prefix.slice(1, slash);
  return kind === 'separated-prefix' ? prefix.slice(1) : undefined;
};

export const firstMatch = (
  index: RouteIndex,
  path: string,
  req: RequestView,
  random: () => number,
  runtime: Runtime,
): Candidate | undefined => {
  // One draw serves every fraction of one request, as in Envoy.
  const draw = index.hasFraction ? random() : 0;
  if (index.byPath === undefined) {
    for (const candidate of index.candidates) if (takes(candidate, path, req, draw, runtime)) return candidate;
    return undefined;
  }
  const exact = index.byPath.get(path) ?? NONE;
  const slash = path.indexOf('/', 1);
  const segment = index.bySegment.get(slash < 0 ? path.slice(1) : path.slice(1, slash)) ?? NONE;
  let a = 0;
  let b = 0;
  let c = 0;
  for (;;) {
    const x = exact[a] ?? Infinity;
    const y = segment[b] ?? Infinity;
    const z = index.others[c] ?? Infinity;
    const next = Math.min(x, y, z);
    if (next === Infinity) return undefined;
    if (next === x) a++;
    else if (next === y) b++;
    else c++;
    const candidate = index.candidates[next];
    if (candidate !== undefined && takes(candidate, path, req, draw, runtime)) return candidate;
  }
};

const takes = (candidate: Candidate, path: string, req: RequestView, draw: number, runtime: Runtime): boolean => {
  const { path: criterion, conditions } = candidate.criteria;
  if (!criterion.matches(path, req)) return false;
  for (const condition of conditions) if (!condition(req, draw, runtime)) return false;
  return true;
};
