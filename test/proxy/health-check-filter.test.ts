// The health_check filter while an operator has asked for failure, over the admin API; a stock Envoy answers the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HttpFilter } from '../../src/xds/gen/types.ts';
import { fetchOnce, hcm, httpBackend, listener, ROUTER, startPlane, staticCluster, toCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const check = (path: string, more: object): HttpFilter => ({
  name: `health-${path}`,
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck',
    headers: [{ name: ':path', string_match: { exact: path } }],
    ...more,
  },
});
const stage = (port: number) => ({
  clusters: [staticCluster('c', [port])],
  listeners: [
    listener(
      'l',
      hcm([toCluster('c')], {
        http_filters: [
          check('/own', { pass_through_mode: false }),
          check('/counted', { pass_through_mode: false, cluster_min_healthy_percentages: { c: { value: 50 } } }),
          check('/passed', { pass_through_mode: true }),
          check('/kept', { pass_through_mode: true, cache_time: '60s' }),
          ROUTER,
        ],
      }),
    ),
  ],
});

const ask = async (port: number): Promise<readonly string[]> => {
  const seen: string[] = [];
  for (const path of ['/own', '/counted', '/passed', '/kept', '/kept', '/other']) {
    const { status, body, headers } = await fetchOnce(port, path);
    const told = ['x-envoy-immediate-health-check-fail', 'x-envoy-degraded'].filter((name) => headers.has(name));
    seen.push([path, status, body, ...told.map((name) => `${name}=${headers.get(name)}`)].join(' ').trimEnd());
  }
  return seen;
};
const WELL = [
  '/own 200',
  '/counted 200',
  '/passed 200 there',
  '/kept 200 there x-envoy-degraded=true',
  '/kept 200  x-envoy-degraded=',
  '/other 200 there',
];
const FAILS = 'x-envoy-immediate-health-check-fail=true';
// A chain has four of them: those that a check is not for speak as well.
const ILL = [...['/own', '/counted', '/passed', '/kept', '/kept'].map((path) => `${path} 503  ${FAILS}`), `/other 200 there ${FAILS}`];
const backend = () =>
  httpBackend((_, head) =>
    head.includes(' /kept ') ? 'HTTP/1.1 200 X\r\nx-envoy-degraded: true\r\ncontent-length: 5\r\n\r\nthere' : 'there',
  );

test('health checks fail as long as an operator wants it, and other answers say so', async () => {
  await using server = await backend();
  await using plane = await startPlane(stage(server.port));
  assert.deepEqual(await ask(plane.port('l')), WELL);
  plane.plane.failHealth(true);
  assert.deepEqual(await ask(plane.port('l')), ILL);
  assert.deepEqual([plane.http.at(-2)?.flags, plane.http.at(-2)?.details], ['LH', 'health_check_failed']);
  plane.plane.failHealth(false);
  assert.deepEqual((await ask(plane.port('l'))).slice(0, 3), WELL.slice(0, 3));
});

test('a stock Envoy does the same', { skip: NO_ENVOY }, async () => {
  await using server = await backend();
  await using envoy = await startEnvoy(stage(server.port));
  assert.deepEqual(await ask(envoy.port('l')), WELL);
  await fetch(`http://${envoy.admin}/healthcheck/fail`, { method: 'POST' });
  assert.deepEqual(await ask(envoy.port('l')), ILL);
  await fetch(`http://${envoy.admin}/healthcheck/ok`, { method: 'POST' });
  assert.deepEqual((await ask(envoy.port('l'))).slice(0, 3), WELL.slice(0, 3));
});
