// A proxy's life as its clients see it: listeners that change, go and come while connections live on; drains; sockets that
// systemd opened.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { freePort } from '../free-port.ts';
import {
  chains,
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
import { httpFilter, listenerOf, ProxyProcess, proxyConfig, startEcho, until } from './hot-restart-rig.ts';

const at = (port: number) => ({ address: { socket_address: { address: '127.0.0.1', port_value: port } } });
const echo = () => startBackend((socket, text) => socket.write(text));
const say = async (socket: Socket, text: string): Promise<string> => {
  socket.write(text);
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  return bytes.toString();
};
const open = (port: number): Socket => connect(port, '127.0.0.1').on('error', () => {});

describe('the life of listeners', { timeout: 120_000 }, () => {
  test('a removed listener takes no connection; those that it had live on for the drain time, then end', async () => {
    await using backend = await echo();
    await using plane = await startPlane(
      { clusters: [staticCluster('c', [backend.port])], listeners: [listener('l', tcpProxy('c'))] },
      { drainTimeMs: 300 },
    );
    const port = plane.port('l');
    const socket = open(port);
    assert.equal(await say(socket, 'a'), 'a');
    plane.plane.removeListener('l');
    const [refused] = (await once(connect(port, '127.0.0.1'), 'error')) as [NodeJS.ErrnoException];
    assert.match(refused.code ?? '', /ECONNREFUSED|ConnectionRefused/);
    assert.equal(await say(socket, 'b'), 'b');
    const began = performance.now();
    await once(socket, 'close');
    assert.ok(performance.now() - began < 20_000);
  });

  test('connections of a filter chain that stays are left alone when another chain changes', async () => {
    await using backend = await echo();
    const two = (other: string) =>
      chains('l', [
        {
          name: 'kept',
          filter_chain_match: { source_prefix_ranges: [{ address_prefix: '127.0.0.1', prefix_len: 32 }] },
          filters: [tcpProxy('c')],
        },
        { name: 'other', filters: [tcpProxy('c', { stat_prefix: other })] },
      ]);
    await using plane = await startPlane({ clusters: [staticCluster('c', [backend.port])], listeners: [two('one')] }, { drainTimeMs: 100 });
    const port = plane.port('l');
    const kept = open(port);
    const gone = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' }).on('error', () => {});
    await Promise.all([say(kept, 'a'), say(gone, 'a')]);
    plane.plane.setListener(two('two'));
    await once(gone, 'close');
    assert.equal(await say(kept, 'b'), 'b');
    // A change around the chains is one of all of them.
    plane.plane.setListener({ ...two('two'), per_connection_buffer_limit_bytes: 1_000 });
    await once(kept, 'close');
  });

  test('a new address is taken before the old one is given up; one that cannot be had changes nothing', async () => {
    await using backend = await httpBackend(() => 'app');
    await using taken = await echo();
    const make = (port: number) => listener('l', hcm([toCluster('c')]), at(port));
    await using plane = await startPlane({ clusters: [staticCluster('c', [backend.port])], listeners: [make(0)] });
    const first = plane.port('l');
    assert.throws(() => plane.plane.setListener(make(taken.port)), /Address already in use/);
    assert.equal((await fetchOnce(first, '/')).body, 'app');
    const next = await freePort();
    plane.plane.setListener(make(next));
    await plane.plane.settled();
    assert.equal((await fetchOnce(next, '/')).body, 'app');
    await once(connect(first, '127.0.0.1'), 'error');
  });

  test('a listener under a new name takes over the address of the one that goes, and nobody is turned away', async () => {
    await using backend = await httpBackend(() => 'app');
    const port = await freePort();
    const make = (name: string) => listener(name, hcm([toCluster('c')], { server_name: name }), at(port));
    await using plane = await startPlane({ clusters: [staticCluster('c', [backend.port])], listeners: [make('a')] });
    const failures: string[] = [];
    let stop = false;
    const client = (async () => {
      while (!stop)
        await fetchOnce(port, '/').then(
          (r) => r.status === 200 || failures.push(String(r.status)),
          (e: unknown) => failures.push(String(e)),
        );
    })();
    for (const [next, last] of [
      ['b', 'a'],
      ['c', 'b'],
      ['d', 'c'],
    ] as const) {
      // In one answer of the control plane what is new comes before what has gone.
      plane.plane.setListener(make(next));
      await new Promise((resolve) => setTimeout(resolve, 20));
      plane.plane.removeListener(last);
      await plane.plane.settled();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    stop = true;
    await client;
    assert.deepEqual(failures, []);
    assert.equal((await fetchOnce(port, '/')).headers.get('server'), 'd');
  });

  test('a failing health check and a graceful drain ask clients to leave; a plain drain stops accepting', async () => {
    const backend = await startEcho();
    const config = proxyConfig(backend.port, {
      static_resources: {
        clusters: (proxyConfig(backend.port) as { static_resources: { clusters: unknown } }).static_resources.clusters,
        listeners: [
          listenerOf('in', 0, httpFilter(), { traffic_direction: 'INBOUND' }),
          listenerOf('out', 0, httpFilter(), { traffic_direction: 'OUTBOUND' }),
          listenerOf('kept', 0, httpFilter(), { drain_type: 'MODIFY_ONLY' }),
        ],
      },
    });
    const proxy = new ProxyProcess(config, ['--drain-time-s', '1']);
    try {
      await proxy.ready();
      const ports = [await proxy.port('in'), await proxy.port('out'), await proxy.port('kept')] as const;
      const closes = async (): Promise<unknown> =>
        await Promise.all(
          ports.map(
            async (p) =>
              await fetchOnce(p, '/').then(
                (r) => r.headers.get('connection') ?? 'stays',
                () => 'refused',
              ),
          ),
        );
      const held = await RawClient.open(ports[0]);
      assert.equal((await held.get('/')).headers.get('connection'), undefined);
      await proxy.call('POST', '/healthcheck/fail');
      assert.deepEqual(await closes(), ['close', 'close', 'stays']);
      assert.equal((await held.get('/')).headers.get('connection'), 'close');
      assert.equal((await proxy.call('GET', '/ready')).status, 503);
      await proxy.call('POST', '/healthcheck/ok');
      assert.deepEqual(await closes(), ['stays', 'stays', 'stays']);
      await proxy.call('POST', '/drain_listeners?graceful&inboundonly&skip_exit');
      assert.deepEqual(await closes(), ['close', 'stays', 'stays']);
      await proxy.call('POST', '/drain_listeners?graceful&inboundonly');
      await until(
        async () => String(await closes()) === 'refused,stays,stays',
        () => proxy.log,
      );
      assert.equal((await proxy.call('GET', '/ready')).body, 'LIVE\n');
      await proxy.call('POST', '/drain_listeners');
      assert.deepEqual(await closes(), ['refused', 'refused', 'refused']);
      held.close();
    } finally {
      proxy.remove([]);
      backend.server.close();
    }
  });

  test('sockets that systemd opened are found by address and by name; others are reported', async () => {
    const backend = await startEcho();
    const servers = await Promise.all(
      [0, 1, 2].map(async () => {
        const server = createServer().listen(0, '127.0.0.1');
        await once(server, 'listening');
        return server;
      }),
    );
    const fds = servers.map((s) => (s as unknown as { _handle: { fd: number } })._handle.fd);
    const [byAddress, byName, unused] = servers.map((s) => (s.address() as AddressInfo).port) as [number, number, number];
    const config = proxyConfig(backend.port, {
      static_resources: {
        clusters: (proxyConfig(backend.port) as { static_resources: { clusters: unknown } }).static_resources.clusters,
        listeners: [listenerOf('a', byAddress, httpFilter()), listenerOf('b', 0, httpFilter())],
      },
    });
    const proxy = new ProxyProcess(config, [], { LISTEN_FDS: '3', LISTEN_FDNAMES: 'x:b:spare' }, fds, 'export LISTEN_PID=$$;');
    for (const server of servers) server.close();
    try {
      await proxy.ready();
      assert.deepEqual([await proxy.port('a'), await proxy.port('b')], [byAddress, byName]);
      assert.equal((await fetchOnce(byAddress, '/')).body, 'ok');
      assert.equal((await fetchOnce(byName, '/')).body, 'ok');
      await until(
        () => proxy.log.includes(`not used address=tcp:127.0.0.1:${unused} name=spare`),
        () => proxy.log,
      );
    } finally {
      proxy.remove([]);
      backend.server.close();
    }
  });
});
