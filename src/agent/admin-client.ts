// The proxy's admin API over HTTP on loopback: how the agent asks a proxy that is not in its process. An answer in pieces is given on as it
// comes, to whoever asked for it live; its connection is closed when nobody reads it any more.
import { connect } from 'node:net';
import { PageReader, pageRequestBytes } from '../wire/http1-page-client.ts';
import { ADMIN_BODY_BYTES_MAX, ADMIN_TIMEOUT_MS } from './limits.ts';

/** An HTTP-like request to the proxy's admin API. */
export interface AdminRequest {
  readonly method: string;
  /** With query. */
  readonly path: string;
  readonly body: string;
  /** An answer in pieces is taken. */
  readonly pieces?: boolean;
  /** One that goes on is given on as it comes, not kept until it is whole. */
  readonly live?: boolean;
}
export interface AdminResponse {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
  /** Instead of `body`: begins the answer in pieces, and answers how to stop it. */
  readonly stream?: (reader: AnswerReader) => () => void;
}
export interface AnswerReader {
  send(piece: string): boolean;
  /** `cut`: the proxy has gone before it came to an end. */
  end(cut?: boolean): void;
}

/** Rejects when the proxy does not answer. */
export const adminOverHttp =
  (port: number) =>
  (asked: AdminRequest): Promise<AdminResponse> =>
    pageOverHttp({ host: '127.0.0.1', port, bytesMax: ADMIN_BODY_BYTES_MAX, timeoutMs: ADMIN_TIMEOUT_MS }, asked);

export interface PageSource {
  readonly host: string;
  readonly port: number;
  readonly bytesMax: number;
  readonly timeoutMs: number;
}

/** One page over HTTP. Rejects when there is no whole answer, or no head of one in pieces, in time. */
export const pageOverHttp = (
  { host, port, bytesMax, timeoutMs }: PageSource,
  asked: AdminRequest,
  headers: { readonly [name: string]: string } = {},
): Promise<AdminResponse> =>
  new Promise((resolve, reject) => {
    const bytes = pageRequestBytes(asked, `${host}:${port}`, headers);
    const socket = connect({ host, port });
    const pieces = asked.live === true ? new Pieces(() => socket.destroy()) : undefined;
    const reader = new PageReader(asked.method, bytesMax, pieces && ((piece) => pieces.piece(piece)));
    let headed = false;
    const timer = setTimeout(() => done(`no answer within ${timeoutMs} ms`), timeoutMs);
    const done = (failure: string): void => {
      clearTimeout(timer);
      socket.destroy();
      if (reader.inPieces) pieces?.over(!reader.whole);
      else if (reader.answer !== undefined) resolve(reader.answer);
      else reject(new Error(reader.failure || failure));
    };
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (chunk: Buffer) => {
      reader.receive(chunk);
      if (reader.inPieces && !headed) {
        headed = true;
        clearTimeout(timer);
        if (reader.answer !== undefined && pieces !== undefined) resolve({ ...reader.answer, stream: (to) => pieces.begin(to) });
      }
      if (reader.done) done('');
    });
    socket.on('end', () => {
      reader.finish();
      done('');
    });
    socket.on('error', (e) => done(e.message));
    socket.on('close', () => done('connection lost'));
  });

/** Between a connection that brings pieces and who reads them: what came first waits for the reader. */
class Pieces {
  readonly #close: () => void;
  readonly #decoder = new TextDecoder();
  #reader: AnswerReader | undefined;
  #early = '';
  #ended: 'whole' | 'cut' | undefined;

  constructor(close: () => void) {
    this.#close = close;
  }

  piece(bytes: Buffer): void {
    // A character may lie across two of them.
    const text = this.#decoder.decode(bytes, { stream: true });
    if (this.#reader === undefined) this.#early += text;
    else if (text !== '') this.#reader.send(text);
  }

  over(cut: boolean): void {
    if (this.#ended !== undefined) return;
    this.#ended = cut ? 'cut' : 'whole';
    this.#reader?.end(cut);
  }

  begin(reader: AnswerReader): () => void {
    if (this.#early !== '') reader.send(this.#early);
    this.#early = '';
    this.#reader = reader;
    if (this.#ended !== undefined) reader.end(this.#ended === 'cut');
    return this.#close;
  }
}
