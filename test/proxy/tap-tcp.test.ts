// TCP connections in a tap: told where asked for, when they end and when they begin, with who, how much and how long; of no interest to
// whoever asks for requests, and of no cost when nobody taps.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { ProxyServer } from '../../src/proxy/bootstrap/proxy-server.ts';
import { parseTapRequest } from '../../src/proxy/tap/tap-request.ts';
import { listener, staticCluster, tcpProxy } from './harness.ts';
import { openTap } from './tap-rig.ts';

const app = createServer((socket) => {
  socket.on('error', () => undefined);
  socket.once('data', () => socket.end('hello!'));
});
let proxy: ProxyServer;
let admin = '';
let port = 0;
let deadPort = 0;

/** Says three letters, and hears the rest. */
const talk = async (to = port): Promise<string> => {
  const socket = connect({ host: '127.0.0.1', port: to });
  let heard = '';
  socket.on('data', (b: Buffer) => {
    heard += b.toString();
  });
  socket.on('error', () => undefined);
  socket.write('abc');
  await new Promise((resolve) => socket.on('close', resolve));
  return heard;
};

before(async () => {
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  const service = {
    metadata: { filter_metadata: { istio: { services: [{ host: 'stock.shop.svc', name: 'stock', namespace: 'shop' }] } } },
  };
  const clusters = [
    staticCluster('outbound|6379||stock.shop.svc', [(app.address() as AddressInfo).port], service),
    staticCluster('dead', [1]),
  ];
  const more = { traffic_direction: 'OUTBOUND' } as const;
  proxy = new ProxyServer({
    bootstrap: {
      node: { id: 'web', metadata: { WORKLOAD_NAME: 'web', NAMESPACE: 'shop', LABELS: { app: 'web' } } },
      admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
      static_resources: {
        clusters,
        listeners: [listener('a', tcpProxy('outbound|6379||stock.shop.svc'), more), listener('b', tcpProxy('dead'), more)],
      },
    },
    log: createLog(
      't',
      () => undefined,
      () => new Date(),
    ),
    version: '0.1.0',
    quit: () => undefined,
  });
  proxy.start();
  await proxy.openAdmin();
  await proxy.whenLive();
  const ports = new Map([...proxy.dataPlane.listeners()].map((l) => [l.name, Number(l.localAddress.split(':').at(-1))]));
  port = ports.get('a') ?? 0;
  deadPort = ports.get('b') ?? 0;
  admin = proxy.adminAddress ?? '';
});
after(async () => {
  await proxy.close();
  app.close();
});

describe('TCP in a tap', () => {
  test('a connection is told when it has ended, once, with its ends and its bytes', async () => {
    const reader = await openTap(admin, { tcp: true, count: 1 });
    assert.equal(await talk(), 'hello!');
    await reader.end();
    const [seen, ...more] = reader.connections;
    assert.equal(more.length, 0);
    assert.ok(seen);
    const { event, side, source, destination, bytesIn, bytesOut, flags, mtls, protocol, cluster } = seen;
    assert.deepEqual(
      { event, side, source: source?.workload, service: destination?.service, bytesIn, bytesOut, flags, mtls, protocol, cluster },
      {
        event: 'close',
        side: 'outbound',
        source: 'web',
        service: 'stock.shop.svc',
        bytesIn: 3,
        bytesOut: 6,
        flags: '',
        mtls: false,
        protocol: 'TCP',
        cluster: 'outbound|6379||stock.shop.svc',
      },
    );
    assert.equal(seen.proxy, 'web');
  });

  test('its beginning is told to who asks for it, before there are bytes', async () => {
    const reader = await openTap(admin, { tcp: true, open: true, count: 2, match: { to: 'stock.shop' } });
    const other = await openTap(admin, { tcp: true, open: true, match: { to: 'stoc' } });
    await talk();
    await reader.end();
    assert.deepEqual(
      reader.connections.map((c) => [c.event, c.bytesIn, c.bytesOut, c.mtls]),
      [
        ['open', 0, 0, null],
        ['close', 3, 6, false],
      ],
    );
    assert.equal(reader.connections[0]?.destination?.service, 'stock.shop.svc');
    assert.equal(other.connections.length, 0);
    other.leave();
  });

  test('one that reached nobody has its flag', async () => {
    const reader = await openTap(admin, { tcp: true, count: 1 });
    await talk(deadPort);
    await reader.end();
    assert.match(reader.connections[0]?.flags ?? '', /UF/);
  });

  test('who asks for requests, for another party or for another side gets none', async () => {
    const bodies: readonly (readonly [object, number])[] = [
      [{}, 0],
      [{ open: true }, 1],
      [{ tcp: true, match: { path: '/' } }, 0],
      [{ tcp: true, match: { status: ['5xx'] } }, 0],
      [{ tcp: true, match: { headers: [{ name: 'a' }] } }, 0],
      [{ tcp: true, match: { direction: 'inbound' } }, 0],
      [{ tcp: true, match: { from: 'order' } }, 0],
      [{ tcp: true, match: { to: 'payment' } }, 0],
      [{ tcp: true, match: { minDurationMs: 60_000 } }, 0],
      [{ tcp: true, match: { from: 'web.shop', to: 'stock.shop', direction: 'outbound' } }, 1],
    ];
    const readers = await Promise.all(bodies.slice(0, 5).map(([body]) => openTap(admin, body)));
    const last = await openTap(admin, { tcp: true, count: 1 });
    await talk();
    await last.end();
    for (const [i, reader] of readers.entries()) {
      assert.equal(reader.connections.length, bodies[i]?.[1], JSON.stringify(bodies[i]?.[0]));
      reader.leave();
    }
    const others = await Promise.all(bodies.slice(5).map(([body]) => openTap(admin, body)));
    const end = await openTap(admin, { tcp: true, count: 1 });
    await talk();
    await end.end();
    for (const [i, reader] of others.entries()) {
      assert.equal(reader.connections.length, bodies[i + 5]?.[1], JSON.stringify(bodies[i + 5]?.[0]));
      reader.leave();
    }
  });

  test('over its rate connections are counted and not shown', async () => {
    const reader = await openTap(admin, { tcp: true, maxPerSecond: 1 });
    for (let i = 0; i < 8; i++) await talk();
    await reader.until((l) => l.some(({ tap }) => (tap?.shown ?? 0) + (tap?.skipped ?? 0) === 8));
    assert.ok(reader.connections.length < 8, String(reader.connections.length));
    reader.leave();
  });

  test('what is no yes or no is refused', () => {
    for (const body of ['{"tcp":1}', '{"open":"true"}']) assert.ok(!parseTapRequest(body).ok, body);
  });
});
