// Hot restart of agent and proxy in one process: the successor has a key of its own, the token by the inherited channel
// alone, and the agent's ports answer all the while.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decode as decodeDns, encode as encodeDns } from 'dns-packet';
import { CLUSTER_TYPE, LISTENER_TYPE } from '../../src/xds/resource-types.ts';
import { FakeControlPlane, respond, scratch } from '../agent/fake-control-plane.ts';
import { freePorts } from '../free-port.ts';
import { HCM, listener, ROUTER } from './harness.ts';
import { runs, until } from './hot-restart-rig.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const TOKEN = 'secret-token-of-the-test';

/** Answers every first subscription: no clusters, one listener. */
const serveConfiguration = (plane: FakeControlPlane, port: number): NodeJS.Timeout => {
  const resource = {
    ...listener('app', {
      name: 'h',
      typed_config: {
        '@type': HCM,
        stat_prefix: 'h',
        route_config: {
          virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }] }],
        },
        http_filters: [ROUTER],
      },
    }),
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
  };
  const seen = new Set<unknown>();
  return setInterval(() => {
    for (const { call, requests } of plane.ads.all)
      for (const request of requests.all) {
        if (seen.has(request)) continue;
        seen.add(request);
        const { type_url: url = '', response_nonce: nonce = '' } = request;
        if (nonce !== '') continue;
        const resources = url === LISTENER_TYPE.url ? [{ '@type': url, ...resource }] : [];
        if (url === LISTENER_TYPE.url || url === CLUSTER_TYPE.url)
          respond(call, { type_url: url, version_info: '1', nonce: 'n', resources });
      }
  }, 5);
};

const askDns = async (port: number): Promise<string> => {
  const socket = createSocket('udp4');
  try {
    socket.send(encodeDns({ type: 'query', id: 7, questions: [{ type: 'A', name: 'nowhere.test' }] }), port, '127.0.0.1');
    const [bytes] = (await Promise.race([once(socket, 'message'), new Promise<[]>((resolve) => setTimeout(() => resolve([]), 1_500))])) as [
      Buffer?,
    ];
    return bytes === undefined ? 'no answer' : (decodeDns(bytes).type ?? '');
  } finally {
    socket.close();
  }
};

test('agent and proxy hand over together', { timeout: 120_000 }, async () => {
  const { dir, remove } = scratch();
  const plane = new FakeControlPlane(join(dir, 'cp.sock'));
  await plane.start();
  const [status, stats, admin, prometheus, dns, app] = (await freePorts(6)) as [number, number, number, number, number, number];
  const serving = serveConfiguration(plane, app);
  const flags = [
    ...['--name', 'web-0', '--namespace', 'production', '--service-account', 'web', '--xds', `unix:${plane.path}`, '--token-fd', '3'],
    ...['--run-dir', join(dir, 'run'), '--dns-listen', `127.0.0.1:${dns}`, '--dns-upstream', '127.0.0.1:9'],
    ...['--status-port', `${status}`, '--stats-port', `${stats}`, '--admin-port', `${admin}`, '--prometheus-port', `${prometheus}`],
  ];
  const child = spawn(process.execPath, [MAIN, 'proxy', ...flags], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr?.on('data', (bytes: Buffer) => {
    log += bytes.toString();
  });
  (child.stdio[3] as NodeJS.WritableStream).end(`${TOKEN}\n`);
  const get = async (port: number, path: string, method = 'GET'): Promise<string> =>
    await fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { connection: 'close' } }).then(
      async (r) => `${r.status} ${await r.text()}`,
      (e: unknown) => `failed ${String(e)} ${String((e as Error).cause)}`,
    );
  const pids = [child.pid ?? 0];
  try {
    await until(
      async () => (await get(status, '/healthz/ready')).startsWith('200'),
      () => log,
    );
    const outcomes = new Set<string>();
    let over = false;
    const watching = (async () => {
      while (!over) {
        outcomes.add(`status ${await get(status, '/healthz/ready')}`).add(`app ${await get(app, '/')}`);
        outcomes.add(await askDns(dns));
      }
    })();
    assert.match(await get(admin, '/hot_restart', 'POST'), /^202/);
    // The one that serves is the one that the operator reaches.
    await plane.operators.next();
    const { call, replies } = await plane.operators.next(60_000);
    call.write(Buffer.from(JSON.stringify({ id: 1, method: 'GET', path: '/hot_restart' })));
    const answered = JSON.parse((await replies.next()).body) as { epoch: number; pid: number };
    assert.equal(answered.epoch, 1);
    pids.push(answered.pid);
    await until(
      () => !runs(pids[0] ?? 0),
      () => log,
    );
    over = true;
    await watching;
    assert.deepEqual([...outcomes].sort(), ['app 200 ', 'response', 'status 200 ready\n']);
    assert.deepEqual(new Set(plane.tokens.all), new Set([`Bearer ${TOKEN}`]));
    assert.equal(new Set(plane.csrs.all).size, 2);
    for (const file of ['environ', 'cmdline']) assert.ok(!readFileSync(`/proc/${answered.pid}/${file}`, 'utf8').includes(TOKEN));
    assert.ok(!log.includes(TOKEN));
    assert.match(log, /took over epoch=1/);
  } finally {
    for (const pid of pids) if (runs(pid)) process.kill(pid, 'SIGKILL');
    clearInterval(serving);
    plane.kill();
    remove();
  }
});
