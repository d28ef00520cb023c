// What an exchange keeps of a request's body and trailers: until there is a connection to send it on, and as long as it may have to be
// sent again. Bounded by its user.

import type { HeaderBlock } from '../wire/header-block.ts';

/** A small piece of a large read is copied: it must not hold the rest of the read in memory. */
const COPY_BELOW = 2048;

export class KeptRequest {
  pieces: Buffer[] = [];
  bytes = 0;
  /** Kept although it was sent. */
  keep = false;
  trailers: HeaderBlock | undefined;

  reset(): void {
    if (this.pieces.length > 0) this.pieces = [];
    this.bytes = 0;
    this.keep = false;
    this.trailers = undefined;
  }

  get empty(): boolean {
    return this.pieces.length === 0 && this.trailers === undefined;
  }

  add(buf: Buffer, start: number, end: number): void {
    const piece = buf.subarray(start, end);
    this.pieces.push(end - start < COPY_BELOW && buf.length > 4 * COPY_BELOW ? Buffer.from(piece) : piece);
  }

  /** Sent, or not to be sent again. */
  drop(): void {
    this.keep = false;
    this.pieces.length = 0;
  }
}
