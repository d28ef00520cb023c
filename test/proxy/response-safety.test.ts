// What one peer must not be able to do to another, or to the proxy: write a second head into a response, leave a pooled connection in
// an unknown state, hold a socket by not reading, hang a connection between two requests.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { systemClock } from '../../src/proxy/clock.ts';
import { closeSoon } from '../../src/proxy/sockets/socket-linger.ts';
import { TimerWheel } from '../../src/proxy/timer-wheel.ts';
import { eventually, hcm, httpBackend, listener, RawClient, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';

const early = () =>
  startBackend((socket, text) => {
    if (text.startsWith('POST')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhello');
  });
const UNFINISHED = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n';

describe('a response that has begun', () => {
  test('is cut, not followed by a second head, when the request turns out malformed', { timeout: 120_000 }, async () => {
    await using backend = await early();
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    let seen = '';
    client.socket.on('data', (bytes) => {
      seen += bytes.toString('latin1');
    });
    client.send(UNFINISHED);
    await eventually(() => seen.endsWith('hello'), 'the response begins');
    client.send('zz\r\n');
    assert.equal((await client.rest()).split('HTTP/1.1').length, 2);
    await eventually(() => plane.http[0]?.flags === 'DPE', 'it is reported');
    client.close();
  });

  test('is cut when the request timeout ends it', { timeout: 120_000 }, async () => {
    await using backend = await early();
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')], { request_timeout: '0.2s' }))],
    });
    const client = await RawClient.open(plane.port('l'));
    client.send(UNFINISHED);
    assert.equal((await client.rest()).split('HTTP/1.1').length, 2);
    client.close();
  });
});

describe('protocol changes', () => {
  test('a 101 nobody asked for is a protocol error and its connection is not used again', { timeout: 120_000 }, async () => {
    await using backend = await startBackend((socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
    );
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.get('/1')).status, 502);
    assert.equal((await client.get('/2')).status, 502);
    assert.equal(backend.sockets.length, 2);
    client.close();
  });

  test('CONNECT answered 2xx is a tunnel, not an idle connection', { timeout: 120_000 }, async () => {
    await using backend = await startBackend((socket, text) =>
      socket.write(text.startsWith('CONNECT') ? 'HTTP/1.1 200 OK\r\n\r\n' : `echo ${text}`),
    );
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener(
          'l',
          hcm([
            { match: { connect_matcher: {} }, route: { cluster: 'c', upgrade_configs: [{ upgrade_type: 'CONNECT' }] } },
            toCluster('c'),
          ]),
        ),
      ],
    });
    const client = await RawClient.open(plane.port('l'));
    client.send('CONNECT a.test:80 HTTP/1.1\r\nhost: a.test:80\r\n\r\n');
    await eventually(() => backend.received[0] !== undefined, 'it goes upstream');
    let seen = '';
    client.socket.on('data', (bytes) => {
      seen += bytes.toString('latin1');
    });
    await eventually(() => seen.includes('\r\n\r\n') || client.socket.bytesRead > 0, 'it is answered');
    client.send('ping');
    await eventually(() => seen.endsWith('echo ping'), 'the tunnel answers');
    client.close();
  });
});

describe('slow and stopped clients', () => {
  test('the rest of a pipelined head is still read', { timeout: 120_000 }, async () => {
    await using backend = await httpBackend(() => 'fine');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    client.send('GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nho');
    assert.equal((await client.response()).status, 200);
    client.send('st: a\r\n\r\n');
    assert.equal((await client.response()).status, 200);
    client.close();
  });

  test('pipelined requests wait while their client takes no answers', { timeout: 120_000 }, async () => {
    let asked = 0;
    const big = 'x'.repeat(60_000);
    await using backend = await httpBackend(() => {
      asked++;
      return big;
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    const all = 500;
    client.socket.pause();
    client.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(all));
    let before = -1;
    while (before !== asked) {
      before = asked;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    assert.ok(asked < all, 'not everything was asked for');
    client.socket.resume();
    for (let n = 0; n < all; n++) assert.equal((await client.response()).body.length, big.length);
    client.close();
  });

  test('one that stops reading loses its connection after its idle time', { timeout: 120_000 }, async () => {
    await using backend = await startBackend((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 30000000\r\n\r\n');
      socket.write(Buffer.alloc(30_000_000, 97));
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')], { stream_idle_timeout: '0.2s', delayed_close_timeout: '0.1s' }))],
    });
    const client = await RawClient.open(plane.port('l'));
    client.socket.pause();
    client.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    const open = () => [...plane.plane.listeners()].reduce((n, l) => n + l.activeConnections, 0);
    await eventually(() => open() === 1, 'it is served');
    await eventually(() => plane.http[0]?.flags === 'SI', 'it was idle');
    await eventually(() => open() === 0, 'its socket is gone');
    client.close();
  });

  test('a socket that is to close soon closes although its peer does not read', { timeout: 120_000 }, async () => {
    await using backend = await startBackend((socket) => socket.pause());
    const client = await RawClient.open(backend.port);
    client.send('x');
    await eventually(() => backend.sockets[0]?.isPaused() === true, 'the peer has stopped');
    client.send(Buffer.alloc(30_000_000));
    const wheel = new TimerWheel(systemClock, () => {});
    closeSoon(wheel, client.socket, 50);
    await once(client.socket, 'close');
    wheel.close();
  });
});

describe('mirrors', () => {
  test('a copy whose request broke off leaves no half-read connection behind', { timeout: 120_000 }, async () => {
    await using main = await httpBackend(() => 'main');
    // Answers at once and keeps the connection, however little of the body it has.
    await using copy = await startBackend((socket, text) => {
      if (text.startsWith('POST')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [main.port]), staticCluster('m', [copy.port])],
      listeners: [listener('l', hcm([toCluster('c', { request_mirror_policies: [{ cluster: 'm' }] })]))],
    });
    const client = await RawClient.open(plane.port('l'));
    client.send('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\npart');
    await eventually(() => copy.received[0]?.endsWith('part') === true, 'the copy is under way');
    client.close();
    await eventually(() => plane.http.length === 1, 'the request is over');
    await eventually(() => plane.plane.stats.gauge('cluster.m.upstream_cx_active').value === 0, 'the connection of the copy is closed');
  });

  test('a copy nobody answers ends with the time of its route', { timeout: 120_000 }, async () => {
    await using main = await httpBackend(() => 'main');
    await using copy = await startBackend(() => {});
    await using plane = await startPlane({
      clusters: [staticCluster('c', [main.port]), staticCluster('m', [copy.port])],
      listeners: [listener('l', hcm([toCluster('c', { timeout: '0.2s', request_mirror_policies: [{ cluster: 'm' }] })]))],
    });
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.get('/')).body, 'main');
    const active = plane.plane.stats.gauge('cluster.m.upstream_rq_active');
    await eventually(() => copy.received.length === 1 && active.value === 0, 'the copy is given up');
    client.close();
  });
});
