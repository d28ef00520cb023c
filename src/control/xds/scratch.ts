// Buffers to write from, each with one write at a time: copies of what thousands of clients are sent would else be garbage by the gigabyte.

/** Written at once; what a slow client has of it waits in the process. */
export const WRITE_BYTES: number = 48 * 1024;
/** Kept for the next writes; a burst to a thousand clients leaves no more. */
const KEPT_MAX = 64;

export class Scratch {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(WRITE_BYTES);
  }

  /** The write that it was taken for is over. */
  give(buffer: Buffer): void {
    if (this.#free.length < KEPT_MAX) this.#free.push(buffer);
  }
}
