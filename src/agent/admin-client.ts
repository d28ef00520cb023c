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
}
export interface AdminResponse {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
}

/** Rejects when the proxy does not answer. */
export const adminOverHttp =
  (port: number) =>
  (asked: AdminRequest): Promise<AdminResponse> =>
    new Promise((resolve, reject) => {
      const bytes = pageRequestBytes(asked, `127.0.0.1:${port}`);
      const reader = new PageReader(asked.method, ADMIN_BODY_BYTES_MAX);
      const socket = connect({ host: '127.0.0.1', port });
      const timer = setTimeout(() => done(`no answer within ${ADMIN_TIMEOUT_MS} ms`), ADMIN_TIMEOUT_MS);
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
