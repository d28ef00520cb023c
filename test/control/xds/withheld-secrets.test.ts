// A gateway that nobody has vouched for is given no key. That is said where the key is named, and in the log, and the gateway need not wait.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { eventually, type Rig, startRig, XdsClient } from '../rig.ts';

const MESH = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {}
  servers:
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: [shop.example]
    tls: {mode: MUTUAL, credentialName: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: shop, namespace: istio-system}
stringData: {tls.crt: a certificate, tls.key: private, ca.crt: roots}
`;
const NODE = 'router~10.0.0.9~gw-0.istio-system~istio-system.svc.cluster.local';

interface Told {
  readonly code: string;
  readonly line: number;
  readonly path: string;
  readonly message: string;
}

const withGateway = async (names: readonly string[], check: (rig: Rig, told: () => Promise<readonly Told[]>) => Promise<void>) => {
  const rig = await startRig({ 'gw.yaml': MESH }, { pipeline: PIPELINE, xds: ['127.0.0.1:0'], insecure: true });
  const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { node: NODE });
  try {
    client.subscribe('LDS');
    const listeners = await client.next('LDS', 1);
    assert.match(JSON.stringify(listeners.response), /"sds_config":\{[^{}]*"ads":\{\}[^{}]*"initial_fetch_timeout":"0.001s"/);
    client.ack(listeners);
    client.subscribe('SDS', names);
    await eventually('it is logged', () => rig.log.some((l) => l.includes('is not given secrets')));
    await check(rig, async () => {
      const { problems } = (await rig.admin('GET', '/v1/status')).body as { readonly problems: readonly Told[] };
      return problems.filter((p) => p.code === 'CREDENTIAL_WITHHELD');
    });
    assert.equal(client.of('SDS').flatMap((r) => r.names).length, 0);
    client.subscribe('SDS', names);
    assert.equal(rig.log.filter((l) => l.includes('is not given secrets')).length, 1, 'once a stream');
  } finally {
    client.close();
    await rig.close();
  }
};

test('a credential that is asked for without proof is told of where it is named', async () => {
  await withGateway(['kubernetes://shop', 'kubernetes://shop-cacert'], async (_, told) => {
    const all = await told();
    assert.deepEqual(
      all.map((p) => [p.line, p.path]),
      [
        [9, 'spec.servers[0].tls.credentialName'],
        [9, 'spec.servers[0].tls.credentialName'],
      ],
    );
    assert.match(all[0]?.message ?? '', /^gw-0\.istio-system asked for "kubernetes:\/\/shop" without proof/);
    assert.ok(!JSON.stringify(all).includes('private'));
  });
});

test('names that no object holds are told without a place, and cannot paint a terminal', async () => {
  await withGateway(['kubernetes://\u001b[31mred'], async (_, told) => {
    const [problem] = await told();
    assert.deepEqual([problem?.line, problem?.path], [0, '']);
    assert.ok(problem?.message.includes('"kubernetes://\\u001b[31mred"'));
  });
});
