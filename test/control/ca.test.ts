// Certificates end to end: request over gRPC, chain checked by the runtime's own X.509 reader, identity from the token only.
import assert from 'node:assert/strict';
import { generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CertificateAuthority } from '../../src/control/ca.ts';
import { type CaMaterial, loadCaMaterial, ownCaMaterial } from '../../src/control/ca-material.ts';
import { x509 } from '../../src/control/x509.ts';
import { createCertificate, startRig, temporaryFolder } from './rig.ts';

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const CALLER = { trustDomain: 'cluster.local', namespace: 'production', serviceAccount: 'payment' };
const ID = 'spiffe://cluster.local/ns/production/sa/payment';

const request = async (uri?: string, algorithm: { name: string; namedCurve?: string } = EC): Promise<string> => {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const extensions = uri === undefined ? [] : [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: uri }], true)];
  const made = await x509.Pkcs10CertificateRequestGenerator.create({
    keys: keys as webcrypto.CryptoKeyPair,
    signingAlgorithm: { ...EC, ...algorithm },
    extensions,
  });
  return made.toString('pem');
};

const withFolder = async (run: (folder: string) => Promise<void>): Promise<void> => {
  const folder = temporaryFolder();
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

/** Istio's `cacerts`: a root that signs an intermediate. */
const writeCacerts = async (folder: string, root: CaMaterial): Promise<void> => {
  const keys = (await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const intermediate = await x509.X509CertificateGenerator.create({
    serialNumber: '77',
    subject: 'O=Istio, CN=Intermediate',
    issuer: root.certificate.subjectName,
    notBefore: new Date(Date.now() - 1000),
    notAfter: new Date(Date.now() + 86_400_000),
    signingKey: root.key,
    publicKey: keys.publicKey,
    signingAlgorithm: EC,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  mkdirSync(folder);
  const pem = `${intermediate.toString('pem')}\n`;
  writeFileSync(join(folder, 'ca-cert.pem'), pem);
  writeFileSync(join(folder, 'root-cert.pem'), root.roots.join(''));
  writeFileSync(join(folder, 'cert-chain.pem'), pem + root.roots.join(''));
  writeFileSync(
    join(folder, 'ca-key.pem'),
    x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY'),
  );
};

const verifyChain = (chain: readonly string[]): X509Certificate => {
  const certificates = chain.map((pem) => new X509Certificate(pem));
  for (const [i, certificate] of certificates.entries()) {
    const issuer = certificates[i + 1] ?? certificate;
    assert.ok(certificate.verify(issuer.publicKey), `certificate ${i} is signed by the next one`);
    assert.equal(certificate.issuer, issuer.subject);
  }
  const [leaf] = certificates;
  assert.ok(leaf);
  return leaf;
};

describe('certificate authority', () => {
  test('signs over gRPC for the identity of the token', async () => {
    const rig = await startRig({});
    const address = rig.controlPlane.xds[0] ?? '';
    const token = await rig.token('payment-0', { namespace: 'production', serviceAccount: 'payment' });
    const chain = await createCertificate(address, token, await request(ID));
    assert.equal(chain.length, 2);
    const leaf = verifyChain(chain);
    assert.equal(leaf.subjectAltName, `URI:${ID}`);
    assert.equal(leaf.subject ?? '', '');
    assert.equal(leaf.ca, false);
    const lifeMs = Date.parse(leaf.validTo) - Date.now();
    assert.ok(lifeMs > 3_590_000 && lifeMs <= 3_600_000, 'the hour that was asked for');
    assert.ok(Date.parse(leaf.validFrom) <= Date.now() - 59_000);
    const parsed = new x509.X509Certificate(chain[0] ?? '');
    assert.equal(parsed.extensions.find((e) => e.type === '2.5.29.17')?.critical, true, 'critical because the subject is empty');
    const other = await request('spiffe://cluster.local/ns/production/sa/other');
    await assert.rejects(createCertificate(address, token, other), { code: 7 });
    await assert.rejects(createCertificate(address, undefined, await request()), { code: 16 });
    await assert.rejects(createCertificate(address, token, 'nonsense'), { code: 3 });
    await rig.close();
  });

  test('makes its root once, readable by the owner only', async () => {
    await withFolder(async (folder) => {
      const first = await ownCaMaterial(join(folder, 'ca'), 'cluster.local', Date.now());
      const again = await ownCaMaterial(join(folder, 'ca'), 'cluster.local', Date.now());
      assert.deepEqual(first.roots, again.roots);
      for (const name of ['ca-key.pem', 'ca-cert.pem']) assert.equal(statSync(join(folder, 'ca', name)).mode & 0o777, 0o600);
      const root = new X509Certificate(first.roots[0] ?? '');
      assert.ok(root.ca);
      assert.ok(root.verify(root.publicKey));
    });
  });

  test("takes Istio's cacerts and refuses a folder that does not fit together", async () => {
    await withFolder(async (folder) => {
      const root = await ownCaMaterial(join(folder, 'root'), 'cluster.local', Date.now());
      const plugged = join(folder, 'cacerts');
      await writeCacerts(plugged, root);
      const ca = new CertificateAuthority(await loadCaMaterial(plugged, 'cluster.local', Date.now()), Date.now);
      const signed = await ca.sign(await request(), CALLER, 0);
      assert.ok(signed.ok);
      assert.equal(signed.value.length, 3, 'leaf, intermediate, root');
      assert.equal(verifyChain(signed.value).subjectAltName, `URI:${ID}`);
      const key = readFileSync(join(plugged, 'ca-key.pem'));
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      writeFileSync(join(plugged, 'ca-key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
      await assert.rejects(loadCaMaterial(plugged, 'cluster.local', Date.now()), /is not the key of/);
      writeFileSync(join(plugged, 'ca-key.pem'), key);
      const stranger = await ownCaMaterial(join(folder, 'stranger'), 'x', Date.now());
      writeFileSync(join(plugged, 'root-cert.pem'), stranger.roots.join(''));
      writeFileSync(join(plugged, 'cert-chain.pem'), '');
      await assert.rejects(loadCaMaterial(plugged, 'cluster.local', Date.now()), /does not chain/);
      rmSync(join(plugged, 'root-cert.pem'));
      await assert.rejects(loadCaMaterial(plugged, 'cluster.local', Date.now()), /root-cert.pem/);
    });
  });

  test('refuses weak or foreign requests, and never outlives itself', async () => {
    await withFolder(async (folder) => {
      const material = await ownCaMaterial(folder, 'cluster.local', Date.now());
      const ca = new CertificateAuthority(material, Date.now);
      const weak = await ca.sign(await request(undefined, { name: 'ECDSA', namedCurve: 'P-521' }), CALLER, 0);
      assert.ok(!weak.ok && /P-521/.test(weak.error.message));
      const tampered = (await request()).split('\n');
      tampered.splice(-3, 1, 'A'.repeat(tampered.at(-3)?.length ?? 64));
      assert.equal((await ca.sign(tampered.join('\n'), CALLER, 0)).ok, false);
      const late = new CertificateAuthority(material, () => material.notAfterMs - 60_000);
      const signed = await late.sign(await request(), CALLER, 0);
      assert.ok(signed.ok);
      assert.equal(Date.parse(new X509Certificate(signed.value[0] ?? '').validTo), Math.floor(material.notAfterMs / 1000) * 1000);
    });
  });
});
