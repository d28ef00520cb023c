// Who is chosen: the extension form of every policy, degraded hosts, panic, localities without weights, health by weight, full scan,
// bounded load, zones and our peak EWMA. What Envoy 1.40 was asked for the same clusters stands behind each expectation.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PlanError } from '../../src/plan/plan-error.ts';
import { compileLbPlan } from '../../src/proxy/balance/lb-plan.ts';
import { PeakEwma } from '../../src/proxy/balance/peak-ewma.ts';
import { buildMembership } from '../../src/proxy/cluster/membership.ts';
import { xxHash64 } from '../../src/proxy/xx-hash64.ts';
import type { Cluster, LocalityLbEndpoints } from '../../src/xds/gen/types.ts';
import { fetchOnce, hcm, httpBackend, listener, startPlane, staticCluster, toCluster } from './harness.ts';
import { endpoint, extension, picker, zone } from './picker-rig.ts';

const refused = (config: Cluster, field: RegExp): void =>
  assert.throws(
    () => compileLbPlan(config),
    (e) => e instanceof PlanError && field.test(e.message),
  );
const FOUR = [
  zone(
    '1',
    [1, 2, 3, 4].map((n) => endpoint(n)),
  ),
];

describe('load_balancing_policy', () => {
  test('says what the fields of Cluster say', () => {
    const plan = (config: Cluster) => JSON.stringify(compileLbPlan(config));
    const slow_start_config = { slow_start_window: '30s' };
    for (const [fields, type, config] of [
      [{ lb_policy: 'ROUND_ROBIN', round_robin_lb_config: { slow_start_config } }, 'round_robin.v3.RoundRobin', { slow_start_config }],
      [
        { lb_policy: 'LEAST_REQUEST', least_request_lb_config: { choice_count: 4, active_request_bias: { default_value: 2 } } },
        'least_request.v3.LeastRequest',
        { choice_count: 4, active_request_bias: { default_value: 2 } },
      ],
      [
        { lb_policy: 'RANDOM', common_lb_config: { locality_weighted_lb_config: {} } },
        'random.v3.Random',
        { locality_lb_config: { locality_weighted_lb_config: {} } },
      ],
      [
        {
          lb_policy: 'RING_HASH',
          ring_hash_lb_config: { minimum_ring_size: 99, hash_function: 'MURMUR_HASH_2' },
          common_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: 150, use_hostname_for_hashing: true } },
        },
        'ring_hash.v3.RingHash',
        {
          minimum_ring_size: 99,
          hash_function: 'MURMUR_HASH_2',
          consistent_hashing_lb_config: { hash_balance_factor: 150, use_hostname_for_hashing: true },
        },
      ],
      [{ lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 251 } }, 'maglev.v3.Maglev', { table_size: 251 }],
    ] as const)
      assert.equal(plan(extension(type, config)), plan(fields), type);
    const inner = extension('round_robin.v3.RoundRobin').load_balancing_policy;
    assert.equal(compileLbPlan(extension('wrr_locality.v3.WrrLocality', { endpoint_picking_policy: inner })).byLocality, true);
  });

  test('the first known policy counts; what cannot be carried out or combined is refused by name', () => {
    const both = {
      policies: [
        ...(extension('pick_first.v3.PickFirst').load_balancing_policy.policies ?? []),
        ...(extension('random.v3.Random').load_balancing_policy.policies ?? []),
      ],
    };
    assert.equal(compileLbPlan({ load_balancing_policy: both }).policy.kind, 'random');
    refused(extension('client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin'), /client_side_weighted_round_robin.*ORCA/);
    refused(extension('pick_first.v3.PickFirst'), /pick_first/);
    refused({ load_balancing_policy: {} }, /policies: must not be empty/);
    const random = extension('random.v3.Random');
    refused({ ...random, lb_subset_config: {} }, /lb_subset_config/);
    refused({ ...random, common_lb_config: { locality_weighted_lb_config: {} } }, /common_lb_config/);
    refused({ common_lb_config: { healthy_panic_threshold: { value: 101 } } }, /healthy_panic_threshold/);
    refused({ lb_policy: 'LEAST_REQUEST', least_request_lb_config: { choice_count: 1 } }, /choice_count/);
  });
});

test('least request over all hosts finds those with the fewest requests, and any of them', () => {
  const rig = picker(extension('least_request.v3.LeastRequest', { selection_method: 'FULL_SCAN' }), FOUR);
  rig.hosts.forEach((host, i) => {
    host.stats.rqActive = i < 2 ? 3 : 1;
  });
  const counts = rig.spread(1000);
  assert.deepEqual(Object.keys(counts), ['3', '4']);
  assert.ok(Math.abs((counts['3'] ?? 0) - 500) < 60);
});

test('degraded hosts take what healthy ones cannot; draining ones count in no share', () => {
  const zones = [
    zone('1', [
      endpoint(1, { health_status: 'DEGRADED' }),
      endpoint(2, { health_status: 'UNHEALTHY' }),
      endpoint(3),
      endpoint(4, { health_status: 'DRAINING' }),
    ]),
  ];
  // One of three counts as healthy: 140 / 3 = 46 %, and as many for the degraded one.
  const counts = picker({}, zones).spread(9_200);
  assert.deepEqual(Object.keys(counts), ['1', '3']);
  assert.ok(Math.abs((counts['3'] ?? 0) / 9_200 - 0.5) < 0.03, JSON.stringify(counts));
});

test('panic: below the threshold health does not count, or nobody is chosen where that is asked for', () => {
  const sick = [zone('1', [endpoint(1, { health_status: 'UNHEALTHY' }), endpoint(2, { health_status: 'UNHEALTHY' }), endpoint(3)])];
  const rig = picker({}, sick);
  assert.deepEqual(rig.spread(6), { 1: 2, 2: 2, 3: 2 });
  assert.equal(rig.stat('lb_healthy_panic'), 6);
  assert.deepEqual(picker({ common_lb_config: { healthy_panic_threshold: { value: 30 } } }, sick).spread(6), { 3: 6 });
  assert.deepEqual(picker({ common_lb_config: { healthy_panic_threshold: {} } }, sick).spread(6), { 3: 6 });
  assert.deepEqual(picker({ common_lb_config: { zone_aware_lb_config: { fail_traffic_on_panic: true } } }, sick).spread(6), { '-': 6 });
});

test('localities without weights are one; in panic their weights do not count', () => {
  const byLocality: Cluster = { common_lb_config: { locality_weighted_lb_config: {} } };
  assert.deepEqual(picker(byLocality, [zone('1', [endpoint(1)]), zone('2', [endpoint(2)])]).spread(6), { 1: 3, 2: 3 });
  const sick = { health_status: 'UNHEALTHY' } as const;
  const zones = [
    zone('1', [endpoint(1, sick), endpoint(2, sick), endpoint(3, sick)], { load_balancing_weight: 1 }),
    zone('2', [endpoint(4)], { load_balancing_weight: 9 }),
  ];
  assert.deepEqual(picker(byLocality, zones).spread(8), { 1: 2, 2: 2, 3: 2, 4: 2 });
});

test("a level's health is the share of its weights where that is asked for", () => {
  const zones = [
    zone('1', [endpoint(1, { load_balancing_weight: 9 }), endpoint(2, { health_status: 'UNHEALTHY', load_balancing_weight: 1 })]),
    zone('1', [endpoint(3)], { priority: 1 }),
  ];
  assert.deepEqual(picker({}, zones, { policy: { weighted_priority_health: true } }).spread(50), { 1: 50 });
  assert.ok((picker({}, zones).spread(50)['3'] ?? 0) > 5);
});

test('bounded load: a key whose host has too much goes to another, always the same', () => {
  for (const lb_policy of ['RING_HASH', 'MAGLEV'] as const) {
    const config: Cluster = { lb_policy, common_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: 125 } } };
    const rig = picker(config, FOUR, { active: () => 8 });
    const hash = xxHash64('user-1');
    const own = rig.pick({ hash });
    const busy = rig.hosts.find((h) => h.address.endsWith(`:${own}`));
    assert.ok(busy);
    busy.stats.rqActive = 4;
    const other = rig.pick({ hash });
    assert.notEqual(other, own, lb_policy);
    for (let i = 0; i < 5; i++) assert.equal(rig.pick({ hash }), other);
    busy.stats.rqActive = 3;
    assert.equal(rig.pick({ hash }), own, 'within the bound again');
  }
});

describe('zones', () => {
  const here = { region: 'r', zone: 'a' };
  const local = (zones: readonly LocalityLbEndpoints[]) => ({
    local: () => ({ membership: buildMembership({ endpoints: zones }, new Map()).membership, panicThreshold: 50, locality: here }),
  });
  const zones = (a: number, b: number, from = 0): readonly LocalityLbEndpoints[] => [
    zone(
      'a',
      Array.from({ length: a }, (_, i) => endpoint(from + i + 1)),
    ),
    zone(
      'b',
      Array.from({ length: b }, (_, i) => endpoint(from + 100 + i)),
    ),
  ];
  const config: Cluster = { common_lb_config: { zone_aware_lb_config: {} } };
  const inOwn = (counts: { readonly [name: string]: number }): number =>
    Object.entries(counts).reduce((n, [name, count]) => n + (Number(name) < 100 ? count : 0), 0);

  test('all stays where the own zone has its share, else as much as it has room for', () => {
    const rig = picker(config, zones(3, 3), local(zones(1, 1, 1000)));
    assert.equal(inOwn(rig.spread(60)), 60);
    assert.equal(rig.stat('lb_zone_routing_all_directly'), 60);
    // Half of the callers and a quarter of the hosts are here: half of the traffic stays.
    const share = inOwn(picker(config, zones(2, 6), local(zones(1, 1, 1000))).spread(4000)) / 4000;
    assert.ok(Math.abs(share - 0.5) < 0.03, `${share}`);
  });

  test('a plane knows its own cluster, and learns when that changes', async () => {
    await using near = await httpBackend(() => 'near');
    await using far = await httpBackend(() => 'far');
    const at = (port: number) => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } });
    const zones = { endpoints: [zone('a', [at(near.port)]), zone('b', [at(far.port)])] };
    const eds: Cluster = { name: 'own', type: 'EDS', eds_cluster_config: { eds_config: { ads: {} } } };
    const target: Cluster = {
      name: 'c',
      common_lb_config: { zone_aware_lb_config: { min_cluster_size: 2 } },
      load_assignment: { cluster_name: 'c', ...zones },
    };
    await using rig = await startPlane(
      { clusters: [eds, target], listeners: [listener('l', hcm([toCluster('c')]))] },
      { localCluster: { name: 'own', locality: here } },
    );
    const bodies = async (): Promise<string[]> => {
      const found = new Set<string>();
      for (let i = 0; i < 6; i++) found.add((await fetchOnce(rig.port('l'), '/')).body);
      return [...found].sort();
    };
    assert.deepEqual(await bodies(), ['far', 'near'], 'nothing is known of its own cluster');
    rig.plane.setEndpoints({ cluster_name: 'own', ...zones });
    assert.deepEqual(await bodies(), ['near']);
  });

  test('small clusters, unknown callers and a share of requests are not routed by zone', () => {
    const small = picker(config, zones(2, 2), local(zones(1, 1, 1000)));
    assert.equal(inOwn(small.spread(100)), 50);
    assert.equal(small.stat('lb_zone_cluster_too_small'), 1);
    assert.equal(inOwn(picker(config, zones(3, 3)).spread(100)), 50);
    const some: Cluster = { common_lb_config: { zone_aware_lb_config: { routing_enabled: { value: 0 }, min_cluster_size: 1 } } };
    assert.equal(inOwn(picker(some, zones(1, 3), local(zones(1, 1, 1000))).spread(100)), 25);
  });
});

describe('peak EWMA', () => {
  const struct = (value: object): Cluster => ({
    load_balancing_policy: {
      policies: [
        {
          typed_extension_config: {
            name: 'skein.load_balancing.peak_ewma',
            typed_config: {
              '@type': 'type.googleapis.com/xds.type.v3.TypedStruct',
              type_url: 'type.googleapis.com/skein.load_balancing.peak_ewma.v1',
              value,
            },
          },
        },
      ],
    },
  });

  test('a slow answer counts at once, a fast one as time passes, and silence makes the past count less', () => {
    const ewma = new PeakEwma();
    ewma.observe(10, 0, 1000);
    ewma.observe(500, 10, 1000);
    assert.equal(ewma.cost, 500);
    ewma.observe(10, 20, 1000);
    assert.ok(ewma.cost > 490);
    ewma.observe(10, 3020, 1000);
    assert.ok(ewma.cost < 40);
    assert.ok(ewma.load(0, 6020, 1000) < ewma.cost / 10);
    assert.equal(ewma.load(3, 3020, 1000), ewma.cost * 4);
  });

  test('the slow one of two gets little, and is asked again later', async () => {
    let slow = 40;
    const delayed = await startDelayed(() => slow);
    await using quick = await httpBackend(() => 'quick');
    try {
      const cluster = staticCluster('c', [delayed.port, quick.port], struct({ decay_time: '0.1s' }));
      await using rig = await startPlane({ clusters: [cluster], listeners: [listener('l', hcm([toCluster('c')]))] });
      const bodies: string[] = [];
      for (let i = 0; i < 20; i++) bodies.push((await fetchOnce(rig.port('l'), '/')).body);
      assert.ok(bodies.filter((b) => b === 'slow').length <= 4, bodies.join());
      slow = 0;
      await new Promise((resolve) => setTimeout(resolve, 800));
      bodies.length = 0;
      for (let i = 0; i < 40; i++) bodies.push((await fetchOnce(rig.port('l'), '/')).body);
      assert.ok(bodies.includes('slow'), 'it has its chance again');
    } finally {
      delayed.close();
    }
  });

  test('what is not known of it is refused', () => {
    refused(struct({ decay_time: 'soon' }), /decay_time/);
    refused(struct({ choice_count: 1 }), /choice_count/);
    refused(struct({ decays: '1s' }), /decays/);
  });
});

/** Answers "slow" after so many milliseconds. */
const startDelayed = async (delay: () => number): Promise<{ readonly port: number; close(): void }> => {
  const { createServer } = await import('node:http');
  const server = createServer((_request, response) => void setTimeout(() => response.end('slow'), delay()));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return { port: typeof address === 'object' && address !== null ? address.port : 0, close: () => void server.close() };
};
