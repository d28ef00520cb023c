// A real Envoy under `skein agent`: bootstrap accepted, certificate over SDS, configuration through the relay, readiness,
// restart after a crash, drain at the end. Needs an Envoy (variable ENVOY, or `envoy` in PATH); skipped by name otherwise.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { DiscoveryRequest } from '../../src/xds/gen/types.ts';
import { CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../../src/xds/resource-types.ts';
import { freePorts } from '../free-port.ts';
import { type AdsCall, type Arrivals, FakeControlPlane, respond, scratch } from './fake-control-plane.ts';

const ENVOY = process.env['ENVOY'] ?? 'envoy';
const skip = spawnSync(ENVOY, ['--version']).status !== 0 && 'no Envoy here: set ENVOY or put `envoy` into PATH';
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

const get = async (port: number, path: string, method = 'GET'): Promise<{ status: number; body: string }> => {
  try {
    const res = await fetch(`http://127.0.0.1:${port}${path}`, { method, signal: AbortSignal.timeout(1_000) });
    return { status: res.status, body: await res.text() };
  } catch {
    return { status: 0, body: '' };
  }
};

const eventually = async <T>(what: string, ask: () => Promise<T | undefined>): Promise<T> => {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
    const value = await ask();
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not within 15 s: ${what}`);
};

const SDS = {
  api_config_source: {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    set_node_on_first_message_only: true,
    grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }],
  },
  resource_api_version: 'V3',
  initial_fetch_timeout: '0s',
} as const;

const tlsCluster = {
  '@type': CLUSTER_TYPE.url,
  name: 'peer',
  type: 'STATIC',
  connect_timeout: '1s',
  transport_socket: {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      common_tls_context: {
        tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: SDS }],
        validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: SDS },
      },
    },
  },
};

/** Answers what Envoy asks, once each: one cluster with our secrets, no listeners. */
const serveEnvoy = async ({ call, requests }: { call: AdsCall; requests: Arrivals<DiscoveryRequest> }): Promise<void> => {
  for (let seen = 0; seen < 2; ) {
    const { type_url = '', response_nonce = '' } = await requests.next(15_000);
    if (response_nonce !== '') continue;
    if (type_url === CLUSTER_TYPE.url) respond(call, { type_url, version_info: '1', nonce: 'c1', resources: [tlsCluster] });
    else if (type_url === LISTENER_TYPE.url) respond(call, { type_url, version_info: '1', nonce: 'l1', resources: [] });
    else continue;
    assert.notEqual(type_url, ROUTE_TYPE.url);
    seen++;
  }
};

test('Envoy runs under the agent from certificate to drain', { skip, timeout: 120_000 }, async () => {
  const { dir, remove } = scratch();
  const control = new FakeControlPlane(join(dir, 'control.sock'));
  await control.start();
  const [status = 0, stats = 0, admin = 0, prometheus = 0, dns = 0] = await freePorts(5);
  const runDir = join(dir, 'run');
  const flags = `agent --name web-0 --namespace production --service-account web --ip 127.0.0.1 --labels app=web,version=v1
    --xds unix:${control.path} --token-fd 3 --run-dir ${runDir} --dns-listen 127.0.0.1:${dns} --bind-source 127.0.0.1 --drain-wait 5
    --status-port ${status} --stats-port ${stats} --admin-port ${admin} --prometheus-port ${prometheus} -- ${ENVOY} --concurrency 1`;
  const child = spawn(process.execPath, [MAIN, ...flags.split(/\s+/)], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  const output: string[] = [];
  child.stdout?.on('data', (b: Buffer) => output.push(b.toString()));
  child.stderr?.on('data', (b: Buffer) => output.push(b.toString()));
  const exited = once(child, 'exit');
  try {
    (child.stdio[3] as Writable).write('secret-token\n');
    assert.equal(await control.tokens.next(15_000), 'Bearer secret-token');
    const first = await control.ads.next(15_000);
    await serveEnvoy(first);
    await eventually('ready through Envoy', async () => ((await get(status, '/healthz/ready')).status === 200 ? true : undefined));
    assert.equal((await get(stats, '/healthz/ready')).status, 200);
    for (const port of [prometheus, stats]) {
      const { body } = await get(port, '/stats/prometheus');
      assert.ok(body.includes('# TYPE envoy_server_live gauge') && body.includes('{cluster_name="xds-grpc"}'), `metrics at ${port}`);
    }

    const certs = await eventually('certificate at Envoy', async () => {
      const { body } = await get(admin, '/certs');
      return body.includes('spiffe://') ? body : undefined;
    });
    assert.ok(certs.includes('spiffe://cluster.local/ns/production/sa/web'));
    const node = JSON.parse((await get(admin, '/server_info')).body).node;
    assert.equal(node.id, 'sidecar~127.0.0.1~web-0.production~production.svc.cluster.local');
    assert.equal(node.metadata.INSTANCE_IPS, '127.0.0.1');

    const bootstrap = join(runDir, 'envoy.json');
    assert.equal(statSync(bootstrap).mode & 0o777, 0o600);
    assert.ok(!/PRIVATE KEY|secret-token/.test(readFileSync(bootstrap, 'utf8')));

    // The operator's way reaches Envoy's admin API.
    const { call, replies } = await control.operators.next();
    call.write(Buffer.from(JSON.stringify({ id: 5, method: 'GET', path: '/server_info' })));
    assert.equal(JSON.parse((await replies.next()).body).state, 'LIVE');

    // The control plane dies: Envoy serves on, and comes back with its versions.
    control.kill();
    await control.start();
    const again = await control.ads.next(15_000);
    assert.equal((await again.requests.until((r) => r.type_url === CLUSTER_TYPE.url)).version_info, '1');

    const pids = output.join('').matchAll(/envoy started pid=(\d+)/g);
    process.kill(Number([...pids].at(-1)?.[1]), 'SIGKILL');
    await serveEnvoy(await control.ads.next(15_000));
    await eventually('ready after a crash', async () => ((await get(status, '/healthz/ready')).status === 200 ? true : undefined));
    assert.equal(output.join('').match(/envoy started/g)?.length, 2);

    child.kill('SIGTERM');
    const [code] = await exited;
    assert.equal(code, 0);
    assert.equal((await get(admin, '/ready')).status, 0, 'Envoy is gone');
    assert.equal(existsSync(bootstrap), false);
    assert.ok(!output.join('').includes('secret-token'));
  } catch (e) {
    if (e instanceof Error) e.message += `\n--- output\n${output.join('')}`;
    throw e;
  } finally {
    child.kill('SIGTERM');
    await exited;
    control.kill();
    remove();
  }
});

test('wrong usage of `skein agent` names the flag and exits with 2', () => {
  const run = (...argv: string[]) => spawnSync(process.execPath, [MAIN, 'agent', ...argv], { encoding: 'utf8' });
  const missing = run('--name', 'a', '--', 'envoy');
  assert.deepEqual([missing.status, /--xds is missing/.test(missing.stderr)], [2, true]);
  const own = run('--xds', 'unix:/x', '--run-dir', '/nowhere/x', '--', 'envoy', '-c', 'mine.json');
  assert.deepEqual([own.status, /-c: the bootstrap is made by the agent/.test(own.stderr)], [2, true]);
  const none = run('--xds', 'unix:/x', '--run-dir', '/nowhere/x');
  assert.deepEqual([none.status, /the proxy is missing/.test(none.stderr)], [2, true]);
  const help = run('--help');
  assert.deepEqual([help.status, /--bind-source/.test(help.stdout)], [0, true]);
});
