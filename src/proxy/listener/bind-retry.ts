// What could not be bound is tried again, less and less often.

export class BindRetry {
  /** True: something still waits. */
  readonly #attempt: () => boolean;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = PAUSE_MS;

  constructor(attempt: () => boolean) {
    this.#attempt = attempt;
  }

  /** Something waits; a second call changes nothing. */
  begin(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#pauseMs = this.#attempt() ? Math.min(this.#pauseMs * 2, PAUSE_MAX_MS) : PAUSE_MS;
    }, this.#pauseMs);
    this.#timer.unref();
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}

const PAUSE_MS = 500;
const PAUSE_MAX_MS = 10_000;
