// A response body that is handed on no faster than so many bytes a second, in slices: what has come waits here, bounded, and the server is
// not read on meanwhile. The head is not held up; the end comes behind the last byte.

import { type TimerOwner, type TimerWheel, WheelTimer } from '../timer-wheel.ts';

const SLICE_MS = 50;
/** Of a time in which nothing came, as much may follow at once. */
const SLICES_MAX = 1000 / SLICE_MS;
const WAITING_BYTES_MAX = 64 * 1024;

/** Where it goes. */
export interface PacedResponse {
  /** False: the client takes no more until drained(). */
  write(piece: Buffer): boolean;
  flush(): void;
  /** The server may send more. */
  room(): void;
  finish(): void;
}

/** What a response's body goes through on its way to the client. */
export interface BodyPath {
  /** The server's side has ended. */
  settled: boolean;
  /** Something waits. */
  readonly holds: boolean;
  /** It comes out longer or shorter than it went in. */
  readonly resizes: boolean;
  /** False: enough waits. */
  body(response: PacedResponse, bytes: Buffer): boolean;
  /** True: the end waits too, and finish() follows. */
  end(response: PacedResponse): boolean;
  /** The client takes more. True: so may be read. */
  drained(): boolean;
}

export class ResponsePace implements BodyPath, TimerOwner {
  readonly resizes = false;
  readonly #wheel: TimerWheel;
  readonly #timer = new WheelTimer(this, 0);
  readonly #sliceBytes: number;
  #slices = 1;
  #countedMs: number;
  readonly #waiting: Buffer[] = [];
  #bytes = 0;
  #response: PacedResponse | undefined;
  #blocked = false;
  #ended = false;
  #over = false;
  settled = false;

  constructor(wheel: TimerWheel, bytesPerSecond: number) {
    this.#wheel = wheel;
    this.#sliceBytes = Math.max(1, Math.floor((bytesPerSecond * SLICE_MS) / 1000));
    this.#countedMs = wheel.now();
  }

  body(response: PacedResponse, bytes: Uint8Array): boolean {
    this.#response = response;
    this.#waiting.push(Buffer.from(bytes));
    this.#bytes += bytes.length;
    if (!this.#timer.armed && !this.#blocked) this.#wheel.arm(this.#timer, 0);
    return this.#bytes < WAITING_BYTES_MAX;
  }

  end(): boolean {
    this.#ended = this.#bytes > 0;
    return this.#ended;
  }

  get holds(): boolean {
    return !this.#over && this.#bytes > 0;
  }

  drained(): boolean {
    if (this.#blocked) this.#wheel.arm(this.#timer, 0);
    this.#blocked = false;
    return this.#bytes < WAITING_BYTES_MAX;
  }

  /** The exchange is over. */
  stop(): void {
    this.#over = true;
    this.#waiting.length = 0;
    this.#wheel.drop(this.#timer);
  }

  onTimer(): void {
    const now = this.#wheel.now();
    this.#slices = Math.min(SLICES_MAX, this.#slices + (now - this.#countedMs) / SLICE_MS);
    this.#countedMs = now;
    const response = this.#response;
    if (response === undefined || this.#over) return;
    const wasFull = this.#bytes >= WAITING_BYTES_MAX;
    for (; this.#slices >= 1 && this.#bytes > 0 && !this.#blocked; this.#slices--) this.#slice(response);
    response.flush();
    if (this.#bytes === 0 && this.#ended) {
      response.finish();
      return;
    }
    if (this.#bytes > 0 && !this.#blocked) this.#wheel.arm(this.#timer, SLICE_MS * (1 - this.#slices));
    if (wasFull && this.#bytes < WAITING_BYTES_MAX) response.room();
  }

  #slice(response: PacedResponse): void {
    for (let left = this.#sliceBytes; left > 0 && this.#bytes > 0; ) {
      const first = this.#waiting[0];
      if (first === undefined) return;
      const piece = first.subarray(0, left);
      if (piece.length === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(left);
      this.#bytes -= piece.length;
      left -= piece.length;
      if (!response.write(piece)) this.#blocked = true;
    }
  }
}
