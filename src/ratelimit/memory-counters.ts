// Counts in this process alone: for trying things out and for a single server. Bounded; what ended is let go of first.
import type { Counters, Hit } from './counters.ts';

const KEYS_MAX = 1_000_000;

export class MemoryCounters implements Counters {
  readonly ready = true;
  readonly #counts = new Map<string, { count: number; readonly endsMs: number }>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  add(hits: readonly Hit[]): Promise<readonly number[]> {
    const now = this.#now();
    if (this.#counts.size >= KEYS_MAX) this.#sweep(now);
    return Promise.resolve(
      hits.map(({ key, hits: by, expireSeconds }) => {
        const endsMs = now + expireSeconds * 1000;
        let entry = this.#counts.get(key);
        if (entry === undefined || entry.endsMs <= now) {
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
    for (const [key, { endsMs }] of this.#counts) if (endsMs <= now) this.#counts.delete(key);
    for (const key of this.#counts.keys()) {
      if (this.#counts.size < KEYS_MAX) break;
      this.#counts.delete(key);
    }
  }
}
