// Clients that send slowly or in crumbs: ended in time with Envoy's answer, served where they are honest, and never at the cost of
// memory or time that grows with their patience.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { HttpConnectionManager } from '../../src/xds/gen/types.ts';
import { eventually, hcm, httpBackend, listener, RawClient, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';

const HEAD = 'GET / HTTP/1.1\r\nho';
const BODY = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf';

/** [what, settings, sent, body of the 408, flags, details], measured on stock Envoy. */
const SLOW: readonly [string, Partial<HttpConnectionManager>, string, string, string, string][] = [
  ['a head, request_headers_timeout', { request_headers_timeout: '0.2s' }, HEAD, 'request header timeout', '', 'request_header_timeout'],
  ['a head, request_timeout', { request_timeout: '0.2s' }, HEAD, 'request timeout', '', 'request_overall_timeout'],
  ['a head, stream_idle_timeout', { stream_idle_timeout: '0.2s' }, HEAD, 'stream timeout', 'SI', 'stream_idle_timeout'],
  ['a body, request_timeout', { request_timeout: '0.2s' }, BODY, 'request timeout', '', 'request_overall_timeout'],
  ['a body, stream_idle_timeout', { stream_idle_timeout: '0.2s' }, BODY, 'stream timeout', 'SI', 'stream_idle_timeout'],
];

describe('slow clients', () => {
  for (const [what, settings, sent, body, flags, details] of SLOW)
    test(`${what}: ended with 408`, { timeout: 120_000 }, async () => {
      await using backend = await startBackend(() => {});
      await using plane = await startPlane({
        clusters: [staticCluster('c', [backend.port])],
        listeners: [listener('l', hcm([toCluster('c')], settings))],
      });
      const client = await RawClient.open(plane.port('l'));
      const answer = await client.send(sent).response();
      assert.deepEqual([answer.status, answer.body, answer.headers.get('connection')], [408, body, 'close']);
      await eventually(() => plane.http.length === 1, 'it is logged');
      assert.deepEqual([plane.http[0]?.flags, plane.http[0]?.details], [flags, details]);
      await client.rest();
      client.close();
    });

  test('bytes that keep coming do not extend the time of a head', { timeout: 120_000 }, async () => {
    await using backend = await startBackend(() => {});
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')], { request_headers_timeout: '0.3s' }))],
    });
    const client = await RawClient.open(plane.port('l'));
    client.send('GET / HTTP/1.1\r\n');
    const drip = setInterval(() => client.send('x: y\r\n'), 20);
    const started = performance.now();
    assert.equal((await client.response()).status, 408);
    clearInterval(drip);
    assert.ok(performance.now() - started < 20_000);
    client.close();
  });

  test('a connection whose head has begun is not idle', { timeout: 120_000 }, async () => {
    await using backend = await httpBackend(() => 'fine');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')], { common_http_protocol_options: { idle_timeout: '0.1s' } }))],
    });
    const client = await RawClient.open(plane.port('l'));
    client.send(HEAD);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal((await client.send('st: a\r\n\r\n').response()).body, 'fine');
    client.close();
  });
});

describe('crumbs', () => {
  const SIZE = 40_000;
  for (const [what, head, body] of [
    ['chunks of one byte', 'transfer-encoding: chunked\r\n', '1\r\nx\r\n'.repeat(SIZE).concat('0\r\n\r\n')],
    ['chunks of one byte with extensions', 'transfer-encoding: chunked\r\n', `${'1;a\r\nx\r\n'.repeat(10_000)}0\r\n\r\n`],
  ] as const)
    test(`${what} arrive whole in bounded time`, { timeout: 120_000 }, async () => {
      let got = 0;
      let ended = false;
      await using backend = await startBackend((socket, text) => {
        got += text.split('x\r\n').length - 1;
        if (!text.endsWith('0\r\n\r\n')) return;
        ended = true;
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
      });
      await using plane = await startPlane({
        clusters: [staticCluster('c', [backend.port])],
        listeners: [listener('l', hcm([toCluster('c')]))],
      });
      const client = await RawClient.open(plane.port('l'));
      client.send(`POST / HTTP/1.1\r\nhost: a\r\n${head}\r\n`).send(body);
      assert.equal((await client.response()).status, 200);
      assert.ok(ended && got > 0);
      client.close();
    });

  test('a head of many small lines, byte by byte, is read once', { timeout: 120_000 }, async () => {
    await using backend = await httpBackend((_n, head) => String(head.split('\r\n').length));
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')], { common_http_protocol_options: { max_headers_count: 2000 } }))],
    });
    const client = await RawClient.open(plane.port('l'));
    const head = `GET / HTTP/1.1\r\nhost: a\r\n${Array.from({ length: 1500 }, (_, i) => `x${i}: y\r\n`).join('')}\r\n`;
    for (const byte of head) client.send(byte);
    assert.ok(Number((await client.response()).body) > 1500);
    client.close();
  });
});
