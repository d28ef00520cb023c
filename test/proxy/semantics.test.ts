// Smaller promises of the HTTP connection manager: 100-continue, edge headers, connection reuse, idle closing, redirects.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import {
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  RawClient,
  startBackend,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';

describe('connection manager', () => {
  test('100-continue: given here, or left to the upstream', async () => {
    await using backend = await startBackend((socket, text) => {
      if (text.includes('expect: 100-continue')) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
      if (text.endsWith('body')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone');
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('own', hcm([toCluster('c')])), listener('through', hcm([toCluster('c')], { proxy_100_continue: true }))],
    });
    for (const name of ['own', 'through']) {
      const client = await RawClient.open(plane.port(name));
      client.send('POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n');
      assert.equal((await client.response()).status, 100, name);
      client.send('body');
      assert.equal((await client.response()).body, 'done', name);
      client.close();
    }
    assert.doesNotMatch(backend.received[0]?.split('body')[0] ?? '', /expect: 100/);
    assert.match(backend.received.join('').split('body')[1] ?? '', /expect: 100/);
  });

  test('an edge listener believes nothing an outside client says', async () => {
    await using backend = await httpBackend((_n, head) => head);
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('edge', hcm([toCluster('c')], { use_remote_address: true, server_name: 'istio-envoy' }))],
    });
    const forged = [
      'x-envoy-internal: true',
      'x-envoy-upstream-rq-timeout-ms: 1',
      'x-envoy-decorator-operation: x',
      'x-forwarded-proto: https',
      'x-request-id: mine',
      'x-forwarded-client-cert: By=me',
    ];
    const response = await fetchOnce(plane.port('edge'), '/', `${forged.join('\r\n')}\r\n`);
    assert.equal(response.headers.get('server'), 'istio-envoy');
    assert.match(response.body, /x-envoy-external-address: 127\.0\.0\.1/);
    assert.match(response.body, /x-forwarded-for: \d+\.\d+\.\d+\.\d+/);
    assert.match(response.body, /x-forwarded-proto: http(\r|$)/m);
    for (const lie of [/x-envoy-internal/, /rq-timeout-ms: 1(\r|$)/m, /decorator/, /request-id: mine/, /client-cert/])
      assert.doesNotMatch(response.body, lie);
  });

  test('a timeout asked for with more digits than a number has is none', { timeout: 120_000 }, async () => {
    await using backend = await httpBackend(() => 'silent');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener(
          'l',
          hcm([toCluster('c', { timeout: '0.1s' })], {
            internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] },
          }),
        ),
      ],
    });
    const asked = `x-forwarded-for: 10.0.0.1\r\nx-envoy-upstream-rq-timeout-ms: ${'9'.repeat(400)}\r\n`;
    assert.equal((await fetchOnce(plane.port('l'), '/', asked)).status, 504);
  });

  test('an upstream that closes after its answer is not used again', async () => {
    await using backend = await startBackend((socket) => socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok'));
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    for (let n = 0; n < 3; n++) {
      const response = await client.get('/');
      assert.equal(response.body, 'ok');
      assert.equal(response.headers.get('connection'), undefined);
    }
    assert.equal(backend.sockets.length, 3);
    client.close();
  });

  test('idle connections close on both sides', async () => {
    const HTTP = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
    await using backend = await httpBackend(() => 'x');
    await using plane = await startPlane({
      clusters: [
        staticCluster('c', [backend.port], {
          typed_extension_protocol_options: {
            [HTTP]: {
              '@type': `type.googleapis.com/${HTTP}`,
              common_http_protocol_options: { idle_timeout: '0.1s' },
              explicit_http_config: { http_protocol_options: {} },
            },
          },
        }),
      ],
      listeners: [listener('l', hcm([toCluster('c')], { common_http_protocol_options: { idle_timeout: '0.1s' } }))],
    });
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.get('/')).body, 'x');
    assert.equal(await client.rest(), '');
    const active = plane.plane.stats.gauge('cluster.c.upstream_cx_active');
    await eventually(() => active.value === 0, 'the upstream connection is closed');
    client.close();
  });

  test('redirects keep the query; a request timeout answers 408', async () => {
    await using backend = await httpBackend(() => 'x');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener(
          'l',
          hcm([{ match: { prefix: '/old' }, redirect: { path_redirect: '/new' } }, toCluster('c')], { request_timeout: '0.05s' }),
        ),
      ],
    });
    const moved = await fetchOnce(plane.port('l'), '/old?q=1');
    assert.deepEqual([moved.status, moved.headers.get('location')], [301, 'http://a.test/new?q=1']);
    const client = await RawClient.open(plane.port('l'));
    const late = await client.send('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf').response();
    assert.deepEqual([late.status, late.body], [408, 'request timeout']);
    await client.rest();
    client.close();
  });

  test('retries go to another host when asked to', async () => {
    await using bad = await httpBackend(() => 'HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n');
    await using good = await httpBackend(() => 'good');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [bad.port, good.port], { lb_policy: 'RANDOM' })],
      listeners: [
        listener(
          'l',
          hcm([
            toCluster('c', {
              retry_policy: {
                retry_on: '5xx',
                num_retries: 1,
                retry_host_predicate: [
                  {
                    name: 'envoy.retry_host_predicates.previous_hosts',
                    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate' },
                  },
                ],
                host_selection_retry_max_attempts: 50,
              },
            }),
          ]),
        ),
      ],
    });
    for (let n = 0; n < 20; n++) assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'good');
  });

  test('only the one loopback address stands for this machine, other loopback clients are named', async () => {
    await using backend = await httpBackend((_n, head) => head);
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('edge', hcm([toCluster('c')], { use_remote_address: true }))],
    });
    const forwardedFor = async (localAddress: string): Promise<string | undefined> => {
      const socket = connect({ port: plane.port('edge'), host: '127.0.0.1', localAddress });
      await once(socket, 'connect');
      const client = new RawClient(socket);
      const { body } = await client.get('/');
      client.close();
      return /x-forwarded-for: (\S+)/.exec(body)?.[1];
    };
    assert.equal(await forwardedFor('127.0.0.5'), '127.0.0.5');
    assert.notEqual(await forwardedFor('127.0.0.1'), '127.0.0.5');
  });
});
