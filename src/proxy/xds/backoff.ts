// Exponential back-off with full jitter, as Envoy's for its xDS streams: the n-th wait lies in [0, base·2ⁿ), capped.

export const RECONNECT_BASE_MS = 500;
export const RECONNECT_MAX_MS = 30_000;

export class Backoff {
  readonly #random: () => number;
  readonly #baseMs: number;
  readonly #maxMs: number;
  #attempt = 0;

  /** `random` in [0, 1). */
  constructor(random: () => number, baseMs = RECONNECT_BASE_MS, maxMs = RECONNECT_MAX_MS) {
    this.#random = random;
    this.#baseMs = baseMs;
    this.#maxMs = maxMs;
  }

  nextMs(): number {
    const ceiling = Math.min(this.#maxMs, this.#baseMs * 2 ** Math.min(this.#attempt, 16));
    this.#attempt++;
    return Math.floor(this.#random() * ceiling);
  }

  reset(): void {
    this.#attempt = 0;
  }
}
