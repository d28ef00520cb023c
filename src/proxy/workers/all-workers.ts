// The counts of a sidecar with several workers (shared-counts.ts is the contract).

import { PlanError } from '../../plan/plan-error.ts';
import type { BucketSize } from '../../plan/rate-limit/token-bucket.ts';
import type { LimitBounds, ResourceLimits } from '../cluster/circuit-breaker.ts';
import { type Ejections, type HostState, LocalHostState } from '../cluster/host-state.ts';
import type { Bucket, Count, Sharing } from '../shared-counts.ts';
import { stable } from '../stable-text.ts';
import { xxHash64 } from '../xx-hash64.ts';
import { SharedBuckets } from './shared-bucket.ts';
import { SharedEjections, SharedHostState } from './shared-host-state.ts';
import { SharedLimits } from './shared-limits.ts';
import { type SharedSlots, type Slot, SlotsExhausted } from './shared-slots.ts';
import type { Signals } from './signals.ts';

export class AllWorkers implements Sharing {
  readonly #slots: SharedSlots;
  readonly #buckets: SharedBuckets;
  readonly #signals: Signals;
  readonly #judges: boolean;
  readonly #now: () => number;

  /** `judges`: of all workers, this one judges hosts by their share of good answers. `now`: of a clock that all of them share. */
  constructor(slots: SharedSlots, signals: Signals, judges: boolean, now: () => number) {
    this.#slots = slots;
    this.#buckets = new SharedBuckets(slots);
    this.#signals = signals;
    this.#judges = judges;
    this.#now = now;
  }

  version(name: string, config: object): string {
    return `${name}\n${xxHash64(stable(config)).toString(36)}`;
  }
  count(key: string): Count {
    return shared(() => new SharedCount(this.#slots, key));
  }
  bucket(key: string, size: BucketSize): Bucket {
    return shared(() => this.#buckets.take(key, size));
  }
  limits(key: string, bounds: LimitBounds, wanted: () => void): ResourceLimits {
    return shared(() => new SharedLimits(this.#slots, this.#signals, key, bounds, wanted));
  }
  host(key: string): HostState {
    try {
      return new SharedHostState(this.#slots, key, this.#now);
    } catch (problem) {
      if (!(problem instanceof SlotsExhausted)) throw problem;
      // One host more than all workers can watch together: each judges it by itself.
      return new LocalHostState();
    }
  }
  ejections(key: string, changed: () => void): Ejections {
    return shared(() => new SharedEjections(this.#slots, this.#signals, key, this.#judges, changed));
  }
}

/** A limit that cannot be held refuses what asks for it. */
const shared = <T>(make: () => T): T => {
  try {
    return make();
  } catch (problem) {
    throw problem instanceof SlotsExhausted ? new PlanError('--concurrency', problem.message) : problem;
  }
};

class SharedCount implements Count {
  readonly #slots: SharedSlots;
  readonly #slot: Slot;
  #held = 0;
  #closed = false;

  constructor(slots: SharedSlots, key: string) {
    this.#slots = slots;
    this.#slot = slots.take(`count\n${key}`);
  }

  get value(): number {
    return this.#slot.get(0);
  }
  tryTake(most: number): boolean {
    if (!this.#slot.addUpTo(0, most)) return false;
    this.#held++;
    return true;
  }
  release(): void {
    this.#slot.add(0, -1);
    this.#held--;
    this.#giveUpWhenOver();
  }
  close(): void {
    this.#closed = true;
    this.#giveUpWhenOver();
  }

  #giveUpWhenOver(): void {
    if (!this.#closed || this.#held > 0) return;
    this.#closed = false;
    this.#slots.giveUp(this.#slot);
  }
}
