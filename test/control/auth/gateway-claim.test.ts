// An application that says it is a gateway: gateways are given the keys of their namespace's TLS servers, so what a replica is, is known and
// not believed. Over both protocols.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { encode } from '../../../src/xds/codec.ts';
import { DELTA_ADS_METHOD } from '../../../src/xds/resource-types.ts';
import { eventually, type Rig, startRig, urlOf, XdsClient } from '../rig.ts';

const MESH = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: gw, namespace: shop }
spec:
  selector: {}
  servers:
    - { port: { number: 8443, name: https, protocol: HTTPS }, hosts: [shop.example], tls: { mode: MUTUAL, credentialName: shop } }
---
apiVersion: v1
kind: Secret
metadata: { name: shop, namespace: shop }
stringData: { tls.crt: a certificate, tls.key: private, ca.crt: roots }
---
apiVersion: skein.dev/v1
kind: Workload
metadata: { name: web, namespace: shop, labels: { app: web } }
spec: { serviceAccount: web, command: [run], ports: [{ name: http, port: 8080 }] }
---
apiVersion: skein.dev/v1
kind: Workload
metadata: { name: gate, namespace: shop, labels: { app: gate }, annotations: { inject.istio.io/templates: gateway } }
spec: { serviceAccount: gate, ports: [{ name: https, port: 8443 }] }
`;
const KEY = 'kubernetes://shop';

const withReplicas = async (run: (rig: Rig, tokenOf: (app: string) => Promise<string>) => Promise<void>): Promise<void> => {
  const rig = await startRig({ 'mesh.yaml': MESH }, { pipeline: PIPELINE });
  try {
    for (const [app, address] of [
      ['web', '10.0.0.1'],
      ['gate', '10.0.0.2'],
    ] as const) {
      const instance = { workload: app, serviceAccount: app, address, labels: { app }, ready: true, meshed: true };
      assert.equal((await rig.admin('PUT', `/v1/instances/shop/${app}-0`, instance)).status, 200);
    }
    await run(rig, async (app) => {
      const address = app === 'web' ? '10.0.0.1' : '10.0.0.2';
      const { body } = await rig.admin('POST', '/v1/tokens', { namespace: 'shop', serviceAccount: app, name: `${app}-0`, address });
      return (body as { token: string }).token;
    });
  } finally {
    await rig.close();
  }
};

const SPOOFED = 'router~10.0.0.1~web-0.shop~shop.svc.cluster.local';
const raw = (bytes: Buffer): Buffer => bytes;

test('an application that says it is a gateway is refused, and gets neither listeners nor keys', async () => {
  await withReplicas(async (rig, tokenOf) => {
    const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await tokenOf('web'), node: SPOOFED });
    client.subscribe('LDS');
    client.subscribe('SDS', [KEY]);
    await eventually('an answer', () => client.status !== undefined || client.of('SDS').length > 0);
    assert.deepEqual([client.of('SDS').flatMap((r) => r.names), client.status?.code], [[], 7]);
    assert.match(client.status?.details ?? '', /web-0\.shop is an application/);
    assert.equal(client.received.length, 0);
    client.close();
  });
});

test('nor by an incremental stream', async () => {
  await withReplicas(async (rig, tokenOf) => {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${await tokenOf('web')}`);
    const client = new Client(rig.controlPlane.xds[0] ?? '', credentials.createInsecure());
    const call = client.makeBidiStreamRequest(DELTA_ADS_METHOD, raw, raw, metadata);
    let answers = 0;
    let code: number | undefined;
    call.on('data', () => answers++);
    call.on('error', () => undefined);
    call.on('status', (status: { readonly code: number }) => {
      code = status.code;
    });
    const asked = { node: { id: SPOOFED }, type_url: urlOf('LDS'), resource_names_subscribe: ['*'] };
    call.write(Buffer.from(encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', asked)));
    await eventually('an answer', () => code !== undefined || answers > 0);
    assert.deepEqual([code, answers], [7, 0]);
    client.close();
  });
});

test('a gateway is one, and an application is what it is', async () => {
  await withReplicas(async (rig, tokenOf) => {
    for (const [app, node, keys] of [
      ['gate', 'router~10.0.0.2~gate-0.shop~shop.svc.cluster.local', [KEY]],
      ['web', 'sidecar~10.0.0.1~web-0.shop~shop.svc.cluster.local', []],
    ] as const) {
      const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await tokenOf(app), node });
      client.subscribe('LDS');
      client.ack(await client.next('LDS', 1));
      client.subscribe('SDS', [KEY]);
      client.subscribe('CDS');
      await client.next('CDS', 1);
      await eventually('secrets', () => client.of('SDS').length > 0 || keys.length === 0);
      assert.deepEqual(
        client.of('SDS').flatMap((r) => r.names),
        keys,
        app,
      );
      client.close();
    }
  });
});
