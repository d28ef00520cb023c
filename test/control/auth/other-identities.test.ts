// A workload that holds a token of its own, or of another, and says that it is somebody else: it gets nothing of theirs, neither
// configuration nor a certificate nor what their agents are asked.
import assert from 'node:assert/strict';
import { webcrypto, X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { x509 } from '../../../src/control/ca/x509.ts';
import { OPERATOR_METHOD } from '../../../src/control/xds/server.ts';
import { createCertificate, eventually, type Rig, startRig, urlOf, XdsClient } from '../rig.ts';

const MESH = { 'a.yaml': 'kind: Service\nname: s\nspec: {}\n' };
const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const OWN = 'spiffe://cluster.local/ns/default/sa/a';
const OTHER = 'spiffe://cluster.local/ns/default/sa/b';
const nodeOf = (name: string): string => `sidecar~10.0.0.1~${name}.default~default.svc.cluster.local`;

const withRig = async (run: (rig: Rig) => Promise<void>, overrides: Parameters<typeof startRig>[1] = {}): Promise<void> => {
  const rig = await startRig(MESH, overrides);
  try {
    await run(rig);
  } finally {
    await rig.close();
  }
};

const refusalOf = async (rig: Rig, token: string, node: string): Promise<number> => {
  const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token, node });
  client.subscribe('CDS');
  const { code } = await eventually('the stream ends', () => client.status);
  assert.equal(client.received.length, 0);
  client.close();
  return code;
};

const csr = async (extensions: readonly InstanceType<typeof x509.Extension>[] = []): Promise<string> => {
  const keys = (await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const made = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: EC, extensions: [...extensions] });
  return made.toString('pem');
};
const san = (...names: readonly { readonly type: 'url' | 'dns'; readonly value: string }[]) =>
  new x509.SubjectAlternativeNameExtension([...names], true);

describe('a stream', () => {
  test('with the token of another workload is refused, where strangers are served as well', async () => {
    await withRig(
      async (rig) => {
        const token = await rig.token('b');
        assert.equal(await refusalOf(rig, token, nodeOf('a')), 7);
        assert.equal(await refusalOf(rig, 'skein_unknown', nodeOf('a')), 16);
        const stranger = new XdsClient(rig.controlPlane.xds[0] ?? '', { node: nodeOf('a') });
        stranger.subscribe('CDS');
        await stranger.next('CDS', 1);
        stranger.close();
      },
      { xds: ['127.0.0.1:0'], insecure: true },
    );
  });

  test('stays who it was, whatever node its later requests bring', async () => {
    await withRig(async (rig) => {
      const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token('a'), node: nodeOf('a') });
      client.subscribe('CDS');
      client.ack(await client.next('CDS', 1));
      client.send({ type_url: urlOf('LDS'), node: { id: nodeOf('b') } });
      await client.next('LDS', 1);
      const { body } = await rig.admin('GET', '/v1/proxies');
      assert.deepEqual(
        (body as readonly { readonly name: string }[]).map((p) => p.name),
        ['a'],
      );
      client.close();
    });
  });

  test('with a token of a replica that is gone is refused', async () => {
    await withRig(async (rig) => {
      const instance = { workload: 'a', address: '10.0.0.1', ready: true, meshed: true };
      assert.equal((await rig.admin('PUT', '/v1/instances/default/a', instance)).status, 200);
      const [token, others] = [await rig.token('a'), await rig.token('b')];
      const open = (of: string, name: string): XdsClient => {
        const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: of, node: nodeOf(name) });
        client.subscribe('CDS');
        return client;
      };
      const [own, other] = [open(token, 'a'), open(others, 'b')];
      await Promise.all([own.next('CDS', 1), other.next('CDS', 1)]);
      assert.equal((await rig.admin('DELETE', '/v1/instances/default/a')).status, 200);
      assert.equal((await eventually('the open stream ends', () => own.status)).code, 16);
      assert.equal(other.status, undefined);
      other.close();
      assert.equal(await refusalOf(rig, token, nodeOf('a')), 16);
      await assert.rejects(createCertificate(rig.controlPlane.xds[0] ?? '', token, await csr()), { code: 16 });
      assert.equal((await createCertificate(rig.controlPlane.xds[0] ?? '', others, await csr())).length > 0, true);
    });
  });
});

describe('a certificate request', () => {
  test('for another identity is refused, and so is one for its own and another', async () => {
    await withRig(async (rig) => {
      const token = await rig.token('a', { serviceAccount: 'a' });
      const ask = async (...extensions: readonly InstanceType<typeof x509.Extension>[]) =>
        createCertificate(rig.controlPlane.xds[0] ?? '', token, await csr(extensions));
      for (const foreign of [OTHER, OWN.toUpperCase(), `${OWN}/b`, OWN.replace('cluster.local', 'other'), 'spiffe://cluster.local']) {
        await assert.rejects(ask(san({ type: 'url', value: foreign })), { code: 7 }, foreign);
        await assert.rejects(ask(san({ type: 'url', value: OWN }, { type: 'url', value: foreign })), { code: 7 }, foreign);
      }
      await assert.rejects(ask(san({ type: 'dns', value: 'b.default.svc.cluster.local' })), { code: 7 });
      await assert.rejects(ask(new x509.BasicConstraintsExtension(true, 0, true)), { code: 7 });
      const [leaf = ''] = await ask(san({ type: 'url', value: OWN }));
      assert.equal(new X509Certificate(leaf).subjectAltName, `URI:${OWN}`);
    });
  });

  test('that names nobody is signed for the holder of the token alone', async () => {
    await withRig(async (rig) => {
      for (const [name, id] of [
        ['a', OWN],
        ['b', OTHER],
      ] as const) {
        const token = await rig.token(name, { serviceAccount: name });
        const [leaf = ''] = await createCertificate(rig.controlPlane.xds[0] ?? '', token, await csr());
        assert.equal(new X509Certificate(leaf).subjectAltName, `URI:${id}`);
      }
    });
  });

  test('of a stranger, and one that is no request, get no certificate', async () => {
    await withRig(
      async (rig) => {
        const address = rig.controlPlane.xds[0] ?? '';
        await assert.rejects(createCertificate(address, undefined, await csr()), { code: 16 });
        await assert.rejects(createCertificate(address, 'skein_unknown', await csr()), { code: 16 });
        const token = await rig.token('a');
        for (const text of ['', 'nonsense', `${(await csr()).slice(0, 200)}`, 'x'.repeat(100_000)]) {
          await assert.rejects(createCertificate(address, token, text), { code: 3 });
        }
      },
      { xds: ['127.0.0.1:0'], insecure: true },
    );
  });
});

test('an agent is asked what concerns its own workload only, and answers for that one only', async () => {
  await withRig(async (rig) => {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${await rig.token('b')}`);
    const client = new Client(rig.controlPlane.xds[0] ?? '', credentials.createInsecure());
    const raw = (b: Buffer): Buffer => b;
    const call = client.makeBidiStreamRequest(OPERATOR_METHOD, raw, raw, metadata);
    call.on('error', () => undefined);
    call.on('data', (asked: Buffer) => {
      const { id } = JSON.parse(asked.toString()) as { readonly id: number };
      call.write(Buffer.from(JSON.stringify({ id, status: 200, headers: {}, body: 'b speaks' })));
    });
    const ask = (name: string) => rig.admin('GET', `/v1/proxies/default/${name}/admin/ready`);
    for (const until = Date.now() + 20_000; (await ask('b')).status === 404; ) assert.ok(Date.now() < until, 'it is attached');
    assert.equal((await ask('b')).body, 'b speaks');
    assert.equal((await ask('a')).status, 404);
    call.cancel();
    client.close();
  });
});
