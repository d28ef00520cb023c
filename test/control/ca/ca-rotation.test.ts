// Rotation live: a control plane whose certificates live for seconds, two agents, and the two sidecars of a call that fetch their secrets
// from them. Requests go on through renewals, every step of a rotation, and the end of trust in a root.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Agent, startAgent } from '../../../src/agent/agent.ts';
import { createLog } from '../../../src/base/log.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { decode, encode } from '../../../src/xds/codec.ts';
import type { Secret } from '../../../src/xds/gen/types.ts';
import { ADS_METHOD, CLUSTER_TYPE, SDS_METHOD, SECRET_TYPE } from '../../../src/xds/resource-types.ts';
import { openStream, testConfig } from '../../agent/setup.ts';
import { httpBackend, ok, type Plane, RawClient } from '../../proxy/harness.ts';
import { startPair } from '../../proxy/mesh-pair.ts';
import { eventually, type Rig, startRig, temporaryFolder } from '../rig.ts';

const quiet = createLog(
  'test',
  () => undefined,
  () => new Date(),
);
const SHORT = { lives: { leafMs: 4000, intermediateMs: 8000, rootMs: 60_000 }, manualRotation: true };

interface Sidecar {
  readonly agent: Agent;
  /** Of the leaf in use. */
  serial: string;
  chain: string;
  roots: readonly string[];
  renewals: number;
}

const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('utf8');

/** The agent of a workload, and its secrets in the data plane as the sidecar's own client puts them there. */
const startSidecar = async (rig: Rig, name: string, plane: Plane): Promise<Sidecar> => {
  const token = await rig.token(name, { serviceAccount: name });
  const config = testConfig(join(rig.root, name), {
    name,
    namespace: 'default',
    serviceAccount: name,
    token: () => token,
    xds: `unix:${join(rig.root, 'x.sock')}`,
    runDir: join(rig.root, name),
    dns: undefined,
  });
  const agent = await startAgent(config, quiet);
  const sidecar: Sidecar = { agent, serial: '', chain: '', roots: [], renewals: 0 };
  const ads = openStream(agent.transports.ads, ADS_METHOD);
  ads.stream.send(encode('envoy.service.discovery.v3.DiscoveryRequest', { type_url: CLUSTER_TYPE.url }));
  for (const wanted of ['default', 'ROOTCA']) {
    const stream = agent.transports.sds.open(SDS_METHOD, {
      end: () => undefined,
      message: (bytes) => {
        const response = decode('envoy.service.discovery.v3.DiscoveryResponse', bytes);
        for (const secret of (response.resources ?? []) as readonly Secret[]) take(sidecar, plane, secret);
        const answer = { version_info: response.version_info ?? '', response_nonce: response.nonce ?? '' };
        queueMicrotask(() => stream.send(request(wanted, answer)));
      },
    });
    stream.send(request(wanted));
  }
  await eventually(`${name} has its certificate and what it trusts`, () => sidecar.serial !== '' && sidecar.roots.length > 0);
  return sidecar;
};

const request = (name: string, more: object = {}): Uint8Array =>
  encode('envoy.service.discovery.v3.DiscoveryRequest', { type_url: SECRET_TYPE.url, resource_names: [name], ...more });

const take = (sidecar: Sidecar, plane: Plane, secret: Secret): void => {
  plane.plane.setSecret(secret);
  if (secret.name === 'ROOTCA') {
    sidecar.roots = text(secret.validation_context?.trusted_ca?.inline_bytes).match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? [];
    return;
  }
  sidecar.chain = text(secret.tls_certificate?.certificate_chain?.inline_bytes);
  sidecar.serial = new X509Certificate(sidecar.chain).serialNumber;
  sidecar.renewals += 1;
};

interface CaAnswer {
  readonly roots: readonly { readonly id: string; readonly signs: boolean; readonly subject: string }[];
  readonly rotation: { readonly phase: string; readonly replaced: number; readonly soundFrom: string };
}

/** Under which root, by the name of the issuer's issuer. */
const below = ({ chain }: Pick<Sidecar, 'chain'>): string => {
  const [, intermediate = ''] = chain.split(/(?<=-----END CERTIFICATE-----\n)/);
  return /CN=Skein root ([0-9a-f]+)/.exec(new X509Certificate(intermediate).issuer)?.[1] ?? '';
};

test('requests go on through renewals, every step of a rotation and a revoked root', { timeout: 120_000 }, async () => {
  const rig = await startRig({}, { pipeline: PIPELINE, authority: SHORT });
  await using backend = await httpBackend((n) => ok(String(n)));
  // Every third request shakes hands anew: certificates are looked at all the time, on old connections and new ones.
  await using pair = await startPair(backend.port, { tls: true, cluster: { max_requests_per_connection: 3 } as object });
  const client = await startSidecar(rig, 'client', pair.client);
  const server = await startSidecar(rig, 'server', pair.server);
  const both = [client, server];
  const counts = { sent: 0, failed: 0 };
  let over = false;
  const load = (async () => {
    const connection = await RawClient.open(pair.port);
    while (!over) {
      counts.sent += 1;
      if ((await connection.get('/')).status !== 200) counts.failed += 1;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    connection.close();
  })();
  try {
    await eventually('both renew before the end', () => both.every((s) => s.renewals >= 2));
    const step = async (name: string): Promise<CaAnswer> => {
      const answer = await rig.admin('POST', '/v1/ca/rotate', { step: name, force: true });
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      return (answer.body as { readonly ca: CaAnswer }).ca;
    };
    const early = await rig.admin('POST', '/v1/ca/rotate', { step: 'finish' });
    assert.equal(early.status, 409);
    await step('prepare');
    await eventually('both trust two roots', () => both.every((s) => s.roots.length === 2));
    const refused = await rig.admin('POST', '/v1/ca/rotate', {});
    assert.equal(refused.status, 409, 'certificates from before are in use');
    // Both have said that they trust it: nobody else is there who would need the wait.
    const signs = (await step('switch')).roots.find((r) => r.signs)?.id;
    await eventually('both have a certificate of the new root', () => both.every((s) => below(s) === signs));
    const { soundFrom } = ((await rig.admin('GET', '/v1/ca')).body as CaAnswer).rotation;
    await new Promise((resolve) => setTimeout(resolve, Date.parse(soundFrom) - Date.now() + 50));
    const finished = await rig.admin('POST', '/v1/ca/rotate', { step: 'finish' });
    assert.equal((finished.body as { readonly ca: CaAnswer }).ca.rotation.replaced, 1);
    await eventually('both trust the new root alone', () => both.every((s) => s.roots.length === 1));
    await eventually('requests were sent all the time', () => counts.sent > 50);
    assert.equal(counts.failed, 0, `${counts.failed} of ${counts.sent} failed`);
    const before = both.map((s) => s.serial);
    const revoked = await rig.admin('POST', '/v1/ca/revoke', {});
    assert.equal(revoked.status, 200);
    const { roots } = (revoked.body as { readonly ca: CaAnswer }).ca;
    await eventually('both have replaced certificate and trust', () =>
      both.every((s, i) => s.serial !== before[i] && s.roots.length === 1 && below(s) === roots[0]?.id),
    );
    const after = counts.sent;
    await eventually('requests go on', () => counts.sent > after + 20);
  } finally {
    over = true;
    await load;
    await Promise.all(both.map((s) => s.agent.stop()));
    await rig.close();
  }
});

test('over TLS a certificate is renewed by the one before it, and a new root is followed', { timeout: 120_000 }, async () => {
  const root = temporaryFolder();
  const rig = await startRig({}, { pipeline: PIPELINE, authority: SHORT, xds: ['tls:127.0.0.1:0'] }, root);
  const bundle = (await rig.admin('GET', '/v1/ca/bundle')).body as string;
  const made = await rig.admin('POST', '/v1/join-tokens', { namespace: 'default', serviceAccount: 'vm', uses: 1 });
  const joinToken = (made.body as { readonly token: string }).token;
  const log: string[] = [];
  const config = testConfig(join(root, 'vm'), {
    name: 'vm',
    namespace: 'default',
    serviceAccount: 'vm',
    token: () => joinToken,
    xds: (rig.controlPlane.xds[0] ?? '').slice('tls:'.length),
    xdsCaPem: bundle,
    runDir: join(root, 'vm'),
    dns: undefined,
  });
  const agent = await startAgent(
    config,
    createLog(
      'agent',
      (line) => log.push(line),
      () => new Date(),
    ),
  );
  try {
    const chains: string[] = [];
    const secrets = openStream(agent.transports.sds, SDS_METHOD);
    secrets.stream.send(request('default'));
    const next = async (): Promise<void> => {
      const response = decode('envoy.service.discovery.v3.DiscoveryResponse', await secrets.messages.next());
      const secret = ((response.resources ?? []) as readonly Secret[])[0];
      chains.push(text(secret?.tls_certificate?.certificate_chain?.inline_bytes));
      secrets.stream.send(request('default', { version_info: response.version_info ?? '', response_nonce: response.nonce ?? '' }));
    };
    for (let i = 0; i < 2; i++) await next();
    // A token for one use: what came after it was asked for with the certificate.
    assert.equal(new Set(chains).size, 2);
    for (const step of ['prepare', 'switch', 'finish']) {
      assert.equal((await rig.admin('POST', '/v1/ca/rotate', { step, force: true })).status, 200);
      await next();
    }
    const { roots } = (await rig.admin('GET', '/v1/ca')).body as CaAnswer;
    assert.equal(below({ chain: chains.at(-1) ?? '' }), roots[0]?.id);
  } catch (e) {
    if (e instanceof Error) e.message += `\n${log.join('')}\n${rig.log.join('')}`;
    throw e;
  } finally {
    await agent.stop();
    await rig.close();
  }
});
