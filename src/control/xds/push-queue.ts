// Pushes spread over turns of the event loop: proxies are refreshed one after another, and every slice of work ends after a
// few milliseconds so that requests, acknowledgements and signals are served in between. A proxy that is
// queued twice is refreshed once, with the latest. Proxies that are new cost several times as much as known ones, and there may be any
// number of them: while both wait, both kinds get the same time.
import { performance } from 'node:perf_hooks';
import { PUSH_SLICE_MS } from '../limits.ts';

export class PushQueue<T> {
  readonly #push: (item: T) => void;
  readonly #nowMs: () => number;
  readonly #known = new Set<T>();
  readonly #fresh = new Set<T>();
  /** By how much more time the fresh have had, while both have waited. */
  #freshLeadMs = 0;
  #scheduled: NodeJS.Immediate | undefined;

  constructor(push: (item: T) => void, nowMs: () => number = () => performance.now()) {
    this.#push = push;
    this.#nowMs = nowMs;
  }

  get length(): number {
    return this.#known.size + this.#fresh.size;
  }

  /** To be served for the first time. */
  addFresh(item: T): void {
    this.#fresh.add(item);
    this.#schedule();
  }

  /** To be refreshed; who waits to be served for the first time gets the latest then. */
  add(items: Iterable<T>): void {
    for (const item of items) if (!this.#fresh.has(item)) this.#known.add(item);
    this.#schedule();
  }

  delete(item: T): void {
    this.#known.delete(item);
    this.#fresh.delete(item);
  }

  close(): void {
    this.#known.clear();
    this.#fresh.clear();
    if (this.#scheduled) clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
  }

  #schedule(): void {
    if (this.length > 0) this.#scheduled ??= setImmediate(() => this.#slice());
  }

  #slice(): void {
    this.#scheduled = undefined;
    const startMs = this.#nowMs();
    for (let atMs = startMs; this.length > 0 && atMs - startMs < PUSH_SLICE_MS; ) {
      const both = this.#known.size > 0 && this.#fresh.size > 0;
      const fresh = both ? this.#freshLeadMs < 0 : this.#fresh.size > 0;
      const from = fresh ? this.#fresh : this.#known;
      for (const item of from) {
        from.delete(item);
        this.#push(item);
        break;
      }
      const endMs = this.#nowMs();
      this.#freshLeadMs = both ? this.#freshLeadMs + (fresh ? endMs - atMs : atMs - endMs) : 0;
      atMs = endMs;
    }
    this.#schedule();
  }
}
