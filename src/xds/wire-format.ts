// Protocol Buffers wire primitives: a bounded reader and a growing writer. No message knowledge.
// https://protobuf.dev/programming-guides/encoding/

export class WireError extends Error {}

const utf8Decoder = new TextDecoder('utf-8', { fatal: true });
const utf8Encoder = new TextEncoder();

export class Reader {
  readonly buf: Uint8Array;
  pos: number;
  readonly end: number;
  readonly #view: DataView;

  constructor(buf: Uint8Array, start = 0, end = buf.length) {
    this.buf = buf;
    this.pos = start;
    this.end = end;
    this.#view = new DataView(buf.buffer, buf.byteOffset, buf.byteLength);
  }

  /** An unsigned varint of up to 64 bits; exact up to 2^53, nearest double above. */
  varint(): number {
    let result = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      if (this.pos >= this.end) throw new WireError('truncated varint');
      const byte = this.buf[this.pos++] as number;
      result += (byte & 0x7f) * scale;
      if (byte < 0x80) return result;
      scale *= 128;
    }
    throw new WireError('varint longer than 10 bytes');
  }

  /** A signed 64-bit varint (int32 and int64 negative values take ten bytes). */
  signedVarint(): number {
    const start = this.pos;
    const value = this.varint();
    if (value < 2 ** 63) return value;
    let big = 0n;
    for (let i = start, shift = 0n; i < this.pos; i++, shift += 7n) big |= BigInt((this.buf[i] as number) & 0x7f) << shift;
    return Number(BigInt.asIntN(64, big));
  }

  fixed32(): number {
    this.#need(4);
    const v = this.#view.getUint32(this.pos, true);
    this.pos += 4;
    return v;
  }
  sfixed32(): number {
    return this.fixed32() | 0;
  }
  fixed64(): number {
    this.#need(8);
    const v = this.#view.getBigUint64(this.pos, true);
    this.pos += 8;
    return Number(v);
  }
  sfixed64(): number {
    this.#need(8);
    const v = this.#view.getBigInt64(this.pos, true);
    this.pos += 8;
    return Number(v);
  }
  float(): number {
    this.#need(4);
    const v = this.#view.getFloat32(this.pos, true);
    this.pos += 4;
    return v;
  }
  double(): number {
    this.#need(8);
    const v = this.#view.getFloat64(this.pos, true);
    this.pos += 8;
    return v;
  }

  /** End offset of a length-delimited field that starts here. */
  length(): number {
    const size = this.varint();
    if (size > this.end - this.pos) throw new WireError('length-delimited field runs past its message');
    return this.pos + size;
  }
  bytes(): Uint8Array {
    const end = this.length();
    const out = this.buf.subarray(this.pos, end);
    this.pos = end;
    return out;
  }
  string(): string {
    try {
      return utf8Decoder.decode(this.bytes());
    } catch (e) {
      if (e instanceof WireError) throw e;
      throw new WireError('string is not UTF-8');
    }
  }

  skip(wireType: number): void {
    if (wireType === 0) this.varint();
    else if (wireType === 1) this.#advance(8);
    else if (wireType === 2) this.pos = this.length();
    else if (wireType === 5) this.#advance(4);
    else throw new WireError(`wire type ${wireType} is not supported`);
  }

  #advance(n: number): void {
    this.#need(n);
    this.pos += n;
  }
  #need(n: number): void {
    if (this.end - this.pos < n) throw new WireError('truncated field');
  }
}

const WRITER_BYTES = 256;
/** Longer strings are encoded by the runtime. */
const SHORT_CHARS = 48;

export class Writer {
  #buf = new Uint8Array(WRITER_BYTES);
  #dataView: DataView | undefined;
  #pos = 0;

  get #view(): DataView {
    this.#dataView ??= new DataView(this.#buf.buffer);
    return this.#dataView;
  }

  finish(): Uint8Array {
    return this.#buf.slice(0, this.#pos);
  }

  tag(field: number, wireType: number): void {
    this.varint(field * 8 + wireType);
  }

  varint(value: number): void {
    this.#grow(10);
    if (value < 0) {
      let big = BigInt.asUintN(64, BigInt(Math.trunc(value)));
      while (big > 0x7fn) {
        this.#buf[this.#pos++] = Number(big & 0x7fn) | 0x80;
        big >>= 7n;
      }
      this.#buf[this.#pos++] = Number(big);
      return;
    }
    let v = value;
    while (v > 0x7f) {
      this.#buf[this.#pos++] = (v % 128) | 0x80;
      v = Math.floor(v / 128);
    }
    this.#buf[this.#pos++] = v;
  }

  fixed32(value: number): void {
    this.#grow(4);
    this.#view.setUint32(this.#pos, value >>> 0, true);
    this.#pos += 4;
  }
  fixed64(value: number): void {
    this.#grow(8);
    this.#view.setBigInt64(this.#pos, BigInt(Math.trunc(value)), true);
    this.#pos += 8;
  }
  float(value: number): void {
    this.#grow(4);
    this.#view.setFloat32(this.#pos, value, true);
    this.#pos += 4;
  }
  double(value: number): void {
    this.#grow(8);
    this.#view.setFloat64(this.#pos, value, true);
    this.#pos += 8;
  }
  bytes(value: Uint8Array): void {
    this.varint(value.length);
    this.raw(value);
  }
  /** What is encoded already. */
  raw(value: Uint8Array): void {
    this.#grow(value.length);
    this.#buf.set(value, this.#pos);
    this.#pos += value.length;
  }
  string(value: string): void {
    if (value.length > SHORT_CHARS || !this.#ascii(value)) this.bytes(utf8Encoder.encode(value));
  }

  /** A message, or anything that is written length first, by what `write` writes. */
  nested(write: () => void): void {
    this.#grow(1);
    const start = this.#pos++;
    write();
    const length = this.#pos - start - 1;
    let more = 0;
    for (let rest = length; rest > 0x7f; rest = Math.floor(rest / 128)) more++;
    this.#grow(more + 10); // room for the length too: `varint` must not grow below, it would lose what follows
    if (more > 0) this.#buf.copyWithin(start + 1 + more, start + 1, this.#pos);
    const end = this.#pos + more;
    this.#pos = start;
    this.varint(length);
    this.#pos = end;
  }

  /** False, and nothing written, when there is another character. */
  #ascii(value: string): boolean {
    const { length } = value;
    this.#grow(1 + length);
    const buf = this.#buf;
    let at = this.#pos + 1;
    for (let i = 0; i < length; i++) {
      const char = value.charCodeAt(i);
      if (char > 0x7f) return false;
      buf[at++] = char;
    }
    buf[this.#pos] = length;
    this.#pos = at;
    return true;
  }

  #grow(n: number): void {
    if (this.#pos + n <= this.#buf.length) return;
    const next = new Uint8Array(Math.max(this.#buf.length * 2, this.#pos + n));
    next.set(this.#buf.subarray(0, this.#pos));
    this.#buf = next;
    this.#dataView = undefined;
  }
}
