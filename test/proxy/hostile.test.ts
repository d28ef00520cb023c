// Peers that break every rule: garbage to each kind of listener, resets in the middle, upstreams that answer nonsense.
// Afterwards everything is served as before and nothing leaks.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import {
  chains,
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  RawClient,
  startBackend,
  startPlane,
  staticCluster,
  tcpProxy,
  toCluster,
} from './harness.ts';

const EXTENSIONS = 'type.googleapis.com/envoy.extensions.filters.listener';
const INSPECTORS = [
  { name: 'tls', typed_config: { '@type': `${EXTENSIONS}.tls_inspector.v3.TlsInspector` } },
  { name: 'http', typed_config: { '@type': `${EXTENSIONS}.http_inspector.v3.HttpInspector` } },
];

// Deterministic pieces: xorshift, so a failure can be run again.
const pieces = (seed: number): Buffer => {
  let x = seed * 2654435761;
  const next = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
  const starts = [
    'GET / HTTP/1.1\r\nhost: a\r\n',
    '\x16\x03\x01\x02\x00\x01',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n',
    '',
  ];
  const noise = Buffer.from(Array.from({ length: next() % 300 }, () => next() & 255));
  return Buffer.concat([Buffer.from(starts[seed % starts.length] ?? '', 'latin1'), noise]);
};

test('garbage from clients and upstreams harms only its own connection', async () => {
  await using good = await httpBackend(() => 'fine');
  await using nonsense = await startBackend((socket, _text, n) => {
    if (n % 3 === 0) socket.resetAndDestroy();
    else socket.end(pieces(n));
  });
  await using plane = await startPlane({
    clusters: [staticCluster('good', [good.port]), staticCluster('bad', [nonsense.port])],
    listeners: [
      listener(
        'http',
        hcm([
          { match: { prefix: '/bad' }, route: { cluster: 'bad', retry_policy: { retry_on: 'reset', num_retries: 1 } } },
          toCluster('good'),
        ]),
      ),
      listener('tcp', tcpProxy('bad')),
      chains(
        'sniff',
        [
          { filter_chain_match: { application_protocols: ['http/1.1'] }, filters: [hcm([toCluster('good')])] },
          { filters: [tcpProxy('bad')] },
        ],
        { listener_filters: INSPECTORS },
      ),
    ],
  });
  for (let seed = 1; seed <= 60; seed++) {
    for (const name of ['http', 'tcp', 'sniff']) {
      const client = await RawClient.open(plane.port(name));
      client.send(pieces(seed));
      if (seed % 2 === 0) client.socket.resetAndDestroy();
      else client.socket.end();
      if (seed % 5 === 0) await client.rest();
      client.close();
    }
    if (seed % 4 === 0) {
      const { status } = await fetchOnce(plane.port('http'), '/bad');
      assert.ok(status === 502 || status === 503 || status === 200, String(status));
    }
  }
  assert.equal((await fetchOnce(plane.port('http'), '/')).body, 'fine');
  assert.equal((await fetchOnce(plane.port('sniff'), '/')).body, 'fine');
  assert.deepEqual(plane.problems, []);
  const stats = plane.plane.stats;
  await eventually(() => stats.gauge('cluster.bad.upstream_rq_active').value === 0, 'no request is counted as running');
  await eventually(() => stats.gauge('cluster.bad.upstream_cx_active').value === 0, 'no connection is counted as open');
  await eventually(() => [...plane.plane.listeners()].every((l) => l.activeConnections === 0), 'every connection is gone');
});

test('a refused head is logged as none, as by Envoy, and not with the words of the request before it', { timeout: 120_000 }, async () => {
  const logged: string[] = [];
  await using backend = await httpBackend(() => 'fine');
  await using plane = await startPlane(
    { clusters: [staticCluster('app', [backend.port])], listeners: [listener('in', hcm([toCluster('app')]))] },
    { observer: { ...silentObserver, httpDone: (info) => logged.push(`${info.method} ${info.path} ${info.responseCode}`) } },
  );
  for (const second of [
    'no request\r\n\r\n',
    'PUT /second HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n',
  ]) {
    const client = await RawClient.open(plane.port('in'));
    assert.equal((await client.get('/first')).body, 'fine');
    client.send(second);
    await client.rest();
    client.close();
  }
  assert.deepEqual(logged, ['GET /first 200', '  400', 'GET /first 200', '  400']);
});
