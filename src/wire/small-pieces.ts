// For lists of body pieces that wait: small pieces are gathered, so that a byte costs neither an object of its own nor the whole read
// it came in. Bytes once written are never overwritten; a piece may be sent by reference while more is added behind it.

/** Pieces below it are gathered: each costs more than its bytes. */
const GATHER_BELOW = 1024;
const READ_SMALL = 8 * 1024;
const SLAB_FIRST = 512;
const SLAB_MAX = 16 * 1024;

export class SmallPieces {
  #slab: Buffer | undefined;
  #used = 0;

  /** Copied behind the last piece, which grows, or into a new one; `waiting`: bytes in the list, by which the room ahead is chosen. */
  add(pieces: Buffer[], buf: Buffer, start: number, end: number, waiting: number): void {
    const bytes = end - start;
    const last = pieces.at(-1);
    let slab = this.#slab;
    let from = this.#used;
    if (slab !== undefined && last?.buffer === slab.buffer && slab.length - from >= bytes) {
      from -= last.length;
      pieces.pop();
    } else {
      slab = this.#slab = Buffer.allocUnsafeSlow(Math.max(bytes, Math.min(SLAB_MAX, Math.max(SLAB_FIRST, waiting))));
      from = this.#used = 0;
    }
    buf.copy(slab, this.#used, start, end);
    this.#used += bytes;
    pieces.push(slab.subarray(from, this.#used));
  }
}

/** By reference it would hold far more than it is. The first of a list may hold a small read: most lists have one piece only. */
export const isSmallPiece = (pieces: readonly Buffer[], buf: Buffer, start: number, end: number): boolean =>
  ((end - start) * 4 < buf.length && (pieces.length > 0 || buf.length > READ_SMALL)) || (end - start < GATHER_BELOW && pieces.length > 0);
