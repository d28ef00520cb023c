// What this data plane has asked for because somebody needs it: virtual hosts as `route/host`, clusters and listeners by name. Who needs
// something waits until it is there, is known not to be, or the time is over. A name stays asked for, so that changes come, until nobody has
// used it for a while. It knows no protocol: it keeps names and who waits for them.

import type { Clock } from '../clock.ts';
import type { FilterTask } from '../filters/http-filter.ts';

export type DemandKind = 'host' | 'cluster' | 'listener';
const DEMAND_KINDS: readonly DemandKind[] = ['host', 'cluster', 'listener'];

export type Demanded = Readonly<Record<DemandKind, ReadonlySet<string>>>;

interface Entry {
  /** What is known of it; undefined: not yet answered. */
  there: boolean | undefined;
  used: boolean;
  readonly waiting: Set<(isThere: boolean) => void>;
}

export interface DemandOptions {
  readonly clock: Clock;
  /** Names have come or gone. */
  readonly changed: () => void;
  /** Called before unused names are dropped: whoever counts uses elsewhere says so now, by `use`. */
  readonly sweeping: () => void;
}

/** Of each kind. What is beyond makes room by what is not there or was not used, or is answered as not there. */
const NAMES_MAX = 4096;
/** A name goes after one to two of these without use. */
const SWEEP_MS = 300_000;

export class Demand {
  readonly #options: DemandOptions;
  readonly #entries: Readonly<Record<DemandKind, Map<string, Entry>>> = { host: new Map(), cluster: new Map(), listener: new Map() };
  #cancelSweep: (() => void) | undefined;
  #closed = false;

  constructor(options: DemandOptions) {
    this.#options = options;
  }

  names(): Demanded {
    const { host, cluster, listener } = this.#entries;
    return { host: new Set(host.keys()), cluster: new Set(cluster.keys()), listener: new Set(listener.keys()) };
  }

  /** Is it known whether there is such a thing? Counts as a use. */
  isAnswered(kind: DemandKind, name: string): boolean {
    const entry = this.#entries[kind].get(name);
    if (entry === undefined) return false;
    entry.used = true;
    return entry.there !== undefined;
  }

  use(kind: DemandKind, name: string): void {
    const entry = this.#entries[kind].get(name);
    if (entry !== undefined) entry.used = true;
  }

  /** `told` is called once, never before this has returned and never after `cancel`. */
  ask(kind: DemandKind, name: string, timeoutMs: number, told: (isThere: boolean) => void): FilterTask {
    const entry = this.#entry(kind, name);
    let cancelTimer: (() => void) | undefined;
    const hear = (isThere: boolean): void => {
      entry?.waiting.delete(hear);
      cancelTimer?.();
      told(isThere);
    };
    const { clock } = this.#options;
    if (entry === undefined || entry.there === false) cancelTimer = clock.after(0, () => hear(false));
    else {
      entry.waiting.add(hear);
      if (timeoutMs > 0) cancelTimer = clock.after(timeoutMs, () => hear(false));
    }
    return {
      cancel: () => {
        entry?.waiting.delete(hear);
        cancelTimer?.();
      },
    };
  }

  /** It is there, or it is not: whoever waits is told. */
  settle(kind: DemandKind, name: string, isThere: boolean): void {
    const entry = this.#entries[kind].get(name);
    if (entry === undefined) return;
    entry.there = isThere;
    // Whoever is told may end what others wait for.
    for (const hear of [...entry.waiting]) if (entry.waiting.has(hear)) hear(isThere);
  }

  /** Names of what has not been there. */
  *lacking(kind: DemandKind): Iterable<string> {
    for (const [name, { there }] of this.#entries[kind]) if (there !== true) yield name;
  }

  close(): void {
    this.#closed = true;
    this.#cancelSweep?.();
    for (const kind of DEMAND_KINDS) for (const name of [...this.#entries[kind].keys()]) this.settle(kind, name, false);
  }

  #entry(kind: DemandKind, name: string): Entry | undefined {
    const entries = this.#entries[kind];
    const known = entries.get(name);
    if (known !== undefined) {
      known.used = true;
      return known;
    }
    if (this.#closed || (entries.size >= NAMES_MAX && !makeRoom(entries))) return undefined;
    const entry: Entry = { there: undefined, used: true, waiting: new Set() };
    entries.set(name, entry);
    this.#cancelSweep ??= this.#options.clock.after(SWEEP_MS, () => this.#sweep());
    this.#options.changed();
    return entry;
  }

  #sweep(): void {
    this.#cancelSweep = undefined;
    this.#options.sweeping();
    let left = 0;
    let dropped = 0;
    for (const kind of DEMAND_KINDS) {
      for (const [name, entry] of this.#entries[kind]) {
        if (entry.used || entry.waiting.size > 0) left++;
        else {
          this.#entries[kind].delete(name);
          dropped++;
        }
        entry.used = false;
      }
    }
    if (left > 0) this.#cancelSweep = this.#options.clock.after(SWEEP_MS, () => this.#sweep());
    if (dropped > 0) this.#options.changed();
  }
}

const makeRoom = (entries: Map<string, Entry>): boolean => {
  for (const [name, { there, used, waiting }] of entries) {
    if (waiting.size > 0 || (there !== false && used)) continue;
    entries.delete(name);
    return true;
  }
  return false;
};
