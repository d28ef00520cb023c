// The admin API's door: HTTP on a Unix socket that only the owner may open.
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Log } from '../base/log.ts';
import { type AdminRoute, adminListener } from './admin-http.ts';

export interface AdminServer {
  readonly path: string;
  close(): Promise<void>;
}

export const startAdminServer = async (path: string, routes: readonly AdminRoute[], log: Log): Promise<AdminServer> => {
  const failed = (error: unknown): void => {
    log.error('the admin API failed', { problem: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  };
  const server = createServer(adminListener(routes, failed));
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
  chmodSync(path, 0o600);
  return {
    path,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      await Promise.race([closed, new Promise<void>((resolve) => setTimeout(resolve, 200).unref())]);
      rmSync(path, { force: true });
    },
  };
};
