// The door for a Prometheus on the host: it carries GETs of sidecars' metrics, and nothing else whatever it is asked.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { type MetricsDoor, type MetricsTarget, startMetricsDoor } from '../../src/local/metrics-door.ts';

interface Rig {
  readonly door: MetricsDoor;
  readonly sidecar: string;
  /** Heads that the sidecar was sent. */
  readonly seen: string[];
  readonly lists: { count: number };
}

const withDoor = async (run: (rig: Rig) => Promise<void>): Promise<void> => {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const sidecar = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', (chunk: Buffer) => {
      seen.push(chunk.toString('latin1'));
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nx 1\n');
    });
  }).listen(0, '127.0.0.1');
  await once(sidecar, 'listening');
  const at = `127.0.0.1:${(sidecar.address() as AddressInfo).port}`;
  const lists = { count: 0 };
  const targets: readonly MetricsTarget[] = [
    { targets: [at], labels: { __metrics_path__: '/stats/prometheus' } },
    { targets: ['127.0.0.1:1'], labels: { __metrics_path__: '/stats/prometheus' } },
  ];
  const door = await startMetricsDoor(
    {
      targets: () => {
        lists.count++;
        return Promise.resolve(targets);
      },
      controlPlaneMetrics: () => Promise.resolve('pilot_xds 3\n'),
      connect: async (host, port) => {
        const socket = connect({ host, port });
        await once(socket, 'connect');
        return socket;
      },
      log: () => undefined,
    },
    '127.0.0.1',
    0,
  );
  try {
    await run({ door, sidecar: at, seen, lists });
  } finally {
    await door.close();
    for (const socket of sockets) socket.destroy();
    sidecar.close();
  }
};

/** The whole of what comes back, until the door closes. */
const exchange = async ({ door }: Rig, request: string): Promise<string> => {
  const socket = connect(door.port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
  });
  socket.write(request);
  await once(socket, 'close');
  return text;
};

const get = (target: string, fields = ''): string => `GET ${target} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;

describe('the door for Prometheus', () => {
  test('carries a scrape as a proxy, without what was meant for the door', { timeout: 120_000 }, async () => {
    await withDoor(async (rig) => {
      const fields =
        'Accept: text/plain\r\nProxy-Authorization: Basic c2VjcmV0\r\nConnection: keep-alive\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n';
      const answer = await exchange(rig, get(`http://${rig.sidecar}/stats/prometheus?usedonly`, fields));
      assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[\s\S]*x 1\n$/);
      const [head = ''] = rig.seen;
      assert.match(head, new RegExp(`^GET /stats/prometheus\\?usedonly HTTP/1\\.1\r\nHost: ${rig.sidecar}\r\n`));
      assert.match(head, /\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n/);
      assert.doesNotMatch(head, /c2VjcmV0|keep-alive/i);
    });
  });

  for (const [what, target] of [
    ['another path of a sidecar', (at: string) => `http://${at}/quitquitquit`],
    ['an address that is not in the list', () => 'http://127.0.0.1:9/stats/prometheus'],
    ['a path that only looks like it', (at: string) => `http://${at}/stats/prometheus/../quitquitquit`],
    ['somebody else by way of user information', (at: string) => `http://${at}@127.0.0.1:9/stats/prometheus`],
  ] as const)
    test(`refuses ${what}`, { timeout: 120_000 }, async () => {
      await withDoor(async (rig) => {
        assert.match(await exchange(rig, get(target(rig.sidecar))), /^HTTP\/1\.1 403 /);
        assert.deepEqual(rig.seen, []);
      });
    });

  test('takes no other method', { timeout: 120_000 }, async () => {
    await withDoor(async (rig) => {
      const post = `POST http://${rig.sidecar}/stats/prometheus HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`;
      assert.match(await exchange(rig, post), /^HTTP\/1\.1 405 /);
      assert.match(await exchange(rig, `CONNECT ${rig.sidecar} HTTP/1.1\r\nHost: x\r\n\r\n`), /^HTTP\/1\.1 405 /);
      assert.deepEqual(rig.seen, []);
    });
  });

  test('says so when a sidecar is not there', { timeout: 120_000 }, async () => {
    await withDoor(async (rig) => {
      assert.match(await exchange(rig, get('http://127.0.0.1:1/stats/prometheus')), /^HTTP\/1\.1 502 /);
    });
  });

  test('lists the targets as service discovery wants them, and asks for them once for many scrapes', { timeout: 120_000 }, async () => {
    await withDoor(async (rig) => {
      const answer = await exchange(rig, get('/targets'));
      assert.match(answer, /\r\nContent-Type: application\/json\r\n/);
      assert.equal(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))[0].targets[0], rig.sidecar);
      await Promise.all(Array.from({ length: 5 }, () => exchange(rig, get(`http://${rig.sidecar}/stats/prometheus`))));
      assert.equal(rig.seen.length, 5);
      assert.equal(rig.lists.count, 1);
    });
  });

  test("passes on the control plane's metrics", { timeout: 120_000 }, async () => {
    await withDoor(async (rig) => {
      assert.match(await exchange(rig, get('/control-plane/metrics')), /^HTTP\/1\.1 200 [\s\S]*\r\n\r\npilot_xds 3\n$/);
      assert.match(await exchange(rig, get('/')), /^HTTP\/1\.1 404 /);
    });
  });

  test('refuses what is no request, and heads without end', { timeout: 120_000 }, async () => {
    await withDoor(async (rig) => {
      assert.match(await exchange(rig, 'nonsense\r\n\r\n'), /^HTTP\/1\.1 400 /);
      assert.match(await exchange(rig, get('/targets', 'a b: c\r\n')), /^HTTP\/1\.1 400 /);
      assert.match(await exchange(rig, `GET /${'x'.repeat(20_000)}`), /^(?:HTTP\/1\.1 400 |$)/);
    });
  });
});
