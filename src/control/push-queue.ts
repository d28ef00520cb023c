// Pushes spread over turns of the event loop: proxies are refreshed one after another, and every slice of work ends after a
// few milliseconds so that requests, acknowledgements and signals are served in between. A proxy that is
// queued twice is refreshed once, with the latest.
import { performance } from 'node:perf_hooks';
import { PUSH_SLICE_MS } from './limits.ts';

export class PushQueue<T> {
  readonly #push: (item: T) => void;
  readonly #waiting = new Set<T>();
  #scheduled: NodeJS.Immediate | undefined;

  constructor(push: (item: T) => void) {
    this.#push = push;
  }

  get length(): number {
    return this.#waiting.size;
  }

  add(items: Iterable<T>): void {
    for (const item of items) this.#waiting.add(item);
    if (this.#waiting.size > 0) this.#scheduled ??= setImmediate(() => this.#slice());
  }

  delete(item: T): void {
    this.#waiting.delete(item);
  }

  close(): void {
    this.#waiting.clear();
    if (this.#scheduled) clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
  }

  #slice(): void {
    this.#scheduled = undefined;
    const until = performance.now() + PUSH_SLICE_MS;
    for (const item of this.#waiting) {
      this.#waiting.delete(item);
      this.#push(item);
      if (performance.now() >= until) break;
    }
    if (this.#waiting.size > 0) this.#scheduled = setImmediate(() => this.#slice());
  }
}
