// Servers that speak first on ports whose protocol is told from first bytes: the greeting comes at once, and nothing about who
// speaks first lets a connection be taken for what it is not.
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, test } from 'node:test';
import type { FilterChain, Listener, ListenerFilter } from '../../src/xds/gen/types.ts';
import {
  type Backend,
  chains,
  eventually,
  hcm,
  httpBackend,
  ok,
  type Plane,
  RawClient,
  startBackend,
  startPlane,
  staticCluster,
  tcpProxy,
  toCluster,
} from './harness.ts';

const LISTENER = 'type.googleapis.com/envoy.extensions.filters.listener';
const INSPECTORS: readonly ListenerFilter[] = [
  { name: 'tls', typed_config: { '@type': `${LISTENER}.tls_inspector.v3.TlsInspector` } },
  { name: 'http', typed_config: { '@type': `${LISTENER}.http_inspector.v3.HttpInspector` } },
];
const HTTP_MATCH = { transport_protocol: 'raw_buffer', application_protocols: ['http/1.1', 'h2c'] };

/** A port as a mesh has it for an unnamed protocol: HTTP when it is, TCP otherwise. */
const sniffed = (http: FilterChain['filters'], tcp: FilterChain['filters'], more: Partial<Listener> = {}): Listener =>
  chains('auto', [{ name: 'http', filter_chain_match: HTTP_MATCH, filters: http ?? [] }], {
    default_filter_chain: { name: 'tcp', filters: tcp ?? [] },
    listener_filters: INSPECTORS,
    listener_filters_timeout: '0s',
    ...more,
  });

const startSniffed = (port: number, more: Partial<Listener> = {}): Promise<Plane> =>
  startPlane({
    clusters: [staticCluster('app', [port])],
    listeners: [sniffed([hcm([toCluster('app')])], [tcpProxy('app')], more)],
  });

/** A backend that says `greeting` to everybody, then echoes. */
const greeter = async (greeting: string | Buffer): Promise<Backend> => {
  const backend = await startBackend((socket, text) => socket.write(text));
  backend.server.on('connection', (socket: Socket) => socket.write(greeting));
  return backend;
};

const stat = (plane: Plane, name: string): number => plane.plane.stats.find(`server_first.${name}`)?.value ?? 0;
const silence = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('a server that speaks first', () => {
  test('greets a silent client of a sniffed port over the connection that goes on', async () => {
    await using backend = await greeter('220 hello\r\n');
    await using plane = await startSniffed(backend.port);
    const client = await RawClient.open(plane.port('auto'));
    assert.equal(await client.bytes(11), '220 hello\r\n');
    assert.equal(await client.send('EHLO x').bytes(6), 'EHLO x');
    client.close();
    await eventually(() => plane.tcp.length === 1, 'the connection is logged');
    assert.equal(backend.sockets.length, 1);
    assert.deepEqual(
      plane.tcp.map((l) => [l.chain, l.received, l.sent, l.flags]),
      [['tcp', 6, 17, '']],
    );
    assert.equal(stat(plane, 'server_spoke'), 1);
    assert.equal(stat(plane, 'ports_server_first'), 1);
  });

  test('may answer with HTTP requests later: the connection stays TCP', async () => {
    await using backend = await greeter('hello');
    await using plane = await startSniffed(backend.port);
    const client = await RawClient.open(plane.port('auto'));
    await client.bytes(5);
    const request = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
    assert.equal(await client.send(request).bytes(request.length), request);
    client.close();
    assert.equal(plane.http.length, 0);
  });

  test('is known the next time: no wait, and a dead one is told at once', async () => {
    const backend = await greeter('hello');
    await using plane = await startSniffed(backend.port);
    for (let i = 0; i < 2; i++) {
      const client = await RawClient.open(plane.port('auto'));
      await client.bytes(5);
      client.close();
    }
    await backend[Symbol.asyncDispose]();
    const client = await RawClient.open(plane.port('auto'));
    assert.equal(await client.rest(), '');
    await eventually(() => plane.tcp.length === 3, 'the failure is logged');
    assert.equal(plane.tcp[2]?.flags, 'UF,URX');
  });

  test('greets a client that has said too little to be told apart', async () => {
    await using backend = await greeter('hello');
    await using plane = await startSniffed(backend.port);
    const client = (await RawClient.open(plane.port('auto'))).send('G');
    assert.equal(await client.bytes(5), 'hello');
    assert.equal(await client.bytes(1), 'G');
    client.close();
  });

  test('behind TLS inspection alone greets too', async () => {
    await using backend = await greeter('hello');
    await using plane = await startPlane({
      clusters: [staticCluster('app', [backend.port])],
      listeners: [
        chains('auto', [{ filter_chain_match: { transport_protocol: 'raw_buffer' }, filters: [tcpProxy('app')] }], {
          listener_filters: INSPECTORS.slice(0, 1),
        }),
      ],
    });
    const client = await RawClient.open(plane.port('auto'));
    assert.equal(await client.bytes(5), 'hello');
    client.close();
  });
});

describe('a client that speaks first', () => {
  test('at once is served without anything dialled early', async () => {
    await using backend = await httpBackend(() => 'page');
    await using plane = await startSniffed(backend.port);
    const client = await RawClient.open(plane.port('auto'));
    assert.equal((await client.get('/')).body, 'page');
    await silence(10);
    assert.equal(stat(plane, 'dialled'), 0);
    assert.equal(backend.sockets.length, 1);
    client.close();
  });

  test('late with HTTP gets HTTP; the early connection is closed without a byte', async () => {
    await using backend = await httpBackend(() => 'page');
    await using plane = await startSniffed(backend.port);
    const client = await RawClient.open(plane.port('auto'));
    await eventually(() => backend.sockets.length === 1, 'the server side is dialled');
    assert.equal((await client.get('/')).body, 'page');
    assert.deepEqual(
      plane.http.map((l) => [l.status, l.flags, l.chain]),
      [[200, '', 'http']],
    );
    await eventually(() => backend.sockets[0]?.destroyed === true, 'the early connection is closed');
    assert.equal(backend.received[0], '');
    assert.equal(plane.tcp.length, 0);
    client.close();
  });

  test('late with another protocol uses the connection dialled for it', async () => {
    await using backend = await startBackend((socket, text) => socket.write(text));
    await using plane = await startSniffed(backend.port);
    const client = await RawClient.open(plane.port('auto'));
    await eventually(() => backend.sockets.length === 1, 'the server side is dialled');
    assert.equal(await client.send('*1\r\n$4\r\nPING\r\n').bytes(14), '*1\r\n$4\r\nPING\r\n');
    assert.equal(backend.sockets.length, 1);
    client.close();
    await eventually(() => plane.tcp.length === 1, 'logged');
    assert.equal(plane.tcp[0]?.received, 14);
  });

  test('late where nobody listens still gets the answer its protocol has', async () => {
    await using plane = await startSniffed(1);
    const client = await RawClient.open(plane.port('auto'));
    await eventually(() => stat(plane, 'dialled') === 1, 'dialled');
    await silence(20);
    assert.equal(client.ended, false);
    assert.equal((await client.get('/')).status, 503);
    client.close();
  });

  test('never, but leaves: both sides are closed', async () => {
    await using backend = await startBackend(() => {});
    await using plane = await startSniffed(backend.port);
    const client = await RawClient.open(plane.port('auto'));
    await eventually(() => backend.sockets.length === 1, 'dialled');
    client.close();
    await eventually(() => backend.sockets[0]?.destroyed === true, 'the server side is closed');
    const cluster = [...plane.plane.clusters()].find((c) => c.name === 'app');
    for (const host of cluster?.hosts() ?? []) assert.equal(host.stats.cxActive, 0);
  });
});

describe('silence is no way past HTTP policy', () => {
  const denied = [hcm([{ match: { prefix: '/' }, direct_response: { status: 403 } }])];
  const greetings: readonly (readonly [string, Buffer])[] = [
    ['SETTINGS of an HTTP/2 server', Buffer.from('00000604000000000000030000006400000408000000000000ff0000', 'hex')],
    ['empty SETTINGS', Buffer.from('000000040000000000', 'hex')],
    ['a 408 of an HTTP/1 server', Buffer.from('HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n')],
  ];
  for (const [name, greeting] of greetings)
    test(`${name} does not make the connection TCP`, async () => {
      await using backend = await greeter(greeting);
      await using plane = await startPlane({
        clusters: [staticCluster('app', [backend.port])],
        listeners: [sniffed(denied, [tcpProxy('app')])],
      });
      const client = await RawClient.open(plane.port('auto'));
      await eventually(() => stat(plane, 'http_greeting') === 1, 'the greeting came');
      assert.equal((await client.get('/secret')).status, 403);
      assert.equal(plane.tcp.length, 0);
      assert.equal(backend.received.join(''), '');
      client.close();
    });

  test('where L4 filters turn silent clients down nothing is dialled for them', async () => {
    await using backend = await greeter('hello');
    const limit = {
      name: 'limit',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit',
        stat_prefix: 'x',
        max_connections: 1,
      },
    };
    await using plane = await startPlane({
      clusters: [staticCluster('app', [backend.port])],
      listeners: [sniffed([hcm([{ match: { prefix: '/' }, direct_response: { status: 204 } }])], [limit, tcpProxy('app')])],
    });
    const first = await RawClient.open(plane.port('auto'));
    await first.bytes(5);
    const second = await RawClient.open(plane.port('auto'));
    assert.equal((await second.get('/')).status, 204);
    assert.equal(backend.sockets.length, 1);
    first.close();
    second.close();
    await eventually(() => plane.plane.stats.find('connection_limit.x.active_connections')?.value === 0, 'all given back');
  });

  test('where a silent client would be HTTP nothing is dialled', async () => {
    await using backend = await greeter('hello');
    await using plane = await startPlane({
      clusters: [staticCluster('app', [backend.port])],
      listeners: [sniffed([hcm([toCluster('app')])], [hcm([{ match: { prefix: '/' }, direct_response: { status: 204 } }])])],
    });
    const client = await RawClient.open(plane.port('auto'));
    await silence(20);
    assert.equal(stat(plane, 'dialled'), 0);
    assert.equal(backend.sockets.length, 0);
    client.close();
  });
});

test('a fast client of a known HTTP port costs no dial even when it is slow later', async () => {
  await using backend = await httpBackend(() => ok('page'));
  await using plane = await startSniffed(backend.port);
  const fast = await RawClient.open(plane.port('auto'));
  await fast.get('/');
  const slow = await RawClient.open(plane.port('auto'));
  await silence(15);
  assert.equal((await slow.get('/')).body, 'page');
  assert.equal(stat(plane, 'dialled'), 0);
  fast.close();
  slow.close();
});
