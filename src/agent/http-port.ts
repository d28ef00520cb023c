// One HTTP port of the agent, behind a socket that may have been handed down. On every address, as the kubelet and Prometheus come
// from outside. One request a connection, so that nobody is left idle when it stops accepting; every phase of it is bounded in time.
import { createServer, type Server, type Socket } from 'node:net';
import { type PageAnswer, PageConnection, type PageLink, type PagePhase, type PageRequest } from '../wire/http1-page-server.ts';
import { HTTP_BODY_BYTES_MAX, HTTP_CONNECTIONS_MAX, HTTP_PHASE_MS, LAST_ANSWERS_MS, PAGE_BACKLOG_BYTES_MAX } from './limits.ts';
import type { SocketSource } from './socket-source.ts';

/** Instead of a body: begins the answer in pieces, and answers how to stop it when its reader has gone. `send`: false when it must be tried again. */
export type PageStream = (reader: { send(piece: string): boolean; end(): void }) => () => void;

/** `from`: the client's address. Never rejects. */
export type PortHandler = (request: PageRequest, from: string) => Promise<PageAnswer & { readonly stream?: PageStream }>;

export class HttpPort {
  readonly #server: Server;
  readonly #source: SocketSource | undefined;
  readonly #clients = new Set<Client>();
  readonly #closed = Promise.withResolvers<void>();
  #fd: number | undefined;
  #released = false;

  constructor(handler: PortHandler, source: SocketSource | undefined) {
    this.#source = source;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      if (this.#clients.size >= HTTP_CONNECTIONS_MAX) this.#makeRoom();
      if (this.#clients.size >= HTTP_CONNECTIONS_MAX) socket.destroy();
      else this.#clients.add(new Client(socket, handler, (client) => this.#clients.delete(client)));
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
    for (const client of this.#clients) client.destroy();
    await this.#closed.promise;
  }

  /** Who has waited longest for nothing goes: silent connections must not keep a probe out. */
  #makeRoom(): void {
    for (const client of this.#clients) {
      if (!client.waits) continue;
      client.destroy();
      return;
    }
  }
}

class Client implements PageLink {
  readonly #connection: PageConnection;
  readonly #socket: Socket;
  readonly #handler: PortHandler;
  readonly #closed: (client: Client) => void;
  #timer: NodeJS.Timeout;
  #stop: (() => void) | undefined;

  constructor(socket: Socket, handler: PortHandler, closed: (client: Client) => void) {
    this.#socket = socket;
    this.#handler = handler;
    this.#closed = closed;
    this.#timer = setTimeout(() => this.destroy(), HTTP_PHASE_MS.idle);
    this.#connection = new PageConnection(this, { bodyBytesMax: HTTP_BODY_BYTES_MAX, keepAlive: false });
    socket.on('data', (chunk: Buffer) => this.#connection.receive(chunk));
    socket.on('drain', () => this.#connection.drained());
    socket.on('end', () => this.#connection.finish());
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
  }

  get waits(): boolean {
    return this.#connection.waits;
  }

  request(request: PageRequest): void {
    void this.#handler(request, this.#socket.remoteAddress ?? '').then((answer) => {
      if (answer.stream === undefined) this.#connection.answer(answer);
      else if (this.#connection.begin(answer))
        this.#stop = answer.stream({ send: (piece) => this.#send(piece), end: () => this.#connection.lastPiece() });
    });
  }

  #send(piece: string): boolean {
    if (this.#socket.writableLength > PAGE_BACKLOG_BYTES_MAX) return false;
    this.#connection.piece(piece);
    return true;
  }

  write(bytes: Buffer): boolean {
    return this.#socket.write(bytes);
  }

  end(): void {
    this.#socket.end();
  }

  phase(phase: PagePhase): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.destroy(), HTTP_PHASE_MS[phase]);
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#stop?.();
    this.#stop = undefined;
    this.#socket.destroy();
    this.#closed(this);
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
