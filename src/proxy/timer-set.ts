// The timers of one owner by kind, each made when first armed and used again ever after.

import { type TimerOwner, type TimerWheel, WheelTimer } from './timer-wheel.ts';

export class TimerSet {
  readonly #wheel: TimerWheel;
  readonly #owner: TimerOwner;
  readonly #timers: (WheelTimer | undefined)[] = [];

  constructor(wheel: TimerWheel, owner: TimerOwner) {
    this.#wheel = wheel;
    this.#owner = owner;
  }

  armed(kind: number): boolean {
    return this.#timers[kind]?.armed === true;
  }

  arm(kind: number, delayMs: number): void {
    let timer = this.#timers[kind];
    if (timer === undefined) {
      while (this.#timers.length < kind) this.#timers.push(undefined);
      timer = new WheelTimer(this.#owner, kind);
      this.#timers[kind] = timer;
    }
    this.#wheel.arm(timer, delayMs);
  }

  disarm(kind: number): void {
    const timer = this.#timers[kind];
    if (timer !== undefined) this.#wheel.disarm(timer);
  }

  /** The owner ends. */
  drop(): void {
    for (const timer of this.#timers) if (timer !== undefined) this.#wheel.drop(timer);
  }

  disarmAll(): void {
    for (const timer of this.#timers) if (timer !== undefined) this.#wheel.disarm(timer);
  }
}
