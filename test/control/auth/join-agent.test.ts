// A machine that nobody here has started: a real agent with a join token on a TLS port, from nothing to a registered workload, and on
// with its certificate when the token is spent.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startAgent } from '../../../src/agent/agent.ts';
import { createLog } from '../../../src/base/log.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { encode } from '../../../src/xds/codec.ts';
import { ADS_METHOD } from '../../../src/xds/resource-types.ts';
import { testConfig } from '../../agent/setup.ts';
import { type Rig, startRig, temporaryFolder, urlOf } from '../rig.ts';
import { attach, join as joinMesh } from './door-clients.ts';

const GROUP = `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: production}
spec:
  template: {ports: {http: 8080}, serviceAccount: web}
`;

const NODE = {
  id: 'sidecar~10.244.0.5~web-0.production~production.svc.cluster.local',
  metadata: { AUTO_REGISTER_GROUP: 'web', SERVICE_ACCOUNT: 'web' },
};

const until = async (what: string, read: () => Promise<boolean> | boolean): Promise<void> => {
  const deadline = Date.now() + 20_000;
  while (!(await read())) {
    if (Date.now() > deadline) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

const entries = async (rig: Rig): Promise<number> =>
  ((await rig.admin('GET', '/v1/resources?kind=WorkloadEntry')).body as { readonly resources: readonly unknown[] }).resources.length;

const rootsOf = (folder: string): string =>
  readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((e) => e.isFile())
    .map((e) => readFileSync(join(e.parentPath, e.name), 'utf8'))
    .flatMap((text) => text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/g) ?? [])
    .join('');

test('an agent joins with its token, registers, renews with its certificate, and a second agent gets nothing for the same token', async () => {
  const root = temporaryFolder();
  const rig = await startRig({ 'g.yaml': GROUP }, { pipeline: PIPELINE, xds: ['tls:127.0.0.1:0'] }, root);
  const agentFolder = join(root, 'agent');
  mkdirSync(join(agentFolder, 'run'), { recursive: true });
  mkdirSync(join(agentFolder, 'run2'));
  const said: string[] = [];
  const log = createLog(
    'agent',
    (line) => said.push(line),
    () => new Date(),
    { value: 'debug' },
  );
  const made = await rig.admin('POST', '/v1/join-tokens', { namespace: 'production', serviceAccount: 'web' });
  const { token } = made.body as { readonly token: string };
  const config = testConfig(agentFolder, {
    xds: (rig.controlPlane.xds[0] ?? '').replace('tls:', ''),
    xdsCaPem: rootsOf(join(rig.state, 'ca')),
    token: () => token,
    metadata: { AUTO_REGISTER_GROUP: 'web' },
    certificateTtlS: 6,
    dns: undefined,
  });
  const agent = await startAgent(config, log);
  try {
    await until('the certificate', () => said.some((line) => line.includes('certificate issued')));
    const stream = agent.transports.ads.open(ADS_METHOD, { message: () => undefined, end: () => undefined });
    stream.send(encode('envoy.service.discovery.v3.DiscoveryRequest', { node: NODE, type_url: urlOf('CDS') }));
    await until('the registration', async () => (await entries(rig)) === 1);
    assert.equal(((await rig.admin('GET', '/v1/join-tokens')).body as { tokens: unknown[] }).tokens.length, 0);
    const issued = (): number => said.filter((line) => line.includes('certificate issued')).length;
    await until('the renewal', () => issued() >= 2);
    assert.ok(!said.some((line) => line.includes('certificate not issued')));
    const second = await startAgent({ ...config, runDir: join(agentFolder, 'run2') }, log);
    try {
      await until('the refusal', () => said.some((line) => line.includes('certificate not issued') && line.includes('not known here')));
    } finally {
      await second.stop();
    }
    assert.ok(![...said, ...rig.log].some((line) => line.includes(token.slice(-40))));
    stream.close();
  } catch (error) {
    if (error instanceof Error) error.message += `\n--- agent\n${said.join('')}--- control plane\n${rig.log.join('')}`;
    throw error;
  } finally {
    await agent.stop();
    await rig.close();
  }
});

test('with a certificate of another account nobody registers for a group, nor takes over its entry', async () => {
  const root = temporaryFolder();
  const rig = await startRig({ 'g.yaml': GROUP }, { pipeline: PIPELINE, xds: ['tls:127.0.0.1:0'] }, root);
  try {
    const way = { address: rig.controlPlane.xds[0] ?? '', rootsPem: rootsOf(join(rig.state, 'ca')) };
    const certificateOf = async (serviceAccount: string) => {
      const made = await rig.admin('POST', '/v1/join-tokens', { namespace: 'production', serviceAccount });
      const { token } = made.body as { readonly token: string };
      return joinMesh(way, { token }, `spiffe://cluster.local/ns/production/sa/${serviceAccount}`);
    };
    const claims = { AUTO_REGISTER_GROUP: 'web' };
    const stranger = await certificateOf('other');
    const refused = await attach(way, { certificate: stranger }, NODE.id, claims);
    assert.equal(refused.code, 7, refused.details);
    assert.match(refused.details, /is for service account web/);
    assert.equal(await entries(rig), 0);
    const own = await certificateOf('web');
    assert.equal((await attach(way, { certificate: own }, NODE.id, claims)).code, 0);
    await until('the entry', async () => (await entries(rig)) === 1);
    const over = await attach(way, { certificate: stranger }, NODE.id, claims);
    assert.equal(over.code, 7, over.details);
  } finally {
    await rig.close();
  }
});
