// The agent's two small HTTP servers: readiness (15021) and the agent's own port (15020: readiness, merged metrics,
// `/quitquitquit`). Answers nothing that would need the application.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AdminRequest, AdminResponse } from './admin-client.ts';
import { HttpPort } from './http-port.ts';
import type { SocketSource } from './socket-source.ts';

export interface HealthOptions {
  /** Undefined: the proxy listens there itself. */
  readonly statusPort: number | undefined;
  readonly statsPort: number;
  /** '' when ready, else why not. */
  readonly notReady: () => string;
  readonly admin: (request: AdminRequest) => Promise<AdminResponse>;
  readonly onQuit: () => void;
  /** Absent: bound here. */
  readonly sockets?: SocketSource | undefined;
}

export class HealthServers {
  readonly #options: HealthOptions;
  #servers: readonly HttpPort[] = [];

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /** Rejects when a port cannot be bound. */
  async start(): Promise<void> {
    const { statusPort, statsPort } = this.#options;
    const { sockets } = this.#options;
    const stats = listen(statsPort, 'agent-stats', sockets, (req, res) => void this.#serveAgentPort(req, res));
    const status = statusPort === undefined ? [] : [listen(statusPort, 'agent-status', sockets, (req, res) => this.#serveStatus(req, res))];
    const outcome = await Promise.allSettled([stats, ...status]);
    this.#servers = outcome.flatMap((o) => (o.status === 'fulfilled' ? [o.value] : []));
    const failed = outcome.find((o) => o.status === 'rejected');
    if (!failed) return;
    await this.stop();
    throw failed.reason;
  }

  /** Ports in use: the agent's own, then readiness. */
  get ports(): readonly number[] {
    return this.#servers.map((s) => s.port);
  }

  /** Stops accepting; who is connected is answered and then asked to leave. */
  release(): void {
    for (const server of this.#servers) server.release();
  }

  async stop(): Promise<void> {
    const servers = this.#servers;
    this.#servers = [];
    await Promise.all(servers.map((s) => s.stop()));
  }

  #serveStatus(req: IncomingMessage, res: ServerResponse): void {
    if (pathOf(req) === '/healthz/ready') this.#ready(res);
    else answer(res, 404, 'not found\n');
  }

  #ready(res: ServerResponse): void {
    const reason = this.#options.notReady();
    answer(res, reason === '' ? 200 : 503, reason === '' ? 'ready\n' : `not ready: ${reason}\n`);
  }

  async #serveAgentPort(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const path = pathOf(req);
    if (path === '/healthz/ready') return this.#ready(res);
    if (path === '/stats/prometheus') return this.#metrics(res);
    if (path === '/quitquitquit') {
      if (req.method !== 'POST') return answer(res, 405, 'POST only\n');
      if (!isLoopback(req.socket.remoteAddress ?? '')) return answer(res, 403, 'only from this machine\n');
      answer(res, 200, 'OK\n');
      return this.#options.onQuit();
    }
    answer(res, 404, 'not found\n');
  }

  async #metrics(res: ServerResponse): Promise<void> {
    try {
      const page = await this.#options.admin({ method: 'GET', path: '/stats/prometheus', body: '' });
      answer(res, page.status, page.body, 'text/plain; version=0.0.4; charset=utf-8');
    } catch (e) {
      answer(res, 503, `the proxy's metrics cannot be read: ${e instanceof Error ? e.message : String(e)}\n`);
    }
  }
}

const pathOf = (req: IncomingMessage): string => (req.url ?? '').split('?')[0] ?? '';

const isLoopback = (ip: string): boolean => ip === '::1' || /^(?:::ffff:)?127\./.test(ip);

const answer = (res: ServerResponse, status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
  res.writeHead(status, { connection: 'close', 'content-type': type, 'content-length': Buffer.byteLength(body) });
  res.end(body);
};

const listen = async (
  port: number,
  name: string,
  source: SocketSource | undefined,
  handler: (req: IncomingMessage, res: ServerResponse) => void,
): Promise<HttpPort> => {
  const server = new HttpPort(handler, source);
  await server.listen(port, name);
  return server;
};
