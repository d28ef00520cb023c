// Parts of one piece, from one making of the piece to the next. A part is taken over if all that was read to make it would be read the same
// now. Taking one over notes on the piece what was read for the part, as making it does: the piece depends on what its parts depend on.
import type { Snapshot } from '../mesh/snapshot.ts';
import { type Given, watchGiven } from '../translate/part.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import { type NodeRead, type WatchedNode, watchNode } from '../translate/watched-node.ts';
import { type SnapshotRead, type WatchedSnapshot, watchSnapshot } from '../translate/watched-snapshot.ts';

export interface Part {
  readonly kept: object;
  readonly nodeReads: readonly (readonly [string, NodeRead])[];
  readonly reads: readonly (readonly [string, SnapshotRead])[];
  readonly givenHolds: (given: Given) => boolean;
}

export class PartCache {
  readonly #before: ReadonlyMap<string, Part> | undefined;
  readonly #snapshot: WatchedSnapshot;
  readonly #node: WatchedNode;
  readonly #keep: (made: object) => object;
  readonly #now = new Map<string, Part>();

  /** `before` was made for a node that agrees with this one in all that the piece had read of it. */
  constructor(
    before: ReadonlyMap<string, Part> | undefined,
    piece: { readonly snapshot: WatchedSnapshot; readonly node: WatchedNode },
    keep: (made: object) => object,
  ) {
    this.#before = before;
    this.#snapshot = piece.snapshot;
    this.#node = piece.node;
    this.#keep = keep;
  }

  /** Those that the piece was made of. */
  get parts(): ReadonlyMap<string, Part> {
    return this.#now;
  }

  get<G extends Given, T extends object>(name: string, given: G, make: (snapshot: Snapshot, node: ProxyNode, given: G) => T): T {
    const known = this.#before?.get(name);
    if (known && this.#holds(known, given)) {
      for (const [read, of] of known.nodeReads) this.#node.note(read, of);
      this.#now.set(name, known);
      return known.kept as T;
    }
    const node = watchNode(this.#node.node);
    const snapshot = watchSnapshot(this.#snapshot.snapshot, node.node);
    const watched = watchGiven(given);
    const kept = this.#keep(make(snapshot.snapshot, node.node, watched.given));
    this.#now.set(name, { kept, nodeReads: [...node.reads], reads: [...snapshot.reads], givenHolds: watched.holds });
    return kept as T;
  }

  #holds(part: Part, given: Given): boolean {
    if (!part.givenHolds(given)) return false;
    for (const [name, read] of part.reads) if (!this.#snapshot.again(name, read)) return false;
    return true;
  }
}
