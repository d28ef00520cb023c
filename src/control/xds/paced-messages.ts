// The messages of one call, served in turns: a client whose requests cost much waits as long as they took, so that others are served
// between them. What waits is bounded by whoever feeds it: nothing more may be let in while `held`.
import { performance } from 'node:perf_hooks';
import { REQUEST_HOLD_MS_MAX, REQUEST_SLICE_MS, REQUEST_WINDOW_MS } from '../limits.ts';

/** Shared by the calls of one server. */
export interface Turns {
  /** Calls that wait for their turn. */
  held: number;
}

export class PacedMessages {
  readonly #turns: Turns;
  readonly #serve: (bytes: Uint8Array) => void;
  readonly #idle: () => void;
  #waiting: Uint8Array[] = [];
  #timer: NodeJS.Timeout | undefined;
  #sinceMs = 0;
  #spentMs = 0;
  #over = false;

  /** `idle`: what had waited is served. `serve` must not throw. */
  constructor(turns: Turns, serve: (bytes: Uint8Array) => void, idle: () => void) {
    this.#turns = turns;
    this.#serve = serve;
    this.#idle = idle;
  }

  get held(): boolean {
    return this.#timer !== undefined;
  }

  push(bytes: Uint8Array): void {
    if (this.#over) return;
    if (this.#timer === undefined) this.#one(bytes);
    else this.#waiting.push(bytes);
  }

  /** What waits is forgotten. */
  close(): void {
    this.#over = true;
    this.#waiting = [];
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#turns.held--;
  }

  #one(bytes: Uint8Array): void {
    const startMs = performance.now();
    if (startMs - this.#sinceMs > REQUEST_WINDOW_MS) {
      this.#sinceMs = startMs;
      this.#spentMs = 0;
    }
    this.#serve(bytes);
    this.#spentMs += performance.now() - startMs;
    if (this.#spentMs >= REQUEST_SLICE_MS && !this.#over) this.#hold();
  }

  /** All that wait have half of the time together. */
  #hold(): void {
    const waitMs = Math.min(REQUEST_HOLD_MS_MAX, this.#spentMs * (2 * ++this.#turns.held - 1));
    this.#timer = setTimeout(() => this.#goOn(), waitMs);
  }

  #goOn(): void {
    this.#timer = undefined;
    this.#turns.held--;
    this.#spentMs = 0;
    this.#sinceMs = performance.now();
    const waiting = this.#waiting;
    this.#waiting = [];
    let served = 0;
    while (served < waiting.length && this.#timer === undefined && !this.#over) {
      const bytes = waiting[served++];
      if (bytes) this.#one(bytes);
    }
    if (this.#over) return;
    if (served < waiting.length) this.#waiting = waiting.slice(served);
    else if (this.#timer === undefined) this.#idle();
  }
}
