// Rate limits of a sidecar as a whole and of several together: a local limit over two workers, a limit in a real Redis over three
// sidecars, and what happens while Redis is away.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../free-port.ts';
import { ROOT } from '../integration/mesh.ts';
import { eventually, expect, type Named, type Suite } from '../integration/suite.ts';
import { BareProxy, clusterTo, http2Upstream, type ProxyKind } from './bare-proxy.ts';
import { whyNoRedis } from './tcp-checks.ts';
import { tool } from './tools.ts';

const FILTERS = 'type.googleapis.com/envoy.extensions.filters';
const ALWAYS = { default_value: { numerator: 100, denominator: 'HUNDRED' } };
const PER_SECOND = 100;
const SHARED_LIMIT = 20;
const SIDECARS = 3;

const LOCAL = {
  name: 'envoy.filters.http.local_ratelimit',
  typed_config: {
    '@type': `${FILTERS}.http.local_ratelimit.v3.LocalRateLimit`,
    stat_prefix: 'local',
    token_bucket: { max_tokens: PER_SECOND, tokens_per_fill: PER_SECOND, fill_interval: '1s' },
    filter_enabled: ALWAYS,
    filter_enforced: ALWAYS,
  },
};

const globalLimit = (denies: boolean): object => ({
  name: 'envoy.filters.http.ratelimit',
  typed_config: {
    '@type': `${FILTERS}.http.ratelimit.v3.RateLimit`,
    domain: 'shop',
    timeout: '1s',
    failure_mode_deny: denies,
    rate_limit_service: { transport_api_version: 'V3', grpc_service: { envoy_grpc: { cluster_name: 'limits' } } },
  },
});

const listenerOf = (name: string, filter: object): object => ({
  name,
  address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            '@type': `${FILTERS}.network.http_connection_manager.v3.HttpConnectionManager`,
            stat_prefix: name,
            http_filters: [filter, { name: 'router', typed_config: { '@type': `${FILTERS}.http.router.v3.Router` } }],
            route_config: {
              name,
              virtual_hosts: [
                {
                  name: 'all',
                  domains: ['*'],
                  rate_limits: [{ actions: [{ request_headers: { header_name: 'x-user', descriptor_key: 'user' } }] }],
                  routes: [{ match: { prefix: '/' }, route: { cluster: 'app' } }],
                },
              ],
            },
          },
        },
      ],
    },
  ],
});

const get = (port: number, agent: Agent, user = ''): Promise<number> =>
  new Promise((resolve, reject) => {
    request({ port, host: '127.0.0.1', agent, headers: user === '' ? {} : { 'x-user': user } }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    })
      .on('error', reject)
      .end();
  });

export const rateLimitChecks = async (suite: Suite, kind: ProxyKind, named: Named): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-limits-'));
  const app = createServer((_request, response) => response.end('ok'));
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  const appPort = (app.address() as AddressInfo).port;
  try {
    await suite.check(named(`local limit: ${PER_SECOND}/s with --concurrency 2 admits ${PER_SECOND} ± 1 each second`), () =>
      localCheck(kind, folder, appPort),
    );
    const noRedis = whyNoRedis();
    if (noRedis === undefined) await sharedChecks(suite, kind, named, folder, appPort);
    else suite.skip(named('shared limit over Redis'), 'redis', noRedis);
  } finally {
    app.close();
    app.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  }
};

/**
 * Asks on over many connections, and at the end of each second one by one until the bucket is empty: then as many have been let
 * through as tokens have come since the bucket was first emptied, give or take one, however late the machine is.
 */
const localCheck = async (kind: ProxyKind, folder: string, appPort: number): Promise<string> => {
  const bootstrap = { static_resources: { clusters: [clusterTo('app', [appPort])], listeners: [listenerOf('local', LOCAL)] } };
  const proxy = await BareProxy.start({ kind, name: 'local', folder, bootstrap, flags: ['--concurrency', '2'] });
  const agents = Array.from({ length: 16 }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  const first = agents[0] as Agent;
  try {
    const port = await proxy.port('local');
    let admitted = 0;
    const ask = async (agent: Agent): Promise<boolean> => {
      const status = await get(port, agent);
      expect(status === 200 || status === 429, `answered ${status}`);
      if (status === 200) admitted++;
      return status === 200;
    };
    /** The bucket was empty between these moments. */
    const emptied = async (): Promise<readonly [number, number]> => {
      for (;;) {
        const before = performance.now();
        if (!(await ask(first))) return [before, performance.now()];
      }
    };
    const [earliest, latest] = await emptied();
    admitted = 0;
    const totals: number[] = [];
    for (let second = 1; second <= 3; second++) {
      await Promise.all(
        agents.map(async (agent) => {
          while (performance.now() - earliest < second * 1000)
            if (!(await ask(agent))) await new Promise((resolve) => setTimeout(resolve, 3));
        }),
      );
      const [from, to] = await emptied();
      const least = ((from - latest) / 1000) * PER_SECOND - 1;
      const most = ((to - earliest) / 1000) * PER_SECOND + 1;
      expect(
        admitted >= least && admitted <= most,
        `${admitted} after ${second} s, not between ${least.toFixed(1)} and ${most.toFixed(1)}`,
      );
      totals.push(admitted);
    }
    return `${totals.join(' ')} after each of three seconds`;
  } finally {
    for (const agent of agents) agent.destroy();
    await proxy.stop();
  }
};

const startRedis = async (port: number): Promise<ChildProcess> => {
  const redis = spawn(tool('redis-server') ?? 'redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', ''], {
    stdio: 'ignore',
  });
  await eventually('Redis accepts connections', 20_000, async () => {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return true;
    } finally {
      socket.destroy();
    }
  });
  return redis;
};

const ended = async (child: ChildProcess | undefined): Promise<void> => {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
};

const sharedChecks = async (suite: Suite, kind: ProxyKind, named: Named, folder: string, appPort: number): Promise<void> => {
  const [redisPort = 0, grpcPort = 0, pagesPort = 0] = await freePorts(3);
  const limits = join(folder, 'limits');
  mkdirSync(limits);
  writeFileSync(
    join(limits, 'shop.yaml'),
    `domain: shop\ndescriptors:\n  - key: user\n    rate_limit: { unit: hour, requests_per_unit: ${SHARED_LIMIT} }\n`,
  );
  const proxies: BareProxy[] = [];
  const agent = new Agent({ keepAlive: true });
  let redis: ChildProcess | undefined;
  let server: ChildProcess | undefined;
  const healthy = (wanted: boolean): Promise<true> =>
    eventually(`the server ${wanted ? 'has' : 'misses'} Redis`, 20_000, async () =>
      (await fetch(`http://127.0.0.1:${pagesPort}/healthcheck`)).ok === wanted ? true : undefined,
    );
  try {
    redis = await startRedis(redisPort);
    const flags = [
      '--config',
      limits,
      '--redis',
      `redis://127.0.0.1:${redisPort}`,
      '--listen',
      `127.0.0.1:${grpcPort}`,
      '--metrics',
      `127.0.0.1:${pagesPort}`,
    ];
    server = spawn(join(ROOT, 'bin/skein'), ['ratelimit', ...flags], { stdio: 'ignore' });
    await healthy(true);
    const bootstrap = {
      node: { id: 'limited', cluster: 'shop' },
      static_resources: {
        clusters: [clusterTo('app', [appPort]), clusterTo('limits', [grpcPort], http2Upstream())],
        listeners: [listenerOf('open', globalLimit(false)), listenerOf('closed', globalLimit(true))],
      },
    };
    for (let i = 0; i < SIDECARS; i++) proxies.push(await BareProxy.start({ kind, name: `limited-${i}`, folder, bootstrap }));
    const ports = await Promise.all(proxies.map(async (proxy) => ({ open: await proxy.port('open'), closed: await proxy.port('closed') })));
    const asks = async (which: 'open' | 'closed', user: string, times: number): Promise<Record<string, number>> => {
      const answers = await Promise.all(Array.from({ length: times }, (_, i) => get(ports[i % SIDECARS]?.[which] ?? 0, agent, user)));
      const counts: Record<string, number> = {};
      for (const status of answers) counts[status] = (counts[status] ?? 0) + 1;
      return counts;
    };
    await suite.check(named('shared limit: holds over three sidecars together, in a real Redis'), async () => {
      const { 200: passed = 0, 429: refused = 0 } = await asks('closed', 'ann', 60);
      expect(passed === SHARED_LIMIT && refused === 60 - SHARED_LIMIT, `${passed} passed, ${refused} were refused`);
      const other = await asks('closed', 'bob', 3);
      expect(other['200'] === 3, `another value has its own count: ${JSON.stringify(other)}`);
      return `${passed} of 60`;
    });
    await suite.check(named('shared limit: without Redis failure_mode_deny decides, nothing hangs, and it comes back'), async () => {
      await ended(redis);
      await healthy(false);
      const began = performance.now();
      const open = await asks('open', 'cas', 9);
      const closed = await asks('closed', 'cas', 9);
      const took = performance.now() - began;
      expect(open['200'] === 9 && closed['500'] === 9, `open ${JSON.stringify(open)}, closed ${JSON.stringify(closed)}`);
      expect(took < 5000, `18 requests took ${took.toFixed(0)} ms`);
      redis = await startRedis(redisPort);
      await healthy(true);
      const again = await asks('closed', 'cas', SHARED_LIMIT + 6);
      expect(again['200'] === SHARED_LIMIT && again['429'] === 6, `again: ${JSON.stringify(again)}`);
      return `18 requests in ${took.toFixed(0)} ms`;
    });
  } finally {
    agent.destroy();
    for (const proxy of proxies) await proxy.stop();
    await ended(server);
    await ended(redis);
  }
};
