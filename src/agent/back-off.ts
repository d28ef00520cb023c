// Exponential back-off with full jitter over the upper half: never in step with others, never at once, never beyond the maximum.
// Pure: randomness is an argument.

export class BackOff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #attempt = 0;

  constructor(bounds: { readonly first: number; readonly max: number }, random: () => number) {
    this.#firstMs = bounds.first;
    this.#maxMs = bounds.max;
    this.#random = random;
  }

  nextMs(): number {
    const ceiling = Math.min(this.#maxMs, this.#firstMs * 2 ** Math.min(this.#attempt, 30));
    this.#attempt++;
    return ceiling * (0.5 + this.#random() / 2);
  }

  reset(): void {
    this.#attempt = 0;
  }
}
