// A gateway's certificate from a Secret, live: control plane, agent and proxy (ours; an Envoy too where there is one). Clients see the
// certificate, must bring one of their own, and a new Secret is in force without a restart.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { freePort } from '../../free-port.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import { startRig } from '../rig.ts';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url));
const ENVOY = [process.env['ENVOY'], join(process.env['HOME'] ?? '/root', '.cache/skein-test/envoy')].find(
  (p) => p !== undefined && existsSync(p) && spawnSync(p, ['--version']).status === 0,
);

const block = (pem: string): string => pem.replaceAll(/^/gm, '    ').trim();
const secret = (pair: { certificate: string; key: string }, ca: string): string => `
apiVersion: v1
kind: Secret
metadata: {name: shop, namespace: istio-system}
stringData:
  tls.crt: |
    ${block(pair.certificate)}
  tls.key: |
    ${block(pair.key)}
  ca.crt: |
    ${block(ca)}
`;
const mesh = (port: number, backend: number): string => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: ${port}, name: https, protocol: HTTPS}
    hosts: [shop.example]
    tls: {mode: MUTUAL, credentialName: shop}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: istio-system}
spec: {hosts: [shop.example], gateways: [gw], http: [{route: [{destination: {host: back.example}}]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: back, namespace: istio-system}
spec:
  hosts: [back.example]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${backend}}]
  endpoints: [{address: 127.0.0.1}]
`;

interface Answer {
  readonly status: string;
  /** Whose certificate the gateway showed. */
  readonly subject: string;
}

const ask = (port: number, ca: string, own: { cert?: string; key?: string }): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: 'shop.example', ca, ...own, ALPNProtocols: ['http/1.1'] });
    socket.setTimeout(3000, () => socket.destroy(new Error('no answer')));
    let text = '';
    let subject = '';
    socket.on('secureConnect', () => {
      const found = socket.getPeerCertificate().subject.O;
      subject = typeof found === 'string' ? found : '';
      socket.write('GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n');
    });
    socket.on('data', (b: Buffer) => (text += b.toString()));
    socket.on('error', reject);
    socket.on('close', () =>
      text === '' ? reject(new Error('closed without an answer')) : resolve({ status: text.split(' ')[1] ?? '', subject }),
    );
  });

const until = async (what: string, seen: () => Promise<boolean>): Promise<void> => {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
    if (await seen().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not within 20 s: ${what}`);
};

const serves = async (command: readonly string[]): Promise<void> => {
  const authority = createAuthority('root of the shop');
  const stranger = createAuthority('somebody');
  const issue = (subject: string) => authority.issue({ dns: 'shop.example', subject });
  const client = authority.issue({ dns: 'client.example' });
  const back = createHttpServer((_, reply) => reply.end('hello')).listen(0, '127.0.0.1');
  await once(back, 'listening');
  const port = await freePort();
  const rig = await startRig(
    { 'mesh.yaml': mesh(port, (back.address() as AddressInfo).port), 'secret.yaml': secret(issue('first'), authority.pem) },
    { pipeline: PIPELINE },
  );
  const identity = { workload: 'gw', address: '127.0.0.1', serviceAccount: 'gw', labels: { istio: 'ingressgateway' } };
  const registered = await rig.admin('PUT', '/v1/instances/istio-system/gw-0', { ...identity, ports: [], ready: true, meshed: true });
  assert.ok(registered.status < 300, JSON.stringify(registered.body));
  const token = await rig.token('gw-0', { namespace: 'istio-system', serviceAccount: 'gw', address: '127.0.0.1' });
  const ports = await Promise.all(['status', 'stats', 'admin', 'prometheus'].map(async (p) => [`--${p}-port`, `${await freePort()}`]));
  const [verb = '', ...behind] = command;
  const xds = rig.controlPlane.xds.find((a) => a.startsWith('unix:')) ?? '';
  const flags = ['--name', 'gw-0', '--namespace', 'istio-system', '--service-account', 'gw', '--ip', '127.0.0.1', '--gateway', '--no-dns'];
  const more = ['--labels', 'istio=ingressgateway', '--xds', xds, '--token-fd', '3', '--run-dir', join(rig.root, 'run')];
  const child: ChildProcess = spawn(process.execPath, [MAIN, verb, ...flags, ...more, ...ports.flat(), ...behind], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  });
  const output: string[] = [];
  child.stdout?.on('data', (b: Buffer) => output.push(b.toString()));
  child.stderr?.on('data', (b: Buffer) => output.push(b.toString()));
  const exited = once(child, 'exit');
  (child.stdio[3] as Writable).write(`${token}\n`);
  try {
    const own = { cert: client.certificate, key: client.key };
    await until('the gateway answers', async () => (await ask(port, authority.pem, own)).status === '200');
    assert.deepEqual(await ask(port, authority.pem, own), { status: '200', subject: 'first' });
    await assert.rejects(ask(port, authority.pem, {}), 'a client without a certificate');
    const foreign = stranger.issue({ dns: 'client.example' });
    await assert.rejects(ask(port, authority.pem, { cert: foreign.certificate, key: foreign.key }), 'a client of another root');
    rig.save('secret.yaml', secret(issue('second'), authority.pem));
    await until('the new certificate is shown', async () => (await ask(port, authority.pem, own)).subject === 'second');
  } catch (error) {
    if (error instanceof Error)
      error.message += `\n--- proxy\n${output.join('').slice(-3000)}\n--- control plane\n${rig.log.join('').slice(-1500)}`;
    throw error;
  } finally {
    child.kill('SIGTERM');
    await exited;
    back.close();
    back.closeAllConnections();
    await rig.close();
  }
};

test('our gateway serves with the certificate of a Secret', { timeout: 120_000 }, () => serves(['proxy']));

test(
  'an Envoy serves with the certificate of a Secret',
  {
    skip: ENVOY === undefined && 'no Envoy here: set ENVOY',
    timeout: 120_000,
  },
  () => serves(['agent', '--drain-wait', '0', '--', ENVOY ?? '', '--concurrency', '1']),
);
