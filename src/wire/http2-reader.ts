// Cuts the bytes of an HTTP/2 connection into frames, in any pieces: DATA payloads are handed on as ranges of the
// caller's buffer as they come, other frames whole (joined when they came in pieces). It judges sizes, the preface and
// the order of header frames; what a frame means is the sink's.
import {
  F_ACK,
  F_END_HEADERS,
  F_END_STREAM,
  F_PADDED,
  FRAME_HEAD_BYTES,
  H2,
  PREFACE,
  T_CONTINUATION,
  T_DATA,
  T_HEADERS,
  T_SETTINGS,
} from './http2-frame.ts';

export interface FrameSink {
  /** The connection is over: nothing more is read. */
  readonly dead: boolean;
  /** Each frame's head before anything else of it; false: the connection is over. */
  frameHead(type: number, flags: number, id: number, length: number): boolean;
  frame(type: number, flags: number, id: number, buf: Buffer, start: number, end: number): void;
  /** A DATA frame begins; `length` with padding and its length byte. */
  dataBegin(id: number, length: number): void;
  data(buf: Buffer, start: number, end: number): void;
  /** Bytes that are no payload. */
  padding(bytes: number): void;
  /** A DATA frame was read whole; `emptyPadding`: it was padded and held no payload. */
  dataEnd(endStream: boolean, emptyPadding: boolean): void;
  broken(code: number, message: string): void;
}

const NO_BYTES: Buffer = Buffer.alloc(0);
/** A buffer for joined frames above it is let go after use. */
const KEEP_BYTES = 1024;

const IN_PREFACE = 0;
const IN_FRAMES = 1;
const IN_PAD_LENGTH = 2;
const IN_DATA = 3;
const IN_PADDING = 4;

export class FrameReader {
  readonly #sink: FrameSink;
  readonly #frameMax: number;
  #state: number;
  #prefaceAt = 0;
  #settingsSeen = false;
  /** Stream whose CONTINUATION must come next; 0 none. */
  #continues = 0;
  // The frame being read.
  #type = 0;
  #flags = 0;
  #id = 0;
  #length = 0;
  // What came of a frame in pieces.
  #part = NO_BYTES;
  #partLength = 0;
  // DATA.
  #dataLeft = 0;
  #padLeft = 0;
  #emptyPadding = false;

  constructor(sink: FrameSink, expectPreface: boolean, frameMax: number) {
    this.#sink = sink;
    this.#frameMax = frameMax;
    this.#state = expectPreface ? IN_PREFACE : IN_FRAMES;
  }

  /** The stream whose head block has begun and is not whole; 0 none. */
  get headStream(): number {
    return this.#partLength >= FRAME_HEAD_BYTES && this.#type === T_HEADERS ? this.#id : this.#continues;
  }

  execute(buf: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end && !this.#sink.dead) {
      switch (this.#state) {
        case IN_FRAMES:
          at = this.#partLength === 0 && end - at >= FRAME_HEAD_BYTES ? this.#whole(buf, at, end) : this.#pieces(buf, at, end);
          break;
        case IN_DATA:
          at = this.#payload(buf, at, end);
          break;
        case IN_PADDING: {
          const bytes = Math.min(this.#padLeft, end - at);
          this.#padLeft -= bytes;
          at += bytes;
          this.#sink.padding(bytes);
          if (this.#padLeft === 0) this.#endData();
          break;
        }
        case IN_PAD_LENGTH:
          at = this.#padLength(buf, at);
          break;
        default:
          at = this.#preface(buf, at, end);
      }
    }
  }

  #preface(buf: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end && this.#prefaceAt < PREFACE.length) {
      if (buf[at] !== PREFACE[this.#prefaceAt]) {
        this.#break(H2.PROTOCOL_ERROR, 'not the HTTP/2 preface');
        return end;
      }
      at++;
      this.#prefaceAt++;
    }
    if (this.#prefaceAt === PREFACE.length) this.#state = IN_FRAMES;
    return at;
  }

  /** A frame of which at least the head is here in one piece. */
  #whole(buf: Buffer, at: number, end: number): number {
    const length = ((buf[at] as number) << 16) | ((buf[at + 1] as number) << 8) | (buf[at + 2] as number);
    const stop = at + FRAME_HEAD_BYTES + length;
    if (stop > end && buf[at + 3] !== T_DATA) return this.#pieces(buf, at, end);
    if (!this.#head(buf, at)) return end;
    if (this.#type === T_DATA) {
      this.#beginData();
      return at + FRAME_HEAD_BYTES;
    }
    this.#sink.frame(this.#type, this.#flags, this.#id, buf, at + FRAME_HEAD_BYTES, stop);
    return stop;
  }

  #pieces(buf: Buffer, start: number, end: number): number {
    let at = start;
    if (this.#partLength < FRAME_HEAD_BYTES) {
      if (this.#part.length < FRAME_HEAD_BYTES) this.#part = Buffer.allocUnsafeSlow(FRAME_HEAD_BYTES);
      while (at < end && this.#partLength < FRAME_HEAD_BYTES) this.#part[this.#partLength++] = buf[at++] as number;
      if (this.#partLength < FRAME_HEAD_BYTES) return at;
      if (!this.#head(this.#part, 0)) return end;
      if (this.#type === T_DATA) {
        this.#partLength = 0;
        this.#beginData();
        return at;
      }
      this.#grow(FRAME_HEAD_BYTES + this.#length);
    }
    const need = FRAME_HEAD_BYTES + this.#length;
    const take = Math.min(need - this.#partLength, end - at);
    buf.copy(this.#part, this.#partLength, at, at + take);
    this.#partLength += take;
    at += take;
    if (this.#partLength === need) {
      const part = this.#part;
      this.#partLength = 0;
      if (part.length > KEEP_BYTES) this.#part = NO_BYTES;
      this.#sink.frame(this.#type, this.#flags, this.#id, part, FRAME_HEAD_BYTES, need);
    }
    return at;
  }

  #grow(need: number): void {
    if (this.#part.length >= need) return;
    const next = Buffer.allocUnsafeSlow(need);
    this.#part.copy(next, 0, 0, this.#partLength);
    this.#part = next;
  }

  #head(buf: Buffer, at: number): boolean {
    const length = ((buf[at] as number) << 16) | ((buf[at + 1] as number) << 8) | (buf[at + 2] as number);
    const type = buf[at + 3] as number;
    const flags = buf[at + 4] as number;
    const id =
      (((buf[at + 5] as number) & 0x7f) << 24) | ((buf[at + 6] as number) << 16) | ((buf[at + 7] as number) << 8) | (buf[at + 8] as number);
    this.#length = length;
    this.#type = type;
    this.#flags = flags;
    this.#id = id;
    if (length > this.#frameMax) return this.#break(H2.FRAME_SIZE_ERROR, 'frame larger than announced');
    if (!this.#settingsSeen) {
      if (type !== T_SETTINGS || (flags & F_ACK) !== 0) return this.#break(H2.PROTOCOL_ERROR, 'first frame is not SETTINGS');
      this.#settingsSeen = true;
    }
    if (this.#continues !== 0) {
      if (type !== T_CONTINUATION || id !== this.#continues)
        return this.#break(H2.PROTOCOL_ERROR, 'header block interrupted by another frame');
    } else if (type === T_CONTINUATION) return this.#break(H2.PROTOCOL_ERROR, 'CONTINUATION without HEADERS');
    if (type === T_HEADERS || type === T_CONTINUATION) this.#continues = (flags & F_END_HEADERS) !== 0 ? 0 : id;
    return this.#sink.frameHead(type, flags, id, length);
  }

  #beginData(): void {
    this.#dataLeft = this.#length;
    this.#padLeft = 0;
    this.#emptyPadding = false;
    const padded = (this.#flags & F_PADDED) !== 0;
    if (padded && this.#length === 0) {
      this.#break(H2.FRAME_SIZE_ERROR, 'padded DATA without a pad length');
      return;
    }
    this.#state = padded ? IN_PAD_LENGTH : IN_DATA;
    this.#sink.dataBegin(this.#id, this.#length);
    if (!padded && this.#length === 0 && !this.#sink.dead) this.#endData();
  }

  #padLength(buf: Buffer, at: number): number {
    const pad = buf[at] as number;
    if (pad >= this.#length) {
      this.#break(H2.PROTOCOL_ERROR, 'padding longer than the frame');
      return at + 1;
    }
    this.#dataLeft = this.#length - 1 - pad;
    this.#padLeft = pad;
    this.#emptyPadding = this.#dataLeft === 0;
    this.#state = this.#dataLeft > 0 ? IN_DATA : IN_PADDING;
    this.#sink.padding(1);
    if (this.#state === IN_PADDING && pad === 0) this.#endData();
    return at + 1;
  }

  #payload(buf: Buffer, at: number, end: number): number {
    const stop = Math.min(end, at + this.#dataLeft);
    this.#dataLeft -= stop - at;
    this.#sink.data(buf, at, stop);
    if (this.#dataLeft === 0) {
      if (this.#padLeft > 0) this.#state = IN_PADDING;
      else this.#endData();
    }
    return stop;
  }

  #endData(): void {
    this.#state = IN_FRAMES;
    if (this.#sink.dead) return;
    this.#sink.dataEnd((this.#flags & F_END_STREAM) !== 0, this.#emptyPadding);
  }

  #break(code: number, message: string): false {
    this.#sink.broken(code, message);
    return false;
  }
}
