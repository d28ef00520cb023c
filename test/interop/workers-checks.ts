// --concurrency 2: what a sidecar counts and limits holds for it as a whole, whichever worker took a connection.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, expect, type Named, type Suite } from '../integration/suite.ts';
import { BareProxy, clusterTo, httpFilter, listenerOn, type ProxyKind } from './bare-proxy.ts';

const WORKERS = 2;
const CLIENTS = 20;
const REQUESTS_EACH = 50;
const UPSTREAM_MAX = 2;
const DOWNSTREAM_MAX = 6;
const ANSWER_AFTER_MS = 30;

/** Answers each request after a moment and knows how many connections it had at once. */
class SlowServer {
  readonly #server = createServer((socket) => this.#accept(socket));
  #open = 0;
  mostAtOnce = 0;
  requests = 0;

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }
  close(): void {
    this.#server.close();
  }

  #accept(socket: Socket): void {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#open);
    socket.on('close', () => this.#open--);
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => {
      for (const _ of bytes.toString('latin1').matchAll(/\r\n\r\n/g)) {
        this.requests++;
        setTimeout(() => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'), ANSWER_AFTER_MS);
      }
    });
  }
}

const get = (port: number, agent: Agent): Promise<number> =>
  new Promise((resolve, reject) => {
    request({ port, host: '127.0.0.1', agent }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    })
      .on('error', reject)
      .end();
  });

const connectionLimit = {
  name: 'envoy.filters.network.connection_limit',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit',
    stat_prefix: 'few',
    max_connections: DOWNSTREAM_MAX,
  },
};

export const workersChecks = async (suite: Suite, kind: ProxyKind, named: Named): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-workers-'));
  const server = new SlowServer();
  const port = await server.listen();
  let proxy: BareProxy | undefined;
  try {
    const few = { circuit_breakers: { thresholds: [{ max_connections: UPSTREAM_MAX, max_pending_requests: 1000, max_requests: 1000 }] } };
    const bootstrap = {
      static_resources: {
        clusters: [clusterTo('all', [port]), clusterTo('few', [port], few)],
        listeners: [
          listenerOn('count', httpFilter('all', { stat_prefix: 'count' })),
          listenerOn('breaker', httpFilter('few', { stat_prefix: 'breaker' })),
          listenerOn('limited', connectionLimit, { filters: [connectionLimit, httpFilter('all', { stat_prefix: 'limited' })] }),
        ],
      },
    };
    proxy = await BareProxy.start({ kind, name: 'workers', folder, bootstrap, flags: ['--concurrency', String(WORKERS)] });
    const workers = await proxy.stat(/^server\.concurrency$/);
    if (workers !== WORKERS) {
      process.stdout.write(`skip  ${named('--concurrency 2')}: not run, the proxy reports ${workers} worker (server.concurrency)\n`);
      return;
    }
    await running(suite, kind, proxy, server, named);
  } finally {
    await proxy?.stop();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
};

const running = async (suite: Suite, kind: ProxyKind, proxy: BareProxy, server: SlowServer, named: Named): Promise<void> => {
  await suite.check(named('--concurrency 2: counters add up exactly'), async () => {
    const port = await proxy.port('count');
    await load(port, REQUESTS_EACH);
    const wanted = CLIENTS * REQUESTS_EACH;
    expect(server.requests === wanted, `${server.requests} requests arrived, not ${wanted}`);
    await eventually(`the counters say ${wanted} requests and ${CLIENTS} connections`, 20_000, async () => {
      const seen = await Promise.all(
        ['count.downstream_rq_total', 'count.downstream_rq_2xx', 'count.downstream_cx_total'].map((name) =>
          proxy.stat(new RegExp(`^http\\.${name.replaceAll('.', '\\.')}$`)),
        ),
      );
      const upstream = await proxy.stat(/^cluster\.all\.upstream_rq_total$/);
      const text = [...seen, upstream].join(' ');
      if (text !== `${wanted} ${wanted} ${CLIENTS} ${wanted}`) throw new Error(text);
      return true;
    });
    return `${wanted} requests`;
  });
  await suite.check(named('--concurrency 2: a circuit breaker’s connection limit holds for the sidecar as a whole'), async () => {
    const before = await proxy.stat(/^cluster\.all\.upstream_cx_active$/);
    server.mostAtOnce = 0;
    await load(await proxy.port('breaker'), 8);
    const most = server.mostAtOnce - before;
    // Every worker of Envoy may have one connection although the limit is reached.
    const allowed = UPSTREAM_MAX + (kind === 'envoy' ? WORKERS - 1 : 0);
    expect(most <= allowed, `${most} connections at once, ${allowed} are allowed`);
    return `${most} of ${UPSTREAM_MAX} connections at once`;
  });
  await suite.check(named('--concurrency 2: a downstream connection limit holds for the sidecar as a whole'), async () => {
    const port = await proxy.port('limited');
    const sockets = Array.from({ length: DOWNSTREAM_MAX * 3 }, () => connect(port, '127.0.0.1'));
    let ended = 0;
    for (const socket of sockets) {
      socket.on('error', () => undefined);
      socket.once('close', () => ended++);
      socket.resume();
    }
    try {
      await eventually('the connections too many are closed', 20_000, async () => (ended >= DOWNSTREAM_MAX * 2 ? true : undefined));
      await new Promise((resolve) => setTimeout(resolve, 300)); // one more would go now
      expect(ended === DOWNSTREAM_MAX * 2, `${sockets.length - ended} connections stayed, ${DOWNSTREAM_MAX} are allowed`);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
    return `${DOWNSTREAM_MAX} of ${sockets.length} stayed`;
  });
};

const load = async (port: number, each: number): Promise<void> => {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  try {
    await Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        for (let i = 0; i < each; i++) {
          const status = await get(port, agent);
          expect(status === 200, `status ${status}`);
        }
      }),
    );
  } finally {
    agent.destroy();
  }
};
