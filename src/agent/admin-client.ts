// The proxy's admin API over HTTP on loopback: how the agent asks a proxy that is not in its process.
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
}
export interface AdminResponse {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
  /** Instead of `body`: begins the answer in pieces, and answers how to stop it. */
  readonly stream?: (reader: { send(piece: string): boolean; end(): void }) => () => void;
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

/** One page over HTTP. Rejects when there is no whole answer in time. */
export const pageOverHttp = (
  { host, port, bytesMax, timeoutMs }: PageSource,
  asked: AdminRequest,
  headers: { readonly [name: string]: string } = {},
): Promise<AdminResponse> =>
  new Promise((resolve, reject) => {
    const bytes = pageRequestBytes(asked, `${host}:${port}`, headers);
    const reader = new PageReader(asked.method, bytesMax);
    const socket = connect({ host, port });
    const timer = setTimeout(() => done(`no answer within ${timeoutMs} ms`), timeoutMs);
    const done = (failure: string): void => {
      clearTimeout(timer);
      socket.destroy();
      if (reader.answer !== undefined) resolve(reader.answer);
      else reject(new Error(reader.failure || failure));
    };
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (chunk: Buffer) => {
      reader.receive(chunk);
      if (reader.done) done('');
    });
    socket.on('end', () => {
      reader.finish();
      done('');
    });
    socket.on('error', (e) => done(e.message));
    socket.on('close', () => done('connection lost'));
  });
