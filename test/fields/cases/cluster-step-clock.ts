// A clock that only moves when it is told to: what a cluster does over hours, at once.
import type { Clock } from '../../../src/proxy/clock.ts';

export class StepClock implements Clock {
  #now = 0;
  #calls: { readonly at: number; readonly fire: () => void }[] = [];

  monotonicMs(): number {
    return this.#now;
  }
  wallMs(): number {
    return this.#now;
  }
  after(delayMs: number, fire: () => void): () => void {
    const call = { at: this.#now + delayMs, fire };
    this.#calls.push(call);
    return () => {
      this.#calls = this.#calls.filter((c) => c !== call);
    };
  }

  /** What is due until then fires in order. */
  forward(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [next] = this.#calls.filter((c) => c.at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#calls = this.#calls.filter((c) => c !== next);
      this.#now = Math.max(this.#now, next.at);
      next.fire();
    }
    this.#now = end;
  }
}
