// One listening socket for pages of this process: bounds who may be connected, for how long and in which phase, and gives whole
// requests to a handler. The HTTP lies in wire/http1-page-server.ts.
import { createServer, type Server, type Socket } from 'node:net';
import { PageConnection, type PageLink, type PagePhase } from '../../wire/http1-page-server.ts';
import { ADMIN_BODY_BYTES_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_PHASE_MS, ANSWER_BACKLOG_BYTES_MAX, LAST_ANSWERS_MS } from '../limits.ts';
import type { AdminRequest, AdminResponse, AnswerReader } from './admin-context.ts';

/** Never rejects. */
export type PageHandler = (request: AdminRequest) => Promise<AdminResponse>;

export class PagePort {
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  readonly #ended = Promise.withResolvers<void>();
  #released = false;

  constructor(handler: PageHandler) {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      if (this.#clients.size >= ADMIN_CONNECTIONS_MAX) this.#makeRoom();
      if (this.#clients.size >= ADMIN_CONNECTIONS_MAX) socket.destroy();
      else this.#clients.add(new Client(socket, handler, (client) => this.#clients.delete(client)));
    });
  }

  /** The address as bound; null for a Unix socket on some runtimes. Rejects when it cannot listen. */
  listen(fd: number): Promise<ReturnType<Server['address']>> {
    const server = this.#server;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ fd }, () => {
        server.removeListener('error', reject);
        server.on('error', () => undefined);
        resolve(server.address());
      });
    });
  }

  /** Stops accepting. Who waits for an answer gets it. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#server.close(() => this.#ended.resolve());
    for (const client of this.#clients) client.leave();
  }

  async close(): Promise<void> {
    // Who is being answered while another process takes over has a moment for it.
    if (this.#released) await Promise.race([this.#ended.promise, new Promise((late) => setTimeout(late, LAST_ANSWERS_MS).unref())]);
    this.release();
    for (const client of this.#clients) client.destroy();
    await this.#ended.promise;
  }

  /** Who has waited longest for nothing goes: idle connections must not keep a scraper out. */
  #makeRoom(): void {
    for (const client of this.#clients) {
      if (!client.connection.waits) continue;
      client.destroy();
      return;
    }
  }
}

class Client implements PageLink, AnswerReader {
  readonly connection: PageConnection;
  readonly #socket: Socket;
  readonly #handler: PageHandler;
  readonly #closed: (client: Client) => void;
  #timer: NodeJS.Timeout;
  #stop: (() => void) | undefined;

  constructor(socket: Socket, handler: PageHandler, closed: (client: Client) => void) {
    this.#socket = socket;
    this.#handler = handler;
    this.#closed = closed;
    this.#timer = setTimeout(() => this.destroy(), ADMIN_PHASE_MS.idle).unref();
    this.connection = new PageConnection(this, { bodyBytesMax: ADMIN_BODY_BYTES_MAX, keepAlive: true });
    socket.on('data', (chunk: Buffer) => this.connection.receive(chunk));
    socket.on('drain', () => this.connection.drained());
    // Who reads an answer in pieces and ends its side has gone.
    socket.on('end', () => (this.connection.streams ? this.destroy() : this.connection.finish()));
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
  }

  request(request: AdminRequest): void {
    void this.#handler(request).then(({ status, headers, body, stream }) => {
      const all = { ...headers, date: new Date().toUTCString(), ...ALWAYS };
      if (stream === undefined) this.connection.answer({ status, headers: all, body });
      else if (this.connection.begin({ status, headers: all })) this.#stop = stream(this);
    });
  }

  /** A piece of an answer that has more of them. */
  send(piece: string): boolean {
    if (this.#socket.destroyed || this.#socket.writableLength > ANSWER_BACKLOG_BYTES_MAX) return false;
    this.connection.piece(piece);
    return true;
  }

  /** The port closes: an answer without an end of its own ends now. */
  leave(): void {
    this.#stop?.();
    this.connection.lastPiece();
    this.connection.leave();
  }

  write(bytes: Buffer): boolean {
    return this.#socket.write(bytes);
  }

  /** Of the connection, or of the answer in pieces, which ends it. */
  end(): void {
    if (this.connection.streams) this.connection.lastPiece();
    else this.#socket.end();
  }

  phase(phase: PagePhase): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.destroy(), ADMIN_PHASE_MS[phase]).unref();
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#stop?.();
    this.#stop = undefined;
    this.#socket.destroy();
    this.#closed(this);
  }
}

const ALWAYS = { 'cache-control': 'no-cache, max-age=0', 'x-content-type-options': 'nosniff', server: 'envoy' } as const;
