// What all workers know of one host: how many connections they have to it together, and what outlier detection counts and
// decides. Who ejects holds the cluster's lock meanwhile, so that no two workers eject more hosts than they may.

import { ANSWERS, type AnswerCount, type Answers, type Ejections, type HostState, type Row } from '../cluster/host-state.ts';
import type { SharedSlots, Slot } from './shared-slots.ts';
import type { Signals } from './signals.ts';

const CONNECTIONS = 0;
const EJECTED = 1;
/** Whole milliseconds of a clock that all workers share, modulo 2^32. */
const EJECTED_AT = 2;
const EJECTIONS = 3;
const ROWS_FROM = 4;
const ROWS = 3;
const ANSWERS_FROM = 7;
const FLAGS = 11;

export class SharedHostState implements HostState {
  readonly #slots: SharedSlots;
  readonly #slot: Slot;
  readonly #now: () => number;
  #connections = 0;
  #closed = false;

  /** `now`: of the clock that all workers share. */
  constructor(slots: SharedSlots, key: string, now: () => number) {
    this.#slots = slots;
    this.#slot = slots.take(`host\n${key}`);
    this.#now = now;
  }

  get ejected(): boolean {
    return !this.#closed && this.#slot.get(EJECTED) === 1;
  }
  get ejectedAtMs(): number {
    const now = this.#now();
    return now - ((Math.floor(now) - this.#slot.get(EJECTED_AT)) | 0);
  }
  get ejections(): number {
    return this.#closed ? 0 : this.#slot.get(EJECTIONS);
  }

  get flags(): number {
    return this.#closed ? 0 : this.#slot.get(FLAGS);
  }
  setFlags(set: number, clear: number): boolean {
    if (this.#closed) return false;
    for (;;) {
      const before = this.#slot.get(FLAGS);
      const after = (before & ~clear) | set;
      if (after === before) return false;
      if (this.#slot.swap(FLAGS, before, after)) return true;
    }
  }
  get connections(): number {
    return this.#isGone ? 0 : this.#slot.get(CONNECTIONS);
  }

  eject(nowMs: number, grow: boolean): boolean {
    if (this.#closed || !this.#slot.swap(EJECTED, 0, 1)) return false;
    this.#slot.set(EJECTED_AT, Math.floor(nowMs) | 0);
    if (grow) this.#slot.add(EJECTIONS, 1);
    return true;
  }
  takeBack(nowMs: number): void {
    if (this.#closed) return;
    this.#slot.set(EJECTED_AT, Math.floor(nowMs) | 0);
    for (let row = 0; row < ROWS; row++) this.#slot.set(ROWS_FROM + row, 0);
    this.#slot.set(EJECTED, 0);
  }
  forgive(): void {
    if (!this.#closed) this.#slot.takeOne(EJECTIONS);
  }

  next(row: Row): number {
    return this.#closed ? 0 : this.#slot.add(ROWS_FROM + row, 1);
  }
  endRow(row: Row): void {
    if (!this.#closed && this.#slot.get(ROWS_FROM + row) !== 0) this.#slot.set(ROWS_FROM + row, 0);
  }

  answered(of: Answers, good: boolean): void {
    if (this.#closed) return;
    this.#slot.add(ANSWERS_FROM + 2 * of, 1);
    if (good) this.#slot.add(ANSWERS_FROM + 2 * of + 1, 1);
  }
  answers(of: Answers): AnswerCount {
    if (this.#closed) return { all: 0, good: 0 };
    return { all: this.#slot.get(ANSWERS_FROM + 2 * of), good: this.#slot.get(ANSWERS_FROM + 2 * of + 1) };
  }
  forgetAnswers(): void {
    if (this.#closed) return;
    for (const kind of [ANSWERS.external, ANSWERS.local]) {
      this.#slot.set(ANSWERS_FROM + 2 * kind, 0);
      this.#slot.set(ANSWERS_FROM + 2 * kind + 1, 0);
    }
  }

  connectionOpened(): void {
    if (this.#isGone) return;
    this.#slot.add(CONNECTIONS, 1);
    this.#connections++;
  }
  /** Counts it if no worker has any. */
  firstConnection(): boolean {
    if (this.#isGone) return true;
    if (!this.#slot.swap(CONNECTIONS, 0, 1)) return false;
    this.#connections++;
    return true;
  }
  connectionOver(): void {
    if (this.#connections === 0) return;
    this.#slot.add(CONNECTIONS, -1);
    this.#connections--;
    if (this.#isGone) this.#slots.giveUp(this.#slot);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#isGone) this.#slots.giveUp(this.#slot);
  }

  get #isGone(): boolean {
    return this.#closed && this.#connections === 0;
  }
}

const LOCK = 0;

export class SharedEjections implements Ejections {
  readonly judges: boolean;
  readonly #slots: SharedSlots;
  readonly #slot: Slot;
  readonly #signals: Signals;
  readonly #key: string;
  readonly #deafen: () => void;

  /** `judges`: this is the worker that does. */
  constructor(slots: SharedSlots, signals: Signals, key: string, judges: boolean, changed: () => void) {
    this.judges = judges;
    this.#slots = slots;
    this.#slot = slots.take(`ejections\n${key}`);
    this.#signals = signals;
    this.#key = `ejections\n${key}`;
    this.#deafen = signals.on(this.#key, changed);
  }

  exclusively(act: () => boolean): boolean {
    const { words, at } = this.#slot;
    while (!this.#slot.swap(LOCK, 0, 1)) Atomics.wait(words, at + LOCK, 1, 1);
    try {
      return act();
    } finally {
      this.#slot.set(LOCK, 0);
      Atomics.notify(words, at + LOCK, 1);
    }
  }

  tell(): void {
    this.#signals.tell(this.#key);
  }

  close(): void {
    this.#deafen();
    this.#slots.giveUp(this.#slot);
  }
}
