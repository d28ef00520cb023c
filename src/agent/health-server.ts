// The agent's two small HTTP servers: readiness (15021) and the agent's own port (15020: readiness, merged metrics,
// `/quitquitquit`). Answers nothing that would need the application.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AdminRequest, AdminResponse } from './admin-client.ts';

export interface HealthOptions {
  /** Undefined: the proxy listens there itself. */
  readonly statusPort: number | undefined;
  readonly statsPort: number;
  /** '' when ready, else why not. */
  readonly notReady: () => string;
  readonly admin: (request: AdminRequest) => Promise<AdminResponse>;
  readonly onQuit: () => void;
}

export class HealthServers {
  readonly #options: HealthOptions;
  #servers: readonly Server[] = [];

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /** Rejects when a port cannot be bound. */
  async start(): Promise<void> {
    const { statusPort, statsPort } = this.#options;
    const stats = listen(statsPort, (req, res) => void this.#serveAgentPort(req, res));
    const status = statusPort === undefined ? [] : [listen(statusPort, (req, res) => this.#serveStatus(req, res))];
    const outcome = await Promise.allSettled([stats, ...status]);
    this.#servers = outcome.flatMap((o) => (o.status === 'fulfilled' ? [o.value] : []));
    const failed = outcome.find((o) => o.status === 'rejected');
    if (!failed) return;
    await this.stop();
    throw failed.reason;
  }

  /** Ports in use: the agent's own, then readiness. */
  get ports(): readonly number[] {
    return this.#servers.map((s) => {
      const address = s.address();
      return typeof address === 'object' && address ? address.port : 0;
    });
  }

  async stop(): Promise<void> {
    const servers = this.#servers;
    this.#servers = [];
    await Promise.all(
      servers.map((s) => {
        const closed = new Promise<void>((resolve) => s.close(() => resolve()));
        s.closeAllConnections();
        return closed;
      }),
    );
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
  res.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  res.end(body);
};

/** On every address, as the kubelet and Prometheus come from outside. */
const listen = (port: number, handler: (req: IncomingMessage, res: ServerResponse) => void): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer(handler);
    server.once('error', reject);
    server.listen(port, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
