// The tables of HPACK (RFC 7541 2.3): the static one, and a dynamic one as bytes in a ring.
// A name is told by a code: > 0 an interned id, 0 a name by its bytes, < 0 a pseudo field.
import { bytesOfId, nameId } from './header-name.ts';

// Name codes of pseudo fields, of other names that begin with a colon, and of names no message may have.
export const P_AUTHORITY = -1;
export const P_METHOD = -2;
export const P_PATH = -3;
export const P_SCHEME = -4;
export const P_STATUS = -5;
export const P_PROTOCOL = -6;
export const P_UNKNOWN = -7;
export const BAD_NAME = -8;

const PSEUDO_NAMES = ['', ':authority', ':method', ':path', ':scheme', ':status', ':protocol'];
const pseudoBytes: readonly Buffer[] = PSEUDO_NAMES.map((name) => Buffer.from(name, 'latin1'));

const STATIC: readonly string[] = (
  ':authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|:status=200|:status=204|:status=206|' +
  ':status=304|:status=400|:status=404|:status=500|accept-charset|accept-encoding=gzip, deflate|accept-language|accept-ranges|accept|' +
  'access-control-allow-origin|age|allow|authorization|cache-control|content-disposition|content-encoding|content-language|' +
  'content-length|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|' +
  'if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|' +
  'referer|refresh|retry-after|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate'
).split('|');

export const STATIC_COUNT = STATIC.length;
const nameOf = (entry: string): string => entry.split('=')[0] as string;
const codeOf = (name: string): number => (name.startsWith(':') ? -PSEUDO_NAMES.indexOf(name) : nameId(name));

// By static index, 1 to 61.
export const staticCode: Int16Array = Int16Array.from(['', ...STATIC], (entry) => codeOf(nameOf(entry)));
export const staticName: readonly Buffer[] = ['', ...STATIC].map((entry) => Buffer.from(nameOf(entry), 'latin1'));
export const staticText: readonly string[] = ['', ...STATIC].map((entry) => entry.slice(nameOf(entry).length + 1));
export const staticValue: readonly Buffer[] = staticText.map((text) => Buffer.from(text, 'latin1'));

/** The first static entry of a name; 0 when it has none. */
export const staticIndexOfName = (name: string): number => STATIC.findIndex((entry) => nameOf(entry) === name) + 1;

/** The bytes of a name told by its code, which is not 0. */
export const bytesOfCode = (code: number): Buffer => (code > 0 ? bytesOfId(code) : (pseudoBytes[-code] as Buffer));

/** Code of the name at [start, end), which begins with a colon. */
export const pseudoCode = (buf: Uint8Array, start: number, end: number): number => {
  for (let i = 1; i < pseudoBytes.length; i++) {
    const known = pseudoBytes[i] as Buffer;
    if (known.length !== end - start) continue;
    let j = 0;
    while (j < known.length && known[j] === buf[start + j]) j++;
    if (j === known.length) return -i;
  }
  return P_UNKNOWN;
};

/** Flags of an entry's value. */
export const BAD_VALUE = 1;

const STRIDE = 6; // code, name start, name end, value start, value end, flags; names with a code have no bytes here
const ENTRY_OVERHEAD = 32;
const NO_BYTES: Buffer = Buffer.alloc(0);
const NO_META = new Int32Array(0);

export class HpackTable {
  /** The bytes that entries' ranges lie in. */
  bytes: Buffer = NO_BYTES;
  /** Entries ever added: the newest has this number, dynamic index i is `inserted - i + 1`. */
  inserted = 0;
  count = 0;
  size = 0;
  #max: number;
  #meta = NO_META;
  #mask = -1;
  #texts: (string | undefined)[] = [];
  #at = 0; // where the next entry's bytes go

  constructor(maxBytes: number) {
    this.#max = maxBytes;
  }

  get max(): number {
    return this.#max;
  }

  /** Shrinks or grows; entries that do not fit go. */
  resize(maxBytes: number): void {
    this.#max = maxBytes;
    this.#evict(0);
  }

  /** Entry `number` is still there. */
  has(number: number): boolean {
    return number > this.inserted - this.count && number <= this.inserted;
  }

  /** Position of an entry for the accessors below. */
  slot(number: number): number {
    return (number & this.#mask) * STRIDE;
  }
  code(slot: number): number {
    return this.#meta[slot] as number;
  }
  nameStart(slot: number): number {
    return this.#meta[slot + 1] as number;
  }
  nameEnd(slot: number): number {
    return this.#meta[slot + 2] as number;
  }
  valueStart(slot: number): number {
    return this.#meta[slot + 3] as number;
  }
  valueEnd(slot: number): number {
    return this.#meta[slot + 4] as number;
  }
  flags(slot: number): number {
    return this.#meta[slot + 5] as number;
  }

  /** The value as a string, made once per entry. */
  text(number: number): string {
    const i = number & this.#mask;
    const known = this.#texts[i];
    if (known !== undefined) return known;
    const slot = i * STRIDE;
    const text = this.bytes.toString('latin1', this.valueStart(slot), this.valueEnd(slot));
    this.#texts[i] = text;
    return text;
  }

  /** Adds an entry; one that is larger than the table empties it (RFC 7541 4.4). `from` is not this table's bytes. */
  add(
    code: number,
    from: Buffer,
    nameStart: number,
    nameEnd: number,
    valueFrom: Buffer,
    valueStart: number,
    valueEnd: number,
    flags: number,
  ): void {
    const known = code > 0 || (code < 0 && code > P_UNKNOWN);
    const nameLength = known ? bytesOfCode(code).length : nameEnd - nameStart;
    const valueLength = valueEnd - valueStart;
    const size = nameLength + valueLength + ENTRY_OVERHEAD;
    this.#evict(size);
    if (size > this.#max) return;
    const own = (known ? 0 : nameLength) + valueLength;
    this.#room(own);
    if (this.count > this.#mask) this.#growMeta();
    const at = this.#at;
    const nameAt = known ? at : at + nameLength;
    if (!known) copy(from, nameStart, nameEnd, this.bytes, at);
    copy(valueFrom, valueStart, valueEnd, this.bytes, nameAt);
    this.#at = at + own;
    this.inserted++;
    this.count++;
    this.size += size;
    const i = this.inserted & this.#mask;
    const meta = this.#meta;
    const slot = i * STRIDE;
    meta[slot] = code;
    meta[slot + 1] = at;
    meta[slot + 2] = nameAt;
    meta[slot + 3] = nameAt;
    meta[slot + 4] = nameAt + valueLength;
    meta[slot + 5] = flags;
    this.#texts[i] = undefined;
  }

  #evict(incoming: number): void {
    while (this.count > 0 && this.size + incoming > this.#max) {
      const i = (this.inserted - this.count + 1) & this.#mask;
      const slot = i * STRIDE;
      const code = this.code(slot);
      const known = code > 0 || (code < 0 && code > P_UNKNOWN);
      const nameLength = known ? bytesOfCode(code).length : this.nameEnd(slot) - this.nameStart(slot);
      this.size -= nameLength + this.valueEnd(slot) - this.valueStart(slot) + ENTRY_OVERHEAD;
      this.#texts[i] = undefined;
      this.count--;
    }
    if (this.count === 0) this.#at = 0;
  }

  /** Room for `length` bytes in one piece at #at. The ring holds twice the live bytes, so there is always one. */
  #room(length: number): void {
    const oldest = this.count === 0 ? -1 : this.nameStart(this.slot(this.inserted - this.count + 1));
    const at = this.#at;
    if (oldest >= at && this.count > 0 && !(oldest === at && this.#liveBytes() === 0)) {
      if (at + length <= oldest) return;
    } else {
      if (at + length <= this.bytes.length) return;
      if (oldest >= 0 && length <= oldest) {
        this.#at = 0;
        return;
      }
    }
    this.#growBytes(length);
  }

  #liveBytes(): number {
    let live = 0;
    for (let n = this.inserted - this.count + 1; n <= this.inserted; n++) {
      const slot = this.slot(n);
      live += this.valueEnd(slot) - this.nameStart(slot);
    }
    return live;
  }

  /** Moves the live bytes, in order, to the beginning of a new ring. */
  #growBytes(length: number): void {
    const live = this.#liveBytes();
    const next = Buffer.allocUnsafeSlow(Math.max(256, 2 * (live + length)));
    let at = 0;
    for (let n = this.inserted - this.count + 1; n <= this.inserted; n++) {
      const slot = this.slot(n);
      const start = this.nameStart(slot);
      const end = this.valueEnd(slot);
      this.bytes.copy(next, at, start, end);
      for (let f = 1; f <= 4; f++) this.#meta[slot + f] = (this.#meta[slot + f] as number) - start + at;
      at += end - start;
    }
    this.bytes = next;
    this.#at = at;
  }

  #growMeta(): void {
    const entries = Math.max(16, (this.#mask + 1) * 2);
    const meta = new Int32Array(entries * STRIDE);
    const texts: (string | undefined)[] = new Array(entries).fill(undefined);
    const mask = entries - 1;
    for (let n = this.inserted - this.count + 1; n <= this.inserted; n++) {
      const slot = this.slot(n);
      meta.set(this.#meta.subarray(slot, slot + STRIDE), (n & mask) * STRIDE);
      texts[n & mask] = this.#texts[n & this.#mask];
    }
    this.#meta = meta;
    this.#texts = texts;
    this.#mask = mask;
  }
}

const copy = (from: Buffer, start: number, end: number, to: Buffer, at: number): void => {
  if (end - start > 64) from.copy(to, at, start, end);
  else for (let i = start; i < end; i++) to[at + i - start] = from[i] as number;
};
