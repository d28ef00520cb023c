// Collects one decoded head or trailer section: pseudo fields as strings, regular fields into the message's block, and
// holds RFC 9113 8.1-8.3: which pseudo fields, their order, connection-specific fields, content-length, the limits.
// Values lie in slabs that are never overwritten; a slab serves many heads.
import { AUTHORITY_BYTE, HTAB, SP, TARGET_BYTE, TOKEN_LOWER } from './byte-tables.ts';
import type { HeaderBlock } from './header-block.ts';
import { bytesOfId, H, NAME_ID_COUNT } from './header-name.ts';
import type { FieldSink } from './hpack-decoder.ts';
import { bytesOfCode, P_AUTHORITY, P_METHOD, P_PATH, P_PROTOCOL, P_SCHEME, P_STATUS, P_UNKNOWN } from './hpack-table.ts';
import { CONTENT_LENGTH_DIGITS_MAX, HEADER_COUNT_MAX } from './limits.ts';

export const REQUEST = 0;
export const RESPONSE = 1;
export const TRAILERS = 2;
/** Decoded for the table's sake only. */
export const DISCARD = 3;

/** What is wrong with a head. */
export const FINE = 0;
export const BAD_FIELD = 1;
export const BAD_MESSAGE = 2;
/** Larger than this side takes, or not wanted: the stream's end alone. Its reason is Envoy's detail. */
export const TOO_LARGE = 3;

const SLAB_FIRST = 1024;
const SLAB_BYTES = 16 * 1024;
const NO_BYTES: Buffer = Buffer.alloc(0);
const ZERO = 48;
const UNDERSCORE = 95;
const MISSING = '\0'; // of a pseudo field: no value a peer can send

const FORBIDDEN = 1;
const LENGTH = 2;
const TE = 3;
const COOKIE = 4;
const HOST = 5;
const rules = new Uint8Array(NAME_ID_COUNT);
for (const id of [H.CONNECTION, H.KEEP_ALIVE, H.PROXY_CONNECTION, H.TRANSFER_ENCODING, H.UPGRADE]) rules[id] = FORBIDDEN;
rules[H.CONTENT_LENGTH] = LENGTH;
rules[H.TE] = TE;
rules[H.COOKIE] = COOKIE;
rules[H.HOST] = HOST;
/** As a request target, and obs-text, which Envoy lets pass in :path. */
const PATH_BYTE = Uint8Array.from(TARGET_BYTE, (good, byte) => (byte >= 0x80 ? 1 : good));

export interface HeadOptions {
  readonly maxHeaderCount?: number | undefined;
  readonly allowConnect?: boolean | undefined;
  readonly underscores?: 'reject' | 'drop' | undefined;
}

export class HeadCollector implements FieldSink {
  buf: Buffer = NO_BYTES;
  at = 0;
  full = false;
  fault = FINE;
  reason = '';
  method = MISSING;
  scheme = MISSING;
  authority = MISSING;
  path = MISSING;
  protocol = MISSING;
  status = 0;
  contentLength = -1;

  readonly #client: boolean;
  readonly #bytesMax: number;
  readonly #countMax: number;
  readonly #allowConnect: boolean;
  readonly #underscores: 'reject' | 'drop' | undefined;
  #kind = DISCARD;
  #block: HeaderBlock | undefined;
  #headStart = 0;
  #bytes = 0;
  #count = 0;
  #cookies = 0;
  #regularSeen = false;
  #hostSeen = false;
  #hostIsAuthority = false;
  #goodPath = '';
  #goodAuthority = '';
  #goodMethod = 'GET';

  /** `client`: reads responses. */
  constructor(client: boolean, bytesMax: number, options: HeadOptions) {
    this.#client = client;
    this.#bytesMax = bytesMax;
    this.#countMax = options.maxHeaderCount ?? HEADER_COUNT_MAX;
    this.#allowConnect = !client && options.allowConnect === true;
    this.#underscores = options.underscores;
  }

  /** `block` undefined for DISCARD. */
  begin(kind: number, block: HeaderBlock | undefined): void {
    this.#kind = kind;
    this.#block = block;
    block?.useArena(this.buf);
    this.#headStart = this.at;
    this.full = kind === DISCARD;
    this.fault = FINE;
    this.reason = '';
    this.method = this.scheme = this.authority = this.path = this.protocol = MISSING;
    this.status = 0;
    this.contentLength = -1;
    this.#bytes = this.#count = this.#cookies = 0;
    this.#regularSeen = this.#hostSeen = this.#hostIsAuthority = false;
  }

  ensure(bytes: number): void {
    if (this.at + bytes <= this.buf.length) return;
    const begun = this.at - this.#headStart;
    const slab = Math.min(SLAB_BYTES, Math.max(SLAB_FIRST, this.buf.length * 2));
    const next = Buffer.allocUnsafeSlow(Math.max(slab, 2 * begun + bytes));
    this.buf.copy(next, 0, this.#headStart, this.at);
    this.buf = next;
    this.#block?.useArena(next);
    this.#block?.rebase(this.#headStart);
    this.#headStart = 0;
    this.at = begun;
  }

  pseudo(code: number, text: string, bad: boolean): void {
    this.#size((code <= P_UNKNOWN ? 1 : bytesOfCode(code).length) + text.length);
    if (this.full) return;
    if (bad || code <= P_UNKNOWN)
      this.#fail(BAD_FIELD, code <= P_UNKNOWN ? 'field name not allowed' : 'control character in a pseudo field');
    else if (this.#regularSeen) this.#fail(BAD_FIELD, 'pseudo field behind a regular one');
    else if (this.#kind === REQUEST) this.#requestPseudo(code, text);
    else if (this.#kind === RESPONSE && code === P_STATUS && this.status === 0) this.#setStatus(text);
    else this.#fail(BAD_FIELD, 'pseudo field out of place');
  }

  regular(code: number, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number, bad: boolean, sensitive: boolean): void {
    this.#size((code === 0 ? nameEnd - nameStart : bytesOfId(code).length) + valueEnd - valueStart);
    if (this.full) return;
    this.#regularSeen = true;
    if (code === 0 && this.#underscores !== undefined && this.buf.subarray(nameStart, nameEnd).includes(UNDERSCORE)) {
      if (this.#underscores === 'reject') this.#fail(TOO_LARGE, 'http2.unexpected_underscore');
      return;
    }
    if (bad) {
      this.#fail(BAD_FIELD, 'control character in a field value');
      return;
    }
    let start = valueStart;
    let end = valueEnd;
    const bytes = this.buf;
    while (end > start && (bytes[end - 1] === SP || bytes[end - 1] === HTAB)) end--;
    while (start < end && (bytes[start] === SP || bytes[start] === HTAB)) start++;
    if (rules[code] !== 0) {
      // Some readers take a leading zero for octal.
      if (rules[code] === LENGTH) while (start < end - 1 && bytes[start] === ZERO) start++;
      if (!this.#ruled(rules[code] as number, start, end)) return;
    }
    this.#block?.pushRange(code, nameStart, nameEnd, start, end, false, sensitive);
  }

  /** After the block: what the whole head must have. */
  finish(): void {
    if (this.fault !== FINE || this.#kind === DISCARD)
      this.at = this.#headStart; // nobody will look at it
    else {
      if (this.#kind === REQUEST) this.#finishRequest();
      else if (this.#kind === RESPONSE) this.#finishResponse();
      if (this.#cookies > 1) this.#joinCookies();
    }
    this.#block = undefined;
  }

  /** No stream is left: what a large head needed is let go. */
  trim(): void {
    if (this.buf.length <= SLAB_BYTES) return;
    this.buf = NO_BYTES;
    this.at = 0;
  }

  #size(bytes: number): void {
    this.#bytes += bytes;
    this.#count++;
    if (this.fault !== FINE || this.#kind === DISCARD) return;
    if (this.#bytes > this.#bytesMax) this.#fail(TOO_LARGE, 'http2.header_list_size_too_large');
    else if (this.#count > this.#countMax) this.#fail(TOO_LARGE, 'http2.too_many_headers');
  }

  #fail(fault: number, reason: string): void {
    this.fault = fault;
    this.reason = reason;
    this.full = true;
  }

  #requestPseudo(code: number, text: string): void {
    if (code === P_METHOD && this.method === MISSING) {
      this.method = text;
      if (text === this.#goodMethod) return;
      if (!isToken(text)) this.#fail(BAD_FIELD, ':method is no token');
      else this.#goodMethod = text;
    } else if (code === P_PATH && this.path === MISSING) {
      this.path = text;
      if (text === this.#goodPath) return;
      if (!allOf(text, PATH_BYTE)) this.#fail(BAD_FIELD, 'character not allowed in :path');
      else this.#goodPath = text;
    } else if (code === P_AUTHORITY && this.authority === MISSING) {
      this.authority = text;
      if (text === this.#goodAuthority) return;
      if (!allOf(text, AUTHORITY_BYTE)) this.#fail(BAD_FIELD, 'character not allowed in :authority');
      else this.#goodAuthority = text;
    } else if (code === P_SCHEME && this.scheme === MISSING) {
      this.scheme = text;
      if (text !== 'http' && text !== 'https' && !/^[a-z][a-z\d+.-]*$/i.test(text)) this.#fail(BAD_FIELD, ':scheme is none');
    } else if (code === P_PROTOCOL && this.protocol === MISSING && this.#allowConnect && isToken(text)) this.protocol = text;
    else this.#fail(BAD_FIELD, 'pseudo field out of place');
  }

  #setStatus(text: string): void {
    const status = text.length === 3 && /^[1-9]\d\d$/.test(text) ? Number(text) : 0;
    if (status === 0 || status === 101) this.#fail(BAD_FIELD, ':status is none');
    else this.status = status;
  }

  #ruled(rule: number, start: number, end: number): boolean {
    const bytes = this.buf;
    if (rule === FORBIDDEN) {
      this.#fail(BAD_FIELD, 'connection-specific field');
      return false;
    }
    if (rule === HOST && this.#kind === REQUEST) return this.#host(start, end);
    // A server that merges trailers into the head would route by it.
    if (rule === HOST && this.#kind === TRAILERS && !this.#client) return false;
    if (rule === COOKIE) this.#cookies++;
    else if (rule === TE) {
      if (bytes.toString('latin1', start, end).toLowerCase() !== 'trailers') this.#fail(BAD_FIELD, 'te other than trailers');
    } else if (rule === LENGTH) {
      if (this.#kind === TRAILERS) this.#fail(BAD_FIELD, 'content-length in trailers');
      let value = end > start && end - start <= CONTENT_LENGTH_DIGITS_MAX ? 0 : Number.NaN;
      for (let i = start; i < end; i++) {
        const digit = (bytes[i] as number) - 48;
        value = digit >= 0 && digit <= 9 ? value * 10 + digit : Number.NaN;
      }
      if (Number.isNaN(value) || this.contentLength >= 0) this.#fail(BAD_FIELD, 'content-length malformed or repeated');
      else this.contentLength = value;
    }
    return this.fault === FINE;
  }

  /** A host field stands in for :authority and says nothing beside it (RFC 9113 8.3.1); it does not go on as a field. */
  #host(start: number, end: number): boolean {
    const text = this.buf.toString('latin1', start, end);
    if (this.#hostSeen || text === '' || !allOf(text, AUTHORITY_BYTE)) {
      this.#fail(BAD_FIELD, 'a host field that is no authority, or two of them');
      return false;
    }
    this.#hostSeen = true;
    if (this.authority !== MISSING) return false;
    this.authority = text;
    this.#hostIsAuthority = true;
    return false;
  }

  #finishResponse(): void {
    if (this.status === 0) this.#fail(BAD_MESSAGE, 'response without :status');
    else if (this.contentLength > 0 && (this.status < 200 || this.status === 204))
      this.#fail(BAD_FIELD, 'content-length of a body that cannot be');
  }

  #finishRequest(): void {
    const connect = this.method === 'CONNECT';
    if (connect && this.protocol === MISSING) {
      if (this.scheme !== MISSING || this.path !== MISSING || this.#hostIsAuthority || given(this.authority) === '')
        this.#fail(BAD_MESSAGE, 'CONNECT takes :authority only');
      return;
    }
    if (this.protocol !== MISSING && !connect) this.#fail(BAD_MESSAGE, ':protocol without CONNECT');
    else if (given(this.authority) === '') this.#fail(BAD_MESSAGE, 'request without :authority or host');
    else if (this.method === MISSING || this.scheme === MISSING || this.path === MISSING || this.path === '')
      this.#fail(BAD_MESSAGE, 'request without :method, :scheme or :path');
    else if (this.path.charCodeAt(0) !== 47 && !(this.path === '*' && this.method === 'OPTIONS') && /^https?$/i.test(this.scheme))
      this.#fail(BAD_MESSAGE, ':path is no path');
  }

  /** RFC 9113 8.2.3: cookie pieces are one field everywhere but on this wire. */
  #joinCookies(): void {
    const block = this.#block;
    if (block !== undefined) block.setById(H.COOKIE, block.values('cookie').join('; '));
  }
}

/** '' for a pseudo field that did not come. */
export const given = (text: string): string => (text === MISSING ? '' : text);

const isToken = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) if ((TOKEN_LOWER[text.charCodeAt(i)] ?? 0) === 0) return false;
  return text.length > 0;
};

const allOf = (text: string, table: Uint8Array): boolean => {
  for (let i = 0; i < text.length; i++) if (table[text.charCodeAt(i)] !== 1) return false;
  return true;
};
