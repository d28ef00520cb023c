// Hedging over HTTP/2: attempts beside each other on one connection, and what is left of those that lose.
import assert from 'node:assert/strict';
import type { ServerHttp2Stream } from 'node:http2';
import { test } from 'node:test';
import type { Cluster, RouteAction } from '../../src/xds/gen/types.ts';
import { eventually, fetchOnce, hcm, listener, RawClient, startPlane, staticCluster, toCluster } from './harness.ts';
import { HTTP2_CLUSTER, http2Backend } from './http2-peers.ts';

const HEDGED: RouteAction = {
  timeout: '5s',
  hedge_policy: { hedge_on_per_try_timeout: true },
  retry_policy: { retry_on: '5xx', num_retries: 1, per_try_timeout: '0.05s', retry_back_off: { base_interval: '0.001s' } },
};
const front = (port: number, more: Partial<Cluster> = {}) =>
  startPlane({
    clusters: [staticCluster('c', [port], { ...HTTP2_CLUSTER, ...more })],
    listeners: [listener('l', hcm([toCluster('c', HEDGED)]))],
  });
const answer = (stream: ServerHttp2Stream, status: number, body: string): void => {
  stream.respond({ ':status': status });
  stream.end(body);
};

test('the first attempt still wins, and the second is reset', async () => {
  const streams: ServerHttp2Stream[] = [];
  await using backend = await http2Backend((stream) => {
    streams.push(stream);
    if (streams.length === 2) answer(streams[0] as ServerHttp2Stream, 200, 'first');
  });
  await using plane = await front(backend.port);
  assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'first');
  await eventually(() => streams[1]?.closed === true, 'the second stream is closed');
  assert.notEqual(streams[1]?.rstCode, 0);
  assert.equal(backend.sessions.length, 1);
});

test('the second wins, and the first is reset', async () => {
  const streams: ServerHttp2Stream[] = [];
  await using backend = await http2Backend((stream) => {
    streams.push(stream);
    if (streams.length === 2) answer(stream, 200, 'second');
  });
  await using plane = await front(backend.port);
  assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'second');
  await eventually(() => streams[0]?.closed === true, 'the first stream is closed');
  assert.notEqual(streams[0]?.rstCode, 0);
});

test('a client that goes away takes all attempts with it', async () => {
  const streams: ServerHttp2Stream[] = [];
  await using backend = await http2Backend((stream) => streams.push(stream));
  await using plane = await front(backend.port);
  const client = await RawClient.open(plane.port('l'));
  client.send('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  await eventually(() => streams.length === 2, 'both attempts are under way');
  client.close();
  await eventually(() => streams.every((stream) => stream.closed), 'both streams are closed');
  const active = plane.plane.stats.gauge('cluster.c.upstream_rq_active');
  await eventually(() => active.value === 0, 'nothing is counted as under way');
});

test('an attempt beside another needs its place in the retry limit', async () => {
  let seen = 0;
  await using backend = await http2Backend((stream) => {
    seen++;
    setTimeout(() => answer(stream, 200, 'only'), 150);
  });
  await using plane = await front(backend.port, { circuit_breakers: { thresholds: [{ max_retries: 0 }] } });
  assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'only');
  assert.equal(seen, 1);
  await eventually(() => plane.http.length === 1, 'logged');
  assert.equal(plane.http[0]?.flags, 'UO');
});
