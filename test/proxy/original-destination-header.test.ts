// ORIGINAL_DST clusters that take a request's word for where it goes, as stock Envoy does, which plays the same requests beside us.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HttpFilter } from '../../src/xds/gen/types.ts';
import { fetchOnce, hcm, httpBackend, listener, ROUTER, startPlane } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const cluster = (name: string, more: object) => ({
  name,
  type: 'ORIGINAL_DST' as const,
  lb_policy: 'CLUSTER_PROVIDED' as const,
  connect_timeout: '1s',
  original_dst_lb_config: more,
});
/** Says where to go, to whom listens. */
const says = (to: string): HttpFilter => ({
  name: 'says',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config',
    metadata: [{ metadata_namespace: 'found', value: { to } }],
  },
});
const stage = (port: number) => ({
  clusters: [
    cluster('own', { use_http_header: true }),
    cluster('named', { use_http_header: true, http_header_name: 'X-To' }),
    cluster('off', {}),
    cluster('found', { metadata_key: { key: 'found', path: [{ key: 'to' }] } }),
    cluster('both', { use_http_header: true, metadata_key: { key: 'found', path: [{ key: 'to' }] } }),
    cluster('port', { use_http_header: true, upstream_port_override: port }),
  ],
  listeners: ['own', 'named', 'off', 'found', 'both', 'port'].map((name) =>
    listener(name, hcm([{ match: { prefix: '/' }, route: { cluster: name } }], { http_filters: [says(`127.0.0.1:${port}`), ROUTER] })),
  ),
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
    ['found', ''],
    ['both', 'x-envoy-original-dst-host: name.test:80\r\n'],
    ['port', 'x-envoy-original-dst-host: 127.0.0.1:1\r\n'],
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
  'found : 200 here',
  'both x-envoy-original-dst-host: 200 here',
  'port x-envoy-original-dst-host: 200 here',
];

test('a request goes where its header says, if the cluster listens to it', { timeout: 120_000 }, async () => {
  await using backend = await httpBackend(() => 'here');
  await using p = await startPlane(stage(backend.port));
  assert.deepEqual(await statuses((name) => p.port(name), backend.port), EXPECTED);
});

test('stock Envoy sends it there as well', { timeout: 120_000, skip: NO_ENVOY }, async () => {
  await using backend = await httpBackend(() => 'here');
  await using envoy = await startEnvoy(stage(backend.port));
  assert.deepEqual(await statuses((name) => envoy.port(name), backend.port), EXPECTED);
});
