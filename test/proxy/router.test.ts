// Retries, timeouts, limits, outlier detection, balancing, mirrors and faults.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Cluster } from '../../src/xds/gen/types.ts';
import {
  type Backend,
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  RawClient,
  ROUTER,
  startBackend,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';

const status = (code: number, body = ''): string => `HTTP/1.1 ${code} X\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

describe('router', () => {
  test('retries a 503 and sends the body again', async () => {
    await using backend = await httpBackend((n) => (n < 2 ? status(503, 'no') : 'third'));
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener(
          'l',
          hcm([toCluster('c', { retry_policy: { retry_on: '5xx', num_retries: 2, retry_back_off: { base_interval: '0.001s' } } })]),
        ),
      ],
    });
    const client = await RawClient.open(plane.port('l'));
    const response = await client.send('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody').response();
    assert.equal(response.body, 'third');
    client.close();
    await eventually(() => plane.http.length === 1, 'logged');
    assert.deepEqual([plane.http[0]?.attempts, plane.http[0]?.flags], [3, '']);
    assert.equal(backend.received.join('').split('body').length - 1, 3);
  });

  test('gives up after the last retry with URX', async () => {
    await using backend = await httpBackend(() => status(503, 'no'));
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c', { retry_policy: { retry_on: '5xx', num_retries: 1 } })]))],
    });
    const response = await fetchOnce(plane.port('l'), '/');
    assert.deepEqual([response.status, response.body], [503, 'no']);
    await eventually(() => plane.http.length === 1, 'logged');
    assert.deepEqual([plane.http[0]?.flags, plane.http[0]?.details, plane.http[0]?.attempts], ['URX', 'via_upstream', 2]);
  });

  test('a connection cut before the response: UC, retried when asked', async () => {
    await using backend = await httpBackend((n) => (n === 0 || n === 1 ? 'reset' : 'fine'));
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener(
          'l',
          hcm([
            { match: { prefix: '/retry' }, route: { cluster: 'c', retry_policy: { retry_on: 'reset', num_retries: 3 } } },
            { match: { prefix: '/' }, route: { cluster: 'c' } },
          ]),
        ),
      ],
    });
    const cut = await fetchOnce(plane.port('l'), '/');
    assert.equal(cut.body, 'upstream connect error or disconnect/reset before headers. reset reason: connection termination');
    assert.equal((await fetchOnce(plane.port('l'), '/retry')).body, 'fine');
    await eventually(() => plane.http.length === 2, 'logged');
    assert.equal(plane.http[0]?.flags, 'UC');
    assert.equal(plane.http[0]?.details, 'upstream_reset_before_response_started{connection_termination}');
    assert.equal(plane.http[1]?.attempts, 2);
  });

  test('route timeout and per-try timeout', async () => {
    await using backend = await httpBackend(() => 'silent');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener(
          'l',
          hcm([
            {
              match: { prefix: '/try' },
              route: { cluster: 'c', retry_policy: { retry_on: 'connect-failure', num_retries: 1, per_try_timeout: '0.05s' } },
            },
            { match: { prefix: '/' }, route: { cluster: 'c', timeout: '0.05s' } },
          ]),
        ),
      ],
    });
    const response = await fetchOnce(plane.port('l'), '/');
    assert.deepEqual([response.status, response.body], [504, 'upstream request timeout']);
    assert.equal((await fetchOnce(plane.port('l'), '/try')).status, 504);
    await eventually(() => plane.http.length === 2, 'logged');
    assert.deepEqual([plane.http[0]?.flags, plane.http[0]?.details], ['UT', 'response_timeout']);
    assert.equal(plane.http[1]?.details, 'upstream_per_try_timeout');
  });

  test('a pending limit overflows with UO', async () => {
    await using backend = await httpBackend(() => 'silent');
    await using plane = await startPlane({
      clusters: [
        staticCluster('c', [backend.port], { circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_requests: 1 }] } }),
      ],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const port = plane.port('l');
    const first = await RawClient.open(port);
    first.send('GET /1 HTTP/1.1\r\nhost: x\r\n\r\n');
    await eventually(() => backend.received.join('').includes('/1'), 'first request upstream');
    const second = await RawClient.open(port);
    second.send('GET /2 HTTP/1.1\r\nhost: x\r\n\r\n');
    const pending = plane.plane.stats.gauge('cluster.c.upstream_rq_pending_active');
    await eventually(() => pending.value === 1, 'second request waits');
    const third = await fetchOnce(port, '/3');
    assert.equal(third.status, 503);
    assert.equal(third.headers.get('x-envoy-overloaded'), 'true');
    assert.equal(third.body, 'upstream connect error or disconnect/reset before headers. reset reason: overflow');
    assert.equal(plane.http[0]?.flags, 'UO');
    first.close();
    second.close();
    await eventually(() => pending.value === 0, 'nothing waits any more');
    assert.equal(plane.plane.stats.gauge('cluster.c.upstream_rq_active').value, 0);
  });

  test('consecutive 5xx eject a host, and it comes back', async () => {
    await using bad = await httpBackend(() => status(500));
    await using good = await httpBackend(() => 'good');
    await using plane = await startPlane({
      clusters: [
        staticCluster('c', [bad.port, good.port], {
          outlier_detection: { consecutive_5xx: 2, max_ejection_percent: 50, base_ejection_time: '0.2s', interval: '0.05s' },
        }),
      ],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const port = plane.port('l');
    for (let n = 0; n < 4; n++) await fetchOnce(port, '/');
    for (let n = 0; n < 6; n++) assert.equal((await fetchOnce(port, '/')).body, 'good');
    const ejected = plane.plane.stats.gauge('cluster.c.outlier_detection.ejections_active');
    assert.equal(ejected.value, 1);
    await eventually(() => ejected.value === 0, 'taken back');
  });

  test('round robin is exact, weights too', async () => {
    const backends: Backend[] = [];
    const hits = [0, 0, 0];
    for (let i = 0; i < 3; i++)
      backends.push(
        await httpBackend(() => {
          hits[i] = (hits[i] ?? 0) + 1;
          return `b${i}`;
        }),
      );
    const weighted: Cluster = {
      name: 'c',
      load_assignment: {
        endpoints: [
          {
            lb_endpoints: backends.map((b, i) => ({
              endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: b.port } } },
              load_balancing_weight: i + 1,
            })),
          },
        ],
      },
    };
    await using plane = await startPlane({ clusters: [weighted], listeners: [listener('l', hcm([toCluster('c')]))] });
    const client = await RawClient.open(plane.port('l'));
    for (let n = 0; n < 60; n++) await client.get('/');
    assert.ok(Math.abs((hits[0] ?? 0) - 10) <= 1 && Math.abs((hits[2] ?? 0) - 30) <= 1, String(hits));
    hits.fill(0);
    plane.plane.setCluster(
      staticCluster(
        'c',
        backends.map((b) => b.port),
      ),
    );
    for (let n = 0; n < 30; n++) await client.get('/');
    assert.deepEqual(hits, [10, 10, 10]);
    client.close();
    for (const backend of backends) await backend[Symbol.asyncDispose]();
  });

  test('mirrors a request and ignores the answer', async () => {
    await using main = await httpBackend(() => 'main');
    await using shadow = await httpBackend(() => status(500, 'shadow'));
    await using plane = await startPlane({
      clusters: [staticCluster('c', [main.port]), staticCluster('m', [shadow.port])],
      listeners: [listener('l', hcm([toCluster('c', { request_mirror_policies: [{ cluster: 'm' }] })]))],
    });
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.send('POST /p HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc').response()).body, 'main');
    await eventually(() => (shadow.received[0] ?? '').endsWith('abc'), 'the copy arrived with its body');
    assert.match(shadow.received[0] ?? '', /x-envoy-internal: true/);
    client.close();
  });

  test('fault filter delays and aborts', async () => {
    await using backend = await httpBackend(() => 'fine');
    const FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault';
    const whole = { numerator: 100 };
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener(
          'l',
          hcm(
            [
              {
                match: { prefix: '/abort' },
                route: { cluster: 'c' },
                typed_per_filter_config: { 'envoy.filters.http.fault': { '@type': FAULT, abort: { http_status: 555, percentage: whole } } },
              },
              {
                match: { prefix: '/delay' },
                route: { cluster: 'c' },
                typed_per_filter_config: {
                  'envoy.filters.http.fault': { '@type': FAULT, delay: { fixed_delay: '0.1s', percentage: whole } },
                },
              },
              toCluster('c'),
            ],
            { http_filters: [{ name: 'envoy.filters.http.fault', typed_config: { '@type': FAULT } }, ROUTER] },
          ),
        ),
      ],
    });
    const port = plane.port('l');
    const aborted = await fetchOnce(port, '/abort');
    assert.deepEqual([aborted.status, aborted.body], [555, 'fault filter abort']);
    const before = performance.now();
    assert.equal((await fetchOnce(port, '/delay')).body, 'fine');
    assert.ok(performance.now() - before >= 99);
    assert.equal((await fetchOnce(port, '/')).body, 'fine');
    await eventually(() => plane.http.length === 3, 'logged');
    assert.deepEqual(
      plane.http.map((l) => `${l.flags} ${l.details}`),
      ['FI fault_filter_abort', 'DI via_upstream', ' via_upstream'],
    );
  });

  test('an early answer to an unfinished request closes the connection', async () => {
    await using backend = await startBackend((socket, text) => {
      if (text.startsWith('POST')) socket.write(status(413, 'big'));
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    const response = await client.send('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc').response();
    assert.deepEqual([response.status, response.body], [413, 'big']);
    assert.equal(response.headers.get('connection'), 'close');
    await client.rest();
    client.close();
  });

  test('refuses what it cannot honour, by name', async () => {
    await using plane = await startPlane({});
    assert.throws(
      () =>
        plane.plane.setListener(
          listener('l', hcm([], { http_filters: [{ name: 'x', typed_config: { '@type': 'type.googleapis.com/some.Unknown' } }, ROUTER] })),
        ),
      /filter_chains\[0\].*http_filters\[0\]: HTTP filter x \(some.Unknown\) is not supported/,
    );
    plane.plane.setListener(
      listener(
        'l',
        hcm([], {
          http_filters: [{ name: 'x', is_optional: true, typed_config: { '@type': 'type.googleapis.com/some.Unknown' } }, ROUTER],
        }),
      ),
    );
    assert.throws(() => plane.plane.setCluster(staticCluster('c', [], { load_balancing_policy: {} })), /load_balancing_policy/);
    assert.deepEqual([...plane.plane.clusters()], []);
  });
});
