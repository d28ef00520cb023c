// Whether two sets of Envoy resources mean the same. Both go through the message types, which levels defaults and ways of writing;
// what is then left out of the comparison is a table of rules, and each use of a rule is counted.

import { decodeNamed, encodeNamed, typeOfUrl } from '../../src/xds/codec.ts';
import { descriptor } from '../../src/xds/descriptor.ts';
import { fromJsonNamed, toJsonNamed } from '../../src/xds/json.ts';

const TYPES = {
  clusters: 'envoy.config.cluster.v3.Cluster',
  endpoints: 'envoy.config.endpoint.v3.ClusterLoadAssignment',
  listeners: 'envoy.config.listener.v3.Listener',
  routes: 'envoy.config.route.v3.RouteConfiguration',
  extensions: 'envoy.config.core.v3.TypedExtensionConfig',
} as const;

export type ResourceType = keyof typeof TYPES;
export const RESOURCE_TYPES = Object.keys(TYPES) as ResourceType[];

export interface Rule {
  readonly id: string;
  readonly why: string;
}

/** Lists whose order says nothing, by the name of their field, with what is compared instead. */
const UNORDERED: Readonly<Record<string, string>> = {
  domains: 'the longest fitting domain wins, wherever it stands',
  virtual_hosts: 'a request finds its virtual host by domain, and no domain stands twice',
  server_names: 'the longest fitting name wins',
  prefix_ranges: 'the longest fitting prefix wins',
  source_prefix_ranges: 'the longest fitting prefix wins',
  match_subject_alt_names: 'any of the names will do',
  match_typed_subject_alt_names: 'any of the names will do',
  endpoints: 'localities and endpoints are sets; weights and priorities stand beside them',
  lb_endpoints: 'localities and endpoints are sets; weights and priorities stand beside them',
  custom_tags: 'tags are found by name',
};

/** Names that only statistics and people read. */
const COSMETIC: Readonly<Record<string, string>> = {
  stat_prefix: 'names statistics only',
  alt_stat_name: 'names statistics only',
  operation: "names a trace's span only",
};

/** Differences of a value that both sides have, which say nothing about what the proxy does. */
export const RULES: readonly Rule[] = [
  { id: 'order', why: 'clusters, listeners, routes and endpoints are found by name; so are elements of these lists' },
  ...Object.entries(UNORDERED).map(([id, why]) => ({ id: `order of ${id}`, why })),
  ...Object.entries(COSMETIC).map(([id, why]) => ({ id, why })),
  { id: 'filter chain name', why: 'found by its match; the name is for people and for patches, which have been applied' },
  { id: 'empty match', why: 'a match without conditions takes what no match takes' },
  { id: 'refused', why: 'the recording says that a server may refuse it, and we do: a mistake is better told than passed on' },
  { id: 'stand-in key', why: 'a key nobody holds the other half of stands for a JWKS that cannot be fetched; which one says nothing' },
];

export interface Difference {
  readonly type: ResourceType;
  readonly resource: string;
  readonly path: string;
  readonly expected: unknown;
  readonly got: unknown;
}

export interface Comparison {
  readonly equal: number;
  readonly total: number;
  readonly differences: readonly Difference[];
}

type Raw = Record<string, unknown>;
const isRaw = (v: unknown): v is Raw => typeof v === 'object' && v !== null && !Array.isArray(v) && !(v instanceof Uint8Array);

/** Types the recorder did not know stand as bytes in a Struct. */
const revive = (v: unknown): unknown => {
  if (Array.isArray(v)) return v.map(revive);
  if (!isRaw(v)) return v;
  const value = v['value'];
  if (isRaw(value) && typeof value['unknown_type'] === 'string' && typeof value['bytes'] === 'string') {
    const type = typeOfUrl(value['unknown_type']);
    // What the codec does not know either is compared as bytes.
    if (descriptor(type) === undefined) return v;
    return {
      '@type': value['unknown_type'],
      ...(toJsonNamed(type, decodeNamed(type, Buffer.from(value['bytes'], 'base64'))) as Raw),
    };
  }
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, revive(x)]));
};

const throughCodec = (type: string, message: unknown): Raw => toJsonNamed(type, decodeNamed(type, encodeNamed(type, message))) as Raw;

const nameOf = (v: unknown): string => (isRaw(v) ? String(v['name'] ?? v['cluster_name'] ?? '') : '');

const byName = (type: ResourceType, list: readonly unknown[], recorded: boolean): ReadonlyMap<string, Raw> =>
  new Map(
    list.map((m) => {
      if (!recorded) return [nameOf(m), throughCodec(TYPES[type], m)];
      const { '@type': _type, ...json } = revive(m) as Raw;
      return [nameOf(json), throughCodec(TYPES[type], fromJsonNamed(TYPES[type], json))];
    }),
  );

interface Walk {
  /** The configuration's text. */
  readonly source: string;
  readonly report: (path: string, expected: unknown, got: unknown) => void;
  readonly ignore: (rule: string) => void;
}

/** `source` is the configuration both come from; `ignore` hears each use of a rule. */
export const compareResources = (
  type: ResourceType,
  recorded: readonly unknown[],
  ours: readonly unknown[],
  source: string,
  ignore: (rule: string) => void,
): Comparison => {
  const expected = byName(type, recorded, true);
  const got = byName(type, ours, false);
  const differences: Difference[] = [];
  const names = new Set([...expected.keys(), ...got.keys()]);
  let equal = 0;
  if ([...expected.keys()].join('\n') !== [...got.keys()].join('\n')) ignore('order');
  for (const resource of names) {
    const before = differences.length;
    const report = (path: string, e: unknown, g: unknown): void => void differences.push({ type, resource, path, expected: e, got: g });
    diff(expected.get(resource), got.get(resource), '', '', { source, report, ignore });
    if (differences.length === before) equal++;
  }
  return { total: names.size, equal, differences };
};

const diff = (e: unknown, g: unknown, key: string, path: string, walk: Walk): void => {
  if (Array.isArray(e) && Array.isArray(g)) diffLists(e, g, key, path, walk);
  else if (isRaw(e) && isRaw(g)) {
    for (const k of new Set([...Object.keys(e), ...Object.keys(g)])) diff(e[k], g[k], k, `${path}.${k}`, walk);
  } else if (key === 'filter_chain_match' && isEmptyMatch(e) && isEmptyMatch(g)) {
    if (e !== g) walk.ignore('empty match');
  } else if (e !== g) {
    const rule = ignored(e, g, key, path, walk.source);
    if (rule === undefined) walk.report(path, e, g);
    else walk.ignore(rule);
  }
};

const isEmptyMatch = (v: unknown): boolean => v === undefined || (isRaw(v) && Object.keys(v).length === 0);

const ignored = (e: unknown, g: unknown, key: string, path: string, source: string): string | undefined => {
  if (typeof e !== 'string' || typeof g !== 'string') return undefined;
  if (COSMETIC[key] !== undefined) return key;
  if (/(filter_chains\[\]|default_filter_chain)\.name$/.test(path)) return 'filter chain name';
  if (path.endsWith('.local_jwks.inline_string') && isStandIn(e, source, 1) && isStandIn(g, source, 0)) return 'stand-in key';
  return undefined;
};

/** A JWKS that stands in for one: no key of it stands in the configuration. A set without keys refuses every token as well. */
const isStandIn = (text: string, source: string, keysMin: number): boolean => {
  try {
    const keys = (JSON.parse(text) as { keys?: unknown }).keys;
    const foreign = (k: unknown): boolean =>
      isRaw(k) && (k['kty'] === 'RSA' || k['kty'] === 'EC') && !source.includes(String(k['n'] ?? k['x']));
    return Array.isArray(keys) && keys.length >= keysMin && keys.length <= 1 && keys.every(foreign);
  } catch {
    return false;
  }
};

const diffLists = (e: readonly unknown[], g: readonly unknown[], key: string, path: string, walk: Walk): void => {
  let [left, right] = [e, g];
  if (UNORDERED[key] !== undefined) {
    left = sorted(e);
    right = sorted(g);
    const keys = (list: readonly unknown[]): string => list.map(sortKey).join('\n');
    if (keys(e) !== keys(g) && keys(left) === keys(right)) walk.ignore(`order of ${key}`);
  }
  if (allNamed(left) && allNamed(right)) {
    diffNamed(left, right, key, path, walk);
    return;
  }
  for (let i = 0; i < Math.max(left.length, right.length); i++) diff(left[i], right[i], '', `${path}[]`, walk);
};

const sorted = (list: readonly unknown[]): readonly unknown[] =>
  [...list].sort((a, b) => {
    const [x, y] = [sortKey(a), sortKey(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  });

const sortKey = (v: unknown): string => (isRaw(v) && typeof v['name'] === 'string' ? v['name'] : JSON.stringify(v));

const allNamed = (list: readonly unknown[]): boolean =>
  list.every((x) => isRaw(x) && typeof x['name'] === 'string') && new Set(list.map(nameOf)).size === list.length;

/** Elements with names meet their namesakes, so that one missing filter is one difference; where order counts it is compared too. */
const diffNamed = (e: readonly unknown[], g: readonly unknown[], key: string, path: string, walk: Walk): void => {
  const right = new Map(g.map((x) => [nameOf(x), x]));
  const left = new Map(e.map((x) => [nameOf(x), x]));
  for (const [name, x] of left) diff(x, right.get(name), key, `${path}[]`, walk);
  for (const [name, x] of right) if (!left.has(name)) walk.report(`${path}[]`, undefined, x);
  if (UNORDERED[key] !== undefined) return;
  const order = [...left.keys()].filter((n) => right.has(n));
  const ours = [...right.keys()].filter((n) => left.has(n));
  if (order.join('\n') !== ours.join('\n')) walk.report(`${path} order`, order, ours);
};
