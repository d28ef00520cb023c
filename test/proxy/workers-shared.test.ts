// What workers share: counts in memory of many threads, and configuration that all of them take or none.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { Worker } from 'node:worker_threads';
import { createLog } from '../../src/base/log.ts';
import { PlanError } from '../../src/plan/plan-error.ts';
import { systemClock } from '../../src/proxy/clock.ts';
import type { ConnectionWaiter } from '../../src/proxy/cluster/circuit-breaker.ts';
import type { ListeningSockets } from '../../src/proxy/listener/listening-sockets.ts';
import { wholeLines } from '../../src/proxy/telemetry/log-sink.ts';
import { AllWorkers } from '../../src/proxy/workers/all-workers.ts';
import { SharedSlots } from '../../src/proxy/workers/shared-slots.ts';
import { Signals } from '../../src/proxy/workers/signals.ts';
import { type StartedWorkers, type StartOptions, startWorkers } from '../../src/proxy/workers/start-workers.ts';
import type { Cluster, Listener, Secret } from '../../src/xds/gen/types.ts';
import { createAuthority } from './certificates.ts';

const SLOTS = new URL('../../src/proxy/workers/shared-slots.ts', import.meta.url).href;

test('slots: the same key is the same slot in every thread, no addition is lost, and what nobody uses is free again', async () => {
  const slots = new SharedSlots();
  const own = slots.take('k');
  const code = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(${JSON.stringify(SLOTS)}).then(({ SharedSlots }) => {
      const slots = new SharedSlots(workerData);
      let most = 0;
      for (let i = 0; i < 20000; i++) {
        const slot = slots.take('k');
        slot.add(0, 1);
        if (slot.addUpTo(1, 2)) { most = Math.max(most, slot.get(1)); slot.takeOne(1); }
        slots.giveUp(slot);
        const other = slots.take('k' + (i % 7));
        slots.giveUp(other);
      }
      parentPort.postMessage(most);
    });`;
  const threads = Array.from({ length: 3 }, () => new Worker(code, { eval: true, workerData: slots.memory }));
  const most = await Promise.all(threads.map(async (t) => ((await once(t, 'message')) as [number])[0]));
  await Promise.all(threads.map((t) => t.terminate()));
  assert.equal(own.get(0), 60_000);
  assert.ok(Math.max(...most) <= 2);
  assert.equal(own.get(1), 0);
  assert.equal(slots.size, 1);
  slots.giveUp(own);
  assert.equal(slots.size, 0);
  assert.equal(slots.take('k').get(0), 0, 'a new one begins at zero');
});

/** Two workers in one thread: words arrive when the test says so. */
const pair = () => {
  const slots = new SharedSlots(undefined, 64);
  const words: (() => void)[] = [];
  const signals: Signals[] = [];
  const worker = (n: number) => {
    const own = new Signals((key) => void words.push(() => signals[1 - n]?.hear(key)));
    signals.push(own);
    return new AllWorkers(slots, own, n === 0, () => 1000);
  };
  const both = [worker(0), worker(1)] as const;
  const hear = (): void => {
    while (words.length > 0) words.shift()?.();
  };
  return { slots, both, hear };
};

const BOUNDS = {
  connectionsMax: 2,
  pendingMax: 3,
  requestsMax: 2,
  retriesMax: 1,
  budgetPercent: undefined,
  budgetMin: 3,
  hostConnectionsMax: 1e9,
  poolsMax: 1e9,
  tracksRemaining: false,
};

test('limits of a host: its connections are those of all workers', () => {
  const { both } = pair();
  const [a, b] = both.map((w) => w.limits('c', { ...BOUNDS, connectionsMax: 9, hostConnectionsMax: 2 }, () => undefined));
  const [ha, hb] = both.map((w) => w.host('h'));
  assert.ok(a && b && ha && hb);
  assert.deepEqual([a.tryConnection(ha, true), b.tryConnection(hb, false), a.tryConnection(ha, false)], [true, true, false]);
  assert.deepEqual([a.inHand.connections, b.inHand.connections, hb.connections], [2, 2, 2]);
  b.releaseConnection(hb);
  assert.equal(a.tryConnection(ha, false), true);
  assert.equal(ha.setFlags(4, 0), true);
  assert.deepEqual([hb.flags, hb.setFlags(4, 0), hb.setFlags(1, 4), ha.flags], [4, false, true, 1], 'flags are seen by all');
});

test('limits: full for one is full for all, a freed place goes to who waits, and nothing stays behind', () => {
  const { slots, both, hear } = pair();
  let wanted = 0;
  const [a, b] = both.map((w) => w.limits('c', BOUNDS, () => wanted++));
  const [ha, hb] = both.map((w) => w.host('h'));
  assert.ok(a && b && ha && hb);
  assert.deepEqual([a.tryRequest(), b.tryRequest(), a.tryRequest()], [true, true, false]);
  b.releaseRequest();
  assert.equal(a.tryRequest(), true);
  assert.deepEqual([a.tryRetry(), b.tryRetry()], [true, false]);
  assert.deepEqual([a.tryConnection(ha, true), a.tryConnection(ha, false)], [true, true]);
  assert.equal(b.tryConnection(hb, true), false, 'the host has connections, though not from this worker');
  let granted = 0;
  const waiter: ConnectionWaiter = {
    granted: () => {
      granted++;
      return true;
    },
  };
  b.waitForConnection(waiter, hb);
  hear();
  assert.equal(wanted, 1);
  assert.equal(a.connectionsWanted, true);
  a.releaseConnection(ha);
  assert.equal(a.tryConnection(ha, false), false, 'the place is not for all');
  assert.equal(granted, 0);
  hear();
  assert.equal(granted, 1);
  assert.equal(a.connectionsWanted, false);
  b.releaseConnection(hb);
  assert.equal(a.tryConnection(ha, false), true);
  // A host without any connection may have one beyond the limit, as with one worker.
  const other = both[1].host('other');
  assert.equal(b.tryConnection(other, true), true);
  assert.equal(b.tryConnection(other, true), false);
  for (const [limits, host] of [
    [a, ha],
    [a, ha],
    [b, other],
  ] as const)
    limits.releaseConnection(host);
  for (const limits of [a, a]) limits.releaseRequest();
  a.releaseRetry();
  for (const limits of [a, b]) limits.retire();
  for (const host of [ha, hb, other]) host.close();
  assert.equal(slots.size, 0);
});

test('limits: who asked and needs no connection any more passes it on', () => {
  const { slots, both, hear } = pair();
  const [a, b] = both.map((w) => w.limits('c', { ...BOUNDS, connectionsMax: 1 }, () => undefined));
  const [ha, hb] = both.map((w) => w.host('h'));
  assert.ok(a && b && ha && hb);
  assert.equal(a.tryConnection(ha, true), true);
  b.waitForConnection({ granted: () => false }, hb);
  a.releaseConnection(ha);
  hear();
  assert.equal(a.tryConnection(ha, true), true, 'the place is free again');
  a.releaseConnection(ha);
  for (const limits of [a, b]) limits.retire();
  for (const host of [ha, hb]) host.close();
  assert.equal(slots.size, 0);
});

test('limits that find no room in shared memory refuse the resource', () => {
  const tiny = new AllWorkers(new SharedSlots(undefined, 1), new Signals(() => undefined), true, () => 0);
  tiny.count('one');
  assert.throws(() => tiny.count('two'), PlanError);
  assert.equal(tiny.host('h').ejected, false, 'a host is watched by each worker alone');
});

// --- two workers, in this process ---

const quiet = createLog(
  't',
  () => undefined,
  () => new Date(0),
  { value: 'off' },
);

const start = (more: Partial<StartOptions> = {}): StartedWorkers =>
  startWorkers({
    concurrency: 2,
    settings: {
      node: { id: 'n' },
      version: '0',
      logFlushMs: undefined,
      workers: 2,
      rotateMetricsMs: undefined,
      buckets: undefined,
      plane: {},
    },
    parts: { log: quiet, clock: systemClock, random: Math.random, own: {} },
    limits: {},
    sockets: undefined as ListeningSockets | undefined,
    died: (reason) => assert.fail(reason),
    ...more,
  });

const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const listenerTo = (body: string, more: object = {}): Listener =>
  ({
    name: 'l',
    address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
    filter_chains: [
      {
        ...more,
        filters: [
          {
            name: 'h',
            typed_config: {
              '@type': HCM,
              stat_prefix: 'h',
              route_config: {
                virtual_hosts: [
                  {
                    name: 'v',
                    domains: ['*'],
                    routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: body } } }],
                  },
                ],
              },
              http_filters: [
                { name: 'r', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } },
              ],
            },
          },
        ],
      },
    ],
  }) as unknown as Listener;

const get = (port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    request({ port, host: '127.0.0.1', agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      response.on('end', () => resolve(body));
    })
      .on('error', reject)
      .end();
  });

/** Answers to so many connections that each worker has surely had some. */
const answers = async (port: number): Promise<string[]> => [...new Set(await Promise.all(Array.from({ length: 40 }, () => get(port))))];

const portOf = ({ dataPlane }: StartedWorkers): number => Number([...dataPlane.listeners()][0]?.localAddress.split(':').at(-1));

test('a change reaches all workers, a refused one none, and a removed listener is closed by all', { timeout: 120_000 }, async () => {
  const workers = start();
  const { dataPlane } = workers;
  try {
    dataPlane.setListener(listenerTo('one'));
    await dataPlane.settled();
    assert.equal(dataPlane.ready, true);
    const port = portOf(workers);
    assert.deepEqual(await answers(port), ['one']);
    dataPlane.setListener(listenerTo('two'));
    await dataPlane.settled();
    assert.deepEqual(await answers(port), ['two']);
    const refused = { ...listenerTo('three'), transparent: true } as Listener;
    assert.throws(() => dataPlane.setListener(refused), PlanError);
    assert.throws(() => dataPlane.setCluster({ name: 'c', load_balancing_policy: {} } as Cluster), PlanError);
    await dataPlane.settled();
    assert.equal(dataPlane.ready, true);
    assert.deepEqual(await answers(port), ['two']);
    dataPlane.removeListener('l');
    await dataPlane.settled();
    const ends = await Promise.all(Array.from({ length: 20 }, () => get(port).then(String, (e: unknown) => (e as { code?: string }).code)));
    assert.deepEqual([...new Set(ends)], ['ECONNREFUSED']);
  } finally {
    await dataPlane.close();
  }
});

test('a rotated certificate is shown by all workers', { timeout: 120_000 }, async () => {
  const workers = start();
  const { dataPlane } = workers;
  const authority = createAuthority('rotation');
  const secret = (): { readonly secret: Secret; readonly serial: string } => {
    const { certificate, key } = authority.issue({ dns: 'a.test' });
    return {
      secret: {
        name: 's',
        tls_certificate: { certificate_chain: { inline_string: certificate }, private_key: { inline_string: key } },
      } as Secret,
      serial: certificate,
    };
  };
  const shown = async (port: number): Promise<number> => {
    const seen = await Promise.all(
      Array.from({ length: 30 }, async () => {
        const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false });
        await once(socket, 'secureConnect');
        const { fingerprint256 } = socket.getPeerCertificate();
        socket.destroy();
        return fingerprint256;
      }),
    );
    first.push(seen[0] ?? '');
    return new Set(seen).size;
  };
  const first: string[] = [];
  const tls = {
    transport_socket: {
      name: 'tls',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
        common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 's', sds_config: { ads: {} } }] },
      },
    },
  };
  try {
    dataPlane.setListener(listenerTo('tls', tls));
    for (let round = 0; round < 2; round++) {
      dataPlane.setSecret(secret().secret);
      await dataPlane.settled();
      assert.equal(await shown(portOf(workers)), 1);
    }
    assert.notEqual(first[0], first[1]);
  } finally {
    await dataPlane.close();
  }
});

test('an address that is taken refuses the listener for all, and is served by all once it is free', { timeout: 120_000 }, async () => {
  const blocker = createServer();
  blocker.listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  const { port } = blocker.address() as AddressInfo;
  const workers = start();
  const { dataPlane } = workers;
  const listener = { ...listenerTo('late'), address: { socket_address: { address: '127.0.0.1', port_value: port } } } as Listener;
  try {
    assert.throws(() => dataPlane.setListener(listener), PlanError);
    assert.equal(dataPlane.ready, false);
    const changed = new Promise<void>((resolve) => {
      dataPlane.onChange(() => {
        if (dataPlane.ready) resolve();
      });
    });
    blocker.close();
    await changed;
    assert.deepEqual(await answers(port), ['late']);
  } finally {
    await dataPlane.close();
  }
});

test('a worker that fails is reported, once', { timeout: 120_000 }, async () => {
  const reasons: string[] = [];
  const died = Promise.withResolvers<void>();
  const { dataPlane } = start({
    limits: { layered_runtime: { layers: [null] } } as unknown as StartOptions['limits'],
    died: (reason) => {
      reasons.push(reason);
      died.resolve();
    },
  });
  try {
    await died.promise;
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(reasons.length, 1);
    assert.match(reasons[0] ?? '', /^worker 1: /);
    assert.equal(dataPlane.ready, false);
  } finally {
    await dataPlane.close();
  }
});

test('writes to a pipe that several workers share hold whole lines, and no more than a pipe takes at once', () => {
  const line = (length: number): string => `${'x'.repeat(length - 1)}\n`;
  const pieces = (text: string): number[] => {
    const lengths: number[] = [];
    for (let rest = Buffer.from(text); rest.length > 0; ) {
      const piece = wholeLines(rest);
      lengths.push(piece.length);
      rest = rest.subarray(piece.length);
    }
    return lengths;
  };
  assert.deepEqual(pieces(line(100)), [100]);
  assert.deepEqual(pieces(line(1000).repeat(9)), [4000, 4000, 1000]);
  assert.deepEqual(pieces(line(4096) + line(10)), [4096, 10]);
  assert.deepEqual(pieces(line(10) + line(5000) + line(20)), [10, 5000, 20], 'a line that is too long goes alone');
});
