// All timers of a data plane: two wheels of 256 slots (10 ms and 2.56 s wide) over one clock call. Accuracy is one slot of
// 10 ms, always late, never early. Moving a timer later is one assignment: a slot that finds a timer too young files it again.
// The clock is asked to call back only for the next occupied slot, so an idle process does not wake.

import type { Clock } from './clock.ts';

const SLOTS = 256;
const FINE_MS = 10;
const COARSE_MS = FINE_MS * SLOTS;
const NEVER = Number.POSITIVE_INFINITY;
/** Disarmed timers that may stay in their slots, beside as many as are armed. */
const IDLE_MAX = 1024;

export interface TimerOwner {
  /** `kind` is the number the timer was made with. */
  onTimer(kind: number): void;
}

export class WheelTimer {
  readonly owner: TimerOwner;
  readonly kind: number;
  deadline = NEVER;
  /** When its slot will be looked at; NEVER while in none. */
  slotTime = NEVER;
  slot: Set<WheelTimer> | undefined;

  constructor(owner: TimerOwner, kind: number) {
    this.owner = owner;
    this.kind = kind;
  }

  get armed(): boolean {
    return this.deadline !== NEVER;
  }
}

/** A timer that calls a function: for cold paths. */
export const callbackTimer = (fire: () => void): WheelTimer => new WheelTimer({ onTimer: fire }, 0);

export class TimerWheel {
  readonly #clock: Clock;
  readonly #fine: Set<WheelTimer>[] = [];
  readonly #coarse: Set<WheelTimer>[] = [];
  readonly #failed: (problem: unknown) => void;
  #wakeAt = NEVER;
  #cancelWake: (() => void) | undefined;
  /** Slots up to this time have been looked at. */
  #seen: number;
  #count = 0;
  /** Of these, how many are disarmed. */
  #idle = 0;

  /** `failed` is told of an owner that threw; the other timers go on. */
  constructor(clock: Clock, failed: (problem: unknown) => void = () => {}) {
    this.#clock = clock;
    this.#failed = failed;
    this.#seen = clock.monotonicMs();
    for (let i = 0; i < SLOTS; i++) {
      this.#fine.push(new Set());
      this.#coarse.push(new Set());
    }
  }

  now(): number {
    return this.#clock.monotonicMs();
  }

  arm(timer: WheelTimer, delayMs: number): void {
    const now = this.#clock.monotonicMs();
    if (timer.deadline === NEVER && timer.slot !== undefined) this.#idle--;
    timer.deadline = now + Math.max(0, delayMs);
    if (timer.slot !== undefined && timer.slotTime <= timer.deadline + FINE_MS) return;
    this.#file(timer, now);
  }

  /** It will not fire. The slot keeps it for a while: it may be armed again, as most are. */
  disarm(timer: WheelTimer): void {
    if (timer.slot !== undefined && timer.deadline !== NEVER && ++this.#idle > IDLE_MAX && this.#idle * 2 > this.#count) {
      timer.deadline = NEVER;
      this.#sweep();
    } else timer.deadline = NEVER;
  }

  /** Disarms it for good: no slot keeps it, nor its owner, until the time it was once set to. */
  drop(timer: WheelTimer): void {
    if (timer.slot !== undefined && timer.deadline === NEVER) this.#idle--;
    timer.deadline = NEVER;
    if (timer.slot === undefined) return;
    timer.slot.delete(timer);
    timer.slot = undefined;
    timer.slotTime = NEVER;
    this.#count--;
  }

  /** Nothing fires any more. */
  close(): void {
    this.#cancelWake?.();
    this.#cancelWake = undefined;
    for (const slot of [...this.#fine, ...this.#coarse]) {
      for (const timer of slot) timer.slot = undefined;
      slot.clear();
    }
    this.#count = 0;
    this.#idle = 0;
  }

  // Owners that are long gone must not be kept until the time their timers were once set to.
  #sweep(): void {
    for (const wheel of [this.#fine, this.#coarse])
      for (const slot of wheel)
        for (const timer of slot) {
          if (timer.deadline !== NEVER) continue;
          slot.delete(timer);
          timer.slot = undefined;
          timer.slotTime = NEVER;
          this.#count--;
        }
    this.#idle = 0;
  }

  #file(timer: WheelTimer, now: number): void {
    if (timer.slot === undefined) this.#count++;
    else timer.slot.delete(timer);
    if (this.#count === 1 && this.#wakeAt === NEVER) this.#seen = now;
    const wait = timer.deadline - now;
    if (wait < COARSE_MS - FINE_MS) {
      const tick = Math.floor(timer.deadline / FINE_MS) + 1;
      timer.slotTime = tick * FINE_MS;
      timer.slot = this.#fine[tick % SLOTS];
    } else {
      const tick = Math.floor((now + Math.min(wait, COARSE_MS * (SLOTS - 1))) / COARSE_MS);
      timer.slotTime = tick * COARSE_MS;
      timer.slot = this.#coarse[tick % SLOTS];
    }
    timer.slot?.add(timer);
    if (timer.slotTime < this.#wakeAt) this.#wake(timer.slotTime, now);
  }

  #wake(at: number, now: number): void {
    this.#cancelWake?.();
    this.#wakeAt = at;
    this.#cancelWake = this.#clock.after(Math.max(1, Math.ceil(at - now)), () => this.#turn());
  }

  #turn(): void {
    this.#wakeAt = NEVER;
    this.#cancelWake = undefined;
    const now = this.#clock.monotonicMs();
    const from = this.#seen;
    this.#seen = now;
    const due: WheelTimer[] = [];
    this.#collect(this.#coarse, COARSE_MS, from, now, due);
    this.#collect(this.#fine, FINE_MS, from, now, due);
    for (const timer of due) {
      if (timer.deadline === NEVER) continue;
      if (timer.deadline > now) {
        if (timer.slot === undefined) this.#file(timer, now);
        continue;
      }
      timer.deadline = NEVER;
      try {
        timer.owner.onTimer(timer.kind);
      } catch (problem) {
        this.#failed(problem);
      }
    }
    if (this.#count > 0 && this.#wakeAt === NEVER) this.#wake(this.#next(now), now);
    else if (this.#count > 0) {
      const next = this.#next(now);
      if (next < this.#wakeAt) this.#wake(next, now);
    }
  }

  #collect(wheel: readonly Set<WheelTimer>[], width: number, from: number, now: number, due: WheelTimer[]): void {
    const last = Math.floor(now / width);
    const first = Math.max(Math.floor(from / width), last - SLOTS + 1);
    for (let tick = first; tick <= last; tick++) {
      const slot = wheel[tick % SLOTS];
      if (slot === undefined || slot.size === 0) continue;
      for (const timer of slot) {
        if (timer.slotTime > now) continue;
        slot.delete(timer);
        timer.slot = undefined;
        timer.slotTime = NEVER;
        this.#count--;
        if (timer.deadline === NEVER) this.#idle--;
        else due.push(timer);
      }
    }
  }

  #next(now: number): number {
    const fine = Math.floor(now / FINE_MS) + 1;
    let best = NEVER;
    for (let i = 0; i < SLOTS; i++) {
      if ((this.#fine[(fine + i) % SLOTS]?.size ?? 0) > 0) {
        best = (fine + i) * FINE_MS;
        break;
      }
    }
    const coarse = Math.floor(now / COARSE_MS) + 1;
    for (let i = 0; i < SLOTS; i++) {
      if ((this.#coarse[(coarse + i) % SLOTS]?.size ?? 0) > 0) return Math.min(best, (coarse + i) * COARSE_MS);
    }
    return best;
  }
}
