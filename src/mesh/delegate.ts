// A root rule and the rules of the VirtualService it delegates to, merged: matches are combined, everything else is the delegate's
// where it says something and the root's where it does not. One level only.

import type { HttpMatchRequest, HttpRoute, StringMatch } from '../api/specs.ts';

type Matches = NonNullable<HttpRoute['match']>;

export const mergeDelegate = (root: HttpRoute, delegates: readonly HttpRoute[]): readonly HttpRoute[] => {
  const out: HttpRoute[] = [];
  for (const delegate of delegates) {
    const match = mergeMatches(root.match ?? [], delegate.match ?? []);
    if (match !== undefined) out.push(mergeRoute(root, delegate, match));
  }
  return out;
};

/** Places of the delegate's rules that do not lie within the root's match, which leaves them out. */
export const outsideRoot = (root: HttpRoute, delegates: readonly HttpRoute[]): readonly number[] =>
  delegates.flatMap((d, index) => (mergeMatches(root.match ?? [], d.match ?? []) === undefined ? [index] : []));

/** Undefined when a match of the delegate conflicts with every match of the root: its whole rule is then out. */
const mergeMatches = (root: Matches, delegate: Matches): Matches | undefined => {
  if (root.length === 0) return delegate;
  if (delegate.length === 0) return root;
  const out: HttpMatchRequest[] = [];
  for (const d of delegate) {
    let conflicts = 0;
    for (const r of root) {
      if (matchesConflict(r, d)) conflicts++;
      else out.push(mergeMatch(r, d));
    }
    if (conflicts === root.length) return undefined;
  }
  return out.length === 0 ? undefined : out;
};

const joined = (a: string | undefined, b: string | undefined): string => [a, b].filter((s) => s !== undefined && s !== '').join('-');

const mergeRoute = (root: HttpRoute, d: HttpRoute, match: Matches): HttpRoute => {
  const { delegate: _delegate, ...inherited } = root;
  const name = joined(root.name, d.name);
  const merged: Record<string, unknown> = { ...inherited, ...definedOf(d), match };
  if (match.length === 0) delete merged['match'];
  if (name !== '') merged['name'] = name;
  if (d.headers !== undefined || root.headers !== undefined) merged['headers'] = d.headers ?? root.headers;
  return merged as HttpRoute;
};

const definedOf = (d: HttpRoute): Partial<HttpRoute> => Object.fromEntries(Object.entries(d).filter(([, v]) => v !== undefined));

const mergeMatch = (root: HttpMatchRequest, d: HttpMatchRequest): HttpMatchRequest => {
  const name = joined(root.name, d.name);
  const own = Object.fromEntries(Object.entries(d).filter(([, v]) => v !== undefined && v !== ''));
  return {
    ...root,
    ...own,
    ...(name === '' ? {} : { name }),
    ...union('headers', root.headers, d.headers),
    ...union('withoutHeaders', root.withoutHeaders, d.withoutHeaders),
    ...union('queryParams', root.queryParams, d.queryParams),
    ...union('sourceLabels', root.sourceLabels, d.sourceLabels),
    ...(d.gateways === undefined || d.gateways.length === 0 ? {} : { gateways: d.gateways }),
  };
};

const union = <K extends string, V>(
  key: K,
  a: Readonly<Record<string, V>> | undefined,
  b: Readonly<Record<string, V>> | undefined,
): Partial<Record<K, Record<string, V>>> =>
  a === undefined && b === undefined ? {} : ({ [key]: { ...a, ...b } } as Record<K, Record<string, V>>);

/**
 * Does the leaf not lie within the root? Only texts are compared: a regular expression, a presence or an empty text beside any other
 * matcher is a conflict.
 */
const stringConflict = (root: StringMatch | undefined, leaf: StringMatch | undefined): boolean => {
  if (root === undefined || leaf === undefined) return false;
  const { exact = '', prefix = '' } = leaf;
  if ((root.exact ?? '') !== '') return exact !== root.exact;
  const value = prefix === '' ? exact : prefix;
  return (root.prefix ?? '') === '' || value === '' || !value.startsWith(root.prefix ?? '');
};

const mapConflict = (
  root: Readonly<Record<string, StringMatch>> | undefined,
  leaf: Readonly<Record<string, StringMatch>> | undefined,
): boolean => Object.entries(leaf ?? {}).some(([k, v]) => stringConflict(root?.[k], v));

export const matchesConflict = (root: HttpMatchRequest, leaf: HttpMatchRequest): boolean => {
  if ((root.ignoreUriCase ?? false) !== (leaf.ignoreUriCase ?? false)) return true;
  if (
    [
      [root.uri, leaf.uri],
      [root.scheme, leaf.scheme],
      [root.method, leaf.method],
      [root.authority, leaf.authority],
    ].some(([r, l]) => stringConflict(r, l))
  )
    return true;
  if (mapConflict(root.headers, leaf.headers) || mapConflict(root.withoutHeaders, leaf.withoutHeaders)) return true;
  if (mapConflict(root.queryParams, leaf.queryParams)) return true;
  if ((root.port ?? 0) !== 0 && (leaf.port ?? 0) !== 0 && root.port !== leaf.port) return true;
  const rootNamespace = root.sourceNamespace ?? '';
  if (rootNamespace !== '' && rootNamespace !== (leaf.sourceNamespace ?? '')) return true;
  for (const [k, v] of Object.entries(leaf.sourceLabels ?? {})) {
    const own = root.sourceLabels?.[k];
    if (own !== undefined && own !== v) return true;
  }
  const rootGateways = root.gateways ?? [];
  return rootGateways.length > 0 && (leaf.gateways ?? []).some((g) => !rootGateways.includes(g));
};
