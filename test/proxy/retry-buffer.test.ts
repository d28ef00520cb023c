// How much of a request's body is kept to be sent again, and what happens to a request that is larger: as stock Envoy, which plays the
// same rows beside us where there is one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Listener, Route } from '../../src/xds/gen/types.ts';
import { type Backend, hcm, listener, RawClient, startBackend, startPlane, staticCluster } from './harness.ts';
import { exchange, openSession } from './http2-peers.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const K = 1024;

interface Row {
  readonly what: string;
  readonly listener?: Partial<Listener>;
  readonly route?: Partial<Route>;
  readonly body: number;
  readonly client?: 'http2' | 'slow';
  readonly status: number;
}

const ROWS: readonly Row[] = [
  { what: 'what the connection may buffer is sent again', body: 900 * K, status: 200 },
  { what: 'more than the connection may buffer is not', body: 1100 * K, status: 503 },
  { what: 'a smaller limit of the connection', listener: { per_connection_buffer_limit_bytes: 64 * K }, body: 100 * K, status: 503 },
  { what: 'within the limit of the route', route: { per_request_buffer_limit_bytes: 64 * K }, body: 60 * K, status: 200 },
  { what: 'beyond the limit of the route', route: { per_request_buffer_limit_bytes: 64 * K }, body: 100 * K, status: 503 },
  {
    what: 'the route may allow more than the connection',
    route: { per_request_buffer_limit_bytes: 4096 * K },
    body: 2048 * K,
    status: 200,
  },
  { what: 'within the newer limit of the route', route: { request_body_buffer_limit: 4096 * K }, body: 2048 * K, status: 200 },
  { what: 'beyond the newer limit of the route', route: { request_body_buffer_limit: 64 * K }, body: 100 * K, status: 503 },
  {
    what: 'the newer limit of the route before the older',
    route: { per_request_buffer_limit_bytes: 64 * K, request_body_buffer_limit: 4096 * K },
    body: 100 * K,
    status: 200,
  },
  { what: 'a stream of HTTP/2 may have its window', body: 2048 * K, client: 'http2', status: 200 },
  {
    what: 'the connection’s limit is not that of its streams',
    listener: { per_connection_buffer_limit_bytes: 64 * K },
    body: 100 * K,
    client: 'http2',
    status: 200,
  },
  {
    what: 'beyond the limit of the route over HTTP/2',
    route: { per_request_buffer_limit_bytes: 64 * K },
    body: 100 * K,
    client: 'http2',
    status: 503,
  },
  {
    what: 'too much while nobody takes it',
    route: { per_request_buffer_limit_bytes: 64 * K },
    body: 200 * K,
    client: 'slow',
    status: 507,
  },
];

/** Answers 503 to the first request of each path once it is whole, to `early` at once, then 200. */
const failingOnce = (): Promise<Backend> => {
  const seen = new Map<string, number>();
  const left = new Map<object, number>();
  return startBackend((socket, text) => {
    let rest = text;
    let path = '';
    if (!left.has(socket)) {
      const end = text.indexOf('\r\n\r\n');
      path = text.split(' ')[1] ?? '';
      seen.set(path, (seen.get(path) ?? 0) + 1);
      left.set(socket, Number(/content-length: (\d+)/i.exec(text)?.[1]));
      rest = text.slice(end + 4);
    }
    const now = (left.get(socket) ?? 0) - rest.length;
    left.set(socket, now);
    const first = [...seen].at(-1)?.[1] === 1;
    if (now === 0 || path.endsWith('slow'))
      socket.end(`HTTP/1.1 ${first ? '503 x' : '200 x'}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok`);
  });
};

const stage = (backend: Backend) => ({
  clusters: [staticCluster('c', [backend.port], { type: 'STATIC' })],
  listeners: ROWS.map((row, i) => {
    const slow = row.client === 'slow' ? { retry_back_off: { base_interval: '3600s', max_interval: '3600s' } } : {};
    const route = { cluster: 'c', timeout: '0s', retry_policy: { retry_on: '5xx', num_retries: 1, ...slow } };
    return listener(`l${i}`, hcm([{ match: { prefix: '/' }, ...row.route, route }]), row.listener);
  }),
});

const play = async ({ body, client: kind = 'http1' }: { body: number; client?: string }, port: number, path: string): Promise<number> => {
  if (kind === 'http2') {
    const session = await openSession(port);
    const head = { ':method': 'POST', ':path': path, ':authority': 'a', 'content-length': String(body) };
    const { status } = await exchange(session, head, Buffer.alloc(body, 97));
    session.destroy();
    return status;
  }
  const client = await RawClient.open(port);
  client.send(`POST ${path}${kind === 'slow' ? '/slow' : ''} HTTP/1.1\r\nhost: a\r\ncontent-length: ${body}\r\n\r\n`);
  const answered = client.response();
  for (let sent = 0; sent < body && !client.ended; sent += 10 * K) {
    client.send(Buffer.alloc(Math.min(10 * K, body - sent), 97));
    if (kind === 'slow') await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const { status } = await answered;
  client.close();
  return status;
};

const all = async (port: (name: string) => number): Promise<readonly string[]> => {
  const found: string[] = [];
  for (const [i, row] of ROWS.entries()) found.push(`${row.what}: ${await play(row, port(`l${i}`), `/${i}`)}`);
  return found;
};
const EXPECTED = ROWS.map((row) => `${row.what}: ${row.status}`);

test('a body is kept to be sent again within its limits', { timeout: 120_000 }, async () => {
  await using backend = await failingOnce();
  await using p = await startPlane(stage(backend));
  assert.deepEqual(await all((name) => p.port(name)), EXPECTED);
  assert.equal(p.http.at(-1)?.details, 'request_payload_exceeded_retry_buffer_limit');
});

test('the limits of bodies are stock Envoy’s', { timeout: 120_000, skip: NO_ENVOY }, async () => {
  await using backend = await failingOnce();
  await using envoy = await startEnvoy(stage(backend));
  assert.deepEqual(await all((name) => envoy.port(name)), EXPECTED);
});
