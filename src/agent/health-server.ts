// The agent's two small HTTP servers: readiness (15021) and the agent's own port (15020: readiness, merged metrics,
// `/quitquitquit`). Answers nothing that would need the application.
import type { PageAnswer, PageRequest } from '../wire/http1-page-server.ts';
import { HttpPort, type PortHandler } from './http-port.ts';
import type { SocketSource } from './socket-source.ts';

export interface HealthOptions {
  /** Undefined: the proxy listens there itself. */
  readonly statusPort: number | undefined;
  readonly statsPort: number;
  /** '' when ready, else why not. */
  readonly notReady: () => string;
  /** The page of all metrics. */
  readonly metrics: () => ReturnType<PortHandler>;
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
    const stats = listen(statsPort, 'agent-stats', sockets, (request, from) => this.#agentPage(request, from));
    const status =
      statusPort === undefined ? [] : [listen(statusPort, 'agent-status', sockets, async (request) => this.#statusPage(request))];
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

  #statusPage(request: PageRequest): PageAnswer {
    return pathOf(request) === '/healthz/ready' ? this.#ready() : page(404, 'not found\n');
  }

  #ready(): PageAnswer {
    const reason = this.#options.notReady();
    return page(reason === '' ? 200 : 503, reason === '' ? 'ready\n' : `not ready: ${reason}\n`);
  }

  async #agentPage(request: PageRequest, from: string): ReturnType<PortHandler> {
    const path = pathOf(request);
    if (path === '/healthz/ready') return this.#ready();
    if (path === '/stats/prometheus') return this.#options.metrics();
    if (path === '/quitquitquit') {
      if (request.method !== 'POST') return page(405, 'POST only\n');
      if (!isLoopback(from)) return page(403, 'only from this machine\n');
      this.#options.onQuit();
      return page(200, 'OK\n');
    }
    return page(404, 'not found\n');
  }
}

const pathOf = ({ path }: PageRequest): string => path.split('?')[0] ?? '';

const isLoopback = (ip: string): boolean => ip === '::1' || /^(?:::ffff:)?127\./.test(ip);

const page = (status: number, body: string, type = 'text/plain; charset=utf-8'): PageAnswer => ({
  status,
  headers: { 'content-type': type },
  body,
});

const listen = async (port: number, name: string, source: SocketSource | undefined, handler: PortHandler): Promise<HttpPort> => {
  const server = new HttpPort(handler, source);
  await server.listen(port, name);
  return server;
};
