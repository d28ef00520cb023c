// Circuit breakers of a live cluster: by priority, by host, by pools, what is left of them, and a retry budget that holds at every moment.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileBreakers, LocalLimits } from '../../src/proxy/cluster/circuit-breaker.ts';
import type { CircuitBreakers } from '../../src/xds/gen/types.ts';
import {
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  type Plane,
  RawClient,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';

const stat = ({ plane }: Plane, name: string): number | undefined => plane.stats.find(`cluster.c.${name}`)?.value;
const limited = (circuit_breakers: CircuitBreakers) => ({ circuit_breakers });

test('each priority has its limits; what is full and what is left is told', async () => {
  await using silent = await httpBackend(() => 'silent');
  const thresholds = [
    { max_requests: 1, track_remaining: true },
    { priority: 'HIGH', max_requests: 2 },
  ] as const;
  const routes = [{ match: { prefix: '/high' }, route: { cluster: 'c', priority: 'HIGH' } } as const, toCluster('c')];
  await using rig = await startPlane({
    clusters: [staticCluster('c', [silent.port], limited({ thresholds }))],
    listeners: [listener('l', hcm(routes))],
  });
  assert.deepEqual([stat(rig, 'circuit_breakers.default.remaining_rq'), stat(rig, 'circuit_breakers.default.rq_open')], [1, 0]);
  const clients: RawClient[] = [];
  const hang = async (path: string): Promise<void> => {
    const client = await RawClient.open(rig.port('l'));
    clients.push(client.send(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`));
    const before = stat(rig, 'upstream_rq_active') ?? 0;
    await eventually(() => (stat(rig, 'upstream_rq_active') ?? 0) > before, 'it runs');
  };
  await hang('/');
  assert.deepEqual([stat(rig, 'circuit_breakers.default.remaining_rq'), stat(rig, 'circuit_breakers.default.rq_open')], [0, 1]);
  assert.equal((await fetchOnce(rig.port('l'), '/')).headers.get('x-envoy-overloaded'), 'true');
  await hang('/high');
  await hang('/high');
  assert.equal((await fetchOnce(rig.port('l'), '/high')).status, 503);
  assert.deepEqual(
    rig.http.map((l) => l.flags),
    ['UO', 'UO'],
  );
  assert.equal(stat(rig, 'circuit_breakers.high.rq_open'), 1);
  assert.equal(stat(rig, 'circuit_breakers.high.remaining_rq'), undefined, 'nobody asked for it');
  for (const client of clients) client.close();
});

test('a host has no more connections than it may, and a cluster no more pools', async () => {
  await using one = await httpBackend(() => 'one');
  const hosts = limited({ per_host_thresholds: [{ max_connections: 1 }] });
  await using rig = await startPlane({
    clusters: [staticCluster('c', [one.port], hosts)],
    listeners: [listener('l', hcm([toCluster('c')]))],
  });
  await Promise.all([1, 2, 3].map(() => fetchOnce(rig.port('l'), '/')));
  assert.equal(one.sockets.length, 1);
  assert.ok((stat(rig, 'upstream_cx_overflow') ?? 0) > 0);
  await using two = await httpBackend(() => 'two');
  const pools = limited({ thresholds: [{ max_connection_pools: 1 }] });
  await using few = await startPlane({
    clusters: [staticCluster('c', [one.port, two.port], pools)],
    listeners: [listener('l', hcm([toCluster('c')]))],
  });
  const statuses: number[] = [];
  for (let i = 0; i < 4; i++) statuses.push((await fetchOnce(few.port('l'), '/')).status);
  assert.deepEqual([...statuses].sort(), [200, 200, 503, 503]);
  assert.equal(stat(few, 'upstream_cx_pool_overflow'), 2);
  assert.equal(few.http.find((l) => l.status === 503)?.flags, 'UH');
});

test('retries never exceed their budget, not for a moment, and some are made', async () => {
  const [percent, least] = [20, 3];
  let [retrying, most] = [0, 0];
  const { createServer } = await import('node:http');
  // The first of three fails everything, late enough that requests pile up; what is tried again is counted where it arrives.
  const servers = await Promise.all(
    [0, 1, 2].map(async (n) => {
      const server = createServer((request, response) => {
        const isRetry = Number(request.headers['x-envoy-attempt-count']) > 1;
        if (isRetry) retrying++;
        most = Math.max(most, retrying);
        setTimeout(() => {
          if (isRetry) retrying--;
          response.writeHead(n === 0 ? 503 : 200);
          response.end();
        }, 20);
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  try {
    const ports = servers.map((s) => (s.address() as { port: number }).port);
    const budget = { budget_percent: { value: percent }, min_retry_concurrency: least };
    const wide = { max_connections: 1000, max_pending_requests: 1000, max_requests: 1000, retry_budget: budget };
    const route = toCluster('c', {
      retry_policy: { retry_on: '5xx', num_retries: 3, retry_back_off: { base_interval: '0.001s', max_interval: '0.001s' } },
    });
    const virtual_hosts = [{ name: 'all', domains: ['*'], include_request_attempt_count: true, routes: [route] }];
    await using rig = await startPlane({
      clusters: [staticCluster('c', ports, { lb_policy: 'RANDOM', ...limited({ thresholds: [wide] }) })],
      listeners: [listener('l', hcm([], { route_config: { name: 'r', virtual_hosts } }))],
    });
    const clients = await Promise.all(Array.from({ length: 40 }, () => RawClient.open(rig.port('l'))));
    await Promise.all(
      clients.map(async (client) => {
        for (let i = 0; i < 15; i++) await client.get('/');
        client.close();
      }),
    );
    // No more requests than clients are in hand.
    assert.ok(most > least && most <= (clients.length * percent) / 100, `${most} at once`);
    assert.ok((stat(rig, 'upstream_rq_retry') ?? 0) > 0 && (stat(rig, 'upstream_rq_retry_overflow') ?? 0) > 0);
  } finally {
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  }
});

test('with an interval the budget is a share of what began in it', () => {
  let now = 0;
  const retry_budget = { budget_percent: { value: 10 }, min_retry_concurrency: 0, budget_interval: '2s' };
  const limits = compileBreakers(
    { thresholds: [{ retry_budget }] },
    (_priority, bounds) => new LocalLimits(bounds),
    () => now,
  ).default;
  const retries = (): number => {
    let taken = 0;
    while (limits.tryRetry()) taken++;
    for (let i = 0; i < taken; i++) limits.releaseRetry();
    return taken;
  };
  assert.equal(retries(), 0);
  for (let i = 0; i < 50; i++) {
    limits.tryRequest();
    limits.releaseRequest();
  }
  assert.equal(retries(), 5, 'they are over, and count');
  now = 1000;
  for (let i = 0; i < 10; i++) limits.tryRequest();
  assert.equal(retries(), 6);
  now = 2200;
  assert.equal(retries(), 1, 'of the first fifty none is left');
  now = 60_000;
  assert.equal(retries(), 1, 'what runs counts anyway');
});
