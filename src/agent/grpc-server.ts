// Serves an XdsTransport as gRPC on a Unix socket (mode 0600): how Envoy reaches what a proxy in this process gets directly.
// Each stream of the socket is one `open` of the transport. Never looks into messages.
import { chmodSync, lstatSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { type ServedTransport, serveGrpcConnection } from './grpc-served.ts';

export interface GrpcServer {
  close(): Promise<void>;
}

/** Rejects when the socket cannot be bound. A socket file left by a killed process is replaced, and nothing else that is there. */
export const serveGrpc = async (path: string, transport: ServedTransport): Promise<GrpcServer> => {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) throw new Error(`${path} is there and is no socket`);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serveGrpcConnection(socket, transport);
  });
  // Under another name first: a process that is taken over from goes on at the old one until this stands in its place.
  const temporary = `${path}.${process.pid}`;
  rmSync(temporary, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(temporary, () => {
      server.off('error', reject);
      resolve();
    });
  });
  chmodSync(temporary, 0o600);
  renameSync(temporary, path);
  const { ino } = statSync(path);
  return {
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
      if (inodeOf(path) === ino) rmSync(path, { force: true });
    },
  };
};

const inodeOf = (path: string): number => {
  try {
    return statSync(path).ino;
  } catch {
    return -1;
  }
};
