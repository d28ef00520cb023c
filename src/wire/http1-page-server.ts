// One connection of a small HTTP/1.1 server: readiness, metrics, the admin API. Bytes to whole requests with bounded bodies, one
// at a time, and whole answers to bytes in pieces that wait for the reader. Whoever owns the socket gives it bytes, asks nothing
// back but what the link says, and bounds each phase in time. For pages, never for proxied traffic.
import { H } from './header-name.ts';
import { Http1Parser, type Http1Problem, type Http1Sink } from './http1-parser.ts';
import { CONTINUE_HEAD, STATUS_REASONS } from './http1-writer.ts';
import { PAGE_HEAD_BYTES_MAX, PAGE_PIECE_BYTES, PAGE_REST_BYTES_MAX } from './limits.ts';

export interface PageRequest {
  readonly method: string;
  /** With query; '*' for OPTIONS *. */
  readonly path: string;
  readonly body: string;
}

export interface PageAnswer {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
}

/** What the connection waits for: a request's first byte, its last, its answer, a client that reads, an answer's next piece, the end. */
export type PagePhase = 'idle' | 'request' | 'answer' | 'write' | 'stream' | 'over';

export interface PageLink {
  /** `answer` must follow, now or later. */
  request(request: PageRequest): void;
  /** False: `drained` must follow. */
  write(bytes: Buffer): boolean;
  /** Nothing more is written or read. */
  end(): void;
  /** Another phase, or another step of writing. */
  phase(phase: PagePhase): void;
}

export interface PageOptions {
  readonly bodyBytesMax: number;
  /** False: one request a connection. */
  readonly keepAlive: boolean;
}

const NO_BYTES = Buffer.alloc(0);

export class PageConnection implements Http1Sink {
  readonly #link: PageLink;
  readonly #options: PageOptions;
  readonly #parser: Http1Parser;
  #phase: PagePhase = 'idle';
  #last = false;
  #chunked = false;
  #headOnly = false;
  #body: Buffer[] = [];
  #bodyBytes = 0;
  /** Came behind the request that is being answered. */
  #rest: Buffer = NO_BYTES;
  #out: Buffer = NO_BYTES;
  #outAt = 0;

  constructor(link: PageLink, options: PageOptions) {
    this.#link = link;
    this.#options = options;
    this.#parser = new Http1Parser('request', this, { acceptHttp10: true, customMethods: true, headBytesMax: PAGE_HEAD_BYTES_MAX });
  }

  /** It is not in the middle of an answer: it may be closed without one being lost that was promised. */
  get waits(): boolean {
    return this.#phase === 'idle' || this.#phase === 'request';
  }

  get streams(): boolean {
    return this.#phase === 'stream';
  }

  receive(chunk: Buffer): void {
    if (this.#phase === 'over') return;
    if (!this.waits) {
      this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
      if (this.#rest.length > PAGE_REST_BYTES_MAX) this.#over();
      return;
    }
    const taken = this.#parser.execute(chunk);
    // An answer at once may have been followed by another request in the same chunk, but never by bytes that came later.
    if (taken < chunk.length && !this.waits) this.#rest = chunk.subarray(taken);
    if (this.#phase === 'idle' && !this.#parser.idle) this.#enter('request');
  }

  /** The client ended its side: what it asked is answered. */
  finish(): void {
    this.leave();
    if (this.#phase === 'request') this.#over();
  }

  /** No further request: after the answer that is owed, if any, the connection ends. */
  leave(): void {
    this.#last = true;
    if (this.#phase === 'idle') this.#over();
  }

  drained(): void {
    if (this.#phase === 'write') this.#write();
  }

  answer({ status, headers, body }: PageAnswer): void {
    if (this.#phase !== 'answer') return;
    const lines = [`HTTP/1.1 ${status} ${STATUS_REASONS[status] ?? 'Unknown'}`];
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value.replace(/[^\x20-\x7e]/g, ' ')}`);
    if (this.#last) lines.push('connection: close');
    lines.push(`content-length: ${Buffer.byteLength(body)}`, '\r\n');
    this.#out = Buffer.from(lines.join('\r\n') + (this.#headOnly ? '' : body));
    this.#outAt = 0;
    this.#write();
  }

  /** An answer in pieces begins: `piece` as often as wanted, then `lastPiece`. False: nobody waits for an answer. */
  begin({ status, headers }: Omit<PageAnswer, 'body'>): boolean {
    if (this.#phase !== 'answer') return false;
    // Its end is the connection's for who does not know chunks.
    this.#chunked = this.#parser.versionMinor > 0;
    this.#last = true;
    const lines = [`HTTP/1.1 ${status} ${STATUS_REASONS[status] ?? 'Unknown'}`];
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value.replace(/[^\x20-\x7e]/g, ' ')}`);
    lines.push('connection: close');
    if (this.#chunked) lines.push('transfer-encoding: chunked');
    lines.push('\r\n');
    this.#enter('stream');
    this.#link.write(Buffer.from(lines.join('\r\n')));
    return true;
  }

  piece(text: string): void {
    if (this.#phase !== 'stream' || this.#headOnly || text === '') return;
    this.#link.phase('stream');
    this.#link.write(Buffer.from(this.#chunked ? `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n` : text));
  }

  lastPiece(): void {
    if (this.#phase !== 'stream') return;
    if (this.#chunked && !this.#headOnly) this.#link.write(Buffer.from('0\r\n\r\n'));
    this.#over();
  }

  onHead(parser: Http1Parser): void {
    this.#headOnly = parser.method === 'HEAD';
    if (!this.#options.keepAlive || !parser.keepAlive || parser.versionMinor === 0) this.#last = true;
    if (parser.method === 'CONNECT') this.#refuse(405, 'no tunnel begins here');
    else if (parser.contentLength > this.#options.bodyBytesMax) this.#refuse(413, 'body too large');
    else if (parser.bodyKind !== 'none' && parser.headers.getById(H.EXPECT)?.toLowerCase() === '100-continue')
      this.#link.write(CONTINUE_HEAD);
  }

  onBody(buf: Buffer, start: number, end: number): void {
    this.#bodyBytes += end - start;
    if (this.#bodyBytes > this.#options.bodyBytesMax) this.#refuse(413, 'body too large');
    else this.#body.push(Buffer.from(buf.subarray(start, end)));
  }

  onEnd(): void {
    const body = this.#body.length === 0 ? '' : Buffer.concat(this.#body).toString('utf8');
    this.#body = [];
    this.#bodyBytes = 0;
    this.#enter('answer');
    this.#link.request({ method: this.#parser.method, path: this.#parser.path, body });
  }

  onError(problem: Http1Problem): void {
    this.#refuse(problem.status, problem.message);
  }

  #refuse(status: number, why: string): void {
    this.#parser.stop();
    this.#body = [];
    this.#last = true;
    this.#enter('answer');
    this.answer({ status, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: `${why}\n` });
  }

  #write(): void {
    while (this.#outAt < this.#out.length) {
      const piece = this.#out.subarray(this.#outAt, this.#outAt + PAGE_PIECE_BYTES);
      this.#outAt += piece.length;
      if (!this.#link.write(piece)) {
        this.#enter('write');
        return;
      }
    }
    this.#out = NO_BYTES;
    if (this.#last) this.#over();
    else this.#next();
  }

  #next(): void {
    this.#headOnly = false;
    this.#parser.resume();
    this.#enter('idle');
    const rest = this.#rest;
    this.#rest = NO_BYTES;
    if (rest.length > 0) this.receive(rest);
  }

  #over(): void {
    if (this.#phase === 'over') return;
    this.#parser.stop();
    this.#rest = NO_BYTES;
    this.#enter('over');
    this.#link.end();
  }

  #enter(phase: PagePhase): void {
    this.#phase = phase;
    this.#link.phase(phase);
  }
}
