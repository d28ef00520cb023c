// Counts in this process alone: for trying things out and for a single server. Bounded; what ended is let go of first.
import type { Counters, Hit } from './counters.ts';

const KEYS_MAX = 1_000_000;
/** Looking through all of them is not for every new key. */
const SWEEP_EVERY_MS = 1000;

export class MemoryCounters implements Counters {
  readonly ready = true;
  readonly #counts = new Map<string, { count: number; readonly endsMs: number }>();
  readonly #now: () => number;
  readonly #most: number;
  #sweptMs = Number.NEGATIVE_INFINITY;

  constructor(now: () => number, most = KEYS_MAX) {
    this.#now = now;
    this.#most = most;
  }

  add(hits: readonly Hit[]): Promise<readonly number[]> {
    const now = this.#now();
    return Promise.resolve(
      hits.map(({ key, hits: by, expireSeconds }) => {
        const endsMs = now + expireSeconds * 1000;
        let entry = this.#counts.get(key);
        if (entry === undefined || entry.endsMs <= now) {
          if (entry === undefined && this.#counts.size >= this.#most) this.#sweep(now);
          entry = { count: 0, endsMs };
          this.#counts.set(key, entry);
        }
        entry.count += by;
        return entry.count;
      }),
    );
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #sweep(now: number): void {
    if (now - this.#sweptMs >= SWEEP_EVERY_MS) {
      this.#sweptMs = now;
      for (const [key, { endsMs }] of this.#counts) if (endsMs <= now) this.#counts.delete(key);
    }
    for (const key of this.#counts.keys()) {
      if (this.#counts.size < this.#most) break;
      this.#counts.delete(key);
    }
  }
}
