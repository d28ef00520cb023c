// Frames on their way out: written one behind the other into slabs that are never overwritten, large body pieces by
// reference between them. Counts what waits, so that whoever fills it can stop.
import type { ByteSink } from './header-output.ts';
import { COPY_BELOW, F_END_HEADERS, F_END_STREAM, FRAME_HEAD_BYTES, T_CONTINUATION } from './http2-frame.ts';

const SLAB_FIRST = 512;
const SLAB_BYTES = 32 * 1024;
const NO_BYTES: Buffer = Buffer.alloc(0);

export class Http2Outbox implements ByteSink {
  buf: Buffer = NO_BYTES;
  at = 0;
  /** Frames since the last take. */
  frames = 0;
  /** Of them, those a peer makes us send: acknowledgements and resets. */
  controlFrames = 0;
  /** How often it was taken: a frame written before cannot be changed any more. */
  takes = 0;
  #start = 0; // bytes from here are in no piece yet
  #mark = 0; // the frame being written
  #pieces: Buffer[] = [];
  #pieceBytes = 0;

  get bytes(): number {
    return this.#pieceBytes + this.at - this.#start;
  }

  /** Room for `bytes` more in one piece with the frame being written. */
  ensure(bytes: number): void {
    if (this.at + bytes <= this.buf.length) return;
    const begun = this.at - this.#mark;
    this.#cut(this.#mark);
    const slab = Math.min(SLAB_BYTES, Math.max(SLAB_FIRST, this.buf.length * 2));
    const next = Buffer.allocUnsafeSlow(Math.max(slab, (begun + bytes) * 2));
    this.buf.copy(next, 0, this.#mark, this.at);
    this.buf = next;
    this.#mark = this.#start = 0;
    this.at = begun;
  }

  /** A frame's head; its payload goes behind it and `endFrame` sets its length. */
  beginFrame(type: number, flags: number, id: number): void {
    this.#mark = this.at;
    this.#head(0, type, flags, id);
  }

  endFrame(): void {
    const at = this.#mark;
    const length = this.at - at - FRAME_HEAD_BYTES;
    this.buf[at] = length >>> 16;
    this.buf[at + 1] = length >>> 8;
    this.buf[at + 2] = length;
    this.#mark = this.at;
  }

  /** Where the frame being written begins in `buf`. */
  get frameAt(): number {
    return this.#mark;
  }

  /** Ends a HEADERS frame; what is above `max` goes into CONTINUATION frames. Returns the block's bytes. */
  endHead(max: number, id: number): number {
    const length = this.at - this.#mark - FRAME_HEAD_BYTES;
    if (length <= max) this.endFrame();
    else this.#split(length, max, id);
    return length;
  }

  /** Bytes written by the caller itself; `buf[at++]` after `ensure`. */
  u32(value: number): void {
    this.ensure(4);
    this.buf[this.at] = value >>> 24;
    this.buf[this.at + 1] = value >>> 16;
    this.buf[this.at + 2] = value >>> 8;
    this.buf[this.at + 3] = value;
    this.at += 4;
  }

  u16(value: number): void {
    this.ensure(2);
    this.buf[this.at++] = value >>> 8;
    this.buf[this.at++] = value;
  }

  raw(bytes: Buffer, start = 0, end = bytes.length): void {
    this.ensure(end - start);
    bytes.copy(this.buf, this.at, start, end);
    this.at += end - start;
  }

  /** A frame with four bytes: RST_STREAM, WINDOW_UPDATE. */
  word(type: number, id: number, value: number): void {
    this.beginFrame(type, 0, id);
    this.u32(value);
    this.endFrame();
  }

  /** One DATA frame; small payloads are copied, others go by reference. Returns where its head lies in `buf`. */
  data(id: number, flags: number, from: Buffer, start: number, end: number): number {
    const length = end - start;
    this.#mark = this.at;
    this.ensure(FRAME_HEAD_BYTES + (length < COPY_BELOW ? length : 0));
    const at = this.at;
    this.#head(length, 0, flags, id);
    if (length < COPY_BELOW) {
      from.copy(this.buf, this.at, start, end);
      this.at += length;
    } else {
      this.#cut(this.at);
      this.#pieces.push(start === 0 && end === from.length ? from : from.subarray(start, end));
      this.#pieceBytes += length;
    }
    this.#mark = this.at;
    return at;
  }

  /** What waits, in order. */
  take(): Buffer[] {
    this.#mark = this.at;
    this.#cut(this.at);
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.frames = 0;
    this.controlFrames = 0;
    this.takes++;
    if (this.buf.length > SLAB_BYTES) {
      this.buf = NO_BYTES; // made for one large head
      this.at = this.#start = this.#mark = 0;
    }
    return pieces;
  }

  #head(length: number, type: number, flags: number, id: number): void {
    this.ensure(FRAME_HEAD_BYTES);
    this.frames++;
    const buf = this.buf;
    const at = this.at;
    buf[at] = length >>> 16;
    buf[at + 1] = length >>> 8;
    buf[at + 2] = length;
    buf[at + 3] = type;
    buf[at + 4] = flags;
    buf[at + 5] = id >>> 24;
    buf[at + 6] = id >>> 16;
    buf[at + 7] = id >>> 8;
    buf[at + 8] = id;
    this.at = at + FRAME_HEAD_BYTES;
  }

  #cut(end: number): void {
    if (end <= this.#start) return;
    this.#pieces.push(this.buf.subarray(this.#start, end));
    this.#pieceBytes += end - this.#start;
    this.#start = end;
  }

  #split(length: number, max: number, id: number): void {
    const block = Buffer.from(this.buf.subarray(this.at - length, this.at));
    const flags = this.buf[this.#mark + 4] as number;
    const type = this.buf[this.#mark + 3] as number;
    this.at = this.#mark;
    this.frames--;
    for (let from = 0; from < length; from += max) {
      const to = Math.min(length, from + max);
      this.#mark = this.at;
      const last = to === length ? F_END_HEADERS : 0;
      this.#head(to - from, from === 0 ? type : T_CONTINUATION, from === 0 ? (flags & F_END_STREAM) | last : last, id);
      this.raw(block, from, to);
    }
    this.#mark = this.at;
  }
}
