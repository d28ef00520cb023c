// Slow start: how much a new host takes over time, and that nothing changes once its window is over.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PlanError } from '../../src/plan/plan-error.ts';
import { compileBalancer } from '../../src/proxy/balance/balancer.ts';
import { HostGroup } from '../../src/proxy/balance/host-set.ts';
import { compileLbPlan } from '../../src/proxy/balance/lb-plan.ts';
import { compileSlowStart } from '../../src/proxy/balance/slow-start.ts';
import { Host } from '../../src/proxy/cluster/host.ts';
import type { Cluster } from '../../src/xds/gen/types.ts';

const host = (port: number, addedAtMs: number, weight = 1): Host => {
  const made = new Host('10.0.0.1', port);
  made.addedAtMs = addedAtMs;
  made.weight = weight;
  return made;
};

/** Of 1,000 picks at `now`, how many go to the last host. */
const share = (cluster: Cluster, hosts: readonly Host[], now: number): number => {
  const balancer = compileBalancer(
    compileLbPlan(cluster).policy,
    () => now,
    () => 0,
  );
  const group = new HostGroup(hosts, () => 0.5);
  const last = hosts.at(-1);
  let n = 0;
  for (let i = 0; i < 1000; i++) if (balancer(group, () => 0.5, undefined, 0) === last) n++;
  return n;
};
const about = (n: number, wanted: number): void => assert.ok(Math.abs(n - wanted) <= 12, `${n}, wanted about ${wanted}`);

const WINDOW = { slow_start_window: '60s' };
const DAY = 86_400_000;

describe('slow start', () => {
  for (const [policy, config] of [
    ['ROUND_ROBIN', { round_robin_lb_config: { slow_start_config: WINDOW } }],
    ['LEAST_REQUEST', { least_request_lb_config: { slow_start_config: WINDOW } }],
  ] as const)
    test(`${policy}: a new host's share grows to its own`, () => {
      const cluster: Cluster = { lb_policy: policy, ...config };
      const hosts = () => [host(1, 0), host(2, 0), host(3, DAY)];
      about(share(cluster, hosts(), DAY), (0.1 / 2.1) * 1000);
      about(share(cluster, hosts(), DAY + 30_000), (0.5 / 2.5) * 1000);
      about(share(cluster, hosts(), DAY + 54_000), (0.9 / 2.9) * 1000);
      if (policy === 'ROUND_ROBIN') about(share(cluster, hosts(), DAY + 60_000), 333);
    });

  test('weights count beside it', () => {
    const cluster: Cluster = { lb_policy: 'ROUND_ROBIN', round_robin_lb_config: { slow_start_config: WINDOW } };
    about(share(cluster, [host(1, 0, 1), host(2, DAY, 4)], DAY + 15_000), 500);
    about(share(cluster, [host(1, 0, 1), host(2, DAY, 4)], DAY + 90_000), 800);
  });

  test('the factor follows aggression and has a floor', () => {
    const factor = (config: object, elapsedMs: number) => compileSlowStart({ ...WINDOW, ...config }, 'x')?.factor(elapsedMs);
    assert.equal(factor({}, 15_000), 0.25);
    assert.equal(factor({ aggression: { default_value: 2 } }, 15_000), 0.5);
    assert.equal(factor({ aggression: { default_value: 0.5 } }, 30_000), 0.25);
    assert.equal(factor({}, 0), 0.1);
    assert.equal(factor({ min_weight_percent: { value: 40 } }, 15_000), 0.4);
    assert.equal(factor({ min_weight_percent: { value: 0 } }, 0), 1 / 60);
    assert.equal(factor({}, 60_000), 1);
    assert.equal(compileSlowStart({}, 'x'), undefined);
    assert.throws(() => compileSlowStart({ ...WINDOW, aggression: { default_value: 0 } }, 'x'), PlanError);
  });
});
