// Recorded answers of a real istiod, and the comparison: both sides go through the codec, so that only meaning is left to differ.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProxyConfig } from '../../src/translate/translate.ts';
import { decodeNamed, encodeNamed, typeOfUrl } from '../../src/xds/codec.ts';
import { fromJsonNamed, toJsonNamed } from '../../src/xds/json.ts';

export interface OracleRecord {
  readonly name: string;
  readonly yaml: string;
  readonly meshConfig: Record<string, unknown>;
  readonly node: Record<string, unknown>;
  readonly rejected?: unknown;
  readonly listeners: readonly unknown[];
  readonly clusters: readonly unknown[];
  readonly routes: readonly unknown[];
  readonly endpoints: readonly unknown[];
}

/** Undefined when the recordings are not beside the checkout. */
export const sharedFolder = (): string | undefined => {
  const candidates = [process.env['SKEIN_SHARED'], join(import.meta.dirname, '../../../shared')];
  return candidates.find((d): d is string => d !== undefined && existsSync(join(d, 'oracle')));
};

export const loadRecords = (file: string): readonly OracleRecord[] => {
  const shared = sharedFolder();
  if (shared === undefined) return [];
  const lines = readFileSync(join(shared, 'oracle', file), 'utf8').split('\n');
  return lines.filter((l) => l !== '').map((l) => JSON.parse(l) as OracleRecord);
};

export const TYPES = {
  clusters: 'envoy.config.cluster.v3.Cluster',
  endpoints: 'envoy.config.endpoint.v3.ClusterLoadAssignment',
  listeners: 'envoy.config.listener.v3.Listener',
  routes: 'envoy.config.route.v3.RouteConfiguration',
} as const;

export type ResourceType = keyof typeof TYPES;
export const RESOURCE_TYPES = Object.keys(TYPES) as ResourceType[];

type Raw = Record<string, unknown>;
const isRaw = (v: unknown): v is Raw => typeof v === 'object' && v !== null && !Array.isArray(v) && !(v instanceof Uint8Array);

/** Types the recorder did not know stand as bytes in a Struct. */
const revive = (v: unknown): unknown => {
  if (Array.isArray(v)) return v.map(revive);
  if (!isRaw(v)) return v;
  const value = v['value'];
  if (isRaw(value) && typeof value['unknown_type'] === 'string' && typeof value['bytes'] === 'string') {
    const type = typeOfUrl(value['unknown_type']);
    const json = toJsonNamed(type, decodeNamed(type, Buffer.from(value['bytes'], 'base64')));
    return { '@type': value['unknown_type'], ...(json as Raw) };
  }
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, revive(x)]));
};

/** Order inside `domains` means nothing. */
const sortDomains = (v: unknown): unknown => {
  if (Array.isArray(v)) return v.map(sortDomains);
  if (!isRaw(v)) return v;
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, k === 'domains' && Array.isArray(x) ? [...x].sort() : sortDomains(x)]));
};

const keyed = (type: string, list: readonly unknown[], read: (m: unknown) => unknown): Map<string, unknown> => {
  const out = new Map<string, unknown>();
  for (const m of list) {
    const json = toJsonNamed(type, decodeNamed(type, encodeNamed(type, read(m)))) as Raw;
    out.set(String(json['name'] ?? json['cluster_name']), sortDomains(json));
  }
  return out;
};

export interface Difference {
  readonly resource: string;
  readonly path: string;
  readonly expected: unknown;
  readonly got: unknown;
}

export const compare = (
  type: ResourceType,
  record: OracleRecord,
  config: ProxyConfig,
): { readonly total: number; readonly equal: number; readonly differences: readonly Difference[] } => {
  const name = TYPES[type];
  const expected = keyed(name, record[type], (m) => {
    const { '@type': _type, ...rest } = revive(m) as Raw;
    return fromJsonNamed(name, rest);
  });
  const got = keyed(name, config[type], (m) => m);
  const differences: Difference[] = [];
  let equal = 0;
  for (const resource of new Set([...expected.keys(), ...got.keys()])) {
    const before = differences.length;
    diff(expected.get(resource), got.get(resource), '', (path, e, g) => differences.push({ resource, path, expected: e, got: g }));
    if (differences.length === before) equal++;
  }
  return { total: new Set([...expected.keys(), ...got.keys()]).size, equal, differences };
};

const diff = (e: unknown, g: unknown, path: string, report: (path: string, e: unknown, g: unknown) => void): void => {
  if (Array.isArray(e) && Array.isArray(g)) {
    for (let i = 0; i < Math.max(e.length, g.length); i++) diff(e[i], g[i], `${path}[]`, report);
    return;
  }
  if (isRaw(e) && isRaw(g)) {
    for (const k of new Set([...Object.keys(e), ...Object.keys(g)])) diff(e[k], g[k], `${path}.${k}`, report);
    return;
  }
  if (e !== g) report(path, e, g);
};
