// What was asked for and is not there, when several workers ask: who asks for a name that another worker was told of already gets no new
// answer from the control plane, and is told here.

import type { Demanded, DemandKind } from '../on-demand/demand.ts';

const KINDS: readonly DemandKind[] = ['host', 'cluster', 'listener'];

export class AbsentNames {
  readonly #absent: Readonly<Record<DemandKind, Set<string>>> = { host: new Set(), cluster: new Set(), listener: new Set() };
  /** What each asks for, as it said last. */
  readonly #heard = new Map<object, Demanded>();

  add(kind: DemandKind, name: string): void {
    this.#absent[kind].add(name);
  }

  delete(kind: DemandKind, name: string): void {
    this.#absent[kind].delete(name);
  }

  /** Calls `tell` with what `who` asks for since it said so last, and is known to be absent. */
  heard(who: object, demanded: Demanded, tell: (kind: DemandKind, name: string) => void): void {
    const before = this.#heard.get(who);
    this.#heard.set(who, demanded);
    for (const kind of KINDS) {
      if (this.#absent[kind].size === 0) continue;
      for (const name of demanded[kind]) if (before?.[kind].has(name) !== true && this.#absent[kind].has(name)) tell(kind, name);
    }
  }

  /** What nobody asks for is not kept. */
  trim(demanded: Demanded): void {
    for (const kind of KINDS) for (const name of this.#absent[kind]) if (!demanded[kind].has(name)) this.#absent[kind].delete(name);
  }
}
