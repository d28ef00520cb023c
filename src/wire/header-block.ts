// A header section as ranges over bytes: the received chunk itself (or a joined copy), plus an overlay arena for what
// is set later. Entries keep their order. No string is made unless asked for; names are lower case.
// Safe to keep as long as wanted when the chunk it was read from is not reused by whoever owns it (`own()` copies it
// otherwise); `clear()` makes the block ready for the next message and drops the chunk.
// It never validates: the parser did, and setters replace CR, LF and NUL by a space.
import { LF } from './byte-tables.ts';
import { bytesOfId, nameId, nameOfId } from './header-name.ts';
import { type ByteSink, copyBytes, type FieldVisitor, LOOP_COPY_MAX, type ValueVisitor } from './header-output.ts';

// Entry layout in #slots: flags and id, name start, name end, value start, value end.
const STRIDE = 5;
const ID_MASK = 0xffff;
const NAME_OVER = 1 << 16; // name bytes lie in the overlay (known names have none there: their bytes come from the table)
const VALUE_OVER = 1 << 17;
const PLAIN = 1 << 18; // in the chunk as `name: value\r\n`, so neighbours can be copied together
const GONE = 1 << 19;
const SENSITIVE = 1 << 20; // HPACK's never indexed: no hop may put it into a table
const NO_BYTES = Buffer.alloc(0);
/** An overlay above it is let go between messages. */
const OVER_KEPT = 8 * 1024;
/** Characters that are not written as they are. */
const NEEDS_CARE = /[\0\r\n\u0100-\uffff]/;

export class HeaderBlock {
  #base: Buffer = NO_BYTES;
  #over: Buffer = NO_BYTES;
  #overLength = 0;
  #slots = new Int32Array(32 * STRIDE);
  #length = 0; // of #slots in use, live or gone
  #live = 0;
  /** Bit `id` is set when a name with a small id (those of framing and of the connection) was ever pushed: most are absent. */
  #seen = 0;
  /** Names as they came, by lower-case name; only where a reader was told to keep them. */
  #cases: Map<string, string> | undefined = undefined;
  /** Names without a case of their own are written in Proper-Case. */
  proper = false;

  /** Entries, each occurrence of a repeated name counted. */
  get count(): number {
    return this.#live;
  }

  /** Bytes of all names and values, without separators (Envoy's HeaderMap::byteSize). */
  get byteSize(): number {
    let total = 0;
    for (let s = 0; s < this.#length; s += STRIDE) {
      const tag = this.#slots[s] as number;
      if ((tag & GONE) !== 0) continue;
      total += this.#nameLength(s, tag) + (this.#slots[s + 4] as number) - (this.#slots[s + 3] as number);
    }
    return total;
  }

  get(name: string): string | undefined {
    const s = this.#find(name, 0);
    return s < 0 ? undefined : this.#value(s);
  }

  getById(id: number): string | undefined {
    const s = this.#findId(id, 0);
    return s < 0 ? undefined : this.#value(s);
  }

  /** Shows the bytes of what `getById` would answer; false when it is not there. */
  visitValue(id: number, to: ValueVisitor): boolean {
    const s = this.#findId(id, 0);
    if (s < 0) return false;
    const bytes = ((this.#slots[s] as number) & VALUE_OVER) !== 0 ? this.#over : this.#base;
    to.value(bytes, this.#slots[s + 3] as number, this.#slots[s + 4] as number);
    return true;
  }

  /** Whether the value that `getById` would answer is exactly these bytes. */
  valueIs(id: number, bytes: Buffer): boolean {
    const s = this.#findId(id, 0);
    if (s < 0) return false;
    const start = this.#slots[s + 3] as number;
    const end = this.#slots[s + 4] as number;
    if (end - start !== bytes.length) return false;
    return bytes.compare(((this.#slots[s] as number) & VALUE_OVER) !== 0 ? this.#over : this.#base, start, end) === 0;
  }

  values(name: string): string[] {
    const out: string[] = [];
    for (let s = this.#find(name, 0); s >= 0; s = this.#find(name, s + STRIDE)) out.push(this.#value(s));
    return out;
  }

  has(name: string): boolean {
    return this.#find(name, 0) >= 0;
  }

  hasId(id: number): boolean {
    return this.#findId(id, 0) >= 0;
  }

  /** How often a known name occurs. */
  countId(id: number): number {
    let n = 0;
    for (let s = this.#findId(id, 0); s >= 0; s = this.#findId(id, s + STRIDE)) n++;
    return n;
  }

  /** Replaces every occurrence: the first keeps its place. */
  set(name: string, value: string): void {
    const id = nameId(name);
    if (id > 0) {
      this.setById(id, value);
      return;
    }
    const s = this.#find(name, 0);
    if (s < 0) {
      this.add(name, value);
      return;
    }
    this.#replace(s, value);
    for (let more = this.#find(name, s + STRIDE); more >= 0; more = this.#find(name, more + STRIDE)) this.#drop(more);
  }

  setById(id: number, value: string): void {
    const s = this.#findId(id, 0);
    if (s < 0) {
      this.addById(id, value);
      return;
    }
    this.#replace(s, value);
    for (let more = this.#findId(id, s + STRIDE); more >= 0; more = this.#findId(id, more + STRIDE)) this.#drop(more);
  }

  /** As `setById`, with bytes that are known to hold no CR, LF or NUL. */
  setBytesById(id: number, bytes: Buffer): void {
    this.removeById(id);
    this.#reserveOver(bytes.length);
    const start = this.#overLength;
    bytes.copy(this.#over, start);
    this.#overLength = start + bytes.length;
    this.#push(id | NAME_OVER | VALUE_OVER, 0, 0, start, this.#overLength);
  }

  add(name: string, value: string): void {
    const id = nameId(name);
    if (id > 0) {
      this.addById(id, value);
      return;
    }
    const nameStart = this.#writeOver(name);
    const nameEnd = this.#overLength;
    const start = this.#writeOver(value);
    this.#push(NAME_OVER | VALUE_OVER, nameStart, nameEnd, start, this.#overLength);
  }

  addById(id: number, value: string): void {
    const start = this.#writeOver(value);
    this.#push(id | NAME_OVER | VALUE_OVER, 0, 0, start, this.#overLength);
  }

  /** How many entries went. */
  remove(name: string): number {
    let n = 0;
    for (let s = this.#find(name, 0); s >= 0; s = this.#find(name, s + STRIDE)) {
      this.#drop(s);
      n++;
    }
    return n;
  }

  removeById(id: number): number {
    let n = 0;
    for (let s = this.#findId(id, 0); s >= 0; s = this.#findId(id, s + STRIDE)) {
      this.#drop(s);
      n++;
    }
    return n;
  }

  /** Removes the known names whose id is set in `table` (length NAME_ID_COUNT). One pass. */
  removeIds(table: Uint8Array): void {
    for (let s = 0; s < this.#length; s += STRIDE) {
      const tag = this.#slots[s] as number;
      if ((tag & GONE) === 0 && table[tag & ID_MASK] === 1 && (tag & ID_MASK) !== 0) this.#drop(s);
    }
  }

  /** Cold paths only: makes every string. */
  entries(): [string, string][] {
    const out: [string, string][] = [];
    for (let s = 0; s < this.#length; s += STRIDE) {
      const tag = this.#slots[s] as number;
      if ((tag & GONE) === 0) out.push([this.#name(s, tag), this.#value(s)]);
    }
    return out;
  }

  /** Ready for the next message; keeps its own arrays, unless the last one was uncommonly large. */
  clear(): void {
    this.#base = NO_BYTES;
    if (this.#over.length > OVER_KEPT) this.#over = NO_BYTES;
    this.#overLength = 0;
    this.#length = 0;
    this.#live = 0;
    this.#seen = 0;
    this.#cases = undefined;
    this.proper = false;
  }

  /** Becomes an independent copy of `other`. */
  copyFrom(other: HeaderBlock): void {
    this.#base = other.#base;
    this.#overLength = 0;
    this.#reserveOver(other.#overLength);
    other.#over.copy(this.#over, 0, 0, other.#overLength);
    this.#overLength = other.#overLength;
    if (this.#slots.length < other.#length) this.#slots = new Int32Array(other.#slots.length);
    this.#slots.set(other.#slots.subarray(0, other.#length));
    this.#length = other.#length;
    this.#live = other.#live;
    this.#seen = other.#seen;
    this.#cases = other.#cases;
    this.proper = other.proper;
  }

  /** Copies the bytes it refers to, so that the chunk may be reused by its owner. */
  own(): void {
    if (this.#base === NO_BYTES) return;
    let low = this.#base.length;
    let high = 0;
    for (let s = 0; s < this.#length; s += STRIDE) {
      const tag = this.#slots[s] as number;
      if ((tag & NAME_OVER) === 0) {
        low = Math.min(low, this.#slots[s + 1] as number);
        high = Math.max(high, this.#slots[s + 2] as number);
      }
      if ((tag & VALUE_OVER) === 0) high = Math.max(high, this.#slots[s + 4] as number);
    }
    this.#base = low < high ? Buffer.from(this.#base.subarray(low, Math.min(high + 2, this.#base.length))) : NO_BYTES;
    this.rebase(low);
  }

  // --- for parsers ---

  /** The bytes that ranges given to `pushRange` lie in. */
  useArena(buf: Buffer): void {
    this.#base = buf;
  }

  /** Ranges of a line already checked and lower-cased; `plain` when it reads exactly `name: value\r\n`. */
  pushRange(id: number, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number, plain: boolean, sensitive = false): void {
    this.#push((plain ? id | PLAIN : id) | (sensitive ? SENSITIVE : 0), nameStart, nameEnd, valueStart, valueEnd);
  }

  /** The arena moved: what was at `by` is now at 0. */
  rebase(by: number): void {
    for (let s = 0; s < this.#length; s += STRIDE) {
      const tag = this.#slots[s] as number;
      if ((tag & NAME_OVER) === 0) {
        this.#slots[s + 1] = (this.#slots[s + 1] as number) - by;
        this.#slots[s + 2] = (this.#slots[s + 2] as number) - by;
      }
      if ((tag & VALUE_OVER) === 0) {
        this.#slots[s + 3] = (this.#slots[s + 3] as number) - by;
        this.#slots[s + 4] = (this.#slots[s + 4] as number) - by;
      }
    }
  }

  /** A name's bytes as the peer wrote them. The last of several ways counts. */
  keepCase(name: string): void {
    this.#cases ??= new Map();
    this.#cases.set(name.toLowerCase(), name);
  }

  // --- for serialisers ---

  /** Some names are not written in lower case. */
  get cased(): boolean {
    return this.proper || this.#cases !== undefined;
  }

  /** How HTTP/1 writes a lower-case name of this message. */
  written(name: string): string {
    return this.#cases?.get(name) ?? (this.proper ? name.replace(/(^|[^a-z0-9])[a-z]/g, (part) => part.toUpperCase()) : name);
  }

  /** Every field in order. */
  visit(to: FieldVisitor): void {
    const slots = this.#slots;
    for (let s = 0; s < this.#length; s += STRIDE) {
      const tag = slots[s] as number;
      if ((tag & GONE) !== 0) continue;
      const names = (tag & NAME_OVER) !== 0 ? this.#over : this.#base;
      const values = (tag & VALUE_OVER) !== 0 ? this.#over : this.#base;
      const sensitive = (tag & SENSITIVE) !== 0;
      to.field(
        tag & ID_MASK,
        names,
        slots[s + 1] as number,
        slots[s + 2] as number,
        values,
        slots[s + 3] as number,
        slots[s + 4] as number,
        sensitive,
      );
    }
  }

  /** Writes every field line, lower-case names, but those whose known id is 1 in `skip`. No empty line at the end. */
  serializeHttp1(out: ByteSink, skip?: Uint8Array): void {
    if (this.cased) {
      this.#serializeCased(out, skip);
      return;
    }
    const slots = this.#slots;
    let runStart = -1;
    let runEnd = -1;
    for (let s = 0; s < this.#length; s += STRIDE) {
      const tag = slots[s] as number;
      const id = tag & ID_MASK;
      if ((tag & GONE) !== 0 || (skip !== undefined && id !== 0 && skip[id] === 1)) continue;
      if ((tag & PLAIN) !== 0) {
        const lineStart = slots[s + 1] as number;
        const lineEnd = (slots[s + 4] as number) + 2;
        if (runEnd === lineStart) {
          runEnd = lineEnd;
          continue;
        }
        if (runStart >= 0) copyBytes(this.#base, runStart, runEnd, out);
        runStart = lineStart;
        runEnd = lineEnd;
        continue;
      }
      if (runStart >= 0) copyBytes(this.#base, runStart, runEnd, out);
      runStart = runEnd = -1;
      this.#line(s, tag, out);
    }
    if (runStart >= 0) copyBytes(this.#base, runStart, runEnd, out);
  }

  #serializeCased(out: ByteSink, skip: Uint8Array | undefined): void {
    for (let s = 0; s < this.#length; s += STRIDE) {
      const tag = this.#slots[s] as number;
      const id = tag & ID_MASK;
      if ((tag & GONE) !== 0 || (skip !== undefined && id !== 0 && skip[id] === 1)) continue;
      const line = Buffer.from(`${this.written(this.#name(s, tag))}: ${this.#value(s)}\r\n`, 'latin1');
      copyBytes(line, 0, line.length, out);
    }
  }

  #line(s: number, tag: number, out: ByteSink): void {
    const id = tag & ID_MASK;
    if (id !== 0) {
      const bytes = bytesOfId(id);
      copyBytes(bytes, 0, bytes.length, out);
    } else {
      copyBytes((tag & NAME_OVER) !== 0 ? this.#over : this.#base, this.#slots[s + 1] as number, this.#slots[s + 2] as number, out);
    }
    out.ensure(4);
    out.buf[out.at] = 58;
    out.buf[out.at + 1] = 32;
    out.at += 2;
    copyBytes((tag & VALUE_OVER) !== 0 ? this.#over : this.#base, this.#slots[s + 3] as number, this.#slots[s + 4] as number, out);
    out.ensure(2);
    out.buf[out.at] = 13;
    out.buf[out.at + 1] = LF;
    out.at += 2;
  }

  // --- inside ---

  #findId(id: number, from: number): number {
    if (id < 31 && (this.#seen & (1 << id)) === 0) return -1;
    for (let s = from; s < this.#length; s += STRIDE) {
      const tag = this.#slots[s] as number;
      if ((tag & (ID_MASK | GONE)) === id) return s;
    }
    return -1;
  }

  #find(name: string, from: number): number {
    const id = nameId(name);
    if (id > 0) return this.#findId(id, from);
    for (let s = from; s < this.#length; s += STRIDE) {
      const tag = this.#slots[s] as number;
      if ((tag & (ID_MASK | GONE)) !== 0) continue;
      const start = this.#slots[s + 1] as number;
      if ((this.#slots[s + 2] as number) - start !== name.length) continue;
      const bytes = (tag & NAME_OVER) !== 0 ? this.#over : this.#base;
      let i = 0;
      while (i < name.length && bytes[start + i] === name.charCodeAt(i)) i++;
      if (i === name.length) return s;
    }
    return -1;
  }

  #value(s: number): string {
    const bytes = ((this.#slots[s] as number) & VALUE_OVER) !== 0 ? this.#over : this.#base;
    return bytes.toString('latin1', this.#slots[s + 3] as number, this.#slots[s + 4] as number);
  }

  #name(s: number, tag: number): string {
    if ((tag & ID_MASK) !== 0) return nameOfId(tag & ID_MASK);
    const bytes = (tag & NAME_OVER) !== 0 ? this.#over : this.#base;
    return bytes.toString('latin1', this.#slots[s + 1] as number, this.#slots[s + 2] as number);
  }

  #nameLength(s: number, tag: number): number {
    const id = tag & ID_MASK;
    return id !== 0 ? bytesOfId(id).length : (this.#slots[s + 2] as number) - (this.#slots[s + 1] as number);
  }

  #replace(s: number, value: string): void {
    const start = this.#writeOver(value);
    const tag = this.#slots[s] as number;
    this.#slots[s] = (tag | VALUE_OVER) & ~PLAIN;
    this.#slots[s + 3] = start;
    this.#slots[s + 4] = this.#overLength;
  }

  #drop(s: number): void {
    this.#slots[s] = (this.#slots[s] as number) | GONE;
    this.#live--;
  }

  #push(tag: number, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): void {
    let slots = this.#slots;
    const s = this.#length;
    if (s === slots.length) {
      slots = new Int32Array(slots.length * 2);
      slots.set(this.#slots);
      this.#slots = slots;
    }
    slots[s] = tag;
    slots[s + 1] = nameStart;
    slots[s + 2] = nameEnd;
    slots[s + 3] = valueStart;
    slots[s + 4] = valueEnd;
    this.#length = s + STRIDE;
    this.#live++;
    const id = tag & ID_MASK;
    if (id < 31) this.#seen |= 1 << id;
  }

  #reserveOver(bytes: number): void {
    const need = this.#overLength + bytes;
    if (need <= this.#over.length) return;
    const bigger = Buffer.allocUnsafeSlow(Math.max(256, need * 2));
    this.#over.copy(bigger, 0, 0, this.#overLength);
    this.#over = bigger;
  }

  /** Text of bytes (latin1) as it is; text beyond latin1 as UTF-8. Returns where it begins. */
  #writeOver(text: string): number {
    const length = text.length;
    this.#reserveOver(length);
    const over = this.#over;
    const start = this.#overLength;
    if (length > LOOP_COPY_MAX && !NEEDS_CARE.test(text)) over.write(text, start, 'latin1');
    else
      for (let i = 0; i < length; i++) {
        const c = text.charCodeAt(i);
        if (c > 255) return this.#writeOverUtf8(text);
        over[start + i] = c === 0 || c === 10 || c === 13 ? 32 : c;
      }
    this.#overLength = start + length;
    return start;
  }

  #writeOverUtf8(text: string): number {
    const clean = text.replaceAll('\r', ' ').replaceAll('\n', ' ').replaceAll('\0', ' ');
    this.#reserveOver(Buffer.byteLength(clean));
    const start = this.#overLength;
    this.#overLength += this.#over.write(clean, start, 'utf8');
    return start;
  }
}
