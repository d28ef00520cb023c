// Subsets: which hosts answer a route's criteria, and every fallback. Who is chosen is who Envoy 1.40 chooses for the same cluster.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlanError } from '../../src/plan/plan-error.ts';
import { compileLbPlan } from '../../src/proxy/balance/lb-plan.ts';
import type { Cluster, Cluster_LbSubsetConfig } from '../../src/xds/gen/types.ts';
import { fetchOnce, hcm, httpBackend, listener, startPlane } from './harness.ts';
import { endpoint, extension, lbMetadata, picker, zone } from './picker-rig.ts';

const BY_VERSION = [{ keys: ['v'] }];
const subsets = (more: Partial<Cluster_LbSubsetConfig> = {}, cluster: Partial<Cluster> = {}): Cluster => ({
  lb_subset_config: { fallback_policy: 'NO_FALLBACK', subset_selectors: BY_VERSION, ...more },
  ...cluster,
});
const HOSTS = [
  zone('1', [
    endpoint(1, lbMetadata({ v: '1', s: 'x' })),
    endpoint(2, lbMetadata({ v: '1', s: 'y' })),
    endpoint(3, lbMetadata({ v: '2', s: ['x', 'z'] })),
    endpoint(4),
  ]),
];
const chosen = (config: Cluster, metadata: object | undefined, picks = 8) =>
  picker(config, HOSTS).spread(picks, { metadata: metadata as never });

test('hosts are chosen by what the route asks for, and by nothing less', () => {
  assert.deepEqual(chosen(subsets(), { v: '1' }), { 1: 4, 2: 4 });
  assert.deepEqual(chosen(subsets(), { v: '3' }), { '-': 8 });
  assert.deepEqual(chosen(subsets(), { v: '1', s: 'x' }), { '-': 8 }, 'no selector has both keys');
  assert.deepEqual(chosen(subsets(), undefined), { '-': 8 });
  assert.deepEqual(
    chosen(subsets({ subset_selectors: [] }), { v: '3' }),
    { 1: 2, 2: 2, 3: 2, 4: 2 },
    'without selectors there are no subsets',
  );
});

test('the cluster falls back to any host, to its default subset or to none', () => {
  assert.deepEqual(chosen(subsets({ fallback_policy: 'ANY_ENDPOINT' }), { v: '3' }), { 1: 2, 2: 2, 3: 2, 4: 2 });
  const byDefault = subsets({ fallback_policy: 'DEFAULT_SUBSET', default_subset: { v: '2' } });
  assert.deepEqual(chosen(byDefault, { q: '3' }), { 3: 8 });
  assert.deepEqual(chosen(byDefault, undefined), { 3: 8 });
});

test('a selector falls back as it says, also to fewer keys', () => {
  const of = (fallback_policy: 'NO_FALLBACK' | 'ANY_ENDPOINT' | 'DEFAULT_SUBSET' | 'KEYS_SUBSET', keys: readonly string[] = []) =>
    subsets({
      fallback_policy: 'ANY_ENDPOINT',
      default_subset: { v: '2' },
      subset_selectors: [...BY_VERSION, { keys: ['v', 's'], fallback_policy, fallback_keys_subset: keys }],
    });
  const nowhere = { v: '1', s: 'q' };
  assert.deepEqual(chosen(of('KEYS_SUBSET', ['v']), nowhere), { 1: 4, 2: 4 });
  assert.deepEqual(chosen(of('NO_FALLBACK'), nowhere), { '-': 8 });
  assert.deepEqual(chosen(of('ANY_ENDPOINT'), nowhere), { 1: 2, 2: 2, 3: 2, 4: 2 });
  assert.deepEqual(chosen(of('DEFAULT_SUBSET'), nowhere), { 3: 8 });
});

test('lists count as each of their values where that is asked for, single hosts are chosen whatever their health', () => {
  const bySize = [{ keys: ['s'] }];
  assert.deepEqual(chosen(subsets({ subset_selectors: bySize, list_as_any: true }), { s: 'x' }), { 1: 4, 3: 4 });
  assert.deepEqual(chosen(subsets({ subset_selectors: bySize }), { s: 'x' }), { 1: 8 });
  const rig = picker(subsets({ subset_selectors: [{ keys: ['v'], single_host_per_subset: true }] }), HOSTS);
  for (const host of rig.hosts) host.edsHealthy = false;
  rig.healthChanged();
  assert.deepEqual(rig.spread(4, { metadata: { v: '1' } }), { 1: 4 });
  assert.equal(rig.stat('lb_subsets_single_host_per_subset_duplicate'), 1);
});

test('health counts within a subset; panic_mode_any is the last resort; criteria may bring a list of others', () => {
  const config = subsets(
    { fallback_policy: 'DEFAULT_SUBSET', default_subset: { s: 'x' }, panic_mode_any: true },
    { common_lb_config: { healthy_panic_threshold: { value: 0 } } },
  );
  const rig = picker(config, HOSTS);
  for (const host of rig.hosts.slice(0, 1)) host.edsHealthy = false;
  rig.healthChanged();
  assert.deepEqual(rig.spread(4, { metadata: { v: '1' } }), { 2: 4 });
  assert.equal(rig.stat('lb_subsets_selected'), 4);
  assert.deepEqual(Object.keys(rig.spread(30, { metadata: { v: '9' } })), ['2', '3', '4']);
  assert.equal(rig.stat('lb_subsets_fallback_panic'), 30);
  const list = subsets({ metadata_fallback_policy: 'FALLBACK_LIST' });
  assert.deepEqual(chosen(list, { fallback_list: [{ v: '7' }, { v: '2' }] }), { 3: 8 });
  assert.deepEqual(chosen(list, { fallback_list: [{ v: '7' }] }), { '-': 8 });
});

test('locality weights hold within a subset where asked for, and shrink with what the subset has of a locality', () => {
  const zones = [
    zone('1', [endpoint(1, lbMetadata({ v: '1' })), endpoint(2), endpoint(3), endpoint(4)], { load_balancing_weight: 40 }),
    zone('2', [endpoint(5, lbMetadata({ v: '1' }))], { load_balancing_weight: 10 }),
  ];
  const share = (more: Partial<Cluster_LbSubsetConfig>): number => {
    const config = subsets(more, { common_lb_config: { locality_weighted_lb_config: {} } });
    return picker(config, zones).spread(1000, { metadata: { v: '1' } })['1'] ?? 0;
  };
  assert.equal(share({}), 500);
  assert.ok(Math.abs(share({ locality_weight_aware: true }) - 800) < 45);
  assert.ok(Math.abs(share({ locality_weight_aware: true, scale_locality_weight: true }) - 500) < 55);
});

test('the extension form says the same; what makes no sense is refused by name', () => {
  const inner = extension('round_robin.v3.RoundRobin').load_balancing_policy;
  const config = extension('subset.v3.Subset', { fallback_policy: 'NO_FALLBACK', subset_selectors: BY_VERSION, subset_lb_policy: inner });
  assert.deepEqual(chosen(config, { v: '1' }), { 1: 4, 2: 4 });
  const refused = (more: Partial<Cluster_LbSubsetConfig>, field: RegExp): void =>
    assert.throws(
      () => compileLbPlan(subsets(more)),
      (e) => e instanceof PlanError && field.test(e.message),
    );
  refused({ subset_selectors: [{ keys: ['a', 'b'], single_host_per_subset: true }] }, /single_host_per_subset/);
  refused({ subset_selectors: [{ keys: ['a'], fallback_policy: 'KEYS_SUBSET' }] }, /fallback_keys_subset/);
  refused({ subset_selectors: [{ keys: ['a'], fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['b'] }] }, /fallback_keys_subset/);
  refused({ subset_selectors: [{ keys: ['a'], fallback_keys_subset: ['a'] }] }, /fallback_keys_subset/);
  refused({ locality_weight_aware: true }, /locality_weight_aware/);
});

test('a request goes to the subset that its route, its weighted cluster or the metadata of a filter names', async () => {
  await using one = await httpBackend(() => 'one');
  await using two = await httpBackend(() => 'two');
  const at = (port: number, v: string) => ({
    endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
    ...lbMetadata({ v, stage: 'live' }),
  });
  const cluster: Cluster = {
    name: 'c',
    load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [at(one.port, '1'), at(two.port, '2')] }] },
    lb_subset_config: { subset_selectors: [{ keys: ['stage', 'v'] }] },
  };
  const criteria = (facts: object) => ({ filter_metadata: { 'envoy.lb': facts as never } });
  const routes = [
    { match: { prefix: '/two' }, route: { cluster: 'c', metadata_match: criteria({ v: '2', stage: 'live' }) } },
    {
      match: { prefix: '/weighted' },
      route: {
        metadata_match: criteria({ stage: 'live' }),
        weighted_clusters: { clusters: [{ name: 'c', weight: 1, metadata_match: criteria({ v: '1' }) }] },
      },
    },
    { match: { prefix: '/none' }, route: { cluster: 'c', metadata_match: criteria({ v: '3' }) } },
  ];
  await using rig = await startPlane({ clusters: [cluster], listeners: [listener('l', hcm(routes))] });
  for (let i = 0; i < 3; i++) {
    assert.equal((await fetchOnce(rig.port('l'), '/two')).body, 'two');
    assert.equal((await fetchOnce(rig.port('l'), '/weighted')).body, 'one');
  }
  assert.equal((await fetchOnce(rig.port('l'), '/none')).status, 503);
  assert.equal(rig.http.at(-1)?.flags, 'UH');
});
