// HPACK decoding (RFC 7541): one whole header block to calls of a sink, names interned, value bytes appended to the
// sink's arena. It keeps the dynamic table true even for fields the sink refuses. It never throws on received bytes, and
// holds no more than its table. A refused block is a connection error (COMPRESSION_ERROR).
import { TOKEN_LOWER, VALUE_BYTE } from './byte-tables.ts';
import { HASH_SEED, hashStep, idOfBytes } from './header-name.ts';
import { huffmanDecode } from './hpack-huffman.ts';
import {
  BAD_NAME,
  BAD_VALUE,
  HpackTable,
  P_UNKNOWN,
  pseudoCode,
  STATIC_COUNT,
  staticCode,
  staticName,
  staticText,
  staticValue,
} from './hpack-table.ts';

export interface FieldSink {
  /** The arena; values are appended at `at`. */
  buf: Buffer;
  at: number;
  /** Room for so many bytes at `at`; may move what was written of this head, so no range is kept over it. */
  ensure(bytes: number): void;
  /** The sink has no use for more fields (too large, or already refused): values need not be copied. */
  readonly full: boolean;
  /** A pseudo field; `code` < 0 as in hpack-table. */
  pseudo(code: number, text: string, bad: boolean): void;
  /** Ranges of the arena; the name's only when `code` is 0. */
  regular(code: number, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number, bad: boolean, sensitive: boolean): void;
}

const CORRUPT = -1;

export class HpackDecoder {
  readonly #table: HpackTable;
  /** What this side announced: the most a size update may ask for. */
  #announced: number;
  // Results of the part readers below.
  #next = 0;
  #code = 0;
  #nameStart = 0;
  #nameEnd = 0;
  #valueBad = false;

  constructor(tableBytes: number) {
    this.#announced = tableBytes;
    this.#table = new HpackTable(tableBytes);
  }

  /** The peer has read that the table may be no larger. */
  limit(tableBytes: number): void {
    this.#announced = tableBytes;
    if (this.#table.max > tableBytes) this.#table.resize(tableBytes);
  }

  /** Bytes of the dynamic table as RFC 7541 counts them. */
  get tableSize(): number {
    return this.#table.size;
  }

  /** False: the block is corrupt and the connection with it. */
  decode(buf: Buffer, start: number, end: number, sink: FieldSink): boolean {
    let at = start;
    let begun = false;
    sink.ensure(2 * (end - start) + 64); // all literals of the block: a Huffman string grows by 8/5 at most
    while (at < end) {
      const first = buf[at] as number;
      if (first >= 0x80) at = this.#indexed(buf, at, end, sink);
      else if (first >= 0x40) at = this.#literal(buf, at, end, 0x3f, sink);
      else if (first >= 0x20) {
        if (begun) return false;
        at = this.#sizeUpdate(buf, at, end);
        if (at < 0) return false;
        continue;
      } else at = this.#literal(buf, at, end, 0x0f, sink);
      if (at < 0) return false;
      begun = true;
    }
    return true;
  }

  #sizeUpdate(buf: Buffer, at: number, end: number): number {
    const size = this.#integer(buf, at, end, 0x1f);
    if (size < 0 || size > this.#announced) return CORRUPT;
    this.#table.resize(size);
    return this.#next;
  }

  #indexed(buf: Buffer, at: number, end: number, sink: FieldSink): number {
    const index = this.#integer(buf, at, end, 0x7f);
    if (index <= 0) return CORRUPT;
    const next = this.#next;
    if (index <= STATIC_COUNT) {
      const code = staticCode[index] as number;
      if (code < 0) sink.pseudo(code, staticText[index] as string, false);
      else this.#emitStatic(index, code, end - next, sink);
      return next;
    }
    const table = this.#table;
    const number = table.inserted - (index - STATIC_COUNT) + 1;
    if (!table.has(number)) return CORRUPT;
    const slot = table.slot(number);
    const code = table.code(slot);
    const bad = table.flags(slot) === BAD_VALUE;
    if (code < 0) {
      sink.pseudo(code, sink.full ? '' : table.text(number), bad);
      return next;
    }
    const nameStart = table.nameStart(slot);
    const valueStart = table.valueStart(slot);
    const valueEnd = table.valueEnd(slot);
    if (sink.full) {
      sink.regular(code, 0, valueStart - nameStart, 0, valueEnd - valueStart, bad, false);
      return next;
    }
    sink.ensure(valueEnd - nameStart + 2 * (end - next));
    const to = sink.at;
    append(table.bytes, nameStart, valueEnd, sink);
    const split = to + valueStart - nameStart;
    sink.regular(code, to, split, split, sink.at, bad, false);
    return next;
  }

  #emitStatic(index: number, code: number, left: number, sink: FieldSink): void {
    const name = staticName[index] as Buffer;
    const value = staticValue[index] as Buffer;
    const nameBytes = code === 0 ? name.length : 0;
    if (sink.full) {
      sink.regular(code, 0, nameBytes, 0, value.length, false, false);
      return;
    }
    sink.ensure(nameBytes + value.length + 2 * left);
    const to = sink.at;
    append(name, 0, nameBytes, sink);
    append(value, 0, value.length, sink);
    sink.regular(code, to, to + nameBytes, to + nameBytes, sink.at, false, false);
  }

  /** A literal; `mask` 0x3f with incremental indexing, 0x0f without or never indexed. */
  #literal(buf: Buffer, at: number, end: number, mask: number, sink: FieldSink): number {
    const sensitive = mask === 0x0f && ((buf[at] as number) & 0x10) !== 0;
    const index = this.#integer(buf, at, end, mask);
    if (index < 0) return CORRUPT;
    const named = index === 0 ? this.#name(buf, this.#next, end, sink) : this.#nameOfIndex(index, end - this.#next, sink);
    if (!named) return CORRUPT;
    const begin = this.#nameStart;
    const valueStart = sink.at;
    if (!this.#value(buf, this.#next, end, sink)) return CORRUPT;
    const code = this.#code;
    const bad = this.#valueBad;
    const valueEnd = sink.at;
    if (mask === 0x3f) this.#table.add(code, sink.buf, this.#nameStart, this.#nameEnd, sink.buf, valueStart, valueEnd, bad ? BAD_VALUE : 0);
    if (code < 0) {
      const text = sink.full ? '' : sink.buf.toString('latin1', valueStart, valueEnd);
      sink.at = begin;
      sink.pseudo(code, text, bad);
      return this.#next;
    }
    if (sink.full) sink.at = begin;
    sink.regular(code, this.#nameStart, this.#nameEnd, valueStart, valueEnd, bad, sensitive);
    return this.#next;
  }

  #nameOfIndex(index: number, left: number, sink: FieldSink): boolean {
    if (index <= STATIC_COUNT) {
      const code = staticCode[index] as number;
      const name = staticName[index] as Buffer;
      this.#setName(code, name, 0, code === 0 ? name.length : 0, left, sink);
      return true;
    }
    const table = this.#table;
    const number = table.inserted - (index - STATIC_COUNT) + 1;
    if (!table.has(number)) return false;
    const slot = table.slot(number);
    this.#setName(table.code(slot), table.bytes, table.nameStart(slot), table.nameEnd(slot), left, sink);
    return true;
  }

  #setName(code: number, from: Buffer, start: number, end: number, left: number, sink: FieldSink): void {
    sink.ensure(end - start + 2 * left);
    this.#code = code;
    this.#nameStart = sink.at;
    append(from, start, end, sink);
    this.#nameEnd = sink.at;
  }

  /** A literal name: token, lower case. A known one leaves no bytes in the arena. */
  #name(buf: Buffer, from: number, end: number, sink: FieldSink): boolean {
    const start = sink.at;
    if (!this.#string(buf, from, end, sink)) return false;
    const bytes = sink.buf;
    const stop = sink.at;
    let hash = HASH_SEED;
    let good = stop > start;
    const pseudo = good && bytes[start] === 58;
    for (let i = pseudo ? start + 1 : start; i < stop; i++) {
      const c = bytes[i] as number;
      if (TOKEN_LOWER[c] !== c || c === 0) good = false;
      hash = hashStep(hash, c);
    }
    if (!good) this.#code = BAD_NAME;
    else if (pseudo) this.#code = pseudoCode(bytes, start, stop);
    else this.#code = idOfBytes(bytes, start, stop, hash);
    if (this.#code > 0 || (this.#code < 0 && this.#code > P_UNKNOWN)) sink.at = start;
    this.#nameStart = start;
    this.#nameEnd = sink.at;
    return true;
  }

  #value(buf: Buffer, from: number, end: number, sink: FieldSink): boolean {
    const start = sink.at;
    if (!this.#string(buf, from, end, sink)) return false;
    const bytes = sink.buf;
    let good = 1;
    for (let i = start; i < sink.at; i++) good &= VALUE_BYTE[bytes[i] as number] as number;
    this.#valueBad = good === 0;
    return true;
  }

  /** Appends one string literal's bytes to the arena. */
  #string(buf: Buffer, at: number, end: number, sink: FieldSink): boolean {
    if (at >= end) return false;
    const huffman = (buf[at] as number) >= 0x80;
    const length = this.#integer(buf, at, end, 0x7f);
    const start = this.#next;
    if (length < 0 || length > end - start) return false;
    this.#next = start + length;
    if (huffman) {
      const stop = huffmanDecode(buf, start, start + length, sink.buf, sink.at);
      if (stop < 0) return false;
      sink.at = stop;
    } else append(buf, start, start + length, sink);
    return true;
  }

  /** RFC 7541 5.1; -1 when cut off or above 2^28. */
  #integer(buf: Buffer, at: number, end: number, mask: number): number {
    if (at >= end) return -1;
    let value = (buf[at] as number) & mask;
    let next = at + 1;
    if (value === mask) {
      for (let shift = 0; ; shift += 7) {
        if (next >= end || shift > 21) return -1;
        const byte = buf[next++] as number;
        value += (byte & 0x7f) << shift;
        if (byte < 0x80) break;
      }
    }
    this.#next = next;
    return value;
  }
}

const append = (from: Buffer, start: number, end: number, sink: FieldSink): void => {
  const to = sink.buf;
  const at = sink.at;
  const length = end - start;
  if (length > 64) from.copy(to, at, start, end);
  else for (let i = 0; i < length; i++) to[at + i] = from[start + i] as number;
  sink.at = at + length;
};
