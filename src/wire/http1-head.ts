// Reads one head (start line and field lines) or one trailer section from bytes in any pieces into a HeaderBlock.
// Lines are parsed once: what lies whole in a chunk is read in place, a section over several chunks is joined once.
// Strict: bare LF, obs-fold, control bytes, spaces before the colon and names that are no tokens are refused.
// Names are lower-cased in place, so the chunk is changed. Never looks at what a header means (http1-framing.ts does).
import { COLON, CR, HTAB, LF, SP, TARGET_BYTE, TOKEN_LOWER, VALUE_BYTE } from './byte-tables.ts';
import type { HeaderBlock } from './header-block.ts';
import { H, HASH_SEED, hashStep, idOfBytes } from './header-name.ts';
import { codecError, HEAD_TOO_LARGE, type Http1Problem, invalidCharacters, problem, TOO_MANY_HEADERS } from './http1-problem.ts';
import { HEAD_BYTES_MAX, HEADER_COUNT_MAX, LEADING_EMPTY_LINES_MAX } from './limits.ts';

export interface HeadLimits {
  readonly headBytesMax?: number | undefined;
  readonly headerCountMax?: number | undefined;
  /** What to do with names that contain `_` (Envoy's headers_with_underscores_action). Default allow. */
  readonly underscores?: 'allow' | 'reject' | 'drop' | undefined;
  /** Requests: any token is a method (Envoy's allow_custom_methods). Default: registered ones, case-sensitive. */
  readonly customMethods?: boolean | undefined;
  /** The block remembers names as they came (Envoy's preserve_case). */
  readonly keepCase?: boolean | undefined;
  /** With keepCase: names that are added later are written in Proper-Case. */
  readonly properElse?: boolean | undefined;
}
export type StartLine = 'request' | 'status' | 'none';

/** Results of `read` that are no offset. */
export const HEAD_MORE = -1;
export const HEAD_FAILED = -2;
const SECTION_END = -3;
const NO_BYTES = Buffer.alloc(0);
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'CONNECT', 'TRACE'];
/** Registered methods beside them; others only where a listener allows custom ones. */
const RARE_METHODS: ReadonlySet<string> = new Set(
  `ACL BIND CHECKOUT COPY LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH NOTIFY PROPFIND PROPPATCH PURGE REBIND REPORT
   SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE`.split(/\s+/),
);
/** Longer than any registered method; bounds what a hostile client makes us log. */
const METHOD_BYTES_MAX = 64;

/** Metadata that is remembered for the next head, and how often a connection may bring others. */
const LEARNT_BYTES_MIN = 64;
const LEARNT_BYTES_MAX = 4096;
const LEARNT_TIMES_MAX = 8;

export class HeadReader {
  method = '';
  target = '';
  statusCode = 0;
  reason = '';
  versionMinor = 1;
  /** Set when `read` answered HEAD_FAILED. */
  problem: Http1Problem | undefined = undefined;
  /** Bytes of the section read last, separators included. */
  byteLength = 0;

  readonly #bytesMax: number;
  readonly #countMax: number;
  readonly #underscores: 'allow' | 'reject' | 'drop';
  readonly #customMethods: boolean;
  readonly #keepCase: boolean;
  readonly #properElse: boolean;
  #startLine: StartLine = 'none';
  #headers: HeaderBlock | undefined = undefined;
  #inStartLine = false;
  #emptyLines = 0;
  #lines = 0;
  #sectionStart = 0;
  #at = 0; // start of the line to read next
  #joined = NO_BYTES;
  #joinedLength = 0;
  /** The peer's metadata as it came last: long, and the same in every head of a connection. */
  #metadata = NO_BYTES;
  #metadataLearnt = 0;

  constructor(limits: HeadLimits) {
    this.#bytesMax = limits.headBytesMax ?? HEAD_BYTES_MAX;
    this.#countMax = limits.headerCountMax ?? HEADER_COUNT_MAX;
    this.#underscores = limits.underscores ?? 'allow';
    this.#customMethods = limits.customMethods ?? false;
    this.#keepCase = limits.keepCase ?? false;
    this.#properElse = limits.properElse ?? false;
  }

  /** Begins a section whose field lines go to `headers`. */
  begin(startLine: StartLine, headers: HeaderBlock): void {
    this.#startLine = startLine;
    this.#headers = headers;
    this.#inStartLine = startLine !== 'none';
    if (startLine === 'request') this.method = this.target = '';
    this.#emptyLines = 0;
    this.#lines = 0;
    this.#at = 0;
    this.#joined = NO_BYTES;
    this.#joinedLength = 0;
    this.problem = undefined;
  }

  /** The offset behind the section, or HEAD_MORE (all taken), or HEAD_FAILED (`problem` says why). */
  read(buf: Buffer, start: number, end: number): number {
    if (this.#joinedLength > 0) return this.#readJoined(buf, start, end);
    this.#sectionStart = start;
    this.#at = start;
    (this.#headers as HeaderBlock).useArena(buf);
    const result = this.#readLines(buf, end);
    if (result >= 0) this.byteLength = result - start;
    if (result !== HEAD_MORE) return result;
    if (end - start >= this.#bytesMax) return this.#fail(HEAD_TOO_LARGE);
    if (end > start) this.#keep(buf, start, end);
    return HEAD_MORE;
  }

  /** The chunk ended inside the section: its bytes are copied, offsets count from the section's start. */
  #keep(buf: Buffer, start: number, end: number): void {
    this.#joined = Buffer.allocUnsafeSlow(Math.max(1024, (end - start) * 2));
    buf.copy(this.#joined, 0, start, end);
    this.#joinedLength = end - start;
    this.#at -= start;
    const headers = this.#headers as HeaderBlock;
    headers.rebase(start);
    headers.useArena(this.#joined);
    this.#sectionStart = 0;
  }

  #readJoined(buf: Buffer, start: number, end: number): number {
    const before = this.#joinedLength;
    const take = Math.min(end - start, this.#bytesMax + 1 - before);
    if (before + take > this.#joined.length) {
      const bigger = Buffer.allocUnsafeSlow(Math.min(this.#bytesMax + 1, (before + take) * 2));
      this.#joined.copy(bigger, 0, 0, before);
      this.#joined = bigger;
      (this.#headers as HeaderBlock).useArena(bigger);
    }
    buf.copy(this.#joined, before, start, start + take);
    this.#joinedLength = before + take;
    // A line is read when its end is there: bytes that trickle in are looked at once, not once per byte.
    const lineEnd = this.#joined.subarray(before, this.#joinedLength).includes(LF);
    const result = lineEnd ? this.#readLines(this.#joined, this.#joinedLength) : HEAD_MORE;
    if (result === HEAD_MORE) return this.#joinedLength >= this.#bytesMax ? this.#fail(HEAD_TOO_LARGE) : HEAD_MORE;
    if (result < 0) return result;
    this.byteLength = result;
    return start + (result - before);
  }

  #readLines(buf: Buffer, end: number): number {
    if (this.#inStartLine) {
      const next = this.#startLine === 'request' ? this.#requestLine(buf, end) : this.#statusLine(buf, end);
      if (next < 0) return next;
      this.#at = next;
      this.#inStartLine = false;
    }
    for (;;) {
      const next = this.#fieldLine(buf, this.#at, end);
      if (next >= 0) {
        if (next - this.#sectionStart > this.#bytesMax) return this.#fail(HEAD_TOO_LARGE);
        this.#at = next;
        continue;
      }
      if (next !== SECTION_END) return next;
      const behind = this.#at + 2;
      return behind - this.#sectionStart > this.#bytesMax ? this.#fail(HEAD_TOO_LARGE) : behind;
    }
  }

  #requestLine(buf: Buffer, end: number): number {
    let at = this.#at;
    while (at < end && (buf[at] === CR || buf[at] === LF)) {
      if (buf[at] === LF) return this.#fail(codecError('line feed without carriage return'));
      if (at + 1 >= end) return HEAD_MORE;
      if (buf[at + 1] !== LF) return this.#fail(codecError('carriage return without line feed'));
      if (++this.#emptyLines > LEADING_EMPTY_LINES_MAX) return this.#fail(codecError('empty lines instead of a request'));
      at += 2;
      this.#at = at;
    }
    let i = at;
    while (i < end && TOKEN_LOWER[buf[i] as number] !== 0) i++;
    if (i - at > METHOD_BYTES_MAX) return this.#fail(codecError('method too long'));
    if (i >= end) return HEAD_MORE;
    if (i === at) return this.#fail(codecError('no method at the start of the request'));
    if (buf[i] !== SP) return this.#badByte(buf[i] as number, 'method has bytes it must not have');
    const methodEnd = i;
    const targetStart = ++i;
    while (i < end && TARGET_BYTE[buf[i] as number] === 1) i++;
    if (i >= end) return HEAD_MORE;
    if (buf[i] !== SP || i === targetStart) return this.#badByte(buf[i] as number, 'request target has bytes it must not have');
    const targetEnd = i;
    // "HTTP/1.x" CR LF
    if (i + 11 > end) return this.#partialVersion(buf, i + 1, end);
    const minor = versionMinorAt(buf, i + 1);
    if (minor < 0) return this.#badVersion(buf, i + 1);
    if (buf[i + 9] !== CR || buf[i + 10] !== LF) return this.#badVersion(buf, i + 1);
    const method = commonMethodAt(buf, at, methodEnd);
    this.method = method === '' ? buf.toString('latin1', at, methodEnd) : method;
    if (method === '' && !this.#customMethods && !RARE_METHODS.has(this.method)) return this.#fail(codecError('method is not known'));
    this.target = buf.toString('latin1', targetStart, targetEnd);
    this.versionMinor = minor;
    return i + 11;
  }

  #partialVersion(buf: Buffer, at: number, end: number): number {
    for (let i = at; i < end; i++) if (buf[i] === LF) return this.#badVersion(buf, at);
    return HEAD_MORE;
  }

  /** What stands where the version should: 11 bytes, as far as the line goes. */
  #badVersion(buf: Buffer, at: number): number {
    const text = buf.toString('latin1', at, at + 10).split('\n', 1)[0] ?? '';
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c === 127 || (c < 32 && c !== HTAB && c !== CR)) return this.#fail(invalidCharacters('control byte in the request line'));
    }
    if (versionMinorAt(buf, at) >= 0) return this.#fail(codecError('request line does not end in CR LF'));
    if (/^HTTP\/\d\.\d\r?$/.test(text)) return this.#fail(problem(426, 'low_version', 'HTTP version not supported'));
    return this.#fail(codecError('no HTTP version in the request line'));
  }

  #statusLine(buf: Buffer, end: number): number {
    const at = this.#at;
    if (at + 12 > end) {
      for (let i = at; i < end; i++) if (buf[i] === LF) return this.#fail(codecError('status line too short'));
      return HEAD_MORE;
    }
    const minor = versionMinorAt(buf, at, 9);
    if (minor < 0 || buf[at + 8] !== SP) return this.#fail(codecError('no HTTP version in the status line'));
    const a = (buf[at + 9] as number) - 48;
    const b = (buf[at + 10] as number) - 48;
    const c = (buf[at + 11] as number) - 48;
    if (a < 1 || a > 9 || b < 0 || b > 9 || c < 0 || c > 9) return this.#fail(codecError('status code is not three digits'));
    let i = at + 12;
    // RFC 9112 wants the space before an empty reason; servers leave it out, which is not ambiguous.
    if (i < end && buf[i] !== CR && buf[i] !== SP) return this.#fail(codecError('status code is not three digits'));
    const reasonStart = i + 1;
    while (i < end && VALUE_BYTE[buf[i] as number] === 1) i++;
    if (i + 1 >= end) return i < end && buf[i] !== CR ? this.#lineEndFault(buf[i] as number) : HEAD_MORE;
    if (buf[i] !== CR || buf[i + 1] !== LF) return this.#lineEndFault(buf[i] as number);
    this.statusCode = a * 100 + b * 10 + c;
    this.reason = i > reasonStart ? buf.toString('latin1', reasonStart, i) : '';
    // RFC 9110 2.5: a later minor version is read as the last one known.
    this.versionMinor = minor > 1 ? 1 : minor;
    return i + 2;
  }

  /** Start of the next line, SECTION_END, HEAD_MORE or HEAD_FAILED. */
  #fieldLine(buf: Buffer, at: number, end: number): number {
    // Names are lower-cased in place, so a line is touched when all of it is here.
    if (this.#keepCase && !this.#noteCase(buf, at, end)) return HEAD_MORE;
    let i = at;
    let hash = HASH_SEED;
    let underscore = false;
    for (; i < end; i++) {
      const c = buf[i] as number;
      const lower = TOKEN_LOWER[c] as number;
      if (lower === 0) break;
      if (lower !== c) buf[i] = lower;
      if (c === 95) underscore = true;
      hash = hashStep(hash, lower);
    }
    if (i >= end) return HEAD_MORE;
    if (i === at) return this.#emptyName(buf, at, end);
    if (buf[i] !== COLON) return this.#badByte(buf[i] as number, 'header name is not a token followed by a colon');
    const nameEnd = i++;
    while (i < end && (buf[i] === SP || buf[i] === HTAB)) i++;
    const valueStart = i;
    const id = idOfBytes(buf, at, nameEnd, hash);
    const isMetadata = id === H.X_ENVOY_PEER_METADATA;
    if (isMetadata) i = this.#behindKnown(buf, i, end);
    const unknown = isMetadata && i === valueStart;
    while (i < end && VALUE_BYTE[buf[i] as number] === 1) i++;
    if (i >= end) return HEAD_MORE;
    if (buf[i] !== CR) return this.#lineEndFault(buf[i] as number);
    if (i + 1 >= end) return HEAD_MORE;
    if (buf[i + 1] !== LF) return this.#badByte(buf[i + 1] as number, 'carriage return without line feed');
    let valueEnd = i;
    while (valueEnd > valueStart && (buf[valueEnd - 1] === SP || buf[valueEnd - 1] === HTAB)) valueEnd--;
    if (++this.#lines > this.#countMax) return this.#fail(TOO_MANY_HEADERS);
    if (underscore && this.#underscores !== 'allow') {
      if (this.#underscores === 'drop') return i + 2;
      return this.#fail(problem(400, 'http1.unexpected_underscore', 'header name with an underscore'));
    }
    const plain = valueStart === nameEnd + 2 && buf[nameEnd + 1] === SP && valueEnd === i;
    if (unknown) this.#learn(buf, valueStart, valueEnd);
    (this.#headers as HeaderBlock).pushRange(id, at, nameEnd, valueStart, valueEnd, plain);
    return i + 2;
  }

  /** Where looking at bytes goes on: those that were looked at in an earlier head are compared as a whole. */
  #behindKnown(buf: Buffer, at: number, end: number): number {
    const length = this.#metadata.length;
    return length > 0 && at + length < end && this.#metadata.compare(buf, at, at + length) === 0 ? at + length : at;
  }

  #learn(buf: Buffer, start: number, end: number): void {
    const length = end - start;
    if (length < LEARNT_BYTES_MIN || length > LEARNT_BYTES_MAX || this.#metadataLearnt >= LEARNT_TIMES_MAX) return;
    this.#metadataLearnt++;
    this.#metadata = Buffer.from(buf.subarray(start, end));
  }

  #noteCase(buf: Buffer, at: number, end: number): boolean {
    const lineEnd = buf.indexOf(LF, at);
    if (lineEnd < 0 || lineEnd >= end) return false;
    let i = at;
    while (i < lineEnd && TOKEN_LOWER[buf[i] as number] !== 0) i++;
    const headers = this.#headers as HeaderBlock;
    headers.proper = this.#properElse;
    if (i > at && buf[i] === COLON) headers.keepCase(buf.toString('latin1', at, i));
    return true;
  }

  #emptyName(buf: Buffer, at: number, end: number): number {
    const c = buf[at];
    if (c === CR) {
      if (at + 1 >= end) return HEAD_MORE;
      return buf[at + 1] === LF ? SECTION_END : this.#badByte(buf[at + 1] as number, 'carriage return without line feed');
    }
    if (c === SP || c === HTAB) return this.#fail(codecError('folded header line'));
    if (c === LF) return this.#fail(codecError('line feed without carriage return'));
    return this.#badByte(c as number, 'header name is not a token');
  }

  /** Control bytes have a detail of their own. */
  #badByte(c: number, message: string): number {
    const control = (c < 32 && c !== HTAB && c !== CR && c !== LF) || c === 127;
    return this.#fail(control ? invalidCharacters(message) : codecError(message));
  }

  #lineEndFault(c: number): number {
    if (c === LF) return this.#fail(codecError('line feed without carriage return'));
    if (c === CR) return this.#fail(codecError('carriage return without line feed'));
    return this.#fail(invalidCharacters('control byte in a header value'));
  }

  #fail(why: Http1Problem): number {
    this.problem = why;
    return HEAD_FAILED;
  }
}

/** x of "HTTP/1.x" at `at`, at most `most`; -1 for anything else. */
const versionMinorAt = (buf: Buffer, at: number, most = 1): number => {
  if (buf[at] !== 72 || buf[at + 1] !== 84 || buf[at + 2] !== 84 || buf[at + 3] !== 80 || buf[at + 4] !== 47) return -1;
  if (buf[at + 5] !== 49 || buf[at + 6] !== 46) return -1;
  const minor = (buf[at + 7] as number) - 48;
  return minor >= 0 && minor <= most ? minor : -1;
};

/** The common methods without making a string; '' for another. Methods are case-sensitive. */
const commonMethodAt = (buf: Buffer, start: number, end: number): string => {
  for (const method of METHODS) {
    if (method.length !== end - start) continue;
    let i = 0;
    while (i < method.length && method.charCodeAt(i) === buf[start + i]) i++;
    if (i === method.length) return method;
  }
  return '';
};
