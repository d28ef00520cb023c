// The buffer filter: requests go upstream whole and with their length, or not at all, as stock Envoy 1.40 does it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route } from '../../src/xds/gen/types.ts';
import { eventually, hcm, httpBackend, listener, ok, RawClient, ROUTER, startPlane, staticCluster, toCluster } from './harness.ts';
import { exchange, openSession } from './http2-peers.ts';

const TYPES = 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3';
const BUFFER = { name: 'envoy.filters.http.buffer', typed_config: { '@type': `${TYPES}.Buffer`, max_request_bytes: 10 } };
const of = (prefix: string, own: object): Route => ({
  ...toCluster('web'),
  match: { prefix },
  typed_per_filter_config: { 'envoy.filters.http.buffer': { '@type': `${TYPES}.BufferPerRoute`, ...own } },
});

const startRig = async () => {
  const web = await httpBackend((_, head) => ok(/^\w+ (\S+)/.exec(head)?.[1] ?? ''));
  const routes = [of('/off', { disabled: true }), of('/small', { buffer: { max_request_bytes: 3 } }), toCluster('web')];
  const plane = await startPlane({
    clusters: [staticCluster('web', [web.port])],
    listeners: [listener('in', hcm(routes, { http_filters: [BUFFER, ROUTER] }))],
  });
  return {
    plane,
    web,
    port: plane.port('in'),
    [Symbol.asyncDispose]: async () => {
      await plane[Symbol.asyncDispose]();
      await web[Symbol.asyncDispose]();
    },
  };
};

test('a request is sent when it is whole, with its length', async () => {
  await using rig = await startRig();
  const client = await RawClient.open(rig.port);
  client.send('POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n');
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(rig.web.sockets.length, 0);
  client.send('2\r\nlo\r\n0\r\n\r\n');
  assert.equal((await client.response()).body, '/a');
  assert.match(rig.web.received[0] ?? '', /content-length: 5\r\n[\s\S]*\r\n\r\nhello$/);
  assert.doesNotMatch(rig.web.received[0] ?? '', /transfer-encoding/);
  assert.equal((await client.get('/b')).body, '/b');
  client.close();
});

test('a request larger than allowed is answered 413, by what its route allows', async () => {
  await using rig = await startRig();
  for (const [path, body, status] of [
    ['/a', 'hellohello', 200],
    ['/a', 'hellohello!', 413],
    ['/small', 'hel', 200],
    ['/small', 'hell', 413],
    ['/off', 'hellohellohello', 200],
  ] as const) {
    const client = await RawClient.open(rig.port);
    client.send(`POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    const response = await client.response();
    assert.deepEqual([path, body, response.status], [path, body, status]);
    if (status === 413) assert.deepEqual([response.body, response.headers.get('connection')], ['Payload Too Large', 'close']);
    client.close();
  }
  await eventually(() => rig.plane.http.length === 5, 'logged');
  assert.deepEqual([rig.plane.http[1]?.details, rig.plane.http[1]?.flags], ['request_payload_too_large', '']);
});

test('over HTTP/2 too: with a length where none was told, trailers dropped that HTTP/1 could not carry', async () => {
  await using rig = await startRig();
  const session = await openSession(rig.port);
  const head = { ':method': 'POST', ':path': '/a', ':authority': 'a' };
  assert.equal((await exchange(session, head, 'hello', { 'x-trailer': '1' })).body, '/a');
  assert.match(rig.web.received[0] ?? '', /content-length: 5\r\n[\s\S]*\r\n\r\nhello$/);
  assert.equal((await exchange(session, head, 'hellohello!')).status, 413);
  assert.equal((await exchange(session, { ...head, ':path': '/b' }, 'again')).body, '/b');
  session.destroy();
});

test('a limit of nothing is refused', async () => {
  await using rig = await startPlane({});
  const filter = { name: 'b', typed_config: { '@type': `${TYPES}.Buffer` } };
  assert.throws(() => rig.plane.setListener(listener('l', hcm([toCluster('c')], { http_filters: [filter, ROUTER] }))), /max_request_bytes/);
  const bad = hcm([of('/', {})], { http_filters: [BUFFER, ROUTER] });
  assert.throws(() => rig.plane.setListener(listener('l', bad)), /disabled/);
});
