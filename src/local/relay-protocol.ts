// How the two sides of the relay talk over Unix sockets, which cross network namespaces: one JSON line that asks, one JSON line that
// answers, then, for a connection, the bytes of both directions with back-pressure and half-close.

import { connect, type Socket } from 'node:net';

/** A listener of the host's side and the workload's port that it leads to. */
export interface IngressRule {
  readonly listen: { readonly host: string; readonly port: number };
  readonly target: { readonly host: string; readonly port: number };
}

export type RelayRequest =
  | { readonly op: 'ingress'; readonly rules: readonly IngressRule[] }
  | { readonly op: 'connect'; readonly host: string; readonly port: number }
  | { readonly op: 'dns' }
  | { readonly op: 'attach'; readonly attachment: unknown }
  | { readonly op: 'table'; readonly table: unknown };

export interface RelayAnswer {
  readonly ok: boolean;
  readonly error?: string;
}

const LINE_BYTES_MAX = 4 * 1024 * 1024;

/** One line from a socket; the bytes after it stay readable. */
export const readLine = (socket: Socket): Promise<string> =>
  new Promise((resolve, reject) => {
    let held: Buffer = Buffer.alloc(0);
    const finish = (run: () => void): void => {
      socket.off('data', data);
      socket.off('error', failed);
      socket.off('close', closed);
      socket.off('end', closed);
      run();
    };
    const data = (chunk: Buffer): void => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const at = held.indexOf(10);
      if (at < 0 && held.length < LINE_BYTES_MAX) return;
      if (at < 0) {
        finish(() => reject(new Error('the line is too long')));
        return;
      }
      const rest = held.subarray(at + 1);
      const line = held.toString('utf8', 0, at);
      socket.pause();
      finish(() => {
        if (rest.length > 0) socket.unshift(rest);
        resolve(line);
      });
    };
    const failed = (error: Error): void => finish(() => reject(error));
    const closed = (): void => finish(() => reject(new Error('closed before it answered')));
    socket.on('data', data);
    socket.on('error', failed);
    socket.on('close', closed);
    socket.on('end', closed);
  });

/** Asks over the Unix socket `path`; resolves to the socket, paused, once the other side agreed. */
export const ask = async (path: string, request: RelayRequest): Promise<Socket> => {
  const socket = connect({ path, allowHalfOpen: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    socket.write(`${JSON.stringify(request)}\n`);
    const answer = JSON.parse(await readLine(socket)) as RelayAnswer;
    if (!answer.ok) throw new Error(answer.error ?? 'refused');
    return socket;
  } catch (error) {
    socket.on('error', () => undefined);
    socket.destroy();
    throw error;
  }
};

export const answer = (socket: Socket, reply: RelayAnswer): void => {
  socket.write(`${JSON.stringify(reply)}\n`);
};

/** Both directions until both have ended; a failure of one side resets the other. */
export const join = (a: Socket, b: Socket): void => {
  // One may have gone while the other was made: it will not say so again.
  if (a.destroyed || b.destroyed) {
    for (const socket of [a, b]) if (!socket.destroyed) reset(socket);
    return;
  }
  const fail = (other: Socket) => (): void => {
    if (!other.destroyed) reset(other);
  };
  a.on('error', fail(b));
  b.on('error', fail(a));
  a.on('close', () => closeAfter(a, b));
  b.on('close', () => closeAfter(b, a));
  a.pipe(b);
  b.pipe(a);
};

/** Closes so that the peer sees a reset and not an orderly end. */
export const reset = (socket: Socket): void => {
  if (typeof socket.resetAndDestroy === 'function' && socket.remotePort !== undefined) socket.resetAndDestroy();
  else socket.destroy();
};

// A side that vanished without ending would leave the other waiting for ever.
const closeAfter = (gone: Socket, other: Socket): void => {
  if (!other.destroyed && !gone.readableEnded) reset(other);
};
