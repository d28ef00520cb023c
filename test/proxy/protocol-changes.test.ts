// Requests that ask for another protocol, and what their upstreams make of it: a body is never taken for a second request, and no tunnel
// is opened that the two sides do not agree on.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import type { HttpConnectionManager } from '../../src/xds/gen/types.ts';
import { eventually, hcm, listener, RawClient, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';
import { recordingBackend } from './smuggling-rig.ts';

const SECOND = 'GET /second HTTP/1.1\r\nHost: a\r\n\r\n';
const ASKS = 'Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';
const CONNECT = { match: { connect_matcher: {} }, route: { cluster: 'c' } };

const start = (port: number, more: Partial<HttpConnectionManager> = {}) =>
  startPlane({
    clusters: [staticCluster('c', [port])],
    listeners: [
      listener(
        'l',
        hcm([CONNECT, toCluster('c')], { upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'CONNECT' }], ...more }),
      ),
    ],
  });

describe('a request that asks for another protocol', () => {
  for (const [what, framing, body] of [
    ['a length', `Content-Length: ${SECOND.length}\r\n`, SECOND],
    ['chunks', 'Transfer-Encoding: chunked\r\n', `${SECOND.length.toString(16)}\r\n${SECOND}\r\n0\r\n\r\n`],
  ] as const)
    for (const method of ['GET', 'POST'])
      test(`and has a body of ${what} (${method}) is served without the change, and is one request upstream`, {
        timeout: 60_000,
      }, async () => {
        await using backend = await recordingBackend();
        await using plane = await start(backend.port);
        const client = await RawClient.open(plane.port('l'));
        client.send(`${method} /a HTTP/1.1\r\n${ASKS}${framing}\r\n${body}`);
        assert.equal((await client.response()).body, 'for /a');
        assert.equal((await client.get('/next')).body, 'for /next');
        assert.deepEqual(backend.take(), [`${method} a /a ${SECOND}`, 'GET a.test /next ']);
        client.close();
      });

  for (const [what, head] of [
    ['names no protocol', 'connection: upgrade\r\n'],
    ['names another protocol', 'connection: upgrade\r\nupgrade: other\r\n'],
    ['names two', 'connection: upgrade\r\nupgrade: websocket, other\r\n'],
    ['changes nothing on the connection', 'upgrade: websocket\r\n'],
    ['is of HTTP/1.0', ''],
  ] as const)
    test(`is not answered by a 101 that ${what}`, { timeout: 60_000 }, async () => {
      const version = head === '' ? '1.0' : '1.1';
      const lines = head === '' ? 'connection: upgrade\r\nupgrade: websocket\r\n' : head;
      await using backend = await startBackend((socket) => socket.write(`HTTP/${version} 101 Switching Protocols\r\n${lines}\r\nhello`));
      await using plane = await start(backend.port);
      const client = await RawClient.open(plane.port('l'));
      assert.equal((await client.send(`GET /a HTTP/1.1\r\n${ASKS}\r\n`).response()).status, 502);
      await eventually(() => plane.http.length === 1, 'it is told');
      assert.equal(plane.http[0]?.flags, 'UPE');
      client.close();
    });

  for (const second of ['websocket', 'h2c', 'other'])
    test(`is refused when it asks in two lines, the second for ${second}`, { timeout: 60_000 }, async () => {
      await using backend = await recordingBackend();
      await using plane = await start(backend.port);
      const client = await RawClient.open(plane.port('l'));
      assert.equal((await client.send(`GET /a HTTP/1.1\r\n${ASKS}Upgrade: ${second}\r\n\r\n`).response()).status, 403);
      assert.deepEqual(backend.take(), []);
      client.close();
    });

  test('takes a 101 that writes the name otherwise', { timeout: 60_000 }, async () => {
    await using backend = await startBackend((socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n'),
    );
    await using plane = await start(backend.port);
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.send(`GET /a HTTP/1.1\r\n${ASKS}\r\n`).response()).status, 101);
    client.close();
  });
});

describe('CONNECT', () => {
  test('asks its upstream for nothing else', { timeout: 60_000 }, async () => {
    await using backend = await startBackend((socket) => socket.write('HTTP/1.1 200 OK\r\n\r\n'));
    await using plane = await start(backend.port);
    const client = await RawClient.open(plane.port('l'));
    client.send(`CONNECT a:80 HTTP/1.1\r\n${ASKS}\r\n`);
    await eventually(() => backend.received[0]?.endsWith('\r\n\r\n') === true, 'it goes upstream');
    assert.doesNotMatch(backend.received[0] ?? '', /upgrade/i);
    client.close();
  });

  for (const framing of ['content-length: 2', 'transfer-encoding: chunked', 'content-length: 2\r\ntransfer-encoding: chunked'])
    test(`is accepted whatever length its acceptance names: ${JSON.stringify(framing)}`, { timeout: 60_000 }, async () => {
      await using backend = await startBackend((socket) => socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\nhello`));
      await using plane = await start(backend.port);
      const client = await RawClient.open(plane.port('l'));
      let seen = '';
      client.socket.on('data', (bytes) => {
        seen += bytes.toString('latin1');
      });
      client.send('CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n');
      await eventually(() => seen.endsWith('\r\n\r\nhello'), 'the tunnel is open');
      assert.match(seen, /^HTTP\/1.1 200 /);
      assert.doesNotMatch(seen, /content-length|transfer-encoding/);
      client.close();
    });
});

describe('versions', () => {
  test('a client of HTTP/1.0 gets no leave to send its body, for it knows none', { timeout: 60_000 }, async () => {
    await using backend = await recordingBackend();
    await using plane = await start(backend.port, { http_protocol_options: { accept_http_10: true } });
    const client = await RawClient.open(plane.port('l'));
    client.send('POST /a HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc');
    const all = await client.rest();
    assert.match(all, /^HTTP\/1\.1 200 OK\r\n/);
    client.close();
  });

  test('an answer of a later HTTP/1 is read as HTTP/1.1', { timeout: 60_000 }, async () => {
    await using backend = await startBackend((socket) => socket.write('HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok'));
    await using plane = await start(backend.port);
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.get('/1')).body, 'ok');
    assert.equal((await client.get('/2')).body, 'ok');
    assert.equal(backend.sockets.length, 1);
    client.close();
  });
});

test('HEAD that is refused has no body', { timeout: 60_000 }, async () => {
  await using backend = await recordingBackend();
  await using plane = await start(backend.port);
  const client = await RawClient.open(plane.port('l'));
  client.send('HEAD /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n');
  const [head = '', body] = (await client.rest()).split('\r\n\r\n');
  assert.match(head, /^HTTP\/1\.1 501 /);
  assert.equal(body, '');
  client.close();
});

test('TE goes on as trailers alone, however many lines it came in', { timeout: 60_000 }, async () => {
  await using backend = await startBackend((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'));
  await using plane = await start(backend.port);
  const client = await RawClient.open(plane.port('l'));
  await client.get('/1', 'TE: trailers\r\nTE: deflate\r\n');
  assert.deepEqual(backend.received[0]?.match(/^te: .*$/gim), ['te: trailers']);
  client.close();
});

test('a client that leaves inside a head is logged as gone, as by Envoy', { timeout: 60_000 }, async () => {
  await using backend = await recordingBackend();
  await using plane = await start(backend.port);
  for (const leave of ['end', 'resetAndDestroy'] as const) {
    const client = await RawClient.open(plane.port('l'));
    await client.get('/whole');
    const seen = client.socket.bytesWritten;
    client.send('GET /part HTTP/1.1\r\nHo');
    await eventually(() => client.socket.bytesWritten > seen, 'it is sent');
    const before = plane.http.length;
    client.socket[leave]();
    await eventually(() => plane.http.length > before, 'it is told');
    assert.deepEqual(
      plane.http.slice(before).map(({ status, flags, details }) => [status, flags, details]),
      [[0, 'DC', 'downstream_remote_disconnect']],
    );
    client.close();
  }
});

test('a head that does not come in time is logged without what came of it, as by Envoy', { timeout: 60_000 }, async () => {
  await using backend = await recordingBackend();
  const logged: string[] = [];
  await using plane = await startPlane(
    {
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')], { request_headers_timeout: '0.05s' }))],
    },
    { observer: { ...silentObserver, httpDone: (info) => logged.push(`${info.method} ${info.path} ${info.responseCodeDetails}`) } },
  );
  const client = await RawClient.open(plane.port('l'));
  assert.equal((await client.send('GET /part HTTP/1.1\r\nHo').response()).status, 408);
  client.close();
  assert.deepEqual(logged, ['  request_header_timeout']);
});
