// What an exchange keeps of a request's body and trailers: until there is a connection to send it on, and as long as it may have to be
// sent again. Bounded by its user.

import type { HeaderBlock } from '../../wire/header-block.ts';
import { isSmallPiece, SmallPieces } from '../../wire/small-pieces.ts';
import type { UpstreamStream } from '../upstream/upstream-stream.ts';

export class KeptRequest {
  pieces: Buffer[] = [];
  bytes = 0;
  /** Kept although it was sent. */
  keep = false;
  trailers: HeaderBlock | undefined;
  #small: SmallPieces | undefined;

  reset(): void {
    if (this.pieces.length > 0) this.pieces = [];
    this.bytes = 0;
    this.keep = false;
    this.trailers = undefined;
    this.#small = undefined;
  }

  get empty(): boolean {
    return this.pieces.length === 0 && this.trailers === undefined;
  }

  /** What another request had kept. */
  takeOver(pieces: Buffer[], bytes: number): void {
    this.pieces = pieces;
    this.bytes = bytes;
  }

  add(buf: Buffer, start: number, end: number): void {
    if (isSmallPiece(this.pieces, buf, start, end)) {
      this.#small ??= new SmallPieces();
      this.#small.add(this.pieces, buf, start, end, this.bytes);
    } else this.pieces.push(buf.subarray(start, end));
  }

  /** What came of the body so far. False: `stream` takes no more for now. */
  sendTo(stream: UpstreamStream): boolean {
    let takes = true;
    for (const piece of this.pieces) if (!stream.writeBody(piece, 0, piece.length)) takes = false;
    if (!this.keep) this.drop();
    return takes;
  }

  /** Sent, or not to be sent again. */
  drop(): void {
    this.keep = false;
    this.pieces.length = 0;
    this.#small = undefined;
  }
}
