// What a workload that lies, or a request that is not well formed, can do to the control plane: nothing to others.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { OPERATOR_METHOD } from '../../src/control/xds/server.ts';
import type { ProxyNode } from '../../src/translate/proxy-node.ts';
import { fakePipeline } from './fake-pipeline.ts';
import { type Rig, startRig, XdsClient } from './rig.ts';

const bytes = (b: Buffer): Buffer => b;

const withRig = async (run: (rig: Rig) => Promise<void>, overrides: Parameters<typeof startRig>[1] = {}): Promise<void> => {
  const rig = await startRig({}, overrides);
  try {
    await run(rig);
  } finally {
    await rig.close();
  }
};

describe('an agent that lies', () => {
  test('a header that cannot be sent is an answer, not the end of the process', async () => {
    await withRig(async (rig) => {
      const client = new Client(rig.controlPlane.xds[0] ?? '', credentials.createInsecure());
      const metadata = new Metadata();
      metadata.set('authorization', `Bearer ${await rig.token('a')}`);
      const call = client.makeBidiStreamRequest(OPERATOR_METHOD, bytes, bytes, metadata);
      call.on('error', () => undefined);
      call.on('data', (asked: Buffer) => {
        const { id } = JSON.parse(asked.toString()) as { readonly id: number };
        call.write(Buffer.from(JSON.stringify({ id, status: 200, headers: { 'content-type': 'a\r\nb: c' }, body: 'x' })));
      });
      const until = Date.now() + 20_000;
      const ask = () => rig.admin('GET', '/v1/proxies/default/a/admin/ready');
      let reply = await ask();
      while (reply.status === 404 && Date.now() < until) reply = await ask();
      assert.equal(reply.status, 502);
      assert.equal((await rig.admin('GET', '/healthz')).status, 200);
      call.cancel();
      client.close();
    });
  });

  test('addresses beside its own do not bring the configuration of their owners', async () => {
    const nodes: ProxyNode[] = [];
    const fake = fakePipeline();
    const pipeline = {
      ...fake,
      translatePieces: (...[kind, piece]: Parameters<typeof fake.translatePieces>) => {
        piece('node', (_, node) => {
          nodes.push({ ...node, labels: { ...node.labels }, ipAddresses: [...node.ipAddresses] });
          return {};
        });
        return fake.translatePieces(kind, piece);
      },
    };
    await withRig(
      async (rig) => {
        const registered = { workload: 'a', address: '10.0.0.1', labels: { app: 'a' }, ready: true, meshed: true };
        assert.equal((await rig.admin('PUT', '/v1/instances/default/a', registered)).status, 200);
        const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token('a', { address: '10.0.0.1' }) });
        const metadata = { INSTANCE_IPS: '10.0.0.1,10.0.0.9', LABELS: { app: 'victim', 'service.istio.io/canonical-name': 'a' } };
        const node = { id: 'sidecar~10.0.0.1~a.default~default.svc.cluster.local', user_agent_name: 'envoy', metadata };
        client.send({ node, type_url: 'type.googleapis.com/envoy.config.cluster.v3.Cluster' });
        await client.next('CDS', 1);
        assert.deepEqual(nodes.at(-1)?.ipAddresses, ['10.0.0.1']);
        assert.deepEqual(nodes.at(-1)?.labels, { app: 'a', 'service.istio.io/canonical-name': 'a' });
        client.close();
      },
      { pipeline },
    );
  });
});

describe('odd requests', () => {
  test('a target that is no URL is refused as such', async () => {
    await withRig(async (rig) => {
      const answer = await new Promise<string>((resolve, reject) => {
        const socket = connect(rig.controlPlane.adminSocket, () =>
          socket.write('GET //[ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'),
        );
        let text = '';
        socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
        socket.on('error', reject);
        socket.on('close', () => resolve(text));
      });
      assert.match(answer, /^HTTP\/1\.1 400 /);
    });
  });

  test('the longest names that Kubernetes allows are stored, and found again', async () => {
    const name = `${'a'.repeat(252)}b`;
    const other = `${'a'.repeat(252)}c`;
    const text = [name, other].map((n) => `kind: Service\nname: ${n}\nspec: {value: x}\n`).join('---\n');
    await withRig(async (rig) => {
      const applied = await rig.admin('POST', '/v1/apply', { documents: [{ file: 'a.yaml', text }] });
      assert.equal(applied.status, 200);
      const stored = readdirSync(join(rig.state, 'objects', 'Service', 'default'));
      assert.equal(stored.length, 2);
      const instance = { workload: 'a', address: '10.0.0.1', ready: true, meshed: true };
      assert.equal((await rig.admin('PUT', `/v1/instances/default/${name}`, instance)).status, 200);
      assert.equal((await rig.admin('DELETE', `/v1/resources/Service/default/${name}`)).status, 200);
      assert.equal(readdirSync(join(rig.state, 'objects', 'Service', 'default')).length, 1);
    });
  });
});
