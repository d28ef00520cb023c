// The admin API's socket: HTTP on loopback TCP or a Unix socket. Also a second server that has nothing but the metrics
// (15090), safe to open to a scraper.
import { unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Address } from '../../xds/gen/types.ts';
import { handleAdmin } from './admin-api.ts';
import { type AdminContext, type AdminResponse, text } from './admin-context.ts';
import { prometheusPage } from './stats-page.ts';

/** Admin requests carry options, not data. */
const BODY_BYTES_MAX = 64 * 1024;

export interface AdminServer {
  /** `ip:port` as bound, or the socket's path. */
  readonly address: string;
  close(): Promise<void>;
}

/** Rejects when the address cannot be bound. */
export const startAdminServer = (context: AdminContext, address: Address): Promise<AdminServer> =>
  listen(address, (req, res) => {
    readBody(req).then(
      (body) => {
        let answer: AdminResponse;
        try {
          answer = handleAdmin(context, { method: req.method ?? 'GET', path: req.url ?? '/', body });
        } catch (e) {
          context.log.error('an admin request failed', { path: req.url ?? '', reason: String(e) });
          answer = text(`${e instanceof Error ? e.message : String(e)}\n`, 500);
        }
        reply(req, res, answer);
      },
      () => reply(req, res, text('body too large\n', 413)),
    );
  });

/** `/stats/prometheus` and nothing else. */
export const startMetricsServer = (context: AdminContext, address: Address): Promise<AdminServer> =>
  listen(address, (req, res) => {
    const url = new URL(req.url ?? '/', 'http://metrics');
    const known = url.pathname === '/stats/prometheus' && (req.method === 'GET' || req.method === 'HEAD');
    reply(req, res, known ? prometheusPage(context, url.searchParams) : text('not found\n', 404));
  });

const readBody = (req: IncomingMessage): Promise<string> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > BODY_BYTES_MAX) reject(new Error('too large'));
      else chunks.push(chunk);
    });
    req.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    req.on('error', reject);
  });

const reply = (req: IncomingMessage, res: ServerResponse, answer: AdminResponse): void => {
  res.writeHead(answer.status, {
    ...answer.headers,
    'content-length': Buffer.byteLength(answer.body),
    'cache-control': 'no-cache, max-age=0',
    'x-content-type-options': 'nosniff',
    server: 'envoy',
  });
  res.end(req.method === 'HEAD' ? undefined : answer.body);
};

const listen = (address: Address, handler: (req: IncomingMessage, res: ServerResponse) => void): Promise<AdminServer> =>
  new Promise((resolve, reject) => {
    const server = createServer(handler);
    server.once('error', reject);
    const path = address.pipe?.path;
    const bound = (): void => {
      server.removeListener('error', reject);
      server.on('error', () => undefined);
      resolve({ address: boundAddress(server, path), close: () => closeServer(server) });
    };
    if (path !== undefined) {
      removeStaleSocket(path);
      server.listen({ path }, bound);
    } else {
      server.listen({ host: address.socket_address?.address ?? '127.0.0.1', port: address.socket_address?.port_value ?? 0 }, bound);
    }
  });

const removeStaleSocket = (path: string): void => {
  try {
    unlinkSync(path);
  } catch {
    // there was none
  }
};

const boundAddress = (server: Server, path: string | undefined): string => {
  const at = server.address();
  if (path !== undefined || at === null || typeof at === 'string') return path ?? '';
  return at.family === 'IPv6' ? `[${at.address}]:${at.port}` : `${at.address}:${at.port}`;
};

const closeServer = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
