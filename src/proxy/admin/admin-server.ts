// The admin API's socket: HTTP on loopback TCP or a Unix socket. Also a second server that has nothing but the metrics
// (15090), safe to open to a scraper.
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, type Socket } from 'node:net';
import type { Address } from '../../xds/gen/types.ts';
import { addressText } from '../connection-facts.ts';
import { ListeningSockets } from '../listening-sockets.ts';
import { answerAdmin } from './admin-answer.ts';
import { type AdminContext, type AdminResponse, text } from './admin-context.ts';
import { prometheusPage } from './stats-page.ts';

/** Admin requests carry options, not data. */
const BODY_BYTES_MAX = 64 * 1024;

export interface AdminServer {
  /** `ip:port` as bound, or the socket's path. */
  readonly address: string;
  /** Stops accepting; who is connected is answered. */
  release(): void;
  close(): Promise<void>;
}

/** Rejects when the address cannot be bound. */
export const startAdminServer = (context: AdminContext, address: Address, sockets = new ListeningSockets()): Promise<AdminServer> =>
  listen(address, sockets, (req, res) => {
    readBody(req).then(
      async (body) => {
        let answer: AdminResponse;
        try {
          answer = await answerAdmin(context, { method: req.method ?? 'GET', path: req.url ?? '/', body });
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
  listen(address, new ListeningSockets(), (req, res) => {
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

const LAST_ANSWERS_MS = 500;

const listen = (
  address: Address,
  sockets: ListeningSockets,
  handler: (req: IncomingMessage, res: ServerResponse) => void,
): Promise<AdminServer> =>
  new Promise((resolve, reject) => {
    const http = createHttpServer(handler);
    const connections = new Set<Socket>();
    // The runtimes' HTTP servers cannot all listen on a descriptor that is handed down.
    const server = createServer((socket) => {
      connections.add(socket);
      socket.on('close', () => connections.delete(socket));
      socket.on('error', () => socket.destroy());
      http.emit('connection', socket);
    });
    const path = address.pipe?.path;
    const { address: host = '127.0.0.1', port_value: port = 0 } = address.socket_address ?? {};
    const fd = sockets.take(
      path === undefined ? { kind: 'tcp', host, port, name: 'admin' } : { kind: 'unix', host: path, port: 0, name: 'admin' },
    );
    const { promise: closed, resolve: ended } = Promise.withResolvers<void>();
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      sockets.closed(fd);
      server.close(() => ended());
    };
    const close = async (): Promise<void> => {
      // Who is being answered while another process takes over has a moment for it.
      if (released) await Promise.race([closed, new Promise((late) => setTimeout(late, LAST_ANSWERS_MS).unref())]);
      release();
      for (const socket of connections) socket.destroy();
      await closed;
    };
    server.once('error', reject);
    server.listen({ fd }, () => {
      server.removeListener('error', reject);
      server.on('error', () => undefined);
      const at = server.address();
      const bound = at === null || typeof at === 'string' || path !== undefined ? (path ?? '') : addressText(at.address, at.port);
      resolve({ address: bound, release, close });
    });
  });
