// Extended CONNECT and Expect as ways around what a policy sees: what the server is asked, and which policy lets it, are what stock Envoy makes
// of the same bytes (where one is installed).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HttpConnectionManager, HttpFilter } from '../../src/xds/gen/types.ts';
import { hcm, listener, RawClient, ROUTER, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';
import { block, END_HEADERS, FRAME, frame, rawClient } from './http2-peers.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

type Fields = readonly (readonly [string, string])[];
const connectTo = (path: string, ...more: Fields): Fields => [
  [':method', 'CONNECT'],
  [':protocol', 'websocket'],
  [':scheme', 'http'],
  [':authority', 'a.test'],
  [':path', path],
  ...more,
];

const RBAC = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC';
/** Denies /admin and below, and every CONNECT. */
const policy: HttpFilter = {
  name: 'envoy.filters.http.rbac',
  typed_config: {
    '@type': RBAC,
    rules: {
      action: 'DENY',
      policies: {
        admin: {
          permissions: [
            { url_path: { path: { prefix: '/admin' } } },
            { header: { name: ':method', string_match: { exact: 'CONNECT' } } },
            { header: { name: 'x-kind', string_match: { exact: 'evil' } } },
          ],
          principals: [{ any: true }],
        },
      },
    },
  },
};
const buffer: HttpFilter = {
  name: 'envoy.filters.http.buffer',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer', max_request_bytes: 16 },
};

const NORMAL: Partial<HttpConnectionManager> = {
  normalize_path: true,
  merge_slashes: true,
  path_with_escaped_slashes_action: 'UNESCAPE_AND_FORWARD',
};
const stage = (port: number) => ({
  clusters: [staticCluster('app', [port], { type: 'STATIC' })],
  listeners: [
    listener(
      'h2',
      hcm([toCluster('app')], {
        ...NORMAL,
        upgrade_configs: [{ upgrade_type: 'websocket' }],
        http2_protocol_options: { allow_connect: true },
        http_filters: [policy, ROUTER],
      }),
    ),
    listener('passes', hcm([toCluster('app')], { proxy_100_continue: true, http_filters: [buffer, ROUTER] })),
    listener('answers', hcm([toCluster('app')], { http_filters: [buffer, ROUTER] })),
  ],
});

const ROWS: readonly (readonly [what: string, fields: Fields])[] = [
  ['a socket that is allowed', connectTo('/socket')],
  ['one that is denied', connectTo('/admin')],
  ['denied behind dots', connectTo('/x/../admin')],
  ['denied behind dots with parameters', connectTo('/x/..;a/admin')],
  ['denied behind an escaped slash', connectTo('/x%2f..%2fadmin')],
  ['denied behind doubled slashes', connectTo('//admin')],
  ['with a fragment', connectTo('/socket#/admin')],
  ['with a query', connectTo('/socket?/../admin')],
  ['without a path', connectTo('').filter(([name]) => name !== ':path')],
  ['with an empty path', connectTo('')],
  ['with a path that is none', connectTo('admin')],
  ['another protocol', connectTo('/socket').map(([name, text]) => [name, name === ':protocol' ? 'raw' : text] as const)],
  ['with an upgrade header', connectTo('/socket', ['upgrade', 'h2c'])],
  ['with connection headers', connectTo('/socket', ['connection', 'x-kind'], ['x-kind', 'evil'])],
  ['with a denied header', connectTo('/socket', ['x-kind', 'evil'])],
  ['a method of its own', [...connectTo('/socket').slice(1), [':method', 'GET']]],
];

/** Status, or how the stream ended; the request line that the server was sent. */
const ask = async (port: number, fields: Fields, seen: () => string): Promise<string> => {
  using client = await rawClient(port);
  client.send(frame(FRAME.headers, END_HEADERS, 1, block(fields)));
  const met = await client.until((f) => f.id === 1 && (f.type === FRAME.headers || f.type === FRAME.reset), 1500).catch(() => undefined);
  const line = seen();
  if (met === undefined) return client.closed ? 'closed' : 'silence';
  return met.type === FRAME.reset ? 'reset' : `answer ${line}`;
};

const upgradingBackend = async () => {
  let last = '';
  const backend = await startBackend((socket, text) => {
    if (!text.includes('HTTP/1.1\r\n')) return;
    last = `${text.slice(0, text.indexOf('\r\n'))} ${/\r\nupgrade: (.*)\r\n/i.exec(text)?.[1] ?? ''}`;
    socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n');
  });
  const take = (): string => {
    const line = last;
    last = '';
    return line;
  };
  return { backend, take };
};

test('a socket opened by extended CONNECT is what its path says to the policy and to the server alike', async () => {
  const { backend, take } = await upgradingBackend();
  await using _ = backend;
  await using plane = await startPlane(stage(backend.port));
  const met = async (what: string): Promise<string> => ask(plane.port('h2'), ROWS.find(([name]) => name === what)?.[1] ?? [], take);
  assert.equal(await met('a socket that is allowed'), 'answer GET /socket HTTP/1.1 websocket');
  for (const [what] of ROWS.filter(([name]) => /denied/.test(name))) assert.equal(await met(what), 'answer ', what);
});

test('every form of it meets what it meets with stock Envoy', { skip: NO_ENVOY, timeout: 120_000 }, async () => {
  const { backend, take } = await upgradingBackend();
  await using _ = backend;
  await using plane = await startPlane(stage(backend.port));
  await using envoy = await startEnvoy(stage(backend.port));
  for (const [what, fields] of ROWS) {
    const ours = await ask(plane.port('h2'), fields, take);
    assert.equal(ours, await ask(envoy.port('h2'), fields, take), what);
  }
});

/** Heads, then `body` once something was answered or nothing was for a while. */
const expecting = async (port: number, head: string, body: string): Promise<string> => {
  const client = await RawClient.open(port);
  try {
    client.send(`POST / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n${head}\r\n`);
    const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 250));
    const pending = client.response();
    pending.catch(() => {});
    const first = await Promise.race([pending, late]);
    if (first !== undefined && first.status >= 200) return `${first.status} at once`;
    client.send(body);
    const last = first === undefined ? await pending : await client.response();
    const final = last.status < 200 ? await client.response() : last;
    return `${first?.status ?? 'silence'}, ${final.status} ${final.body}`;
  } catch {
    return 'closed';
  } finally {
    client.close();
  }
};

const EXPECTATIONS: readonly (readonly [head: string, body: string])[] = [
  ['expect: 100-continue\r\ncontent-length: 5\r\n', 'hello'],
  ['expect: 100-Continue\r\ncontent-length: 5\r\n', 'hello'],
  ['expect: 100-continue\r\ntransfer-encoding: chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'],
  ['expect: 100-continue\r\ncontent-length: 40\r\n', 'x'.repeat(40)],
  ['expect: 100-continue\r\ncontent-length: 0\r\n', ''],
  ['expect: 200-ok\r\ncontent-length: 5\r\n', 'hello'],
  ['expect: 100-continue, x\r\ncontent-length: 5\r\n', 'hello'],
  ['expect: \r\ncontent-length: 5\r\n', 'hello'],
];

test('a body that is held back until it is asked for reaches a filter that needs it, as with stock Envoy', {
  skip: NO_ENVOY,
  timeout: 120_000,
}, async () => {
  await using backend = await startBackend((socket, text) => {
    if (/\r\n\r\n/.test(text)) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok');
  });
  await using plane = await startPlane(stage(backend.port));
  await using envoy = await startEnvoy(stage(backend.port));
  for (const on of ['passes', 'answers'])
    for (const [head, body] of EXPECTATIONS) {
      const [ours, theirs] = await Promise.all([expecting(plane.port(on), head, body), expecting(envoy.port(on), head, body)]);
      assert.equal(ours, theirs, `${on}: ${JSON.stringify(head)}`);
    }
});
