// Pieces of configuration, each made once for all nodes that agree in what it reads of a node, and made again only when something that
// it reads of the snapshot has changed. A piece that reads nothing of the node is made once for the mesh, one that reads a label once
// for each value of the label; a route that changes leaves the clusters as they are.
import { createHash } from 'node:crypto';
import { same } from '../../base/memo.ts';
import type { Snapshot } from '../../mesh/snapshot.ts';
import type { MakePart } from '../../translate/part.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import type { ConfigPiece } from '../../translate/translate.ts';
import { type NodeRead, watchNode } from '../../translate/watched-node.ts';
import { type SnapshotRead, unchangedSince, watchSnapshot } from '../../translate/watched-snapshot.ts';
import { type Part, PartCache } from './part-cache.ts';

/** Results that were made by reading the same of the node, by what was there. */
interface Group {
  readonly reads: ReadonlyMap<string, NodeRead>;
  /** What was asked for last is last. */
  readonly byValues: Map<string, Entry>;
}

interface Entry {
  readonly kept: object;
  readonly reads: readonly SnapshotRead[];
  /** What it was made of, for the next making. */
  readonly parts: ReadonlyMap<string, Part>;
  /** The last snapshot that it is known to be right for, and its number. */
  snapshot: Snapshot;
  checked: number;
}

/** What is kept of a piece that was made, and of a part. */
export interface Keep {
  piece<T extends object>(made: T): T;
  part(made: object): object;
}

export class PieceCache {
  readonly #groups = new Map<string, Map<string, Group>>();
  #snapshot: Snapshot | undefined;
  #number = 0;
  /** Short names of sets: a build announces hundreds of extensions. Made from what they hold, so that none has to be kept. */
  readonly #sets = new WeakMap<ReadonlySet<unknown>, string>();
  readonly #entriesMax: () => number;

  /** Of one piece, no more than so many are kept that differ in what they read of a node: nodes come and go, and say what they like. */
  constructor(entriesMax: () => number) {
    this.#entriesMax = entriesMax;
  }

  /** Pieces are of this snapshot from now on. What nobody asked for under the one before is forgotten. */
  turnTo(snapshot: Snapshot): void {
    if (this.#snapshot === snapshot) return;
    for (const groups of this.#groups.values()) {
      for (const [signature, { byValues }] of groups) {
        for (const [values, entry] of byValues) if (entry.checked < this.#number) byValues.delete(values);
        if (byValues.size === 0) groups.delete(signature);
      }
    }
    this.#snapshot = snapshot;
    this.#number++;
  }

  /** Forgets what is beyond the limit now, the longest unasked first. */
  trim(): void {
    for (const groups of this.#groups.values()) for (const group of groups.values()) this.#trim(group);
  }

  get<T extends object>(name: string, node: ProxyNode, make: (snapshot: Snapshot, node: ProxyNode, part: MakePart) => T, keep: Keep): T {
    const snapshot = this.#snapshot;
    if (!snapshot) throw new RangeError('there is no snapshot yet');
    const groups = this.#groups.get(name) ?? new Map<string, Group>();
    this.#groups.set(name, groups);
    let before: Entry | undefined;
    for (const group of groups.values()) {
      const values = this.#values(node, group.reads.values());
      const known = group.byValues.get(values);
      if (!known) continue;
      group.byValues.delete(values);
      if (this.#holds(known, group, snapshot, node)) {
        group.byValues.set(values, known);
        return known.kept as T;
      }
      before ??= known;
    }
    const watchedNode = watchNode(node);
    const watched = watchSnapshot(snapshot, watchedNode.node);
    const parts = new PartCache(before, snapshot, { snapshot: watched, node: watchedNode }, keep.part);
    const made = make(watched.snapshot, watchedNode.node, (part, given, makePart) => parts.get(part, given, makePart));
    const kept = keep.piece(made);
    const reads = new Map([...watchedNode.reads].sort(([a], [b]) => (a < b ? -1 : 1)));
    const signature = [...reads.keys()].join('\n');
    const group = groups.get(signature) ?? { reads, byValues: new Map<string, Entry>() };
    groups.set(signature, group);
    const entry: Entry = { kept, reads: [...watched.reads.values()], parts: parts.parts, snapshot, checked: this.#number };
    group.byValues.set(this.#values(node, group.reads.values()), entry);
    this.#trim(group);
    return kept;
  }

  #trim({ byValues }: Group): void {
    const max = this.#entriesMax();
    for (const values of byValues.keys()) {
      if (byValues.size <= max) return;
      byValues.delete(values);
    }
  }

  /** Would it be made the same now? Not when finding out looks at more of the node than was looked at then. */
  #holds(entry: Entry, group: Group, snapshot: Snapshot, node: ProxyNode): boolean {
    if (entry.checked === this.#number) return true;
    const watched = watchNode(node);
    const unchanged = unchangedSince(entry.snapshot, snapshot, watched.node);
    for (const read of entry.reads) {
      if (!unchanged(read) && !same(read.read(snapshot, watched.node), read.value)) return false;
    }
    for (const name of watched.reads.keys()) if (!group.reads.has(name)) return false;
    entry.snapshot = snapshot;
    entry.checked = this.#number;
    return true;
  }

  #values(node: ProxyNode, reads: Iterable<NodeRead>): string {
    let out = '';
    for (const read of reads) out += `${this.#text(read(node))}\n`;
    return out;
  }

  /** Undefined and absent are one, and unlike every text. */
  #text(value: unknown): string {
    if (!(value instanceof Set)) return JSON.stringify(value) ?? '';
    const known = this.#sets.get(value);
    if (known !== undefined) return known;
    const all = JSON.stringify([...value].sort());
    const name = `set ${createHash('sha256').update(all).digest('base64')}`;
    this.#sets.set(value, name);
    return name;
  }
}

/** What a piece is remembered by once it is encoded: only what the translation itself looks at again. */
export const withoutResources = <T extends ConfigPiece>(piece: T): T => {
  const { clusters, listeners, routes, endpoints, nameTable, agentConfig, extensions, secrets, ...others } = piece;
  const { lazyClusters, lazyListeners, virtualHosts, ...rest } = others;
  return rest as T;
};
