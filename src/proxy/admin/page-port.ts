// One listening socket for pages of this process: bounds who may be connected, for how long and in which phase, and gives whole
// requests to a handler. The HTTP lies in wire/http1-page-server.ts.
import { createServer, type Server, type Socket } from 'node:net';
import { PageConnection, type PageLink, type PagePhase } from '../../wire/http1-page-server.ts';
import { ADMIN_BODY_BYTES_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_PHASE_MS, LAST_ANSWERS_MS } from '../limits.ts';
import type { AdminRequest, AdminResponse } from './admin-context.ts';

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
    for (const client of this.#clients) client.connection.leave();
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

class Client implements PageLink {
  readonly connection: PageConnection;
  readonly #socket: Socket;
  readonly #handler: PageHandler;
  readonly #closed: (client: Client) => void;
  #timer: NodeJS.Timeout;

  constructor(socket: Socket, handler: PageHandler, closed: (client: Client) => void) {
    this.#socket = socket;
    this.#handler = handler;
    this.#closed = closed;
    this.#timer = setTimeout(() => this.destroy(), ADMIN_PHASE_MS.idle).unref();
    this.connection = new PageConnection(this, { bodyBytesMax: ADMIN_BODY_BYTES_MAX, keepAlive: true });
    socket.on('data', (chunk: Buffer) => this.connection.receive(chunk));
    socket.on('drain', () => this.connection.drained());
    socket.on('end', () => this.connection.finish());
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
  }

  request(request: AdminRequest): void {
    void this.#handler(request).then(({ status, headers, body }) =>
      this.connection.answer({ status, headers: { ...headers, date: new Date().toUTCString(), ...ALWAYS }, body }),
    );
  }

  write(bytes: Buffer): boolean {
    return this.#socket.write(bytes);
  }

  end(): void {
    this.#socket.end();
  }

  phase(phase: PagePhase): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.destroy(), ADMIN_PHASE_MS[phase]).unref();
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#socket.destroy();
    this.#closed(this);
  }
}

const ALWAYS = { 'cache-control': 'no-cache, max-age=0', 'x-content-type-options': 'nosniff', server: 'envoy' } as const;
