// A node that notes what is read of it. What a translation has read decides which other nodes it would be the same for: two nodes that
// agree in all of it get one result. So nothing has to be declared: a label counts where something selects by it, an address where
// something depends on it. Labels and metadata are noted key by key, what is worked out by `derive` by its result, everything else as a whole.
import { DERIVED, derive } from '../base/derive.ts';
import type { ProxyNode } from './proxy-node.ts';

/** A thing that was read, and how to read it of another node. */
export type NodeRead = (node: ProxyNode) => unknown;

export interface WatchedNode {
  readonly node: ProxyNode;
  /** By what was read, as `namespace`, `labels.app` or `derived v6`. */
  readonly reads: ReadonlyMap<string, NodeRead>;
  /** As if it had been read. */
  note(name: string, read: NodeRead): void;
}

const BY_KEY = ['labels', 'metadata'] as const;

export const watchNode = (node: ProxyNode): WatchedNode => {
  const reads = new Map<string, NodeRead>();
  const watched: Record<string | symbol, unknown> = {
    [DERIVED]: (name: string, read: NodeRead) => {
      reads.set(`derived ${name}`, read);
      return derive(node, name, read);
    },
  };
  for (const field of Object.keys(node) as (keyof ProxyNode)[]) {
    const byKey = BY_KEY.find((f) => f === field);
    const view = byKey === undefined ? undefined : watchKeys(byKey, node[byKey], reads);
    Object.defineProperty(watched, field, {
      enumerable: true,
      get: () => {
        if (view !== undefined) return view;
        reads.set(field, (of) => of[field]);
        return node[field];
      },
    });
  }
  return { node: watched as unknown as ProxyNode, reads, note: (name, read) => reads.set(name, read) };
};

const watchKeys = (field: (typeof BY_KEY)[number], record: object, reads: Map<string, NodeRead>): object => {
  const note = (key: string | symbol): void => {
    if (typeof key === 'string') reads.set(`${field}.${key}`, (of) => of[field][key]);
  };
  return new Proxy(record, {
    get: (target, key) => {
      note(key);
      return Reflect.get(target, key);
    },
    has: (target, key) => {
      note(key);
      return Reflect.has(target, key);
    },
    getOwnPropertyDescriptor: (target, key) => {
      note(key);
      return Reflect.getOwnPropertyDescriptor(target, key);
    },
    ownKeys: (target) => {
      reads.set(field, (of) => of[field]);
      return Reflect.ownKeys(target);
    },
  });
};
