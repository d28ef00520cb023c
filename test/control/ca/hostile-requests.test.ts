// What a workload asks for beside its own identity it does not get, in whatever form it asks: the request is refused, or the certificate is
// the same as for a plain one. What is signed names the caller, and nobody and nothing else.
import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { defaultMeshConfig } from '../../../src/api/mesh-config/mesh-config.ts';
import { createLog } from '../../../src/base/log.ts';
import type { CertificateAuthority } from '../../../src/control/ca/ca.ts';
import { openAuthority } from '../../../src/control/ca/open-authority.ts';
import { AUTHORITY, NAME, names, type RequestParts, requestPem, SIGNS_CERTIFICATES, uris } from './request-forms.ts';

const ID = 'spiffe://cluster.local/ns/production/sa/payment';
const OTHER = 'spiffe://cluster.local/ns/production/sa/orders';
const CALLER = { trustDomain: 'cluster.local', namespace: 'production', serviceAccount: 'payment' };
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const another = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const withAuthority = async (run: (ca: CertificateAuthority) => Promise<void>): Promise<void> => {
  const stateDir = mkdtempSync(join(tmpdir(), 'skein-requests-'));
  const log = createLog(
    'ca',
    () => undefined,
    () => new Date(),
  );
  const options = { stateDir, caDir: undefined, meshConfig: defaultMeshConfig, now: Date.now, log, changed: () => undefined };
  const ca = await openAuthority(options);
  try {
    await run(ca);
  } finally {
    ca.authority.close();
    rmSync(stateDir, { recursive: true, force: true });
  }
};

const request = (parts: Partial<RequestParts>): string => requestPem({ key, ...parts });

const REFUSED: readonly (readonly [who: string, pem: string, why: RegExp])[] = [
  ['another identity', request({ extensions: [[uris(OTHER)]] }), /names spiffe:.*\/sa\/orders/],
  ['its own and another identity', request({ extensions: [[uris(ID, OTHER)]] }), /names spiffe:.*\/sa\/orders/],
  ['another in a second extension', request({ extensions: [[uris(ID), uris(OTHER)]] }), /twice|names spiffe:/],
  ['another in a second attribute', request({ extensions: [[uris(ID)], [uris(OTHER)]] }), /twice|names spiffe:/],
  ['another in a second value', request({ extensions: [[uris(ID)], [uris(OTHER)]], oneAttribute: true }), /twice|names spiffe:/],
  ['another account by case', request({ extensions: [[uris(ID.replace('payment', 'Payment'))]] }), /names spiffe:/],
  ['a wildcard', request({ extensions: [[uris('spiffe://cluster.local/ns/*/sa/*')]] }), /names spiffe:/],
  ['another trust domain', request({ extensions: [[uris(ID.replace('cluster.local', 'evil.test'))]] }), /names spiffe:/],
  ['an id with a path escape', request({ extensions: [[uris(`${ID}/../orders`)]] }), /names spiffe:/],
  ['a name of the DNS', request({ extensions: [[names([NAME.uri, ID], [NAME.dns, 'istiod.istio-system.svc'])]] }), /istiod/],
  ['an address', request({ extensions: [[names([NAME.uri, ID], [NAME.ip, '\u007f\u0000\u0000\u0001'])]] }), /names ip:/],
  ['a mail address', request({ extensions: [[names([NAME.uri, ID], [NAME.email, 'root@evil.test'])]] }), /root@evil/],
  ['to be an authority', request({ extensions: [[uris(ID), AUTHORITY]] }), /CA certificate/],
  ['to be an authority, in a second attribute', request({ extensions: [[uris(ID)], [AUTHORITY]] }), /twice|CA certificate/],
  ['a key that is not its own', request({ signer: another.privateKey, extensions: [[uris(ID)]] }), /not signed by its own key/],
  ['nothing', '', /no.? ?(PKCS|a PKCS)|PKCS#10/],
  ['rubbish', `-----BEGIN CERTIFICATE REQUEST-----\n${'A'.repeat(400)}\n-----END CERTIFICATE REQUEST-----\n`, /PKCS#10/],
  ['too much', request({}) + 'x'.repeat(70_000), /longer than/],
];

test('what a workload asks for beside its identity is refused', () =>
  withAuthority(async (ca) => {
    for (const [who, pem, why] of REFUSED) {
      const answer = await ca.sign(pem, CALLER, 0);
      assert.equal(answer.ok, false, who);
      if (!answer.ok) assert.match(answer.error.message, why, who);
    }
    assert.equal(ca.leaves.issued, 0);
  }));

const TAKEN: readonly (readonly [who: string, pem: string])[] = [
  ['no name', request({})],
  ['its own id', request({ extensions: [[uris(ID)]] })],
  ['its own id twice', request({ extensions: [[uris(ID, ID)]] })],
  ['a subject', request({ commonName: OTHER, extensions: [[uris(ID)]] })],
  ['to sign certificates', request({ extensions: [[uris(ID), SIGNS_CERTIFICATES]] })],
  ['two requests in one text', request({ extensions: [[uris(ID)]] }) + request({ key: another, extensions: [[uris(OTHER)]] })],
];

test('a certificate says who the caller is, whatever else the request says', () =>
  withAuthority(async (ca) => {
    for (const [who, pem] of TAKEN) {
      const answer = await ca.sign(pem, CALLER, 0);
      assert.ok(answer.ok, `${who}: ${JSON.stringify(answer)}`);
      const leaf = new X509Certificate(answer.value[0] ?? '');
      assert.deepEqual([leaf.subjectAltName, leaf.subject ?? '', leaf.ca], [`URI:${ID}`, '', false], who);
      assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'], who);
      assert.ok(leaf.checkPrivateKey(key.privateKey), who);
      assert.equal(leaf.toString().includes('orders'), false, who);
    }
  }));

test('keys that are weak, or of a kind that is not certified, are refused', () =>
  withAuthority(async (ca) => {
    for (const [pair, why] of [
      [generateKeyPairSync('rsa', { modulusLength: 1024 }), /2048 to 4096/],
      [generateKeyPairSync('ec', { namedCurve: 'P-521' }), /curve P-521|not signed/],
      [generateKeyPairSync('ed25519'), /not certified|not signed|PKCS#10/],
    ] as const) {
      // Signed by a key of another kind: what is looked at first tells the reason.
      const answer = await ca.sign(requestPem({ key: pair, signer: key.privateKey }), CALLER, 0);
      assert.equal(answer.ok, false);
      if (!answer.ok) assert.match(answer.error.message, new RegExp(`${why.source}|not signed by its own key`));
    }
  }));
