// Certificates end to end: request over gRPC, chain checked by the runtime's own X.509 reader, identity from the token only.
import assert from 'node:assert/strict';
import { generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { createLog } from '../../../src/base/log.ts';
import { CertificateAuthority } from '../../../src/control/ca/ca.ts';
import { FolderAuthority } from '../../../src/control/ca/folder-authority.ts';
import { type MadeAuthority, makeRoot } from '../../../src/control/ca/issue.ts';
import { loadCaMaterial } from '../../../src/control/ca/material.ts';
import { OwnAuthority } from '../../../src/control/ca/own-authority.ts';
import { x509 } from '../../../src/control/ca/x509.ts';
import { LIVES_DEFAULT } from '../../../src/identity/lives.ts';
import { createCertificate, eventually, startRig, temporaryFolder } from '../rig.ts';

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

const quiet = createLog(
  'test',
  () => undefined,
  () => new Date(),
);
const DAY_MS = 86_400_000;
const root = (id: string): Promise<MadeAuthority> => makeRoot(id, 'cluster.local', Date.now(), 100 * DAY_MS);
const own = (folder: string, now: () => number = Date.now): Promise<OwnAuthority> =>
  OwnAuthority.open({
    folder,
    trustDomain: 'cluster.local',
    lives: LIVES_DEFAULT,
    automatic: false,
    now,
    log: quiet,
    changed: () => undefined,
  });

/** Istio's `cacerts`: a root that signs an intermediate. */
const writeCacerts = async (folder: string, by: MadeAuthority): Promise<void> => {
  const keys = (await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const intermediate = await x509.X509CertificateGenerator.create({
    serialNumber: '77',
    subject: 'O=Istio, CN=Intermediate',
    issuer: by.certificate.subjectName,
    notBefore: new Date(Date.now() - 1000),
    notAfter: new Date(Date.now() + 86_400_000),
    signingKey: by.keys.privateKey,
    publicKey: keys.publicKey,
    signingAlgorithm: EC,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  mkdirSync(folder, { recursive: true });
  const pem = `${intermediate.toString('pem')}\n`;
  writeFileSync(join(folder, 'ca-cert.pem'), pem);
  writeFileSync(join(folder, 'root-cert.pem'), by.pem);
  writeFileSync(join(folder, 'cert-chain.pem'), pem + by.pem);
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
    assert.equal(chain.length, 3, 'leaf, intermediate, all roots as one');
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
      const first = await own(join(folder, 'ca'));
      const again = await own(join(folder, 'ca'));
      assert.deepEqual(first.roots, again.roots);
      assert.equal(statSync(join(folder, 'ca')).mode & 0o777, 0o700);
      const files = readdirSync(join(folder, 'ca'));
      assert.equal(files.filter((name) => name.endsWith('-key.pem')).length, 1, 'the intermediate has no key on disk');
      for (const name of files) assert.equal(statSync(join(folder, 'ca', name)).mode & 0o777, 0o600, name);
      const made = new X509Certificate(first.roots[0] ?? '');
      assert.ok(made.ca);
      assert.ok(made.verify(made.publicKey));
      const key = join(folder, 'ca', files.find((name) => name.endsWith('-key.pem')) ?? '');
      chmodSync(key, 0o644);
      await own(join(folder, 'ca'));
      assert.equal(statSync(key).mode & 0o777, 0o600, 'a key that others could read is closed');
    });
  });

  test('takes over the single root of a folder from before rotation', async () => {
    await withFolder(async (folder) => {
      const made = await root('0badcafe');
      const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', made.keys.privateKey);
      writeFileSync(join(folder, 'ca-cert.pem'), made.pem);
      writeFileSync(join(folder, 'root-cert.pem'), made.pem);
      writeFileSync(join(folder, 'ca-key.pem'), x509.PemConverter.encode(pkcs8, 'PRIVATE KEY'));
      assert.deepEqual((await own(folder)).roots, [made.pem]);
      assert.ok(!existsSync(join(folder, 'ca-key.pem')));
      assert.deepEqual((await own(folder)).roots, [made.pem]);
    });
  });

  test("takes Istio's cacerts and refuses a folder that does not fit together", async () => {
    await withFolder(async (folder) => {
      const plugged = join(folder, 'cacerts');
      await writeCacerts(plugged, await root('00000001'));
      let changes = 0;
      const options = {
        folder: plugged,
        trustDomain: 'cluster.local',
        now: Date.now,
        log: quiet,
        changed: () => (changes += 1),
        pollMs: 10,
      };
      const authority = await FolderAuthority.open(options);
      const ca = new CertificateAuthority({ authority, leafMs: DAY_MS, now: Date.now });
      const signed = await ca.sign(await request(), CALLER, 0);
      assert.ok(signed.ok);
      assert.equal(signed.value.length, 3, 'leaf, intermediate, root');
      assert.equal(verifyChain(signed.value).subjectAltName, `URI:${ID}`);
      const before = ca.roots;
      const key = readFileSync(join(plugged, 'ca-key.pem'));
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      writeFileSync(join(plugged, 'ca-key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
      await assert.rejects(loadCaMaterial(plugged, 'cluster.local', Date.now()), /is not the key of/);
      writeFileSync(join(plugged, 'ca-key.pem'), key);
      writeFileSync(join(plugged, 'root-cert.pem'), (await root('00000002')).pem);
      writeFileSync(join(plugged, 'cert-chain.pem'), '');
      await assert.rejects(loadCaMaterial(plugged, 'cluster.local', Date.now()), /does not chain/);
      assert.deepEqual(ca.roots, before, 'what does not fit together is not taken');
      rmSync(join(plugged, 'root-cert.pem'));
      await assert.rejects(loadCaMaterial(plugged, 'cluster.local', Date.now()), /root-cert.pem/);
      await writeCacerts(plugged, await root('00000003'));
      await eventually('the new files are taken', () => changes > 0 && ca.roots[0] !== before[0]);
      authority.close();
    });
  });

  test('refuses weak or foreign requests, and never outlives itself', async () => {
    await withFolder(async (folder) => {
      let nowMs = Date.now();
      const authority = await own(folder, () => nowMs);
      const ca = new CertificateAuthority({ authority, leafMs: DAY_MS, now: () => nowMs });
      const weak = await ca.sign(await request(undefined, { name: 'ECDSA', namedCurve: 'P-521' }), CALLER, 0);
      assert.ok(!weak.ok && /P-521/.test(weak.error.message));
      const tampered = (await request()).split('\n');
      tampered.splice(-3, 1, 'A'.repeat(tampered.at(-3)?.length ?? 64));
      assert.equal((await ca.sign(tampered.join('\n'), CALLER, 0)).ok, false);
      const long = await ca.sign(await request(), CALLER, 365 * DAY_MS);
      assert.ok(long.ok);
      const life = Date.parse(new X509Certificate(long.value[0] ?? '').validTo) - nowMs;
      assert.ok(life <= DAY_MS && life > DAY_MS - 2000, 'no longer than the mesh has leaves live');
      const rootEndMs = Date.parse(new X509Certificate(authority.roots[0] ?? '').validTo);
      nowMs = rootEndMs - 60_000;
      const late = await ca.sign(await request(), CALLER, 0);
      assert.ok(late.ok);
      assert.equal(Date.parse(new X509Certificate(late.value[0] ?? '').validTo), rootEndMs);
      nowMs = rootEndMs + 1000;
      const over = await ca.sign(await request(), CALLER, 0);
      assert.ok(!over.ok && /expired/.test(over.error.message));
      authority.close();
    });
  });
});
