// Which certificates are in use, as far as this process has signed them: of each replica the last one, until it ends. For people who ask
// what a step of a rotation would break; nothing is decided by it. Bounded.
import { LEAVES_KNOWN_MAX } from '../limits.ts';

export interface KnownLeaf {
  /** SPIFFE id. */
  readonly identity: string;
  /** `namespace/name` of the replica, or the identity where only that is known. */
  readonly holder: string;
  readonly root: string;
  readonly issuedAtMs: number;
  readonly notAfterMs: number;
}

export class LeafLedger {
  readonly #byHolder = new Map<string, KnownLeaf>();
  #issued = 0;

  /** Certificates signed since the start. */
  get issued(): number {
    return this.#issued;
  }

  note(leaf: KnownLeaf): void {
    this.#issued += 1;
    this.#byHolder.delete(leaf.holder); // the map's order is that of age
    this.#byHolder.set(leaf.holder, leaf);
    if (this.#byHolder.size <= LEAVES_KNOWN_MAX) return;
    const [oldest] = this.#byHolder.keys();
    if (oldest !== undefined) this.#byHolder.delete(oldest);
  }

  of(holder: string): KnownLeaf | undefined {
    return this.#byHolder.get(holder);
  }

  /** Those that have not ended. */
  current(nowMs: number): readonly KnownLeaf[] {
    for (const [holder, leaf] of this.#byHolder) if (leaf.notAfterMs <= nowMs) this.#byHolder.delete(holder);
    return [...this.#byHolder.values()];
  }
}
