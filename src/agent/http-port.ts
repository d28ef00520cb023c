// One HTTP port of the agent: node:http behind a socket that may have been handed down. On every address, as the kubelet and
// Prometheus come from outside. One request a connection, so that nobody is left idle when it stops accepting.
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import type { SocketSource } from './socket-source.ts';

const LAST_ANSWERS_MS = 500;

export class HttpPort {
  readonly #server: Server;
  readonly #source: SocketSource | undefined;
  readonly #connections = new Set<Socket>();
  readonly #closed = Promise.withResolvers<void>();
  #fd: number | undefined;
  #released = false;

  constructor(handler: (req: IncomingMessage, res: ServerResponse) => void, source: SocketSource | undefined) {
    const http = createHttpServer(handler);
    this.#source = source;
    this.#server = createServer((socket) => {
      this.#connections.add(socket);
      socket.on('close', () => this.#connections.delete(socket));
      socket.on('error', () => socket.destroy());
      http.emit('connection', socket);
    });
  }

  /** Rejects when it cannot be bound. */
  listen(port: number, name: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      const listening = (): void => {
        this.#server.off('error', reject);
        this.#server.on('error', () => {});
        resolve();
      };
      if (this.#source === undefined) this.#server.listen(port, listening);
      else {
        this.#fd = onEveryAddress(this.#source, port, name);
        this.#server.listen({ fd: this.#fd }, listening);
      }
    });
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address ? address.port : 0;
  }

  /** Stops accepting. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    if (this.#fd !== undefined) this.#source?.closed(this.#fd);
    this.#server.close(() => this.#closed.resolve());
  }

  /** Who is being answered has a moment for it. */
  async stop(): Promise<void> {
    this.release();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LAST_ANSWERS_MS);
    });
    await Promise.race([this.#closed.promise, late]);
    clearTimeout(timer);
    for (const socket of this.#connections) socket.destroy();
    await this.#closed.promise;
  }
}

const onEveryAddress = (source: SocketSource, port: number, name: string): number => {
  try {
    return source.take({ kind: 'tcp', host: '::', port, name });
  } catch (problem) {
    // A machine without IPv6.
    if ((problem as { readonly code?: unknown }).code === 'EADDRINUSE') throw problem;
    return source.take({ kind: 'tcp', host: '0.0.0.0', port, name });
  }
};
