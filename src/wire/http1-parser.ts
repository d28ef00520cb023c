// The HTTP/1 machine for one direction of one connection: bytes in any pieces to calls of a sink given at construction.
// Body bytes are handed on as ranges of the caller's buffer and never copied. A request machine stops after each
// message until `resume()`, so pipelined requests wait; a response machine is told the request's method by `expect()`.
// After a problem, after `stop()` and after an upgrade it takes no more bytes. It has no clock and no timeouts.
import { CR, HEX_VALUE, LF, VALUE_BYTE } from './byte-tables.ts';
import { HeaderBlock } from './header-block.ts';
import { H } from './header-name.ts';
import { type BodyKind, type Framing, type RequestTarget, requestFraming, requestTarget, responseFraming } from './http1-framing.ts';
import { HEAD_FAILED, HEAD_MORE, type HeadLimits, HeadReader } from './http1-head.ts';
import { codecError, type Http1Problem } from './http1-problem.ts';
import { CHUNK_EXTENSION_BYTES_MAX, CHUNK_EXTENSIONS_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX } from './limits.ts';

export type { BodyKind } from './http1-framing.ts';
export type { Http1Problem } from './http1-problem.ts';

export interface Http1Sink {
  onHead(parser: Http1Parser): void;
  /** A 1xx response other than 101; `statusCode` and `headers` are its own until the call returns. */
  onInformational?(parser: Http1Parser): void;
  onBody(buf: Buffer, start: number, end: number): void;
  onTrailers?(trailers: HeaderBlock): void;
  onEnd(): void;
  onError(problem: Http1Problem): void;
}

export interface Http1Limits extends HeadLimits {
  /** Requests only: accept HTTP/1.0. Otherwise they are answered 426 as Envoy does. */
  readonly acceptHttp10?: boolean | undefined;
  /** Requests only: false leaves an absolute-form target as the path, which no route matches. Default true. */
  readonly allowAbsoluteUrl?: boolean | undefined;
}

// States. Body states up to TRAILERS; READY waits for a first byte, PAUSED for resume(), DEAD takes nothing.
const READY = 0;
const HEAD = 1;
const LENGTH = 2;
const UNTIL_EOF = 3;
const CHUNK_SIZE = 4;
const CHUNK_EXTENSION = 5;
const CHUNK_SIZE_LF = 6;
const CHUNK_DATA = 7;
const CHUNK_DATA_CR = 8;
const CHUNK_DATA_LF = 9;
const TRAILERS = 10;
const PAUSED = 11;
const DEAD = 12;

export class Http1Parser implements Framing, RequestTarget {
  readonly kind: 'request' | 'response';
  /** Of the message being read. May be replaced by another, cleared block (a pool's) before a message begins. */
  headers = new HeaderBlock();
  // Facts of the head, valid from onHead until the next message begins.
  bodyKind: BodyKind = 'none';
  contentLength = 0;
  keepAlive = true;
  /** The head asks for (request) or makes (101, CONNECT 2xx) another protocol. */
  upgrade = false;
  path = '';
  authority = '';
  scheme = '';

  readonly #sink: Http1Sink;
  readonly #head: HeadReader;
  readonly #acceptHttp10: boolean;
  readonly #allowAbsolute: boolean;
  #trailers: HeaderBlock | undefined = undefined;
  #state = READY;
  #left = 0; // body bytes still to come of this length or chunk
  #digits = 0;
  #extensionBytes = 0;
  #extensionsBytes = 0;
  #expected = ''; // method of the request this response answers

  constructor(kind: 'request' | 'response', sink: Http1Sink, limits: Http1Limits = {}) {
    this.kind = kind;
    this.#sink = sink;
    this.#head = new HeadReader(limits);
    this.#acceptHttp10 = limits.acceptHttp10 ?? false;
    this.#allowAbsolute = limits.allowAbsoluteUrl ?? true;
  }

  get method(): string {
    return this.#head.method;
  }
  /** The request target as it came. */
  get target(): string {
    return this.#head.target;
  }
  get statusCode(): number {
    return this.#head.statusCode;
  }
  get reason(): string {
    return this.#head.reason;
  }
  get versionMinor(): number {
    return this.#head.versionMinor;
  }
  /** Bytes of the head on the wire. */
  get headBytes(): number {
    return this.#head.byteLength;
  }
  /** Nothing of a next message has come: the connection can be pooled or closed without loss. */
  get idle(): boolean {
    return this.#state === READY || this.#state === PAUSED;
  }
  /** Some of a head has come. */
  get inHead(): boolean {
    return this.#state === HEAD;
  }
  /** A message ended (or an upgrade began) and `resume()` has not been called. */
  get paused(): boolean {
    return this.#state === PAUSED;
  }

  /** Responses: the method of the request whose response comes next. Also lets the machine read it. */
  expect(method: string): void {
    this.#expected = method;
    if (this.#state === PAUSED) this.resume();
  }

  /** Ready for the next message; the block is cleared. */
  resume(): void {
    if (this.#state !== PAUSED) return;
    this.headers.clear();
    this.#state = READY;
  }

  /** Takes no more bytes; for a sink that gave the message up. */
  stop(): void {
    this.#state = DEAD;
  }

  /** Reads [start, end) of `bytes` and returns the offset behind what was taken: less than `end` only when paused, upgraded or dead. */
  execute(bytes: Uint8Array, start = 0, end = bytes.length): number {
    const buf = bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = start;
    while (at < end && this.#state < PAUSED) {
      switch (this.#state) {
        case READY:
          this.#head.begin(this.kind === 'request' ? 'request' : 'status', this.headers);
          this.path = '';
          this.#state = HEAD;
          break;
        case HEAD:
          at = this.#readHead(buf, at, end);
          break;
        case LENGTH:
        case CHUNK_DATA:
          at = this.#readCounted(buf, at, end);
          break;
        case UNTIL_EOF:
          this.#sink.onBody(buf, at, end);
          at = end;
          break;
        case TRAILERS:
          at = this.#readTrailers(buf, at, end);
          break;
        default:
          at = this.#readChunkLine(buf, at, end);
      }
    }
    return at;
  }

  /** The peer ended its side. */
  finish(): void {
    if (this.#state === UNTIL_EOF) this.#end();
    else if (this.#state !== READY && this.#state < PAUSED) this.#fail(codecError('connection ended inside a message'));
    this.#state = DEAD;
  }

  #readHead(buf: Buffer, at: number, end: number): number {
    const next = this.#head.read(buf, at, end);
    if (next === HEAD_MORE) return end;
    if (next === HEAD_FAILED) return this.#fail(this.#head.problem as Http1Problem, at);
    const fault = this.kind === 'request' ? this.#requestFault() : this.#responseFault();
    if (fault !== undefined) return this.#fail(fault, next);
    if (this.kind === 'response' && this.statusCode < 200 && this.statusCode !== 101) {
      this.#sink.onInformational?.(this);
      this.headers.clear();
      if (this.#state === HEAD) this.#state = READY;
      return next;
    }
    if (this.kind === 'response' && this.statusCode === 101) this.upgrade = true;
    this.#sink.onHead(this);
    if (this.#state === HEAD) this.#beginBody();
    return next;
  }

  #requestFault(): Http1Problem | undefined {
    const head = this.#head;
    return (
      requestFraming(head.method, head.versionMinor, this.headers, this.#acceptHttp10, this) ??
      requestTarget(head.method, head.target, head.versionMinor, this.headers, this, this.#allowAbsolute)
    );
  }

  #responseFault(): Http1Problem | undefined {
    if (this.#expected === '') return codecError('response without a request');
    return responseFraming(this.#expected, this.statusCode, this.versionMinor, this.headers, this);
  }

  #beginBody(): void {
    if (this.bodyKind === 'none') this.#end();
    else if (this.bodyKind === 'length') {
      this.#left = this.contentLength;
      this.#state = LENGTH;
    } else if (this.bodyKind === 'eof') this.#state = UNTIL_EOF;
    else {
      this.#extensionsBytes = 0;
      this.#beginChunk();
    }
  }

  #beginChunk(): void {
    this.#left = 0;
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.#state = CHUNK_SIZE;
  }

  #readCounted(buf: Buffer, at: number, end: number): number {
    const next = Math.min(end, at + this.#left);
    this.#left -= next - at;
    const state = this.#state;
    this.#sink.onBody(buf, at, next);
    if (this.#left === 0 && this.#state === state) {
      if (state === LENGTH) this.#end();
      else this.#state = CHUNK_DATA_CR;
    }
    return next;
  }

  /** One byte at a time: chunk lines are short. */
  #readChunkLine(buf: Buffer, start: number, end: number): number {
    for (let at = start; at < end; at++) {
      const c = buf[at] as number;
      switch (this.#state) {
        case CHUNK_SIZE: {
          const digit = HEX_VALUE[c] as number;
          if (digit !== 255) {
            if (++this.#digits > CHUNK_SIZE_DIGITS_MAX) return this.#fail(codecError('chunk size too large'), at);
            this.#left = this.#left * 16 + digit;
          } else if (this.#digits === 0) return this.#fail(codecError('chunk size is not a hexadecimal number'), at);
          else if (c === CR) this.#state = CHUNK_SIZE_LF;
          else if (c === 59) this.#state = CHUNK_EXTENSION;
          else return this.#fail(codecError('chunk size is not a hexadecimal number'), at);
          break;
        }
        case CHUNK_EXTENSION:
          if (c === CR) this.#state = CHUNK_SIZE_LF;
          else if (VALUE_BYTE[c] !== 1) return this.#fail(codecError('control byte in a chunk extension'), at);
          else if (++this.#extensionBytes > CHUNK_EXTENSION_BYTES_MAX || ++this.#extensionsBytes > CHUNK_EXTENSIONS_BYTES_MAX)
            return this.#fail(codecError('chunk extension too long'), at);
          break;
        case CHUNK_SIZE_LF:
          if (c !== LF) return this.#fail(codecError('carriage return without line feed'), at);
          if (this.#left > 0) this.#state = CHUNK_DATA;
          else this.#beginTrailers();
          return at + 1;
        case CHUNK_DATA_CR:
          if (c !== CR) return this.#fail(codecError('chunk longer than its size'), at);
          this.#state = CHUNK_DATA_LF;
          break;
        default:
          if (c !== LF) return this.#fail(codecError('chunk longer than its size'), at);
          this.#beginChunk();
      }
    }
    return end;
  }

  #beginTrailers(): void {
    this.#trailers ??= new HeaderBlock();
    this.#trailers.clear();
    this.#head.begin('none', this.#trailers);
    this.#state = TRAILERS;
  }

  #readTrailers(buf: Buffer, at: number, end: number): number {
    const headBytes = this.#head.byteLength;
    const next = this.#head.read(buf, at, end);
    this.#head.byteLength = headBytes;
    if (next === HEAD_MORE) return end;
    if (next === HEAD_FAILED) return this.#fail(this.#head.problem as Http1Problem, at);
    const trailers = this.#trailers as HeaderBlock;
    if (trailers.count > 0) {
      // A trailer that frames or routes would be read by the next hop as if it stood in the head.
      if (trailers.hasId(H.CONTENT_LENGTH) || trailers.hasId(H.TRANSFER_ENCODING) || trailers.hasId(H.HOST))
        return this.#fail(codecError('trailer that belongs in the head'), at);
      this.#sink.onTrailers?.(trailers);
    }
    if (this.#state === TRAILERS) this.#end();
    return next;
  }

  #end(): void {
    this.#state = PAUSED;
    if (this.kind === 'response') this.#expected = '';
    this.#sink.onEnd();
  }

  #fail(why: Http1Problem, at = 0): number {
    this.#state = DEAD;
    this.#sink.onError(why);
    return at;
  }
}
