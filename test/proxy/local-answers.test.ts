// What the proxy says by itself, in Envoy's way: refused heads, direct responses, gRPC errors, attempts and the time they are told.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CertificateFacts } from '../../src/plan/stream-info.ts';
import { expectedTimeoutMs } from '../../src/proxy/exchange/attempt-timeouts.ts';
import { mutateClientCertHeader } from '../../src/proxy/exchange/client-cert-header.ts';
import type { HcmPlan } from '../../src/proxy/exchange/hcm-plan.ts';
import { grpcMessage } from '../../src/proxy/exchange/local-reply.ts';
import { type Observer, silentObserver } from '../../src/proxy/exchange/observer.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';
import type { Route } from '../../src/xds/gen/types.ts';
import { eventually, fetchOnce, hcm, httpBackend, listener, RawClient, startPlane, staticCluster, toCluster } from './harness.ts';

describe('local answers', () => {
  test('a path that does not begin with a slash is not routed', async () => {
    await using plane = await startPlane({ listeners: [listener('l', hcm([toCluster('c')]))] });
    const client = await RawClient.open(plane.port('l'));
    const response = await client.send('OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n').response();
    assert.deepEqual([response.status, response.headers.has('connection')], [404, false]);
    await eventually(() => plane.http.length === 1, 'logged');
    assert.deepEqual([plane.http[0]?.details, plane.http[0]?.flags], ['absolute_path_rejected', '']);
    client.close();
  });

  test('every 400 of its own ends the connection; other refusals do not', async () => {
    const direct = (path: string, status: number): Route => ({ match: { path }, direct_response: { status } });
    await using plane = await startPlane({
      listeners: [listener('l', hcm([direct('/400', 400), direct('/403', 403)], { path_with_escaped_slashes_action: 'REJECT_REQUEST' }))],
    });
    for (const [path, status] of [
      ['/400', 400],
      ['/a%2fb', 400],
    ] as const) {
      const client = await RawClient.open(plane.port('l'));
      const response = await client.get(path);
      assert.deepEqual([response.status, response.headers.get('connection')], [status, 'close'], path);
      await client.rest();
    }
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.get('/403')).status, 403);
    assert.equal((await client.get('/403')).status, 403, 'the same connection');
    client.close();
  });

  test('a tunnel that is refused ends the connection', async () => {
    await using plane = await startPlane({
      listeners: [listener('l', hcm([{ match: { path: '/none' }, direct_response: { status: 404 } }]))],
    });
    const client = await RawClient.open(plane.port('l'));
    const response = await client.send('CONNECT a.test:80 HTTP/1.1\r\nhost: a.test:80\r\n\r\n').response();
    assert.deepEqual([response.status, response.headers.get('connection')], [404, 'close']);
    await client.rest();
  });

  test('a request without Host is logged with its path', async () => {
    const paths: string[] = [];
    const observer: Observer = { ...silentObserver, httpDone: (info) => paths.push(`${info.path} ${info.responseCodeDetails}`) };
    await using plane = await startPlane({ listeners: [listener('l', hcm([toCluster('c')]))] }, { observer });
    const client = await RawClient.open(plane.port('l'));
    assert.equal((await client.send('GET /there HTTP/1.1\r\n\r\n').response()).status, 400);
    await eventually(() => paths.length === 1, 'logged');
    assert.deepEqual(paths, ['/there missing_host_header']);
  });

  test('the URI of a client certificate has its place even when there is none', () => {
    const plan = {
      forwardClientCert: 'SANITIZE_SET',
      clientCertDetails: { uri: true, dns: true, subject: false, cert: false, chain: false },
    };
    const peer = { sha256Fingerprint: 'ab', uriSans: [] as string[], dnsSans: ['client.test'], subject: '', pem: '' };
    const forwarded = (uriSans: string[]): string | undefined => {
      const headers = new HeaderBlock();
      const certificate = { ...peer, uriSans } as unknown as CertificateFacts;
      mutateClientCertHeader(plan as unknown as HcmPlan, headers, true, certificate, '', { text: undefined });
      return headers.get('x-forwarded-client-cert');
    };
    assert.equal(forwarded([]), 'Hash=ab;URI=;DNS=client.test');
    assert.equal(forwarded(['spiffe://a', 'spiffe://b']), 'Hash=ab;URI=spiffe://a;URI=spiffe://b;DNS=client.test');
  });

  test('a direct 201 says where', async () => {
    const route: Route = { match: { prefix: '/' }, direct_response: { status: 201 } };
    await using plane = await startPlane({ listeners: [listener('l', hcm([route]))] });
    assert.equal((await fetchOnce(plane.port('l'), '/made?x=1')).headers.get('location'), 'http://a.test/made?x=1');
  });

  test('a gRPC client gets an end it can see over HTTP/1', async () => {
    await using backend = await httpBackend(() => 'silent');
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c', { timeout: '0.02s' })]))],
    });
    const client = await RawClient.open(plane.port('l'));
    const { status, headers } = await client.get('/', 'content-type: application/grpc\r\n');
    assert.deepEqual(
      [status, headers.get('content-length'), headers.get('grpc-message'), headers.get('grpc-status')],
      [200, '0', 'upstream request timeout', '14'],
    );
    client.close();
    assert.equal(grpcMessage('50% ü\n'), '50%25 %C3%BC%0A');
  });

  test('no host to choose is an attempt, no cluster is none', async () => {
    await using plane = await startPlane({
      clusters: [staticCluster('empty', [])],
      listeners: [listener('empty', hcm([toCluster('empty')])), listener('none', hcm([toCluster('none')]))],
    });
    await fetchOnce(plane.port('empty'), '/');
    await fetchOnce(plane.port('none'), '/');
    await eventually(() => plane.http.length === 2, 'logged');
    assert.deepEqual(
      plane.http.map((l) => [l.flags, l.attempts]),
      [
        ['UH', 1],
        ['NC', 0],
      ],
    );
  });

  test('what may have no body has none, whatever is configured, and the connection stays in step', async () => {
    const direct = (status: number): Route => ({
      match: { path: `/${status}` },
      direct_response: { status, body: { inline_string: 'body' } },
    });
    const mapped = {
      local_reply_config: {
        mappers: [
          {
            filter: { status_code_filter: { comparison: { op: 'EQ' as const, value: { default_value: 404, runtime_key: 'x' } } } },
            status_code: 204,
            body: { inline_string: 'body' },
          },
        ],
      },
    };
    await using plane = await startPlane({
      listeners: [listener('l', hcm([direct(204), direct(304), direct(200)], mapped))],
    });
    const client = await RawClient.open(plane.port('l'));
    const firsts: (string | undefined)[] = [];
    for (const path of ['/204', '/304', '/none', '/200']) firsts.push((await client.get(path)).head.split('\n')[0]);
    assert.deepEqual(firsts, ['HTTP/1.1 204 No Content', 'HTTP/1.1 304 Not Modified', 'HTTP/1.1 204 No Content', 'HTTP/1.1 200 OK']);
    client.close();
  });

  test('each attempt is told what is left of the route timeout', async () => {
    assert.equal(expectedTimeoutMs(500, 200, 0), 200);
    assert.equal(expectedTimeoutMs(500, 200, 420), 80);
    assert.equal(expectedTimeoutMs(500, 0, 100), 400);
    assert.equal(expectedTimeoutMs(500, 200, 600), 1);
    assert.equal(expectedTimeoutMs(0, 200, 600), 200);
    assert.equal(expectedTimeoutMs(0, 0, 600), 0);
    const told: number[] = [];
    await using backend = await httpBackend((n, head) => {
      told.push(Number(/x-envoy-expected-rq-timeout-ms: (\d+)/.exec(head)?.[1]));
      return n === 0 ? 'silent' : 'fine';
    });
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener('l', hcm([toCluster('c', { timeout: '2s', retry_policy: { retry_on: '5xx', num_retries: 1, per_try_timeout: '1.2s' } })])),
      ],
    });
    assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'fine');
    assert.equal(told[0], 1200);
    assert.ok((told[1] ?? 0) > 0 && (told[1] ?? 0) <= 800, String(told[1]));
  });
});
