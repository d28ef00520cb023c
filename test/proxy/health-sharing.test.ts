// Health and membership over time: one of several workers asks the hosts and all know what it found; endpoints that go stale, whose
// set changes, or that do not count before their first check.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AllWorkers } from '../../src/proxy/workers/all-workers.ts';
import { SharedSlots } from '../../src/proxy/workers/shared-slots.ts';
import { Signals } from '../../src/proxy/workers/signals.ts';
import type { Cluster, ClusterLoadAssignment } from '../../src/xds/gen/types.ts';
import { eventually, fetchOnce, hcm, httpBackend, listener, ok, type Plane, startPlane, staticCluster, toCluster } from './harness.ts';

const flags = ({ plane }: Plane): string[] =>
  [...plane.clusters()].flatMap((c) =>
    [...c.hosts()].map(({ checks }) =>
      Object.entries(checks)
        .filter(([, set]) => set)
        .map(([name]) => name)
        .join(),
    ),
  );
const warm = ({ plane }: Plane): boolean => [...plane.clusters()].every((c) => c.warm);
const stat = ({ plane }: Plane, name: string): number => plane.stats.find(`cluster.c.${name}`)?.value ?? 0;

/** Two workers in one thread, each told at once of what the other says. */
const workers = (): readonly AllWorkers[] => {
  const slots = new SharedSlots(undefined, 64);
  const signals: Signals[] = [];
  for (const n of [0, 1]) signals.push(new Signals((key) => setImmediate(() => signals[1 - n]?.hear(key))));
  return signals.map((own, n) => new AllWorkers(slots, own, n === 0, () => performance.now()));
};

test('one worker asks, all know; what another hears from a host counts for all', async () => {
  let failing = false;
  const connections = new Set<string>();
  await using one = await httpBackend((_n, head) => {
    if (!/ \/hc /.test(head)) return ok('one', failing ? 'x-envoy-immediate-health-check-fail: 1\r\n' : '');
    connections.add(head);
    return failing ? 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n' : 'fine';
  });
  const cluster = staticCluster('c', [one.port], {
    common_lb_config: { healthy_panic_threshold: {} },
    health_checks: [
      {
        timeout: '1s',
        interval: '0.05s',
        no_traffic_interval: '0.05s',
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        http_health_check: { path: '/hc' },
      },
    ],
  });
  const resources = { clusters: [cluster], listeners: [listener('l', hcm([toCluster('c')]))] };
  const [first, second] = workers();
  assert.ok(first && second);
  await using asks = await startPlane(resources, { sharing: first });
  await using listens = await startPlane(resources, { sharing: second });
  await eventually(() => warm(asks) && warm(listens), 'both are warm');
  assert.ok(stat(asks, 'health_check.attempt') > 0);
  assert.equal(stat(listens, 'health_check.attempt'), 0);
  assert.equal((await fetchOnce(listens.port('l'), '/')).body, 'one');
  failing = true;
  await eventually(() => flags(listens)[0] === 'failed', 'both know that it fails');
  assert.deepEqual(flags(asks), ['failed']);
  assert.equal((await fetchOnce(listens.port('l'), '/')).status, 503);
  failing = false;
  await eventually(() => flags(listens)[0] === '' && flags(asks)[0] === '', 'and that it is back');
});

test('an answer that fails its host at once does so for all workers', async () => {
  await using one = await httpBackend((_n, head) =>
    / \/hc /.test(head) ? 'fine' : ok('one', 'x-envoy-immediate-health-check-fail: 1\r\n'),
  );
  const cluster = staticCluster('c', [one.port], {
    common_lb_config: { healthy_panic_threshold: {} },
    health_checks: [
      {
        timeout: '1s',
        interval: '60s',
        no_traffic_interval: '60s',
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        http_health_check: { path: '/hc' },
      },
    ],
  });
  const resources = { clusters: [cluster], listeners: [listener('l', hcm([toCluster('c')]))] };
  const [first, second] = workers();
  assert.ok(first && second);
  await using asks = await startPlane(resources, { sharing: first });
  await using hears = await startPlane(resources, { sharing: second });
  await eventually(() => warm(asks) && warm(hears), 'both are warm');
  assert.equal((await fetchOnce(hears.port('l'), '/')).body, 'one');
  await eventually(() => flags(asks)[0] === 'failed,excluded', 'the one that asks knows');
  assert.equal((await fetchOnce(asks.port('l'), '/')).status, 503);
});

const EDS: Cluster = { name: 'c', type: 'EDS', eds_cluster_config: { eds_config: { ads: {} } } };
const assignment = (ports: readonly number[], policy: ClusterLoadAssignment['policy'] = {}): ClusterLoadAssignment => ({
  ...staticCluster('c', ports).load_assignment,
  policy,
});

test('endpoints that nobody renews are gone after their time', async () => {
  await using one = await httpBackend(() => 'one');
  await using rig = await startPlane({ clusters: [EDS], listeners: [listener('l', hcm([toCluster('c')]))] });
  rig.plane.setEndpoints(assignment([one.port], { endpoint_stale_after: '0.15s' }));
  assert.equal((await fetchOnce(rig.port('l'), '/')).body, 'one');
  await eventually(() => stat(rig, 'membership_total') === 0, 'stale');
  assert.equal((await fetchOnce(rig.port('l'), '/')).status, 503);
  rig.plane.setEndpoints(assignment([one.port]));
  assert.equal((await fetchOnce(rig.port('l'), '/')).body, 'one');
});

test('a change of the set of hosts closes connections where that is asked for, an update of the same does not', async () => {
  for (const asked of [true, false]) {
    await using one = await httpBackend(() => 'one');
    await using two = await httpBackend(() => 'two');
    const cluster = { ...EDS, common_lb_config: { close_connections_on_host_set_change: asked } };
    await using rig = await startPlane({ clusters: [cluster], listeners: [listener('l', hcm([toCluster('c')]))] });
    rig.plane.setEndpoints(assignment([one.port]));
    await fetchOnce(rig.port('l'), '/');
    rig.plane.setEndpoints(assignment([one.port], { overprovisioning_factor: 150 }));
    await fetchOnce(rig.port('l'), '/');
    assert.equal(one.sockets.length, 1);
    rig.plane.setEndpoints(assignment([one.port, two.port]));
    for (let i = 0; i < 4; i++) await fetchOnce(rig.port('l'), '/');
    assert.equal(one.sockets.length, asked ? 2 : 1);
  }
});

test('a host that was not asked yet counts, and panic comes, unless new hosts are to be ignored', async () => {
  for (const ignored of [true, false]) {
    await using one = await httpBackend(() => 'one');
    await using late = await httpBackend((_n, head) => (/ \/hc /.test(head) ? 'silent' : 'late'));
    const cluster: Cluster = {
      ...EDS,
      common_lb_config: { ignore_new_hosts_until_first_hc: ignored, healthy_panic_threshold: { value: 60 } },
      health_checks: [
        {
          timeout: '30s',
          interval: '30s',
          no_traffic_interval: '30s',
          unhealthy_threshold: 1,
          healthy_threshold: 1,
          http_health_check: { path: '/hc' },
        },
      ],
    };
    await using rig = await startPlane({ clusters: [cluster], listeners: [listener('l', hcm([toCluster('c')]))] });
    rig.plane.setEndpoints(assignment([one.port]));
    await eventually(() => warm(rig), 'warm');
    rig.plane.setEndpoints(assignment([one.port, late.port]));
    assert.deepEqual(flags(rig), ['', ignored ? 'failed,pending' : 'failed']);
    assert.equal(stat(rig, 'membership_excluded'), ignored ? 1 : 0);
    const bodies: string[] = [];
    for (let i = 0; i < 4; i++) bodies.push((await fetchOnce(rig.port('l'), '/')).body);
    assert.equal(bodies.includes('late'), !ignored);
  }
});
