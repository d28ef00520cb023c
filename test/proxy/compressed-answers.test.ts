// Compressed answers on their way: long ones over HTTP/2, paced ones, and what the access log says was sent.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { HttpFilter } from '../../src/xds/gen/types.ts';
import { eventually, hcm, listener, RawClient, ROUTER, startPlane, staticCluster, toCluster } from './harness.ts';
import { exchange, HTTP2_CLUSTER, http2Backend, openSession } from './http2-peers.ts';

const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http';
const GZIP: HttpFilter = {
  name: 'gzip',
  typed_config: {
    '@type': `${FILTERS}.compressor.v3.Compressor`,
    compressor_library: {
      name: 'text',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip' },
    },
  },
};
const LINE = 'a line that is said again and again, number ';
const LONG = Array.from({ length: 40_000 }, (_, i) => `${LINE}${i}\n`).join('');

const stage = async (filters: readonly HttpFilter[], body: string) => {
  const backend = await http2Backend((stream) => {
    stream.respond({ ':status': 200, 'content-type': 'text/plain' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '7' }));
    stream.end(body);
  });
  const plane = await startPlane({
    clusters: [staticCluster('c', [backend.port], HTTP2_CLUSTER)],
    listeners: [listener('l', hcm([toCluster('c')], { http_filters: [...filters, ROUTER] }))],
  });
  return { plane, close: async () => [await plane[Symbol.asyncDispose](), await backend[Symbol.asyncDispose]()] };
};
const ASK = { ':method': 'GET', ':path': '/', ':authority': 'a.test', 'accept-encoding': 'gzip' };

test('a long answer comes whole over HTTP/2, with its trailers, and the log says what was sent', async () => {
  const { plane, close } = await stage([GZIP], LONG);
  const session = await openSession(plane.port('l'));
  try {
    const { headers, body, trailers } = await exchange(session, ASK);
    assert.deepEqual([headers['content-encoding'], trailers['x-sum']], ['gzip', '7']);
    const bytes = Buffer.from(body, 'latin1');
    assert.ok(gunzipSync(bytes).toString() === LONG);
    await eventually(() => plane.http.length === 1, 'the log');
    assert.equal(plane.http[0]?.sent, bytes.length);
  } finally {
    session.destroy();
    await close();
  }
});

test('a client that goes away in the middle leaves nothing behind that fails', async () => {
  const { plane, close } = await stage([GZIP], LONG);
  try {
    const client = await RawClient.open(plane.port('l'));
    client.send('GET / HTTP/1.1\r\nhost: a.test\r\naccept-encoding: gzip\r\n\r\n');
    client.close();
    const session = await openSession(plane.port('l'));
    const { body } = await exchange(session, ASK);
    assert.ok(gunzipSync(Buffer.from(body, 'latin1')).toString() === LONG);
    session.destroy();
    await once(session, 'close');
  } finally {
    await close();
  }
});

test('what the fault filter paces is compressed as it goes', async () => {
  const fault: HttpFilter = {
    name: 'fault',
    typed_config: {
      '@type': `${FILTERS}.fault.v3.HTTPFault`,
      response_rate_limit: { fixed_limit: { limit_kbps: 100 }, percentage: { numerator: 100 } },
    },
  };
  const body = LONG.slice(0, 20_000);
  const { plane, close } = await stage([fault, GZIP], body);
  try {
    const client = await RawClient.open(plane.port('l'));
    const answer = await client.send('GET / HTTP/1.1\r\nhost: a.test\r\naccept-encoding: gzip\r\n\r\n').response();
    assert.equal(gunzipSync(Buffer.from(answer.body, 'latin1')).toString(), body);
    client.close();
  } finally {
    await close();
  }
});
