// Bytes of log lines, written one after another into one growing buffer: no string is made of a line. Texts that come from
// header blocks hold one byte per character and are written as those bytes; in JSON they are read as UTF-8.

const QUOTE = 34;
const BACKSLASH = 92;

export class LineBuffer {
  bytes: Buffer;
  length = 0;
  /** How `value` writes: as a JSON string, or as it is. */
  quoted = false;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  /** Text of what was written since `from`. */
  text(from = 0): string {
    return this.bytes.toString('utf8', from, this.length);
  }

  literal(bytes: Uint8Array): void {
    const n = bytes.length;
    this.reserve(n);
    const to = this.bytes;
    const at = this.length;
    for (let i = 0; i < n; i++) to[at + i] = bytes[i] as number;
    this.length = at + n;
  }

  /** Characters above 255 as UTF-8, all others as one byte. */
  raw(text: string): void {
    const n = text.length;
    this.reserve(n);
    const to = this.bytes;
    const at = this.length;
    for (let i = 0; i < n; i++) {
      const c = text.charCodeAt(i);
      if (c > 255) {
        this.#utf8(text);
        return;
      }
      to[at + i] = c;
    }
    this.length = at + n;
  }

  /** A JSON string, quotes and all. */
  json(text: string): void {
    const n = text.length;
    this.reserve(n + 2);
    const to = this.bytes;
    const start = this.length;
    let at = start;
    to[at++] = QUOTE;
    for (let i = 0; i < n; i++) {
      const c = text.charCodeAt(i);
      if (c < 32 || c > 126 || c === QUOTE || c === BACKSLASH) {
        this.#utf8(JSON.stringify(asUtf8(text)));
        return;
      }
      to[at++] = c;
    }
    to[at++] = QUOTE;
    this.length = at;
  }

  /** Bytes of a header's value. */
  value(from: Buffer, start: number, end: number): void {
    this.reserve(end - start + 2);
    const to = this.bytes;
    let at = this.length;
    if (this.quoted) to[at++] = QUOTE;
    for (let i = start; i < end; i++) {
      const c = from[i] as number;
      if (this.quoted && (c < 32 || c > 126 || c === QUOTE || c === BACKSLASH)) {
        this.#utf8(JSON.stringify(from.toString('utf8', start, end)));
        return;
      }
      to[at++] = c;
    }
    if (this.quoted) to[at++] = QUOTE;
    this.length = at;
  }

  number(n: number): void {
    if (!Number.isInteger(n) || n < 0 || n > 0x7fffffff) {
      this.raw(String(n));
      return;
    }
    let digits = 1;
    for (let bound = 10; digits < 10 && n >= bound; bound *= 10) digits++;
    this.reserve(digits);
    let at = this.length + digits;
    this.length = at;
    let rest = n;
    do {
      const next = (rest / 10) | 0;
      this.bytes[--at] = 48 + rest - next * 10;
      rest = next;
    } while (rest > 0);
  }

  #utf8(text: string): void {
    this.reserve(text.length * 3);
    this.length += this.bytes.write(text, this.length, 'utf8');
  }

  /** Makes room for so many bytes more. */
  reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }
}

const asUtf8 = (text: string): string => {
  let high = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c > 255) return text;
    if (c > 127) high = true;
  }
  return high ? Buffer.from(text, 'latin1').toString('utf8') : text;
};
