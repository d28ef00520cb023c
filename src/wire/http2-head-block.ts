// Joins the header block of HEADERS and its CONTINUATION frames (RFC 9113 4.3, 6.2, 6.10): padding and priority are
// taken off, the pieces are bounded in number and bytes. Whole blocks are handed on as ranges, without a copy when one
// frame held all.
import { F_END_HEADERS, F_END_STREAM, F_PADDED, F_PRIORITY, FRAME_SIZE_DEFAULT } from './http2-frame.ts';

/** CONTINUATION frames of one head beyond what its size needs: more are a flood. Envoy takes at least 30. */
const CONTINUATIONS_MAX = 100;
const NO_BYTES: Buffer = Buffer.alloc(0);

export const BLOCK_MORE = 0;
export const BLOCK_WHOLE = 1;
/** Padding and priority are longer than the frame. */
export const BLOCK_SHORT = 2;
export const BLOCK_FLOOD = 3;

export class HeadBlock {
  // Of the block being read; the range after BLOCK_WHOLE.
  id = 0;
  endStream = false;
  /** The frame's priority names the stream itself. */
  selfDependent = false;
  buf: Buffer = NO_BYTES;
  start = 0;
  end = 0;
  readonly #bytesMax: number;
  readonly #framesMax: number;
  #joined = NO_BYTES;
  #length = 0;
  #frames = 0;

  constructor(headBytes: number) {
    this.#bytesMax = headBytes * 4 + FRAME_SIZE_DEFAULT; // literals may be longer on the wire than they say
    this.#framesMax = CONTINUATIONS_MAX + Math.ceil(headBytes / FRAME_SIZE_DEFAULT);
  }

  headers(flags: number, id: number, buf: Buffer, start: number, end: number): number {
    let at = start;
    let stop = end;
    if ((flags & F_PADDED) !== 0) {
      stop -= at < end ? (buf[at] as number) : 0;
      at++;
    }
    this.selfDependent = false;
    if ((flags & F_PRIORITY) !== 0) {
      if (at + 5 <= stop) this.selfDependent = (buf.readUInt32BE(at) & 0x7fffffff) === id;
      at += 5;
    }
    if (at > stop) return BLOCK_SHORT;
    this.id = id;
    this.endStream = (flags & F_END_STREAM) !== 0;
    if ((flags & F_END_HEADERS) !== 0) return this.#whole(buf, at, stop);
    this.#length = 0;
    this.#frames = 0;
    this.#append(buf, at, stop);
    return BLOCK_MORE;
  }

  continuation(flags: number, buf: Buffer, start: number, end: number): number {
    if (++this.#frames > this.#framesMax || this.#length + end - start > this.#bytesMax) return BLOCK_FLOOD;
    this.#append(buf, start, end);
    if ((flags & F_END_HEADERS) === 0) return BLOCK_MORE;
    const joined = this.#joined;
    this.#joined = NO_BYTES;
    return this.#whole(joined, 0, this.#length);
  }

  /** The block was read: its buffer is let go. */
  drop(): void {
    this.buf = NO_BYTES;
  }

  #whole(buf: Buffer, start: number, end: number): number {
    this.buf = buf;
    this.start = start;
    this.end = end;
    return BLOCK_WHOLE;
  }

  #append(buf: Buffer, start: number, end: number): void {
    const need = this.#length + end - start;
    if (this.#joined.length < need) {
      const bigger = Buffer.allocUnsafeSlow(need * 2);
      this.#joined.copy(bigger, 0, 0, this.#length);
      this.#joined = bigger;
    }
    buf.copy(this.#joined, this.#length, start, end);
    this.#length = need;
  }
}
