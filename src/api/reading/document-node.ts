// A document as a tree with positions, free of YAML: what the reader and Origin walk. Made from YAML by yaml-documents.ts or from a
// plain value by `nodeOf` (then every position is 0).

import { splitPath } from './field-path.ts';
import { lowerCamel } from './key-case.ts';

export interface ScalarNode {
  readonly kind: 'scalar';
  readonly value: string | number | boolean | null;
  /** As written, for plain (unquoted) scalars: `yes`, `0123`, `1e3`. */
  readonly plain: string | undefined;
  readonly offset: number;
}
export interface MapNode {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, MapEntry>;
  readonly offset: number;
}
export interface MapEntry {
  readonly keyOffset: number;
  readonly node: DocumentNode;
}
export interface ListNode {
  readonly kind: 'list';
  readonly items: readonly DocumentNode[];
  readonly offset: number;
}
export type DocumentNode = ScalarNode | MapNode | ListNode;

/** A plain JSON value as a tree; values JSON does not have become null. */
export const nodeOf = (value: unknown): DocumentNode => {
  if (Array.isArray(value)) return { kind: 'list', items: value.map(nodeOf), offset: 0 };
  if (typeof value === 'object' && value !== null) {
    const entries = new Map<string, MapEntry>();
    for (const [key, v] of Object.entries(value)) if (v !== undefined) entries.set(key, { keyOffset: 0, node: nodeOf(v) });
    return { kind: 'map', entries, offset: 0 };
  }
  const scalar = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
  return { kind: 'scalar', value: scalar, plain: undefined, offset: 0 };
};

export const plainValue = (node: DocumentNode): unknown => {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(plainValue);
  const out: Record<string, unknown> = {};
  for (const [key, entry] of node.entries) define(out, key, plainValue(entry.node));
  return out;
};

/** Sets an own property even for a key like `__proto__`. */
export const define = (target: Record<string, unknown>, key: string, value: unknown): void => {
  if (key === '__proto__') Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  else target[key] = value;
};

/** Offset of the key or list item at `path`, or of the nearest one above it that exists. */
export const offsetAt = (root: DocumentNode, path: string): number => {
  let node = root;
  let offset = root.offset;
  for (const step of splitPath(path)) {
    if (typeof step === 'number' && node.kind === 'list') {
      const next = node.items[step];
      if (!next) return offset;
      node = next;
      offset = next.offset;
    } else if (node.kind === 'map') {
      const entry = node.entries.get(String(step)) ?? entryInOtherCase(node, String(step));
      if (!entry) return offset;
      node = entry.node;
      offset = entry.keyOffset;
    } else return offset;
  }
  return offset;
};

const entryInOtherCase = (node: MapNode, name: string): MapEntry | undefined => {
  for (const [key, entry] of node.entries) if (lowerCamel(key) === name) return entry;
  return undefined;
};
