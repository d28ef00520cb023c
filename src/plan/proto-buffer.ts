// Protocol Buffers written straight into the growing buffer that log entries share: no object is made of a message. Fields that hold
// nothing are left out, as proto3 has it. Texts are written as UTF-8; what a peer sent and is none gets `!` for each wrong byte, as in
// Envoy. https://protobuf.dev/programming-guides/encoding/
import { isUtf8 } from 'node:buffer';
import { LineBuffer } from './line-buffer.ts';

const LENGTH_PREFIXED = 2;
const EXCLAMATION = 33;

export class ProtoBuffer extends LineBuffer {
  /** A number of a field; 0 is left out. */
  uint(field: number, value: number): void {
    if (value <= 0) return;
    this.reserve(15);
    this.#varint(field * 8);
    this.#varint(value);
  }

  bool(field: number, value: boolean): void {
    if (value) this.uint(field, 1);
  }

  fixed32(field: number, value: number): void {
    this.reserve(9);
    this.#varint(field * 8 + 5);
    this.bytes.writeUInt32LE(value, this.length);
    this.length += 4;
  }

  fixed64(field: number, value: bigint): void {
    this.reserve(13);
    this.#varint(field * 8 + 1);
    this.bytes.writeBigUInt64LE(value, this.length);
    this.length += 8;
  }

  /** Characters as this program holds them. '' is left out unless `always`. */
  string(field: number, text: string, always = false): void {
    if (text === '' && !always) return;
    const from = this.begin(field);
    const n = text.length;
    this.reserve(n * 3);
    const to = this.bytes;
    const at = this.length;
    for (let i = 0; i < n; i++) {
      const c = text.charCodeAt(i);
      if (c > 127) {
        this.length = at + to.write(text, at, 'utf8');
        this.end(from);
        return;
      }
      to[at + i] = c;
    }
    this.length = at + n;
    this.end(from);
  }

  /** What came off the wire: one character stands for one byte. '' is left out unless `always`. */
  received(field: number, text: string, always = false): void {
    if (text === '' && !always) return;
    const from = this.begin(field);
    this.raw(text);
    this.endText(from);
  }

  /** Bytes that stand as pairs of hexadecimal digits. */
  hex(field: number, digits: string): void {
    const length = digits.length >> 1;
    this.frame(field, length);
    this.reserve(length);
    this.length += this.bytes.write(digits, this.length, 'hex');
  }

  blob(field: number, bytes: Uint8Array): void {
    this.frame(field, bytes.length);
    this.literal(bytes);
  }

  /** What stands before a message or text of so many bytes. */
  frame(field: number, bytes: number): void {
    this.reserve(12);
    this.#varint(field * 8 + LENGTH_PREFIXED);
    this.#varint(bytes);
  }

  /** Begins a message or text of unknown length; what this answers is for `end`. */
  begin(field: number): number {
    this.reserve(6);
    this.#varint(field * 8 + LENGTH_PREFIXED);
    return ++this.length;
  }

  end(from: number): void {
    const length = this.length - from;
    if (length < 128) {
      this.bytes[from - 1] = length;
      return;
    }
    const more = length < 16384 ? 1 : length < 2097152 ? 2 : 3;
    this.reserve(more);
    this.bytes.copyWithin(from + more, from, this.length);
    const to = this.length + more;
    this.length = from - 1;
    this.#varint(length);
    this.length = to;
  }

  /** `end` of a text whose bytes came off the wire. */
  endText(from: number): void {
    for (let i = from; i < this.length; i++) {
      if ((this.bytes[i] as number) < 128) continue;
      this.#mend(from);
      break;
    }
    this.end(from);
  }

  #mend(from: number): void {
    if (isUtf8(this.bytes.subarray(from, this.length))) return;
    for (let i = from; i < this.length; ) {
      const length = sequence(this.bytes, i, this.length);
      if (length === 0) this.bytes[i++] = EXCLAMATION;
      else i += length;
    }
  }

  #varint(value: number): void {
    let rest = value;
    while (rest > 127) {
      this.bytes[this.length++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.bytes[this.length++] = rest;
  }
}

/** Bytes of the UTF-8 character at `at`; 0: there is none. */
const sequence = (bytes: Buffer, at: number, end: number): number => {
  const first = bytes[at] as number;
  const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  return length > 0 && at + length <= end && isUtf8(bytes.subarray(at, at + length)) ? length : 0;
};
