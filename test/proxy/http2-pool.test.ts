// The pool of HTTP/2 connections at its edges: requests that are given up before there is room for them.
import assert from 'node:assert/strict';
import type * as http2 from 'node:http2';
import { suite, test } from 'node:test';
import { eventually, fetchOnce, hcm, httpBackend, listener, RawClient, startPlane, staticCluster, toCluster } from './harness.ts';
import { HTTP2_CLUSTER, http2Backend } from './http2-peers.ts';

suite('an HTTP/2 pool', () => {
  test('gives back what a mirrored request held that broke off before there was room for it', { timeout: 120_000 }, async () => {
    await using backend = await httpBackend(() => 'app');
    const copies: http2.ServerHttp2Stream[] = [];
    await using shadow = await http2Backend((stream) => copies.push(stream), { maxConcurrentStreams: 1 });
    const limits = { circuit_breakers: { thresholds: [{ max_connections: 1 }] } };
    await using plane = await startPlane({
      clusters: [staticCluster('app', [backend.port]), staticCluster('shadow', [shadow.port], { ...HTTP2_CLUSTER, ...limits })],
      listeners: [listener('in', hcm([toCluster('app', { request_mirror_policies: [{ cluster: 'shadow' }] })]))],
    });
    const counted = (): number => {
      for (const cluster of plane.plane.clusters())
        if (cluster.name === 'shadow') return [...cluster.hosts()].reduce((n, host) => n + host.stats.rqActive, 0);
      throw new Error('no shadow');
    };
    assert.equal((await fetchOnce(plane.port('in'), '/first')).body, 'app');
    await eventually(() => copies.length === 1, 'the first copy runs');
    const client = await RawClient.open(plane.port('in'));
    client.send('POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100\r\n\r\nabc');
    await eventually(() => backend.received.join('').includes('abc'), 'the second request is upstream');
    client.close();
    await eventually(() => plane.http.length === 2, 'the second request is over');
    copies[0]?.respond({ ':status': 200 }, { endStream: true });
    await eventually(() => counted() === 0, 'no copy is counted any more');
    assert.equal(copies.length, 1);
  });
});
