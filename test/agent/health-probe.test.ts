// The workload's health as the agent finds it: what a probe is read from, each way to ask, and when a change is worth a word.
import assert from 'node:assert/strict';
import { createServer as createHttp } from 'node:http';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import { test } from 'node:test';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { AgentConfigError } from '../../src/agent/agent-config.ts';
import { parseAgentFlags } from '../../src/agent/agent-flags.ts';
import { HealthProbe } from '../../src/agent/health-probe.ts';
import { attemptProbe } from '../../src/agent/probe-attempt.ts';
import { type ProbeCheck, readProbe, type WorkloadProbe } from '../../src/agent/workload-probe.ts';

const LONG_MS = 20_000;
const attempt = (check: ProbeCheck, timeoutMs = LONG_MS): Promise<string> => attemptProbe(check, timeoutMs, undefined);
const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;
const listening = (server: { listen(port: number, host: string, done: () => void): unknown }): Promise<void> =>
  new Promise((resolve) => void server.listen(0, '127.0.0.1', resolve));
const http = (port: number, more: Partial<Extract<ProbeCheck, { kind: 'http' }>> = {}): ProbeCheck => ({
  kind: 'http',
  host: 'localhost',
  port,
  path: '/healthy',
  https: false,
  headers: [],
  ...more,
});

test('a probe is read as a person writes it and as the protocol carries it, with Istio’s defaults', () => {
  const written = readProbe({ httpGet: { port: 8080, path: 'x', scheme: 'HTTPS', httpHeaders: [{ name: 'A', value: 'b' }] } });
  const carried = readProbe({
    initial_delay_seconds: 0,
    http_get: { port: 8080, path: 'x', scheme: 'HTTPS', host: '', http_headers: [{ name: 'A', value: 'b' }] },
  });
  assert.ok(written.ok);
  assert.deepEqual(carried, written);
  assert.deepEqual(written.value, {
    initialDelayMs: 0,
    timeoutMs: 1000,
    periodMs: 10_000,
    successThreshold: 1,
    failureThreshold: 1,
    check: { kind: 'http', host: 'localhost', port: 8080, path: '/x', https: true, headers: [['A', 'b']] },
  });
  for (const bad of [
    {},
    undefined,
    { httpGet: {} },
    { tcpSocket: { port: 70_000 } },
    { exec: { command: [] } },
    { exec: { command: [1] } },
    { httpGet: { port: 80, path: '/a b' } },
    { httpGet: { port: 80, path: '/a\r\nX: y' } },
    { httpGet: { port: 80, httpHeaders: [{ name: 'A', value: 'b\r\nX: y' }] } },
  ]) {
    assert.equal(readProbe(bad).ok, false, JSON.stringify(bad));
  }
});

test('flags and environment of Istio’s agents name the group and an own probe', () => {
  const base = ['--xds', 'unix:/x', '--run-dir', '/tmp/x', '--no-dns'];
  const { config } = parseAgentFlags(
    base,
    { ISTIO_META_AUTO_REGISTER_GROUP: 'web', PROXY_CONFIG: '{"readinessProbe":{"tcpSocket":{"port":1}}}' },
    'agent',
  );
  assert.deepEqual(config.metadata, { AUTO_REGISTER_GROUP: 'web', PROXY_CONFIG: { readinessProbe: { tcpSocket: { port: 1 } } } });
  assert.throws(() => parseAgentFlags([...base, '--proxy-config', '{"readinessProbe":{}}'], {}, 'agent'), AgentConfigError);
});

test('an HTTP probe passes with a status from 200 to 399 and says its headers', async () => {
  const seen: string[] = [];
  let status = 200;
  const server = createHttp((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.host} ${request.headers['x-probe']} ${request.headers['user-agent']}`);
    response.writeHead(status).end('a body that nobody reads');
  });
  await listening(server);
  const port = portOf(server);
  try {
    assert.equal(await attempt(http(port, { headers: [['X-Probe', 'yes']] })), '');
    status = 399;
    assert.equal(await attempt(http(port, { headers: [['Host', 'shop.example']] })), '');
    for (status of [400, 503]) assert.equal(await attempt(http(port)), `HTTP status ${status}`);
    assert.equal(seen[0], `GET /healthy localhost:${port} yes skein-probe/1.0`);
    assert.match(seen[1] ?? '', /^GET \/healthy shop\.example /);
  } finally {
    server.close();
  }
  assert.match(await attempt(http(port)), /ECONNREFUSED|connection/i);
});

test('a server that says nothing, hangs up or speaks something else fails the probe in its time', async () => {
  const silent = createTcp();
  const rude = createTcp((socket) => socket.destroy());
  const strange = createTcp((socket) => socket.end(`${'220 mail '.repeat(1000)}\r\n`));
  await Promise.all([silent, rude, strange].map(listening));
  try {
    assert.match(await attempt(http(portOf(silent)), 100), /within/);
    assert.notEqual(await attempt(http(portOf(rude))), '');
    assert.notEqual(await attempt(http(portOf(strange))), '');
    assert.equal(await attempt({ kind: 'tcp', host: 'localhost', port: portOf(silent) }), '', 'a connection is enough for tcpSocket');
  } finally {
    for (const server of [silent, rude, strange]) server.close();
  }
});

test('a command passes with exit code 0 and is ended with all it started', async () => {
  const exec = (command: readonly string[], timeoutMs = LONG_MS): Promise<string> => attempt({ kind: 'exec', command }, timeoutMs);
  assert.equal(await exec(['true']), '');
  assert.match(await exec(['sh', '-c', 'exit 3']), /exit code 3/);
  assert.match(await exec(['/no/such/command']), /ENOENT/);
  const startedAtMs = Date.now();
  assert.match(await exec(['sh', '-c', 'sleep 30 & wait'], 100), /did not end within 100 ms/);
  assert.ok(Date.now() - startedAtMs < LONG_MS);
});

test('a gRPC probe asks the health service by name', async () => {
  const server = new Server();
  const raw = (b: Buffer): Buffer => b;
  const path = '/grpc.health.v1.Health/Check';
  server.addService(
    {
      check: {
        path,
        requestStream: false,
        responseStream: false,
        requestSerialize: raw,
        requestDeserialize: raw,
        responseSerialize: raw,
        responseDeserialize: raw,
      },
    },
    {
      check: (call: { request: Buffer }, done: (error: null, value: Buffer) => void) =>
        done(null, Buffer.from([8, call.request.subarray(2).toString() === 'shop.Cart' ? 1 : 2])),
    },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (e, bound) => (e ? reject(e) : resolve(bound))),
  );
  const grpc = (service: string): Promise<string> => attempt({ kind: 'grpc', host: '127.0.0.1', port, service });
  assert.equal(await grpc('shop.Cart'), '');
  assert.match(await grpc('shop.Other'), /not serving/);
  server.forceShutdown();
});

/** Probes answered in turn, the last answer for ever; what was reported when all are used. */
const run = async (
  answers: readonly string[],
  over: Partial<WorkloadProbe> = {},
  notReady: () => string = () => '',
): Promise<readonly string[]> => {
  const reports: string[] = [];
  let asked = 0;
  const used = Promise.withResolvers<void>();
  const probe = new HealthProbe({
    attempt: async () => {
      if (asked > answers.length) used.resolve();
      return answers[Math.min(asked++, answers.length - 1)] ?? '';
    },
    proxyNotReady: notReady,
    report: (healthy, message) => reports.push(healthy ? 'healthy' : message),
  });
  probe.use({
    initialDelayMs: 1,
    timeoutMs: 10,
    periodMs: 1,
    successThreshold: 1,
    failureThreshold: 1,
    check: { kind: 'exec', command: ['x'] },
    ...over,
  });
  await used.promise;
  probe.use(undefined);
  return reports;
};

test('only a change is reported, and only after as many in a row as the thresholds say', async () => {
  assert.deepEqual(await run(['', '', 'a', 'a', '']), ['healthy', 'a', 'healthy']);
  assert.deepEqual(await run(['', 'a', '', 'b', 'c', 'd', ''], { failureThreshold: 2 }), ['healthy', 'c', 'd', 'healthy']);
  assert.deepEqual(await run(['', 'x', '', '', 'y'], { successThreshold: 2 }), ['x', 'healthy', 'y']);
  assert.deepEqual(await run(['down', 'down', 'gone']), ['down', 'gone'], 'a workload that never was healthy says why');
});

test('the first probe waits for the proxy; later the workload is not healthy while its proxy is not ready', async () => {
  let asked = 0;
  const notReady = (): string => (++asked <= 3 || asked === 6 ? 'no listeners' : '');
  assert.deepEqual(await run(['', '', '', ''], {}, notReady), ['healthy', 'no listeners', 'healthy']);
});
