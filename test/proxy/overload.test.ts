// What a proxy does near its limits: connections, memory, descriptors.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { overloadConfig } from '../../src/proxy/bootstrap/overload-config.ts';
import { Overload } from '../../src/proxy/overload.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import { ProxyProcess, proxyConfig, startEcho, until } from './hot-restart-rig.ts';

const log = createLog(
  'test',
  () => undefined,
  () => new Date(0),
);
const ACTION = 'envoy.overload_actions.';
const heap = (name: string, bytes: number): object => ({
  name,
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig',
    max_heap_size_bytes: bytes,
  },
});
const action = (name: string, trigger: object): object => ({ name: `${ACTION}${name}`, triggers: [{ name: 'm', ...trigger }] });

const overloadOf = (manager: unknown, residentBytes: () => number, more: object = {}): { overload: Overload; stats: StatsStore } => {
  const stats = new StatsStore();
  const config = overloadConfig(manager, {}, new Set());
  return { overload: new Overload({ config, stats, log, random: () => 0.5, residentBytes, descriptors: 1_000, ...more }), stats };
};

describe('overload', { timeout: 120_000 }, () => {
  test('a threshold switches, a scale works in part, and both go back', () => {
    let resident = 100;
    const { overload, stats } = overloadOf(
      {
        resourceMonitors: [heap('m', 1_000)],
        actions: [
          action('stop_accepting_requests', { threshold: { value: 0.9 } }),
          action('disable_http_keepalive', { scaled: { scaling_threshold: 0.5, saturation_threshold: 0.9 } }),
        ],
      },
      () => resident,
    );
    const seen = (): unknown => [overload.shedsRequest({ statPrefix: 'x' }), overload.endsConnection];
    assert.deepEqual(seen(), [false, false]);
    resident = 600;
    overload.refresh();
    assert.deepEqual([overload.disableKeepalive.toFixed(2), ...(seen() as [])], ['0.25', false, false]);
    resident = 800;
    overload.refresh();
    assert.deepEqual(seen(), [false, true]);
    resident = 950;
    overload.refresh();
    assert.deepEqual(seen(), [true, true]);
    assert.equal(stats.find('overload.m.pressure')?.value, 95);
    assert.equal(stats.find(`overload.${ACTION}stop_accepting_requests.active`)?.value, 1);
    assert.equal(stats.find('http.x.downstream_rq_overload_close')?.value, 1);
    resident = 100;
    overload.refresh();
    assert.deepEqual(seen(), [false, false]);
    overload.close();
  });

  test('a memory limit of the control group counts without being configured', () => {
    const { overload, stats } = overloadOf(undefined, () => 990, { cgroupBytes: 1_000 });
    assert.deepEqual([overload.stopRequests, overload.disableKeepalive], [1, 1]);
    assert.equal(stats.find('server.memory_limit')?.value, 1_000);
    overload.close();
    const none = overloadOf(undefined, () => 1e12, { cgroupBytes: undefined, descriptors: 164 });
    assert.equal(none.overload.maxConnections, 50);
    none.overload.close();
  });

  test('what is not known of an overload manager is named', () => {
    const unknown = new Set<string>();
    overloadConfig({ resource_monitors: [{ name: 'cpu' }], actions: [{ name: `${ACTION}reduce_timeouts` }] }, {}, unknown);
    assert.deepEqual([...unknown], ['overload_manager.resource_monitors[cpu]', `overload_manager.actions[${ACTION}reduce_timeouts]`]);
    assert.throws(
      () => overloadConfig({ resource_monitors: [heap('m', 0)] }, {}, unknown),
      /m\.max_heap_size_bytes: value must be greater than 0/,
    );
  });

  test('requests are answered with 503 while the memory is beyond its limit', async () => {
    const echo = await startEcho();
    const manager = {
      refresh_interval: '0.05s',
      resource_monitors: [heap('m', 1)],
      actions: [action('stop_accepting_requests', { threshold: { value: 0.9 } })],
    };
    const proxy = new ProxyProcess(proxyConfig(echo.port, { overload_manager: manager }));
    try {
      await proxy.ready();
      const answer = await fetch(`http://127.0.0.1:${await proxy.port('http')}/`);
      assert.deepEqual([answer.status, await answer.text()], [503, 'envoy overloaded']);
    } finally {
      proxy.remove([]);
      echo.server.close();
    }
  });

  test('while no connections are accepted clients wait, and are served when it is over', async () => {
    const echo = await startEcho();
    const manager = {
      refresh_interval: '0.05s',
      resource_monitors: [heap('m', 1)],
      actions: [action('stop_accepting_connections', { threshold: { value: 0.9 } })],
    };
    const proxy = new ProxyProcess(proxyConfig(echo.port, { overload_manager: manager }));
    const pids: number[] = [];
    try {
      await proxy.ready();
      const port = await proxy.port('http');
      const waiting = fetch(`http://127.0.0.1:${port}/`);
      waiting.catch(() => undefined);
      const stats = await proxy.call('GET', '/stats?filter=downstream_cx_total');
      assert.doesNotMatch(stats.body, /listener\..*: [1-9]/);
      // The successor has no such limit: it takes the connection that waits.
      proxy.configure(proxyConfig(echo.port));
      pids.push(await proxy.restart());
      assert.equal((await waiting).status, 200);
    } finally {
      proxy.remove(pids);
      echo.server.close();
    }
  });

  test('connections beyond the limit of all, or of their listener, are closed and counted', async () => {
    const echo = await startEcho();
    const type = 'type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig';
    const config = proxyConfig(echo.port, {
      layered_runtime: { layers: [{ name: 's', static_layer: { 'envoy.resource_limits.listener.tcp.connection_limit': 1 } }] },
      overload_manager: { resource_monitors: [{ name: 'd', typed_config: { '@type': type, max_active_downstream_connections: 2 } }] },
    });
    const proxy = new ProxyProcess(config);
    try {
      await proxy.ready();
      const [http, tcp] = [await proxy.port('http'), await proxy.port('tcp')];
      const first = connect(tcp, '127.0.0.1');
      first.write('x');
      await once(first, 'data');
      const second = connect(tcp, '127.0.0.1');
      await once(second.on('error', () => {}).resume(), 'close');
      const third = connect(http, '127.0.0.1');
      third.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
      await once(third, 'data');
      const fourth = connect(http, '127.0.0.1');
      await once(fourth.on('error', () => {}).resume(), 'close');
      const { body } = await proxy.call('GET', '/stats?filter=overflow');
      assert.match(body, new RegExp(`listener\\.127\\.0\\.0\\.1_${tcp}\\.downstream_cx_overflow: 1`));
      assert.match(body, new RegExp(`listener\\.127\\.0\\.0\\.1_${http}\\.downstream_global_cx_overflow: 1`));
      first.destroy();
      third.destroy();
    } finally {
      proxy.remove([]);
      echo.server.close();
    }
  });

  test('a process with few descriptors refuses connections cleanly and serves those that it has', async () => {
    const echo = await startEcho();
    const proxy = new ProxyProcess(proxyConfig(echo.port), [], {}, [], 'ulimit -n 100;');
    try {
      await proxy.ready();
      const http = await proxy.port('http');
      const held = Array.from({ length: 60 }, () => connect(http, '127.0.0.1').on('error', () => {}));
      const outcomes = await Promise.all(
        held.map(async (socket) => {
          socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
          return await new Promise<string>((resolve) => {
            socket.once('data', () => resolve('served'));
            socket.once('close', () => resolve('closed'));
          });
        }),
      );
      assert.equal(outcomes.filter((o) => o === 'served').length, 18);
      for (const socket of held) socket.destroy();
      await until(
        async () =>
          await fetch(`http://127.0.0.1:${http}/`).then(
            (r) => r.status === 200,
            () => false,
          ),
        () => proxy.log,
      );
    } finally {
      proxy.remove([]);
      echo.server.close();
    }
  });
});
