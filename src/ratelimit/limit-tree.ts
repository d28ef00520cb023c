// The descriptors of a configuration as a tree, and which limit a request's descriptor meets there.
import type { Limit } from './limit.ts';

export interface LimitNode {
  readonly limit: Limit | undefined;
  readonly children: ReadonlyMap<string, LimitNode>;
  /** Keys of children that end in `*`, in the order in which they stand. */
  readonly wildcards: readonly string[];
}

export interface RequestEntry {
  readonly key: string;
  readonly value: string;
}

/** A child's name in the tree: of a key and a value, or of a key with any value. */
export const nodeName = (key: string, value: string): string => (value === '' ? key : `${key}_${value}`);

/**
 * Entry by entry: the exact value, then a wildcard, then the key alone. The limit of the last entry counts; where a request says more
 * than the configuration, none does.
 */
export const findLimit = (root: LimitNode, entries: readonly RequestEntry[]): Limit | undefined => {
  let node: LimitNode | undefined = root;
  for (const { key, value } of entries) {
    if (node === undefined) return undefined;
    node = childOf(node, key, value);
  }
  return node === root ? undefined : node?.limit;
};

const childOf = (node: LimitNode, key: string, value: string): LimitNode | undefined => {
  const name = nodeName(key, value);
  const exact = node.children.get(name);
  if (exact !== undefined) return exact;
  for (const wildcard of node.wildcards) if (name.startsWith(wildcard.slice(0, -1))) return node.children.get(wildcard);
  return node.children.get(key);
};
