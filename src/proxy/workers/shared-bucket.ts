// A token bucket that all workers take from: one 64-bit number in shared memory, changed in one step. Its slot is given up when
// no worker can reach its end of the bucket any more: requests keep what they began with, whatever has happened to the configuration.

import { type BucketSize, NEVER_EMPTY, takeTokens, tokensIn } from '../../plan/rate-limit/token-bucket.ts';
import type { Bucket } from '../shared-counts.ts';
import type { SharedSlots, Slot } from './shared-slots.ts';

/** What a slot holds that nobody has taken from. */
const FULL = 0n;

export class SharedBuckets {
  readonly #slots: SharedSlots;
  readonly #gone: FinalizationRegistry<Slot>;

  constructor(slots: SharedSlots) {
    this.#slots = slots;
    this.#gone = new FinalizationRegistry((slot) => slots.giveUp(slot));
  }

  /** Throws SlotsExhausted. */
  take(key: string, size: BucketSize): Bucket {
    const slot = this.#slots.take(`bucket\n${key}`);
    const bucket = new SharedBucket(slot, size, this);
    this.#gone.register(bucket, slot, bucket);
    return bucket;
  }

  giveUp(bucket: Bucket, slot: Slot): void {
    this.#gone.unregister(bucket);
    this.#slots.giveUp(slot);
  }
}

class SharedBucket implements Bucket {
  readonly size: BucketSize;
  /** When it was empty, as the bits of a double. */
  #word: BigInt64Array;
  /** undefined: it is closed. */
  #slot: Slot | undefined;
  readonly #owner: SharedBuckets;
  readonly #bits = new BigInt64Array(1);
  readonly #number = new Float64Array(this.#bits.buffer);

  constructor(slot: Slot, size: BucketSize, owner: SharedBuckets) {
    this.size = size;
    this.#slot = slot;
    this.#owner = owner;
    this.#word = new BigInt64Array(slot.words.buffer, slot.words.byteOffset + slot.at * 4, 1);
  }

  take(tokens: number, nowMs: number): boolean {
    for (;;) {
      const seen = Atomics.load(this.#word, 0);
      const left = takeTokens(this.size, this.#emptyAt(seen), nowMs, tokens);
      if (Number.isNaN(left)) return false;
      this.#number[0] = left;
      if (Atomics.compareExchange(this.#word, 0, seen, this.#bits[0] as bigint) === seen) return true;
    }
  }

  tokens(nowMs: number): number {
    return tokensIn(this.size, this.#emptyAt(Atomics.load(this.#word, 0)), nowMs);
  }

  close(): void {
    const slot = this.#slot;
    if (slot === undefined) return;
    this.#slot = undefined;
    this.#word = BigInt64Array.of(Atomics.load(this.#word, 0));
    this.#owner.giveUp(this, slot);
  }

  #emptyAt(seen: bigint): number {
    if (seen === FULL) return NEVER_EMPTY;
    this.#bits[0] = seen;
    return this.#number[0] as number;
  }
}
