// Routes to clusters that are not there (`validate_clusters`): refused in a listener unless it says otherwise, taken by name unless it
// says so, with Envoy's words. Every row is given to Envoy too, where there is one.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PlanError } from '../../src/plan/plan-error.ts';
import type { Listener, RouteAction, RouteConfiguration } from '../../src/xds/gen/types.ts';
import { fetchOnce, hcm, listener, startPlane, staticCluster } from './harness.ts';
import { NO_ENVOY } from './stock-envoy.ts';

const routesTo = (route: RouteAction, more: Partial<RouteConfiguration> = {}): RouteConfiguration => ({
  name: 'r',
  virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route }] }],
  ...more,
});
const weighted = (...clusters: { name?: string; cluster_header?: string; weight: number }[]): RouteAction => ({
  weighted_clusters: { clusters },
});

/** What is refused, '' where it is taken. */
const ROWS: readonly (readonly [config: RouteConfiguration, refusal: string])[] = [
  [routesTo({ cluster: 'known' }), ''],
  [routesTo({ cluster: 'none' }), "route: unknown cluster 'none'"],
  [routesTo({ cluster: 'none' }, { validate_clusters: false }), ''],
  [routesTo({ cluster: 'none', cluster_not_found_response_code: 'NOT_FOUND' }), "route: unknown cluster 'none'"],
  [routesTo({ cluster_header: 'x' }), ''],
  [routesTo(weighted({ name: 'known', weight: 1 }, { name: 'none', weight: 1 })), "route: unknown weighted cluster 'none'"],
  [routesTo(weighted({ name: 'known', weight: 1 }, { name: 'none', weight: 0 })), "route: unknown weighted cluster 'none'"],
  [routesTo(weighted({ name: 'known', weight: 1 }, { cluster_header: 'x', weight: 1 })), ''],
  [routesTo({ cluster: 'known', request_mirror_policies: [{ cluster: 'none' }] }), "route: unknown shadow cluster 'none'"],
  [routesTo({ cluster: 'known', request_mirror_policies: [{ cluster_header: 'x' }] }), ''],
  [routesTo({ cluster: 'known' }, { request_mirror_policies: [{ cluster: 'none' }] }), "route: unknown shadow cluster 'none'"],
];
const inline = (route_config: RouteConfiguration): Listener => listener('in', hcm([], { route_config }));

test('a listener with routes to a cluster that is not there is refused, unless it says otherwise', async () => {
  await using plane = await startPlane({ clusters: [staticCluster('known', [1])] });
  for (const [config, refusal] of ROWS) {
    let seen = '';
    try {
      plane.plane.setListener(inline(config));
    } catch (problem) {
      assert.ok(problem instanceof PlanError);
      seen = problem.message;
    }
    assert.ok(seen.endsWith(refusal) && (seen === '') === (refusal === ''), `${JSON.stringify(config)}: ${seen}`);
  }
});

test('Envoy refuses the same with the same words', { skip: NO_ENVOY }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'route-clusters-'));
  try {
    const path = join(folder, 'envoy.json');
    for (const [config, refusal] of ROWS) {
      writeFileSync(path, JSON.stringify({ static_resources: { clusters: [staticCluster('known', [1])], listeners: [inline(config)] } }));
      const { status, stderr } = spawnSync(process.env['ENVOY'] ?? 'envoy', ['--mode', 'validate', '-c', path], { encoding: 'utf8' });
      assert.deepEqual([status === 0, stderr.includes(refusal)], [refusal === '', true], `${JSON.stringify(config)}: ${stderr}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a cluster counts as there before its endpoints are', async () => {
  await using plane = await startPlane({});
  plane.plane.setCluster({ name: 'later', type: 'EDS', eds_cluster_config: { eds_config: { ads: {} } } });
  plane.plane.setListener(inline(routesTo({ cluster: 'later' })));
});

test('routes that come by their name are taken, unless they ask to be checked', async () => {
  await using plane = await startPlane({ listeners: [] });
  plane.plane.setRoutes(routesTo({ cluster: 'none' }));
  assert.throws(() => plane.plane.setRoutes(routesTo({ cluster: 'none' }, { validate_clusters: true })), /unknown cluster 'none'/);
});

test('a listener stays when its cluster goes, and answers that there is none', async () => {
  await using plane = await startPlane({ clusters: [staticCluster('known', [1])], listeners: [inline(routesTo({ cluster: 'known' }))] });
  plane.plane.removeCluster('known');
  assert.equal((await fetchOnce(plane.port('in'), '/')).status, 503);
});
