// The proxy's admin API over HTTP on loopback: how the agent asks a proxy that is not in its process.
import { request } from 'node:http';
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
      const req = request(
        { host: '127.0.0.1', port, method: asked.method, path: asked.path, agent: false, timeout: ADMIN_TIMEOUT_MS },
        (res) => {
          const chunks: Buffer[] = [];
          let size = 0;
          res.on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size > ADMIN_BODY_BYTES_MAX) req.destroy(new Error(`answer above ${ADMIN_BODY_BYTES_MAX} bytes`));
            else chunks.push(chunk);
          });
          res.on('error', reject);
          res.on('end', () => {
            const headers: { [name: string]: string } = {};
            for (const [name, value] of Object.entries(res.headers)) if (value !== undefined) headers[name] = String(value);
            resolve({ status: res.statusCode ?? 502, headers, body: Buffer.concat(chunks).toString('utf8') });
          });
        },
      );
      req.on('timeout', () => req.destroy(new Error(`no answer within ${ADMIN_TIMEOUT_MS} ms`)));
      req.on('error', reject);
      req.end(asked.body);
    });
