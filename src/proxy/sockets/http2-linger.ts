// Streams of one connection that nobody uses any more and whose last bytes their peer has not taken yet. They leave by themselves; one
// that has taken nothing for a while is reset. Costs nothing while there is none.

import { H2 } from '../../wire/http2-frame.ts';
import type { Http2Stream } from '../../wire/http2-stream.ts';
import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';

/** The list is looked through when it has so many, or twice as many as were found open. */
const SWEEP = 32;

export class Http2Linger {
  readonly #wheel: TimerWheel;
  readonly #afterMs: number;
  readonly #timer: WheelTimer;
  /** `user` says how much was left. */
  #streams: Http2Stream[] = [];
  #sweepAt = SWEEP;

  constructor(wheel: TimerWheel, afterMs: number) {
    this.#wheel = wheel;
    this.#afterMs = afterMs;
    this.#timer = new WheelTimer(this, 0);
  }

  add(stream: Http2Stream): void {
    if (this.#streams.length >= this.#sweepAt) this.#sweep();
    stream.user = stream.queuedBytes;
    this.#streams.push(stream);
    if (!this.#timer.armed) this.#wheel.arm(this.#timer, this.#afterMs);
  }

  /** The connection is over. */
  stop(): void {
    this.#wheel.drop(this.#timer);
    this.#streams = [];
  }

  onTimer(): void {
    for (const stream of this.#streams) {
      const before = stream.user as number;
      stream.user = stream.queuedBytes;
      if (stream.queuedBytes >= before) stream.reset(H2.CANCEL);
    }
    this.#sweep();
    if (this.#streams.length > 0) this.#wheel.arm(this.#timer, this.#afterMs);
  }

  #sweep(): void {
    const open: Http2Stream[] = [];
    for (const stream of this.#streams) {
      if (stream.closed) stream.release();
      else open.push(stream);
    }
    this.#streams = open;
    this.#sweepAt = Math.max(SWEEP, open.length * 2);
  }
}
