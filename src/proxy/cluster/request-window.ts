// How many requests began in the last while: what a retry budget with an interval is a share of. Ten slots, so that none is counted
// for more than a tenth of the interval too long.

const SLOTS = 10;

export class RequestWindow {
  readonly #slots = new Uint32Array(SLOTS);
  readonly #slotMs: number;
  readonly #now: () => number;
  #last = 0;
  #sum = 0;

  constructor(intervalMs: number, now: () => number) {
    this.#slotMs = Math.max(1, intervalMs / SLOTS);
    this.#now = now;
  }

  took(): void {
    this.#advance();
    const at = this.#last % SLOTS;
    this.#slots[at] = (this.#slots[at] ?? 0) + 1;
    this.#sum++;
  }

  get count(): number {
    this.#advance();
    return this.#sum;
  }

  #advance(): void {
    const current = Math.floor(this.#now() / this.#slotMs);
    for (let slot = Math.max(this.#last + 1, current - SLOTS + 1); slot <= current; slot++) {
      this.#sum -= this.#slots[slot % SLOTS] ?? 0;
      this.#slots[slot % SLOTS] = 0;
    }
    this.#last = Math.max(this.#last, current);
  }
}
