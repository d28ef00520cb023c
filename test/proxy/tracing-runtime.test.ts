// Runtime keys about tracing in a bootstrap: which requests are traced, beside a stock Envoy with the same bootstrap.
import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { loadBootstrap } from '../../src/proxy/bootstrap/load-bootstrap.ts';
import { ProxyServer } from '../../src/proxy/bootstrap/proxy-server.ts';
import type { Bootstrap, JsonObject, Listener, Route } from '../../src/xds/gen/types.ts';
import { hcm, listener, startBackend, staticCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const ROUTES: readonly Route[] = [
  {
    match: { prefix: '/own' },
    route: { cluster: 'app' },
    tracing: { random_sampling: { numerator: 0 }, client_sampling: { numerator: 100 } },
  },
  { match: { prefix: '/' }, route: { cluster: 'app' } },
];
const zipkin = {
  '@type': 'type.googleapis.com/envoy.config.trace.v3.ZipkinConfig',
  ...{ collector_cluster: 'zipkin', collector_endpoint: '/api/v2/spans', collector_endpoint_version: 'HTTP_JSON' },
} as { '@type': string };
const LISTENERS: readonly Listener[] = [
  listener(
    'main',
    hcm(ROUTES, { tracing: { provider: { name: 'envoy.tracers.zipkin', typed_config: zipkin }, random_sampling: { value: 100 } } }),
  ),
];

const ID = '-3ef9-4cdc-a329-25489019b42c';
/** Of which the last four digits of the first part, as a number, are the draw. */
const REQUESTS: readonly (readonly [path: string, headers: Readonly<Record<string, string>>])[] = [
  ...['/', '/own'].flatMap((path) =>
    ['00000000', '00000031', '00001387', '0000270f'].map((draw) => [path, { 'x-request-id': draw + ID }] as const),
  ),
  ['/', { 'x-client-trace-id': 'mine', 'x-request-id': `0000270e${ID}` }],
  ['/', { 'x-envoy-force-trace': 'true', 'x-request-id': `0000270e${ID}` }],
];

const RUNTIMES: readonly JsonObject[] = [
  {},
  { 'tracing.random_sampling': 50 },
  { 'tracing.random_sampling': 0, 'tracing.client_enabled': 0 },
  { tracing: { global_enabled: 50 } },
  { 'tracing.random_sampling': { numerator: 50, denominator: 'TEN_THOUSAND' } },
  { 'tracing.client_enabled': { numerator: 0, denominator: 'MILLION' }, 'tracing.random_sampling': 0 },
];

const ask = (port: number, path: string, headers: Readonly<Record<string, string>>): Promise<void> =>
  new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    request.on('error', reject);
    request.end();
  });

const sampled = async (port: number, seen: string[]): Promise<readonly string[]> => {
  seen.length = 0;
  for (const [path, headers] of REQUESTS) await ask(port, path, headers);
  return [...seen];
};

const log = createLog(
  'test',
  () => undefined,
  () => new Date(),
);

test('runtime keys stand over the sampling of listeners and routes, as in an Envoy', { skip: NO_ENVOY }, async () => {
  const seen: string[] = [];
  await using app = await startBackend((socket, text) => {
    seen.push(/^x-b3-sampled: (\d)\r$/im.exec(text)?.[1] ?? '-');
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
  });
  const clusters = [staticCluster('app', [app.port]), staticCluster('zipkin', [1])];
  const found = new Set<string>();
  for (const values of RUNTIMES) {
    const layered_runtime = { layers: [{ name: 'static', static_layer: values }] };
    const written: Bootstrap = { node: { id: 'n', cluster: 'c' }, layered_runtime, static_resources: { clusters, listeners: LISTENERS } };
    const { bootstrap } = await loadBootstrap(JSON.stringify(written));
    const server = new ProxyServer({ bootstrap, log, version: '0.0.0', quit: () => undefined });
    let ours: readonly string[] = [];
    try {
      server.start();
      await server.whenLive();
      const main = [...server.dataPlane.listeners()].find((l) => l.name === 'main');
      ours = await sampled(Number(/:(\d+)$/.exec(main?.localAddress ?? '')?.[1]), seen);
    } finally {
      await server.close();
    }
    await using envoy = await startEnvoy({ clusters, listeners: LISTENERS }, { node: { id: 'n', cluster: 'c' }, layered_runtime });
    assert.deepEqual(ours, await sampled(envoy.port('main'), seen), JSON.stringify(values));
    found.add(ours.join());
  }
  // Of the six, two come to what another does.
  assert.equal(found.size, 4, 'runtimes make a difference');
});

test('other keys about tracing are named as changing nothing', async () => {
  const values = { 'tracing.random_sampling': { numerator: 1 }, 'tracing.opentelemetry.flush_interval_ms': 100, 'other.key': 1 };
  const { inert } = await loadBootstrap(JSON.stringify({ layered_runtime: { layers: [{ name: 's', static_layer: values }] } }));
  assert.deepEqual(
    inert.filter((name) => /runtime ./.test(name)),
    ['layered_runtime tracing.opentelemetry.flush_interval_ms'],
  );
});
