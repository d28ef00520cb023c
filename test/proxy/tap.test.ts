// Tapping a running proxy over its admin API: both ends of a call, what matches, what is hidden, what is bounded, and what is left when
// nobody taps.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { ProxyServer } from '../../src/proxy/bootstrap/proxy-server.ts';
import { TAPS_MAX } from '../../src/proxy/limits.ts';
import { redaction } from '../../src/proxy/tap/redaction.ts';
import { parseTapRequest } from '../../src/proxy/tap/tap-request.ts';
import type { Bootstrap, Cluster, HttpFilter, Listener } from '../../src/xds/gen/types.ts';
import { HCM, listener, ROUTER, staticCluster, toCluster } from './harness.ts';
import { ProxyProcess, proxyConfig, startEcho, until } from './hot-restart-rig.ts';
import { openTap } from './tap-rig.ts';

const exchangeOf = (direction: 'INBOUND' | 'OUTBOUND'): HttpFilter => {
  const meta = [{ istio_headers: {} }];
  return {
    name: 'istio.metadata_exchange',
    typed_config: {
      '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
      type_url: 'type.googleapis.com/io.istio.http.peer_metadata.Config',
      value:
        direction === 'INBOUND'
          ? { downstream_discovery: meta, downstream_propagation: meta }
          : { upstream_discovery: meta, upstream_propagation: meta },
    },
  };
};

const meshListener = (direction: 'INBOUND' | 'OUTBOUND', cluster: string): Listener =>
  listener(
    direction,
    {
      name: 'hcm',
      typed_config: {
        '@type': HCM,
        stat_prefix: 'x',
        route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [toCluster(cluster)] }] },
        http_filters: [exchangeOf(direction), ROUTER],
      },
    },
    { traffic_direction: direction },
  );

interface Running {
  readonly server: ProxyServer;
  readonly port: number;
  readonly admin: string;
}

const start = async (workload: string, from: Listener, cluster: Cluster): Promise<Running> => {
  const bootstrap: Bootstrap = {
    node: {
      id: `sidecar~127.0.0.1~${workload}-0.shop~shop.svc.cluster.local`,
      metadata: { WORKLOAD_NAME: workload, NAMESPACE: 'shop', LABELS: { app: workload } },
    },
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
    static_resources: { clusters: [cluster], listeners: [from] },
  };
  const log = createLog(
    't',
    () => undefined,
    () => new Date(),
  );
  const server = new ProxyServer({ bootstrap, log, version: '0.1.0', quit: () => undefined });
  server.start();
  await server.openAdmin();
  await server.whenLive();
  const [own] = [...server.dataPlane.listeners()];
  return { server, port: Number(own?.localAddress.split(':').at(-1)), admin: server.adminAddress ?? '' };
};

/** How long the application takes for a charge. */
const CHARGE_MS = 60;

describe('tap', () => {
  let app: Server;
  let web: Running;
  let payment: Running;

  const call = async (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<number> => {
    const sent = request({ host: '127.0.0.1', port: web.port, path, method, agent: false, headers: { host: 'payment', ...headers } });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    await once(response, 'end');
    return response.statusCode ?? 0;
  };

  before(async () => {
    app = createServer((req, res) => {
      res.statusCode = req.url?.startsWith('/broken') === true ? 503 : 200;
      res.setHeader('set-cookie', 'sid=sesame');
      // A charge takes a known time; the proxies' clocks are coarse.
      setTimeout(() => res.end('done'), req.url?.startsWith('/api/v1/charge') === true ? CHARGE_MS : 0);
    });
    app.listen(0, '127.0.0.1');
    await once(app, 'listening');
    payment = await start('payment', meshListener('INBOUND', 'app'), staticCluster('app', [(app.address() as AddressInfo).port]));
    web = await start('web', meshListener('OUTBOUND', 'payment'), staticCluster('payment', [payment.port]));
  });
  after(async () => {
    await web.server.close();
    await payment.server.close();
    app.closeAllConnections();
    app.close();
  });

  test('both ends of a call show it, each from its side', async () => {
    const [out, into] = await Promise.all(
      [web, payment].map((p) => openTap(p.admin, { match: { pathPrefix: '/api/v1/charge' }, count: 1 })),
    );
    assert.ok(out && into);
    await call('/other');
    await call('/api/v1/charge?amount=5', { 'x-request-id': 'rid-1' });
    for (const reader of [out, into]) {
      const lines = await reader.end();
      assert.equal(lines.at(-1)?.tap?.ended, 'count');
      assert.equal(reader.requests.length, 1);
    }
    const [sent, received] = [out.requests[0], into.requests[0]];
    assert.deepEqual([sent?.side, sent?.proxy], ['outbound', 'sidecar~127.0.0.1~web-0.shop~shop.svc.cluster.local']);
    assert.equal(received?.side, 'inbound');
    for (const seen of [sent, received]) {
      assert.deepEqual([seen?.method, seen?.path, seen?.status, seen?.authority], ['GET', '/api/v1/charge?amount=5', 200, 'payment']);
      assert.deepEqual([seen?.source?.workload, seen?.destination?.workload], ['web', 'payment']);
      assert.ok((seen?.durationMs ?? 0) >= CHARGE_MS / 2, `${seen?.durationMs} ms`);
      assert.equal(seen?.headers, undefined, 'heads are shown to who asks for them');
    }
  });

  test('matches by status class, method, header, party and direction', async () => {
    const matches: readonly (readonly [object, readonly string[]])[] = [
      [{ status: ['5xx'] }, ['/broken']],
      [{ status: ['200', '404'], method: 'post' }, ['/posted']],
      [{ headers: [{ name: 'X-Who', value: 'me' }] }, ['/posted']],
      [{ headers: [{ name: 'x-who' }], path: '/plain' }, []],
      [{ path: '/plain' }, ['/plain?a=1']],
      [{ from: 'web.shop', to: 'payment', authority: 'payment' }, ['/plain?a=1', '/broken', '/posted']],
      [{ from: 'order' }, []],
      [{ direction: 'inbound' }, []],
      [{ minDurationMs: 60_000 }, []],
    ];
    for (const [match, expected] of matches) {
      const reader = await openTap(web.admin, { match });
      const last = await openTap(web.admin, { match: { path: '/last' }, count: 1 });
      await call('/plain?a=1');
      await call('/broken');
      await call('/posted', { 'x-who': 'me' }, 'POST');
      await call('/last');
      await last.end();
      assert.deepEqual(
        reader.requests.filter((r) => r.path !== '/last').map((r) => r.path),
        expected,
        JSON.stringify(match),
      );
      reader.leave();
    }
  });

  test('credentials are not shown, neither in headers nor in a query', async () => {
    const redact = { headers: ['X-Card'], query: ['pin'] };
    const reader = await openTap(web.admin, { withHeaders: true, count: 1, redact });
    const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2VjcmV0c2VjcmV0';
    const headers = { authorization: `Bearer ${jwt}`, cookie: 'a=sesame', 'x-card': 'sesame', 'x-note': `see ${jwt}`, 'x-plain': 'shown' };
    await call(`/p?access_token=sesame&pin=sesame&accessToken=sesame&q=shown&${jwt}`, headers);
    await reader.end();
    const text = JSON.stringify(reader.lines);
    assert.ok(!text.includes('sesame') && !text.includes('eyJ'), text);
    const [seen] = reader.requests;
    assert.equal(seen?.path, '/p?access_token=[redacted]&pin=[redacted]&accessToken=[redacted]&q=shown&[redacted]');
    const told = new Map(seen?.headers?.request);
    assert.deepEqual([told.get('x-plain'), told.get('x-card'), told.get('cookie')], ['shown', '[redacted]', '[redacted]']);
    assert.equal(new Map(seen?.headers?.response).get('set-cookie'), '[redacted]');
  });

  test('over its rate a tap counts and does not show', async () => {
    const reader = await openTap(web.admin, { match: { pathPrefix: '/many' }, maxPerSecond: 3 });
    for (let i = 0; i < 10; i++) await call('/many');
    const lines = await reader.until((l) => l.some(({ tap }) => (tap?.shown ?? 0) + (tap?.skipped ?? 0) === 10));
    const counts = lines.findLast(({ tap }) => tap?.shown !== undefined)?.tap;
    assert.equal(counts?.shown, reader.requests.length);
    assert.ok(reader.requests.length >= 3 && reader.requests.length < 10, String(reader.requests.length));
    reader.leave();
  });

  test('time ends a tap; too many are refused; a reader that leaves makes room', async () => {
    const readers = await Promise.all(Array.from({ length: TAPS_MAX }, (_, i) => openTap(payment.admin, { seconds: i === 0 ? 2 : 60 })));
    assert.equal((await openTap(payment.admin, {})).status, 429);
    assert.equal((await readers[0]?.end())?.at(-1)?.tap?.ended, 'time');
    const next = await openTap(payment.admin, {});
    assert.equal(next.status, 200);
    for (const reader of [next, ...readers]) reader.leave();
    await until(
      async () => {
        const all = await Promise.all(Array.from({ length: TAPS_MAX }, () => openTap(payment.admin, {})));
        for (const reader of all) reader.leave();
        return all.every((r) => r.status === 200);
      },
      () => 'the taps of readers that left stay',
    );
  });

  test('what cannot be read is refused with the field, and only POST taps', async () => {
    assert.equal((await openTap(web.admin, { match: { status: ['9xx'] } })).status, 400);
    for (const [body, field] of [
      ['{', 'JSON'],
      ['[]', 'the body'],
      ['{"matsch":{}}', 'matsch'],
      ['{"match":{"direction":"up"}}', 'direction'],
      ['{"maxPerSecond":100000}', 'maxPerSecond'],
      ['{"match":{"headers":[{"name":"a b"}]}}', 'header name'],
    ] as const) {
      const read = parseTapRequest(body);
      assert.ok(!read.ok && read.error.includes(field), body);
    }
    const sent = request(`http://${web.admin}/tap`, { agent: false });
    sent.end();
    assert.equal(((await once(sent, 'response')) as [IncomingMessage])[0].statusCode, 405);
  });

  test('a proxy that ends says so to its readers', async () => {
    const other = await start('order', meshListener('INBOUND', 'app'), staticCluster('app', [1]));
    const reader = await openTap(other.admin, {});
    await other.server.close();
    assert.equal((await reader.end()).at(-1)?.tap?.ended, 'the proxy ends');
  });
});

test('a tap sees the exchanges of all workers, and counts what is over its rate', async () => {
  const echo = await startEcho();
  const proxy = new ProxyProcess(proxyConfig(echo.port), ['--concurrency', '2']);
  try {
    await proxy.ready();
    const port = await proxy.port('http');
    const reader = await openTap(`127.0.0.1:${proxy.admin}`, { maxPerSecond: 1000 });
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        const sent = request({ host: '127.0.0.1', port, agent: false });
        sent.end();
        const [response] = (await once(sent, 'response')) as [IncomingMessage];
        response.resume();
      }),
    );
    await reader.until(() => reader.requests.length === 40);
    reader.leave();
  } finally {
    proxy.remove([]);
    echo.server.close();
  }
});

test('what is hidden is found by its name in any spelling, and a plain query stays', () => {
  const { path, header } = redaction({ headers: [], query: [] });
  for (const [given, shown] of [
    ['/a', '/a'],
    ['/a?b=1&c', '/a?b=1&c'],
    ['/a?X-Amz-Signature=abc&monkey=1', '/a?X-Amz-Signature=[redacted]&monkey=1'],
    ['/a?api%5Fkey=abc&apiKey=abc', '/a?api%5Fkey=[redacted]&apiKey=[redacted]'],
    ['/reset/eyJhbGciOiJI.eyJzdWIi.abc', '/reset/[redacted]'],
    ['/a?q=%', '/a?q=%'],
  ] as const)
    assert.equal(path(given), shown);
  assert.equal(header('x-vault-token', 'abc'), '[redacted]');
  assert.equal(header('location', 'https://x/?code=abc&n=1'), 'https://x/?code=[redacted]&n=1');
  assert.equal(header('accept', 'text/html'), 'text/html');
});
