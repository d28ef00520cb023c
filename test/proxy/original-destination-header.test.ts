// ORIGINAL_DST clusters that take a request's word for where it goes, as stock Envoy does, which plays the same requests beside us.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fetchOnce, hcm, httpBackend, listener, startPlane } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const cluster = (name: string, more: object) => ({
  name,
  type: 'ORIGINAL_DST' as const,
  lb_policy: 'CLUSTER_PROVIDED' as const,
  connect_timeout: '1s',
  original_dst_lb_config: more,
});
const stage = () => ({
  clusters: [
    cluster('own', { use_http_header: true }),
    cluster('named', { use_http_header: true, http_header_name: 'X-To' }),
    cluster('off', {}),
  ],
  listeners: ['own', 'named', 'off'].map((name) => listener(name, hcm([{ match: { prefix: '/' }, route: { cluster: name } }]))),
});

const statuses = async (port: (listener: string) => number, backend: number): Promise<readonly string[]> => {
  const here = `127.0.0.1:${backend}`;
  const found: string[] = [];
  for (const [name, headers] of [
    ['own', `x-envoy-original-dst-host: ${here}\r\n`],
    ['own', 'x-envoy-original-dst-host: name.test:80\r\n'],
    ['own', 'x-envoy-original-dst-host: 127.0.0.1\r\n'],
    ['own', ''],
    ['named', `x-to: ${here}\r\n`],
    ['named', `x-envoy-original-dst-host: ${here}\r\n`],
    ['off', `x-envoy-original-dst-host: ${here}\r\n`],
  ] as const) {
    const { status, body } = await fetchOnce(port(name), '/', headers);
    found.push(`${name} ${headers.split(':')[0]}: ${status} ${body}`);
  }
  return found;
};

const EXPECTED = [
  'own x-envoy-original-dst-host: 200 here',
  'own x-envoy-original-dst-host: 503 no healthy upstream',
  'own x-envoy-original-dst-host: 503 no healthy upstream',
  'own : 503 no healthy upstream',
  'named x-to: 200 here',
  'named x-envoy-original-dst-host: 503 no healthy upstream',
  'off x-envoy-original-dst-host: 503 no healthy upstream',
];

test('a request goes where its header says, if the cluster listens to it', { timeout: 20_000 }, async () => {
  await using backend = await httpBackend(() => 'here');
  await using p = await startPlane(stage());
  assert.deepEqual(await statuses((name) => p.port(name), backend.port), EXPECTED);
});

test('stock Envoy sends it there as well', { timeout: 30_000, skip: NO_ENVOY }, async () => {
  await using backend = await httpBackend(() => 'here');
  await using envoy = await startEnvoy(stage());
  assert.deepEqual(await statuses((name) => envoy.port(name), backend.port), EXPECTED);
});
