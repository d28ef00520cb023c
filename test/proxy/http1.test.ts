// One hop over HTTP/1: framing, keep-alive, pipelining, large bodies, local replies.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  ok,
  RawClient,
  startBackend,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';

describe('HTTP/1 through the data plane', () => {
  test('keeps both connections alive over requests', async () => {
    await using backend = await httpBackend((n) => `answer ${n}`);
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    for (let n = 0; n < 3; n++) {
      const response = await client.get(`/${n}`);
      assert.equal(response.status, 200);
      assert.equal(response.body, `answer ${n}`);
      assert.equal(response.headers.get('server'), 'envoy');
      assert.match(response.headers.get('x-envoy-upstream-service-time') ?? '', /^\d+$/);
    }
    assert.equal(backend.sockets.length, 1);
    const head = backend.received[0] ?? '';
    assert.match(head, /^GET \/0 HTTP\/1\.1\r\nhost: a\.test\r\n/);
    assert.match(head, /\r\nx-request-id: [0-9a-f-]{36}\r\n/);
    assert.match(head, /\r\nx-forwarded-proto: http\r\n/);
    assert.match(head, /\r\nx-envoy-expected-rq-timeout-ms: 15000\r\n/);
    assert.doesNotMatch(head, /x-forwarded-for/);
    client.close();
    await eventually(() => plane.http.length === 3, 'three log lines');
    assert.deepEqual(
      plane.http.map((l) => [l.status, l.flags, l.details, l.attempts, l.upstream]),
      Array.from({ length: 3 }, () => [200, '', 'via_upstream', 1, `127.0.0.1:${backend.port}`]),
    );
  });

  test('answers pipelined requests in order', async () => {
    await using backend = await httpBackend((_n, head) => head.split(' ')[1] ?? '');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    client.send(['/a', '/b', '/c'].map((p) => `GET ${p} HTTP/1.1\r\nhost: x\r\n\r\n`).join(''));
    assert.equal((await client.response()).body, '/a');
    assert.equal((await client.response()).body, '/b');
    assert.equal((await client.response()).body, '/c');
    client.close();
  });

  test('answers by itself over one connection, pipelined with forwarded requests', async () => {
    await using backend = await httpBackend((_n, head) => head.split(' ')[1] ?? '');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener(
          'l',
          hcm([{ match: { prefix: '/d' }, direct_response: { status: 200, body: { inline_string: 'direct' } } }, toCluster('c')]),
        ),
      ],
    });
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.get('/d')).body, 'direct');
    client.send(['/d', '/b', '/d', '/d', '/c'].map((p) => `GET ${p} HTTP/1.1\r\nhost: x\r\n\r\n`).join(''));
    const bodies: string[] = [];
    for (let i = 0; i < 5; i++) bodies.push((await client.response()).body);
    assert.deepEqual(bodies, ['direct', '/b', 'direct', 'direct', '/c']);
    client.close();
  });

  test('forwards chunked bodies both ways and drops hop-by-hop headers', async () => {
    let got = '';
    await using backend = await startBackend((socket, text) => {
      got += text;
      if (got.endsWith('0\r\n\r\n'))
        socket.write(
          'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n',
        );
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    client.send('POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: keep-alive, x-me\r\nx-me: 1\r\n\r\n3\r\nabc\r\n');
    await eventually(() => got.includes('abc'), 'first chunk forwarded before the end');
    client.send('3\r\ndef\r\n0\r\n\r\n');
    const response = await client.response();
    assert.equal(response.body, 'hello world');
    assert.equal(response.headers.has('x-hop'), false);
    assert.doesNotMatch(got, /x-me/);
    assert.match(got, /transfer-encoding: chunked\r\n/);
    client.close();
    await eventually(() => plane.http.length === 1, 'logged');
    assert.equal(plane.http[0]?.received, 6);
    assert.equal(plane.http[0]?.sent, 11);
  });

  test('a response until close becomes chunked, HEAD has no body, 204 neither body nor length', async () => {
    await using backend = await startBackend((socket, text) => {
      if (text.startsWith('GET /eof')) socket.end('HTTP/1.1 200 OK\r\n\r\nall of it');
      else if (text.startsWith('HEAD')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n');
      else socket.write('HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n');
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    const eof = await client.get('/eof');
    assert.equal(eof.body, 'all of it');
    assert.equal(eof.headers.get('transfer-encoding'), 'chunked');
    client.send('HEAD /h HTTP/1.1\r\nhost: x\r\n\r\n');
    assert.equal((await client.response('HEAD')).headers.get('content-length'), '99');
    const none = await client.get('/none');
    assert.deepEqual([none.status, none.headers.has('content-length')], [204, false]);
    client.close();
  });

  test('large bodies cross in bounded memory and whole, slow reader included', async () => {
    const piece = 'x'.repeat(64 * 1024);
    const pieces = 320; // 20 MiB
    let sentAll = false;
    await using backend = await startBackend((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${piece.length * pieces}\r\n\r\n`);
      let left = pieces;
      const pump = () => {
        while (left > 0) {
          left--;
          if (!socket.write(piece)) return void socket.once('drain', pump);
        }
        sentAll = true;
      };
      pump();
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c', { timeout: '0s' })]))],
    });
    const client = await RawClient.open(plane.port('l'));
    client.socket.pause();
    client.send('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(sentAll, false, 'the backend is held back while the client does not read');
    client.socket.resume();
    let size = 0;
    client.socket.removeAllListeners('data');
    client.socket.on('data', (bytes) => {
      size += bytes.length;
    });
    await eventually(() => size > piece.length * pieces, 'everything arrived');
    client.close();
  });

  test('local replies: no route, no cluster, no endpoint, refused, DC', async () => {
    await using silent = await startBackend(() => {});
    await using plane = await startPlane({
      clusters: [staticCluster('empty', []), staticCluster('refused', [1]), staticCluster('silent', [silent.port])],
      listeners: [
        listener(
          'l',
          hcm([
            { match: { prefix: '/nocluster' }, route: { cluster: 'missing' } },
            { match: { prefix: '/empty' }, route: { cluster: 'empty' } },
            { match: { prefix: '/refused' }, route: { cluster: 'refused' } },
            { match: { prefix: '/silent' }, route: { cluster: 'silent' } },
            { match: { path: '/direct' }, direct_response: { status: 418, body: { inline_string: 'teapot' } } },
          ]),
        ),
      ],
    });
    const port = plane.port('l');
    const none = await fetchOnce(port, '/x');
    assert.deepEqual([none.status, none.body, none.headers.get('content-length')], [404, '', '0']);
    assert.deepEqual([(await fetchOnce(port, '/nocluster')).status, (await fetchOnce(port, '/nocluster')).body], [503, '']);
    assert.equal((await fetchOnce(port, '/empty')).body, 'no healthy upstream');
    const refused = await fetchOnce(port, '/refused');
    assert.equal(refused.body, 'upstream connect error or disconnect/reset before headers. reset reason: remote connection failure');
    assert.deepEqual([(await fetchOnce(port, '/direct')).status, (await fetchOnce(port, '/direct')).body], [418, 'teapot']);
    const client = await RawClient.open(port);
    client.send('GET /silent HTTP/1.1\r\nhost: x\r\n\r\n');
    await eventually(() => silent.sockets.length === 1, 'request reached the backend');
    client.close();
    await eventually(() => plane.http.length === 8, 'eight log lines');
    assert.deepEqual(
      plane.http.map((l) => `${l.status} ${l.flags} ${l.details}`),
      [
        '404 NR route_not_found',
        '503 NC cluster_not_found',
        '503 NC cluster_not_found',
        '503 UH no_healthy_upstream',
        '503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
        '418  direct_response',
        '418  direct_response',
        '0 DC downstream_remote_disconnect',
      ],
    );
  });

  test('malformed requests are answered 400 and the next connection is served', async () => {
    await using backend = await httpBackend(() => 'fine');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    for (const bad of [
      'GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n',
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n',
    ]) {
      const client = await RawClient.open(plane.port('l'));
      const response = await client.send(bad).response();
      assert.equal(response.status, 400);
      assert.equal(response.headers.get('connection'), 'close');
      await client.rest();
      client.close();
    }
    assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'fine');
    assert.equal(plane.http[0]?.flags, 'DPE');
  });

  test('an upgrade becomes a tunnel, a refused one 403', async () => {
    await using backend = await startBackend((socket, text) => {
      if (text.startsWith('GET')) socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
      else socket.write(`echo ${text}`);
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener('l', hcm([toCluster('c')], { upgrade_configs: [{ upgrade_type: 'websocket' }] })),
        listener('no', hcm([toCluster('c')])),
      ],
    });
    const client = await RawClient.open(plane.port('l'));
    const upgrade = 'GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n';
    const response = await client.send(upgrade).response();
    assert.equal(response.status, 101);
    assert.equal(response.headers.get('upgrade'), 'websocket');
    client.send('frame');
    assert.equal(await client.bytes(10), 'echo frame');
    client.close();
    const refused = await RawClient.open(plane.port('no'));
    assert.equal((await refused.send(upgrade).response()).status, 403);
    refused.close();
  });

  test('drain closes with the next response and loses nothing', async () => {
    await using backend = await httpBackend(() => 'fine');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.get('/')).headers.get('connection'), undefined);
    plane.plane.drain();
    const last = await client.get('/');
    assert.equal(last.body, 'fine');
    assert.equal(last.headers.get('connection'), 'close');
    await client.rest();
    assert.equal(ok('').length > 0, true);
    client.close();
  });
});
