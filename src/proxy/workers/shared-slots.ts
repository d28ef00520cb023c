// Numbers that all workers of a process see: slots in shared memory, found by a key and counted by who uses them. A slot is
// zero when its first user comes and is given up with its last. Taking and giving up lock the table for a moment; adding to a
// slot never does. Keys are known by their 64-bit hash alone.

import { xxHash64 } from '../xx-hash64.ts';

/** Words of a slot before its data. */
const NEXT = 0;
const HASH_LOW = 1;
const HASH_HIGH = 2;
const USERS = 3;
const HEAD_WORDS = 4;
/** What a user may count in one slot. */
const DATA_WORDS = 12;
const SLOT_WORDS = HEAD_WORDS + DATA_WORDS;

const LOCK = 0;
/** Slots ever used; beyond them memory was never touched. */
const USED = 1;
/** First of the given-up slots, as its number plus one. */
const FREE = 2;
const TABLE_WORDS = 4;
const BUCKETS = 4096;
const SLOTS_FROM = TABLE_WORDS + BUCKETS;

/** Clusters, hosts and listeners of one sidecar: 4 MiB of addresses, of which only what is used is memory. */
const SLOTS_MAX = 65_536;
/** The lock is held for a few hundred instructions; whoever had it may have lost its processor. */
const LOCK_WAIT_MS = 1;

export class SlotsExhausted extends Error {}

export class SharedSlots {
  /** To be handed to the other workers. */
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #max: number;

  constructor(memory?: SharedArrayBuffer, slotsMax = SLOTS_MAX) {
    this.memory = memory ?? new SharedArrayBuffer(4 * (SLOTS_FROM + slotsMax * SLOT_WORDS));
    this.#words = new Int32Array(this.memory);
    this.#max = Math.floor((this.#words.length - SLOTS_FROM) / SLOT_WORDS);
  }

  /** The slot of a key, made if it is new. Throws SlotsExhausted. */
  take(key: string): Slot {
    const hash = xxHash64(key);
    const low = Number(BigInt.asIntN(32, hash));
    const high = Number(BigInt.asIntN(32, hash >> 32n));
    return this.#locked(() => {
      let at = this.#find(low, high);
      if (at < 0) at = this.#make(low, high);
      this.#words[at + USERS] = (this.#words[at + USERS] as number) + 1;
      return new Slot(this.#words, at + HEAD_WORDS);
    });
  }

  /** One user fewer. */
  giveUp(slot: Slot): void {
    const at = slot.at - HEAD_WORDS;
    this.#locked(() => {
      const words = this.#words;
      const users = (words[at + USERS] as number) - 1;
      words[at + USERS] = users;
      if (users > 0) return;
      this.#unlink(at);
      words.fill(0, at, at + SLOT_WORDS);
      words[at + NEXT] = words[FREE] as number;
      words[FREE] = (at - SLOTS_FROM) / SLOT_WORDS + 1;
    });
  }

  /** Slots that somebody uses. */
  get size(): number {
    return this.#locked(() => {
      let free = 0;
      for (let n = this.#words[FREE] as number; n !== 0; n = this.#words[placeOf(n) + NEXT] as number) free++;
      return (this.#words[USED] as number) - free;
    });
  }

  #find(low: number, high: number): number {
    const words = this.#words;
    for (let n = words[bucketOf(low)] as number; n !== 0; ) {
      const at = placeOf(n);
      if (words[at + HASH_LOW] === low && words[at + HASH_HIGH] === high) return at;
      n = words[at + NEXT] as number;
    }
    return -1;
  }

  #make(low: number, high: number): number {
    const words = this.#words;
    let n = words[FREE] as number;
    if (n !== 0) words[FREE] = words[placeOf(n) + NEXT] as number;
    else {
      n = (words[USED] as number) + 1;
      if (n > this.#max) throw new SlotsExhausted(`the workers share no more than ${this.#max} counts`);
      words[USED] = n;
    }
    const at = placeOf(n);
    const bucket = bucketOf(low);
    words[at + HASH_LOW] = low;
    words[at + HASH_HIGH] = high;
    words[at + NEXT] = words[bucket] as number;
    words[bucket] = n;
    return at;
  }

  #unlink(at: number): void {
    const words = this.#words;
    const n = (at - SLOTS_FROM) / SLOT_WORDS + 1;
    let link = bucketOf(words[at + HASH_LOW] as number);
    while (words[link] !== n) link = placeOf(words[link] as number) + NEXT;
    words[link] = words[at + NEXT] as number;
  }

  #locked<T>(act: () => T): T {
    while (Atomics.compareExchange(this.#words, LOCK, 0, 1) !== 0) Atomics.wait(this.#words, LOCK, 1, LOCK_WAIT_MS);
    try {
      return act();
    } finally {
      Atomics.store(this.#words, LOCK, 0);
      Atomics.notify(this.#words, LOCK, 1);
    }
  }
}

const placeOf = (n: number): number => SLOTS_FROM + (n - 1) * SLOT_WORDS;
const bucketOf = (low: number): number => TABLE_WORDS + ((low >>> 0) % BUCKETS);

/** The numbers under one key. `field` is below DATA_WORDS. */
export class Slot {
  readonly words: Int32Array;
  readonly at: number;

  constructor(words: Int32Array, at: number) {
    this.words = words;
    this.at = at;
  }

  get(field: number): number {
    return Atomics.load(this.words, this.at + field);
  }

  set(field: number, value: number): void {
    Atomics.store(this.words, this.at + field, value);
  }

  /** Answers the sum. */
  add(field: number, by: number): number {
    return Atomics.add(this.words, this.at + field, by) + by;
  }

  /** One more, if that is at most `most`: never above it, not even for a moment. */
  addUpTo(field: number, most: number): boolean {
    const index = this.at + field;
    let seen = Atomics.load(this.words, index);
    while (seen < most) {
      const before = Atomics.compareExchange(this.words, index, seen, seen + 1);
      if (before === seen) return true;
      seen = before;
    }
    return false;
  }

  /** One fewer, if there is any. */
  takeOne(field: number): boolean {
    const index = this.at + field;
    let seen = Atomics.load(this.words, index);
    while (seen > 0) {
      const before = Atomics.compareExchange(this.words, index, seen, seen - 1);
      if (before === seen) return true;
      seen = before;
    }
    return false;
  }

  /** Whether it was `from`, and is `to` now by this call. */
  swap(field: number, from: number, to: number): boolean {
    return Atomics.compareExchange(this.words, this.at + field, from, to) === from;
  }
}
