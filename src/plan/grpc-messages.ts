// Counts gRPC messages as they pass by: each begins with a flag byte and the length of what follows. It reads five bytes of a
// message and skips the rest; bytes that are no gRPC give a number, never an error.

export class GrpcMessageCount {
  messages = 0;
  /** Bytes of the message under way that have not come yet. */
  #left = 0;
  /** Bytes of its prefix that have come. */
  #prefix = 0;
  #size = 0;

  feed(buf: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end) {
      if (this.#left > 0) {
        const skipped = Math.min(this.#left, end - at);
        this.#left -= skipped;
        at += skipped;
        continue;
      }
      if (this.#prefix === 0) this.messages++;
      else this.#size = this.#size * 256 + (buf[at] as number);
      at++;
      if (++this.#prefix < 5) continue;
      this.#left = this.#size;
      this.#size = 0;
      this.#prefix = 0;
    }
  }
}

/** Both ways of one call. */
export class GrpcMessages {
  readonly request = new GrpcMessageCount();
  readonly response = new GrpcMessageCount();
  /** What the observer has told of them so far. */
  requestsTold = 0;
  responsesTold = 0;
}
