// Shares are what configuration says: route weights, endpoint weights, localities, random choice, least request, fault and mirror
// percentages by χ² over seeded draws, so that an answer is always the same; and how few keys move when a host leaves.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compileRoutes, matchRoute } from '../../src/plan/route.ts';
import { xxHash64 } from '../../src/proxy/xx-hash64.ts';
import type { Cluster, Route } from '../../src/xds/gen/types.ts';
import { request } from '../plan/request.ts';
import { chiSquareP, seeded } from './chi-square.ts';
import { hcm, httpBackend, listener, RawClient, ROUTER, startPlane, staticCluster, toCluster } from './harness.ts';
import { endpoint, picker, zone } from './picker-rig.ts';

const P_MIN = 0.001;
const SEEDS = [1, 2, 3];
const PICKS = 20_000;

const follows = (counts: { readonly [name: string]: number }, shares: { readonly [name: string]: number }, what: string): void => {
  const names = Object.keys(shares);
  assert.deepEqual(
    Object.keys(counts).filter((name) => !names.includes(name)),
    [],
    `${what}: nobody else`,
  );
  const p = chiSquareP(
    names.map((name) => counts[name] ?? 0),
    names.map((name) => shares[name] ?? 0),
  );
  assert.ok(p > P_MIN, `${what}: p = ${p}, ${JSON.stringify(counts)}`);
};

test('χ² tells even from uneven', () => {
  assert.ok(Math.abs(chiSquareP([10, 20, 30], [1, 1, 1]) - 0.0067379) < 1e-6);
  assert.ok(Math.abs(chiSquareP([48, 52], [1, 1]) - 0.6891565) < 1e-6);
  assert.ok(chiSquareP([5_300, 4_700], [1, 1]) < P_MIN);
  assert.equal(chiSquareP([1, 9], [0, 1]), 0);
});

describe('shares', () => {
  for (const seed of SEEDS) {
    test(`weights of routes (seed ${seed})`, () => {
      const clusters = [
        { name: 'a', weight: 90 },
        { name: 'b', weight: 9 },
        { name: 'c', weight: 1 },
        { name: 'd', weight: 0 },
      ];
      const routes: Route[] = [{ match: { prefix: '/' }, route: { weighted_clusters: { clusters } } }];
      const plan = compileRoutes({ virtual_hosts: [{ name: 'v', domains: ['*'], routes }] });
      const random = seeded(seed);
      const counts: { [name: string]: number } = {};
      for (let i = 0; i < PICKS; i++) {
        const match = matchRoute(plan, request('/'), random);
        const name = match.kind === 'route' ? match.clusterName : '-';
        counts[name] = (counts[name] ?? 0) + 1;
      }
      follows(counts, { a: 90, b: 9, c: 1 }, 'route weights');
    });

    test(`weights of endpoints: exact under round robin and least request, none under random (seed ${seed})`, () => {
      const hosts = [
        zone(
          '1',
          [1, 2, 3, 4].map((n) => endpoint(n, { load_balancing_weight: n })),
        ),
      ];
      for (const policy of ['ROUND_ROBIN', 'LEAST_REQUEST'] as const)
        follows(picker({ lb_policy: policy }, hosts, { seed }).spread(PICKS), { 1: 1, 2: 2, 3: 3, 4: 4 }, policy);
      follows(picker({ lb_policy: 'RANDOM' }, hosts, { seed }).spread(PICKS), { 1: 1, 2: 1, 3: 1, 4: 1 }, 'RANDOM');
    });

    test(`least request and random over equal hosts (seed ${seed})`, () => {
      const hosts = [
        zone(
          '1',
          [1, 2, 3, 4, 5].map((n) => endpoint(n)),
        ),
      ];
      const even = { 1: 1, 2: 1, 3: 1, 4: 1, 5: 1 };
      const configs: Cluster[] = [
        { lb_policy: 'RANDOM' },
        { lb_policy: 'LEAST_REQUEST' },
        { lb_policy: 'LEAST_REQUEST', least_request_lb_config: { choice_count: 3 } },
      ];
      for (const config of configs) follows(picker(config, hosts, { seed }).spread(PICKS), even, JSON.stringify(config));
      // Of two drawn at random the less loaded: the busiest of five is chosen only when it is drawn twice.
      const rig = picker({ lb_policy: 'LEAST_REQUEST' }, hosts, { seed });
      rig.hosts.forEach((host, i) => {
        host.stats.rqActive = i;
      });
      follows(rig.spread(PICKS), { 1: 9, 2: 7, 3: 5, 4: 3, 5: 1 }, 'least request under load');
    });

    test(`weights of localities, and of priorities by what is healthy (seed ${seed})`, () => {
      const byLocality: Cluster = { common_lb_config: { locality_weighted_lb_config: {} } };
      const zones = [
        zone('1', [endpoint(1), endpoint(2)], { load_balancing_weight: 1 }),
        zone('2', [endpoint(3)], { load_balancing_weight: 3 }),
        zone('3', [endpoint(4)]),
      ];
      follows(picker(byLocality, zones, { seed }).spread(PICKS), { 1: 1, 2: 1, 3: 6 }, 'localities');
      const levels = [zone('1', [endpoint(1), endpoint(2, { health_status: 'UNHEALTHY' })]), zone('2', [endpoint(3)], { priority: 1 })];
      follows(picker({}, levels, { seed }).spread(PICKS), { 1: 70, 3: 30 }, 'priorities');
    });

    test(`percentages of faults and mirrors (seed ${seed})`, async () => {
      let copies = 0;
      await using live = await httpBackend(() => 'live');
      await using copy = await httpBackend(() => {
        copies++;
        return 'copy';
      });
      const abort = { percentage: { numerator: 20, denominator: 'HUNDRED' }, http_status: 418 } as const;
      const fault = {
        name: 'envoy.filters.http.fault',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault', abort },
      };
      const runtime_fraction = { default_value: { numerator: 30, denominator: 'HUNDRED' } } as const;
      const route = toCluster('live', { request_mirror_policies: [{ cluster: 'copy', runtime_fraction }] });
      await using rig = await startPlane(
        {
          clusters: [
            staticCluster('live', [live.port]),
            staticCluster('copy', [copy.port], { circuit_breakers: { thresholds: [UNLIMITED] } }),
          ],
          listeners: [listener('l', hcm([route], { http_filters: [fault, ROUTER] }))],
        },
        { random: seeded(seed) },
      );
      const client = await RawClient.open(rig.port('l'));
      let aborted = 0;
      const requests = 1500;
      for (let i = 0; i < requests; i++) if ((await client.get('/')).status === 418) aborted++;
      follows({ aborted, rest: requests - aborted }, { aborted: 20, rest: 80 }, 'faults');
      const passed = requests - aborted;
      while (copies < (rig.plane.stats.find('cluster.copy.upstream_rq_total')?.value ?? 0)) await new Promise((r) => setTimeout(r, 1));
      follows({ copied: copies, rest: passed - copies }, { copied: 30, rest: 70 }, 'mirrors');
      client.close();
    });
  }
});

const UNLIMITED = { max_connections: 1_000_000, max_pending_requests: 1_000_000, max_requests: 1_000_000 };

test('of ten hosts one leaves: at most 15 % of the keys move', () => {
  const keys = Array.from({ length: 10_000 }, (_, i) => xxHash64(`key-${i}`));
  const where = (config: Cluster, hosts: number): string[] => {
    const rig = picker(config, [
      zone(
        '1',
        Array.from({ length: hosts }, (_, i) => endpoint(i + 1)),
      ),
    ]);
    return keys.map((hash) => rig.pick({ hash }));
  };
  for (const config of [{ lb_policy: 'RING_HASH' }, { lb_policy: 'MAGLEV' }] satisfies Cluster[]) {
    const [before, after] = [where(config, 10), where(config, 9)];
    const all = before.filter((name, i) => name !== after[i]).length / keys.length;
    assert.ok(all <= 0.15, `${config.lb_policy}: ${all} moved`);
  }
});
