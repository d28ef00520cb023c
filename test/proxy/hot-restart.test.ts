// Hot restart with real processes: listening sockets go from process to process, nothing is lost, and a successor that
// does not come up changes nothing.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { ProxyProcess, proxyConfig, runs, SteadyClient, startEcho, until } from './hot-restart-rig.ts';

describe('hot restart', { timeout: 120_000 }, () => {
  test('five in a row lose no request, no WebSocket message and no TCP byte', async () => {
    const echo = await startEcho();
    const proxy = new ProxyProcess(proxyConfig(echo.port));
    const pids: number[] = [];
    try {
      await proxy.ready();
      const [http, tcp] = [await proxy.port('http'), await proxy.port('tcp')];
      const clients = [
        ...Array.from({ length: 4 }, () => new SteadyClient(http, 'http', 30)),
        ...Array.from({ length: 2 }, () => new SteadyClient(http, 'websocket', 50)),
        ...Array.from({ length: 2 }, () => new SteadyClient(tcp, 'tcp', 50)),
      ];
      for (let n = 0; n < 5; n++) pids.push(await proxy.restart());
      await Promise.all(clients.map((c) => c.stop()));
      assert.deepEqual(
        clients.flatMap((c) => c.failures),
        [],
      );
      assert.equal(new Set([proxy.child.pid, ...pids]).size, 6);
      for (const client of clients) assert.ok(client.done > 10, `${client.done}`);
      for (const client of clients.slice(4)) assert.equal(client.connections, 1);
      assert.equal(await proxy.port('http'), http);
      // Nobody is connected any more: only the last is left.
      const old = [proxy.child.pid ?? 0, ...pids.slice(0, -1)];
      await until(
        () => !old.some(runs),
        () => `still there: ${old.filter(runs).join()}`,
      );
      assert.ok(runs(pids.at(-1) ?? 0));
    } finally {
      proxy.remove(pids);
      echo.server.close();
    }
  });

  test('requests for a restart while one is under way join it; SIGUSR2 is one too', async () => {
    const echo = await startEcho();
    const proxy = new ProxyProcess(proxyConfig(echo.port));
    const pids: number[] = [];
    try {
      await proxy.ready();
      const answers = await Promise.all([proxy.call('POST', '/hot_restart'), proxy.call('POST', '/hot_restart')]);
      assert.deepEqual(
        answers.map((a) => a.status),
        [202, 202],
      );
      process.kill(proxy.child.pid ?? 0, 'SIGUSR2');
      pids.push(await proxy.served(1));
      process.kill(pids[0] ?? 0, 'SIGUSR2');
      pids.push(await proxy.served(2));
      assert.equal((await proxy.status()).pid, pids[1]);
    } finally {
      proxy.remove(pids);
      echo.server.close();
    }
  });

  test('a successor that cannot come up leaves the old process serving and says why', async () => {
    const echo = await startEcho();
    const proxy = new ProxyProcess(proxyConfig(echo.port));
    const pids: number[] = [];
    try {
      await proxy.ready();
      const http = await proxy.port('http');
      proxy.configure({ static_resources: { listeners: [{ name: 'broken', address: {} }] } });
      await proxy.call('POST', '/hot_restart');
      await until(
        async () => (await proxy.status()).state === 'failed',
        () => proxy.log,
      );
      const { reason, pid } = await proxy.status();
      assert.match(reason, /the successor ended with 1/);
      assert.equal(pid, proxy.child.pid);
      assert.match(proxy.log, /hot restart failed: this process serves on/);
      const client = new SteadyClient(http, 'http', 5);
      await until(
        () => client.done > 3,
        () => client.failures.join(),
      );
      await client.stop();
      assert.deepEqual(client.failures, []);
      proxy.configure(proxyConfig(echo.port));
      pids.push(await proxy.restart());
      assert.equal(await proxy.port('http'), http);
    } finally {
      proxy.remove(pids);
      echo.server.close();
    }
  });

  test('connections that outlive --parent-shutdown-time-s end with the old process', async () => {
    const echo = await startEcho();
    const proxy = new ProxyProcess(proxyConfig(echo.port), ['--parent-shutdown-time-s', '3']);
    const pids: number[] = [];
    try {
      await proxy.ready();
      const socket = connect(await proxy.port('tcp'), '127.0.0.1');
      socket.on('error', () => {});
      socket.write('x');
      await new Promise((resolve) => socket.once('data', resolve));
      const closed = new Promise((resolve) => socket.once('close', resolve));
      pids.push(await proxy.restart());
      assert.equal(socket.destroyed, false);
      await closed;
      await until(
        () => !runs(proxy.child.pid ?? 0),
        () => 'the old process is still there',
      );
      assert.ok(runs(pids[0] ?? 0));
    } finally {
      proxy.remove(pids);
      echo.server.close();
    }
  });

  test('a restart is refused where it was ruled out', async () => {
    const echo = await startEcho();
    const proxy = new ProxyProcess(proxyConfig(echo.port), ['--disable-hot-restart']);
    try {
      await proxy.ready();
      assert.deepEqual(await proxy.call('POST', '/hot_restart'), { status: 409, body: 'it was started with --disable-hot-restart\n' });
    } finally {
      proxy.remove([]);
      echo.server.close();
    }
  });
});
