// Parts of one piece, from one making of the piece to the next. A part is taken over if all that was read to make it would be read the same
// now. Taking one over notes on the piece what was read for the part, as making it does: the piece depends on what its parts depend on.
import type { Snapshot } from '../../mesh/snapshot.ts';
import { type Given, watchGiven } from '../../translate/part.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import { type NodeRead, type WatchedNode, watchNode } from '../../translate/watched-node.ts';
import { type SnapshotRead, unchangedSince, type WatchedSnapshot, watchSnapshot } from '../../translate/watched-snapshot.ts';

export interface Part {
  readonly kept: object;
  readonly nodeReads: readonly (readonly [string, NodeRead])[];
  readonly reads: readonly (readonly [string, SnapshotRead])[];
  readonly givenHolds: (given: Given) => boolean;
}

/** What a piece was made of, and a snapshot that it is right for. */
export interface MadeOf {
  readonly parts: ReadonlyMap<string, Part>;
  readonly snapshot: Snapshot;
}

export class PartCache {
  readonly #before: MadeOf | undefined;
  readonly #present: Snapshot;
  readonly #unchanged: ((read: SnapshotRead) => boolean) | undefined;
  readonly #snapshot: WatchedSnapshot;
  readonly #node: WatchedNode;
  readonly #keep: (made: object) => object;
  readonly #parts = new Map<string, Part>();

  /** `before` was made for a node that agrees with this one in all that the piece had read of it; `present` is not watched. */
  constructor(
    before: MadeOf | undefined,
    present: Snapshot,
    piece: { readonly snapshot: WatchedSnapshot; readonly node: WatchedNode },
    keep: (made: object) => object,
  ) {
    this.#before = before;
    this.#present = present;
    this.#unchanged = before && unchangedSince(before.snapshot, present, piece.node.node);
    this.#snapshot = piece.snapshot;
    this.#node = piece.node;
    this.#keep = keep;
  }

  /** Those that the piece was made of. */
  get parts(): ReadonlyMap<string, Part> {
    return this.#parts;
  }

  get<G extends Given, T extends object>(name: string, given: G, make: (snapshot: Snapshot, node: ProxyNode, given: G) => T): T {
    const known = this.#before?.parts.get(name);
    if (known && this.#holds(known, given)) {
      for (const [read, of] of known.nodeReads) this.#node.note(read, of);
      this.#parts.set(name, known);
      return known.kept as T;
    }
    const node = watchNode(this.#node.node);
    const snapshot = watchSnapshot(this.#snapshot.snapshot, node.node);
    const watched = watchGiven(given);
    const kept = this.#keep(make(snapshot.snapshot, node.node, watched.given));
    this.#parts.set(name, { kept, nodeReads: [...node.reads], reads: [...snapshot.reads], givenHolds: watched.holds });
    return kept as T;
  }

  /** Is that known without reading? What rules for some workloads look at in the node is noted only by reading again. */
  #isTheSame(read: SnapshotRead): boolean {
    const { destinationRules } = this.#present;
    return this.#unchanged?.(read) === true && !(read.of === 'destinationRules' && destinationRules.selective);
  }

  #holds(part: Part, given: Given): boolean {
    if (!part.givenHolds(given)) return false;
    for (const [name, read] of part.reads) {
      if (this.#isTheSame(read)) this.#snapshot.note(name, read);
      else if (!this.#snapshot.again(name, read)) return false;
    }
    return true;
  }
}
