// How large a response's head may be, where a cluster says so: as stock Envoy, which plays the same rows beside us.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster, Route } from '../../src/xds/gen/types.ts';
import { fetchOnce, hcm, httpBackend, listener, startPlane, staticCluster } from './harness.ts';
import { http2Backend, protocolOptions } from './http2-peers.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const KIB = 1024;

const stage = async (stack: AsyncDisposableStack) => {
  const fields = (path: string): readonly string[] => {
    const [, , count = '0', bytes = '0'] = path.split('/');
    return Array.from({ length: Number(count) }, () => 'a'.repeat(Number(bytes)));
  };
  const http1 = stack.use(
    await httpBackend((_, head) => {
      const lines = fields(head.split(' ')[1] ?? '').map((value, i) => `x-${i}: ${value}\r\n`);
      return `HTTP/1.1 200 OK\r\n${lines.join('')}content-length: 2\r\n\r\nok`;
    }),
  );
  const http2 = stack.use(
    await http2Backend((stream, headers) => {
      const more = Object.fromEntries(fields(headers[':path'] ?? '').map((value, i) => [`x-${i}`, value]));
      stream.respond({ ':status': 200, ...more });
      stream.end('ok');
    }),
  );
  const common = { common_http_protocol_options: { max_response_headers_kb: 30, max_headers_count: 20 } };
  const of = (name: string, options: object): Cluster =>
    staticCluster(name, [name.startsWith('h1') ? http1.port : http2.port], { type: 'STATIC', ...protocolOptions(options) });
  const [h1, h2] = [{ explicit_http_config: { http_protocol_options: {} } }, { explicit_http_config: { http2_protocol_options: {} } }];
  const clusters = [of('h1', h1), of('h1more', { ...common, ...h1 }), of('h2', h2), of('h2more', { ...common, ...h2 })];
  const routes: Route[] = clusters.map((c) => ({ match: { prefix: `/${c.name}/` }, route: { cluster: c.name ?? '' } }));
  return { clusters, listeners: [listener('l', hcm(routes))] };
};

/** Path: cluster, fields, bytes of each. */
const ROWS: readonly (readonly [string, number])[] = [
  [`/h1/9/${7 * KIB}`, 200],
  [`/h1/9/${10 * KIB}`, 502],
  [`/h1more/9/${3 * KIB}`, 200],
  [`/h1more/9/${4 * KIB}`, 502],
  ['/h1/90/1', 200],
  ['/h1more/30/1', 502],
  [`/h2/9/${6 * KIB}`, 200],
  [`/h2more/9/${3 * KIB}`, 200],
  [`/h2more/9/${4 * KIB}`, 503],
  ['/h2/90/1', 200],
  ['/h2more/30/1', 503],
];

const statuses = async (port: number): Promise<readonly (readonly [string, number])[]> => {
  const found: [string, number][] = [];
  for (const [path] of ROWS) found.push([path, (await fetchOnce(port, path)).status]);
  return found;
};

test('a response head is taken up to what its cluster allows', { timeout: 120_000 }, async () => {
  await using stack = new AsyncDisposableStack();
  const p = stack.use(await startPlane(await stage(stack)));
  assert.deepEqual(await statuses(p.port('l')), ROWS);
});

test('stock Envoy takes the same response heads', { timeout: 120_000, skip: NO_ENVOY }, async () => {
  await using stack = new AsyncDisposableStack();
  const envoy = stack.use(await startEnvoy(await stage(stack)));
  assert.deepEqual(await statuses(envoy.port('l')), ROWS);
});
