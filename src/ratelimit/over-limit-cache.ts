// Keys known to be over their limit until their window ends: nobody has to be asked about them. Bounded; the oldest go first.

export class OverLimitCache {
  readonly #until = new Map<string, number>();
  readonly #most: number;

  /** 0: nothing is kept. */
  constructor(most: number) {
    this.#most = most;
  }

  has(key: string, nowSeconds: number): boolean {
    const until = this.#until.get(key);
    if (until === undefined) return false;
    if (until > nowSeconds) return true;
    this.#until.delete(key);
    return false;
  }

  put(key: string, untilSeconds: number): void {
    if (this.#most === 0) return;
    this.#until.delete(key);
    this.#until.set(key, untilSeconds);
    if (this.#until.size <= this.#most) return;
    const [oldest] = this.#until.keys();
    if (oldest !== undefined) this.#until.delete(oldest);
  }
}
