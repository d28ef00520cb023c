// A root that is for another trust domain, from the control plane's command line to the wire: two sidecars whose agents tell them go on
// talking, and what that root has signed in this mesh's name is let in no more.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Agent, startAgent } from '../../../src/agent/agent.ts';
import { createLog } from '../../../src/base/log.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { decode, encode } from '../../../src/xds/codec.ts';
import type { Secret } from '../../../src/xds/gen/types.ts';
import { SDS_METHOD, SECRET_TYPE } from '../../../src/xds/resource-types.ts';
import { openStream, testConfig } from '../../agent/setup.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import { fetchOnce, httpBackend, ok, type Plane } from '../../proxy/harness.ts';
import { tlsPeer } from '../../proxy/hostile-peers-rig.ts';
import { startPair } from '../../proxy/mesh-pair.ts';
import { eventually, type Rig, startRig, temporaryFolder } from '../rig.ts';

const quiet = createLog(
  'test',
  () => undefined,
  () => new Date(),
);

/** The agent of a workload, whose secrets the data plane has once this returns. */
const startSidecar = async (rig: Rig, name: string, plane: Plane): Promise<Agent> => {
  const token = await rig.token(name, { serviceAccount: name });
  const runDir = join(rig.root, name);
  const xds = `unix:${join(rig.root, 'x.sock')}`;
  const config = testConfig(runDir, { name, namespace: 'default', serviceAccount: name, token: () => token, xds, runDir, dns: undefined });
  const agent = await startAgent(config, quiet);
  for (const wanted of ['default', 'ROOTCA']) {
    const { messages, stream } = openStream(agent.transports.sds, SDS_METHOD);
    stream.send(encode('envoy.service.discovery.v3.DiscoveryRequest', { type_url: SECRET_TYPE.url, resource_names: [wanted] }));
    const { resources } = decode('envoy.service.discovery.v3.DiscoveryResponse', await messages.next());
    const secret = resources?.[0] as unknown as Secret;
    if (wanted === 'ROOTCA') assert.ok(secret.validation_context?.custom_validator_config !== undefined, 'bundles, not one list');
    plane.plane.setSecret(secret);
    stream.close();
  }
  return agent;
};

test('a root bound to another trust domain lets nobody in under a name of this mesh', { timeout: 60_000 }, async () => {
  const partner = createAuthority('partner');
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'partner.pem'), partner.pem);
  const rig = await startRig(
    {},
    { pipeline: PIPELINE, authority: { bundleFiles: [`partner.test=${join(folder, 'partner.pem')}`] } },
    folder,
  );
  await using backend = await httpBackend((n) => ok(String(n)));
  await using pair = await startPair(backend.port, { tls: true });
  const agents: Agent[] = [];
  try {
    agents.push(await startSidecar(rig, 'client', pair.client), await startSidecar(rig, 'server', pair.server));
    assert.equal((await fetchOnce(pair.port, '/')).status, 200, 'the mesh goes on');
    const faults = (): number =>
      [...pair.server.plane.stats.all()].filter((s) => s.name.endsWith('.ssl.fail_verify_error')).reduce((sum, s) => sum + s.value, 0);
    const before = faults();
    const forged = partner.issue({ uri: 'spiffe://cluster.local/ns/default/sa/client', keyUsage: 0x80 });
    const { said } = await tlsPeer(forged, { rejectUnauthorized: false })(pair.serverPort);
    assert.equal(said, '');
    await eventually('it is counted', () => faults() === before + 1);
    assert.equal(
      ((await rig.admin('GET', '/v1/ca')).body as { federated: { trustDomains: string[] }[] }).federated[0]?.trustDomains[0],
      'partner.test',
    );
    const bundle = (await rig.admin('GET', '/v1/ca/bundle')).body as string;
    assert.ok(bundle.includes('BEGIN CERTIFICATE') && !bundle.includes(partner.pem.trim()), 'a text that binds nothing has our own roots');
  } finally {
    await Promise.all(agents.map((agent) => agent.stop()));
    await rig.close();
  }
});
