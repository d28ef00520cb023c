// The admin API's doors: HTTP on a Unix socket that only the owner may open, and on a TCP port, with TLS where it is given a certificate,
// for who brings a token.
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Log } from '../../base/log.ts';
import { OWNER } from '../auth/admin-access.ts';
import { removeStaleSocket } from '../socket-file.ts';
import { type AdminDoor, type AdminRoute, adminListener } from './http.ts';

/** A dashboard and a few command lines. */
const CONNECTIONS_MAX = 256;

export interface AdminServer {
  readonly path: string;
  close(): Promise<void>;
}

const failure =
  (log: Log) =>
  (error: unknown): void => {
    log.error('the admin API failed', { problem: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  };

export const startAdminServer = async (path: string, routes: readonly AdminRoute[], log: Log): Promise<AdminServer> => {
  const server = createServer(adminListener(routes, () => OWNER, failure(log)));
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  removeStaleSocket(path);
  const end = await listening(server, { path });
  chmodSync(path, 0o600);
  return {
    path,
    close: async () => {
      await end();
      rmSync(path, { force: true });
    },
  };
};

export interface AdminPortOptions {
  readonly host: string;
  readonly port: number;
  readonly routes: readonly AdminRoute[];
  readonly door: AdminDoor;
  readonly tls: { readonly certPem: string; readonly keyPem: string } | undefined;
  readonly log: Log;
}

export interface AdminPort {
  /** As bound. */
  readonly address: string;
  /** Its certificate has been renewed. */
  renew(tls: { readonly certPem: string; readonly keyPem: string }): void;
  close(): Promise<void>;
}

export const startAdminPort = async ({ host, port, routes, door, tls, log }: AdminPortOptions): Promise<AdminPort> => {
  const listener = adminListener(routes, door, failure(log));
  const secure = tls && createSecureServer({ cert: tls.certPem, key: tls.keyPem, minVersion: 'TLSv1.2' }, listener);
  const server = secure ?? createServer(listener);
  server.maxConnections = CONNECTIONS_MAX;
  const close = await listening(server, { host, port });
  const bound = server.address();
  const shown = typeof bound === 'object' && bound !== null ? bound.port : port;
  return {
    address: `${secure ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${shown}`,
    renew: ({ certPem, keyPem }) => secure?.setSecureContext({ cert: certPem, key: keyPem, minVersion: 'TLSv1.2' }),
    close,
  };
};

/** Returns how to end it. */
const listening = async (
  server: Server | SecureServer,
  at: { readonly path: string } | { readonly host: string; readonly port: number },
): Promise<() => Promise<void>> => {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(at, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    for (const socket of sockets) socket.destroy();
    await Promise.race([closed, new Promise<void>((resolve) => setTimeout(resolve, 200).unref())]);
  };
};
