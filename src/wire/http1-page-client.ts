// One request for a page and its whole answer, over one connection that ends with it. Bytes in, one result out; whoever owns the
// socket dials, bounds the time and closes. The answer's body is bounded; more is a failure, never a shorter page. Whoever takes pieces
// gets those of a chunked success as they come, and the answer is then its head alone.

import type { PageAnswer, PageRequest } from './http1-page-server.ts';
import { Http1Parser, type Http1Problem, type Http1Sink } from './http1-parser.ts';

/** To be written as it is. */
export const pageRequestBytes = (
  { method, path, body }: PageRequest,
  host: string,
  headers: { readonly [name: string]: string } = {},
): Buffer => {
  if (!/^[A-Z]+$/.test(method) || !/^\/[\x21-\x7e]*$/.test(path)) throw new Error('the request line cannot be written');
  const length = body === '' && method === 'GET' ? '' : `content-length: ${Buffer.byteLength(body)}\r\n`;
  const more = Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
  return Buffer.from(`${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n${more}${length}\r\n${body}`);
};

export class PageReader implements Http1Sink {
  /** Set when all of it is there; of an answer in pieces, when its head is. */
  answer: PageAnswer | undefined;
  /** Set when there will be none, or no more of one in pieces. */
  failure = '';
  /** It comes in pieces. */
  inPieces = false;
  /** The last piece has come. */
  whole = false;
  readonly #piece: ((bytes: Buffer) => void) | undefined;
  readonly #parser: Http1Parser;
  readonly #bodyBytesMax: number;
  readonly #body: Buffer[] = [];
  #bytes = 0;

  /** `piece`: takes an answer in pieces; the bytes are its own for the call alone. */
  constructor(method: string, bodyBytesMax: number, piece?: (bytes: Buffer) => void) {
    this.#bodyBytesMax = bodyBytesMax;
    this.#piece = piece;
    this.#parser = new Http1Parser('response', this);
    this.#parser.expect(method);
  }

  get done(): boolean {
    return this.failure !== '' || (this.inPieces ? this.whole : this.answer !== undefined);
  }

  receive(chunk: Buffer): void {
    if (!this.done) this.#parser.execute(chunk);
  }

  /** The peer ended its side. */
  finish(): void {
    if (!this.done) this.#parser.finish();
    if (!this.done) this.failure = 'connection ended without an answer';
  }

  onHead(): void {
    if (this.#parser.upgrade) this.#fail('the answer is not HTTP');
    else if (this.#piece !== undefined && this.#parser.bodyKind === 'chunked' && this.#parser.statusCode < 300) {
      this.inPieces = true;
      this.answer = this.#answer();
    }
  }

  onBody(buf: Buffer, start: number, end: number): void {
    if (this.inPieces) {
      this.#piece?.(buf.subarray(start, end));
      return;
    }
    this.#bytes += end - start;
    if (this.#bytes > this.#bodyBytesMax) this.#fail(`answer above ${this.#bodyBytesMax} bytes`);
    else this.#body.push(buf.subarray(start, end));
  }

  onEnd(): void {
    if (this.inPieces) this.whole = true;
    else this.answer = this.#answer();
  }

  #answer(): PageAnswer {
    const headers: { [name: string]: string } = {};
    for (const [name, value] of this.#parser.headers.entries()) headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    return { status: this.#parser.statusCode, headers, body: Buffer.concat(this.#body).toString('utf8') };
  }

  onError(problem: Http1Problem): void {
    this.#fail(problem.message);
  }

  #fail(why: string): void {
    this.#parser.stop();
    this.failure ||= why;
  }
}
