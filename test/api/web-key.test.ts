// Keys of token rules: what Envoy reads passes, what it refuses does not.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { asKeySet, readableKeys } from '../../src/api/values/web-key.ts';

type Jwk = Readonly<Record<string, unknown>>;
const rsa = (modulusLength: number): Jwk => ({ ...generateKeyPairSync('rsa', { modulusLength }).publicKey.export({ format: 'jwk' }) });
const ec = (namedCurve: string): Jwk => ({ ...generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'jwk' }) });
const ed: Jwk = { ...generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }) };
const r = rsa(2048);
const n = String(r['n']);
const e = ec('P-256');
const { crv: _crv, ...unnamed } = e;

const GOOD: Readonly<Record<string, Jwk>> = {
  rsa: r,
  'a short modulus': rsa(512),
  'padded base64': { ...r, n: `${n}==` },
  'exponent 3': { ...r, e: 'Aw' },
  'an algorithm of the type': { ...r, alg: 'PS512' },
  P256: e,
  P384: ec('P-384'),
  P521: ec('P-521'),
  'no curve': unnamed,
  'a curve by algorithm': { ...unnamed, alg: 'ES256' },
  Ed25519: { ...ed, alg: 'EdDSA' },
  secret: { kty: 'oct', k: 'AAAA', alg: 'HS256' },
};

const BAD: Readonly<Record<string, readonly [Jwk, RegExp]>> = {
  'a modulus of 43 characters': [{ ...r, n: n.slice(0, 43) }, /n has 25\d bits/],
  'a modulus abc': [{ ...r, n: 'abc' }, /n has/],
  'an even modulus': [{ ...r, n: Buffer.from([...Buffer.from(n, 'base64url').subarray(0, -1), 2]).toString('base64url') }, /even/],
  'base64 of another alphabet': [{ ...r, n: `${n.slice(0, -2)}+/` }, /n is not base64url/],
  'padding in excess': [{ ...e, x: `${e['x']}==` }, /x is not base64url/],
  'no modulus': [{ kty: 'RSA', e: 'AQAB' }, /n is missing/],
  'a modulus that is a number': [{ ...r, n: 5 }, /n is not text/],
  'exponent 17': [{ ...r, e: 'EQ' }, /e is neither/],
  'an algorithm of another type': [{ ...r, alg: 'ES256' }, /alg/],
  'a curve that is not known': [{ ...e, crv: 'secp256k1' }, /crv/],
  'a curve of another algorithm': [{ ...e, alg: 'ES384' }, /crv and alg/],
  'no point of the curve': [{ ...e, x: e['y'] }, /no point/],
  'a short Edwards key': [{ ...ed, x: 'abc' }, /x has 2 bytes/],
  X25519: [{ ...ed, crv: 'X25519' }, /crv/],
  'an empty secret': [{ kty: 'oct', k: '' }, /k is empty/],
  'an unknown type': [{ kty: 'XYZ' }, /kty/],
  'no type': [{ n: 'x' }, /kty is missing/],
};

test('keys that Envoy reads are left as they are', () => {
  for (const [name, key] of Object.entries(GOOD))
    assert.deepEqual(readableKeys(JSON.stringify({ keys: [key] })), { keys: JSON.stringify({ keys: [key] }), unreadable: undefined }, name);
});

test('keys that Envoy refuses are told with the reason, without the key', () => {
  for (const [name, [key, reason]] of Object.entries(BAD)) {
    const read = readableKeys(JSON.stringify({ keys: [key] }));
    assert.equal(read?.keys, undefined, name);
    assert.match(read?.unreadable ?? '', reason, name);
    assert.doesNotMatch(read?.unreadable ?? '', new RegExp(n.slice(0, 20)), name);
  }
});

const policy = (jwks: string): string =>
  `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: a}\nspec:\n  jwtRules:\n  - issuer: a.test\n    jwks: '${jwks}'\n`;

test('a policy of which no key can be read is refused at the field', () => {
  for (const jwks of [JSON.stringify({ keys: [{ ...r, n: 'abc', kid: 'one' }] }), '{"keys":[]}']) {
    const { resources, problems } = parseDocuments('p.yaml', policy(jwks));
    assert.equal(resources.length, 0);
    assert.deepEqual([problems[0]?.severity, problems[0]?.path, problems[0]?.line], ['error', 'spec.jwtRules[0].jwks', 7]);
  }
  assert.match(parseDocuments('p.yaml', policy(JSON.stringify({ ...r, n: 'abc', kid: 'one' }))).problems[0]?.message ?? '', /"one": n has/);
});

test('a bad key beside a good one is a warning, as proxies read the good one', () => {
  const { resources, problems } = parseDocuments('p.yaml', policy(JSON.stringify({ keys: [{ kty: 'XYZ' }, r] })));
  assert.equal(resources.length, 1);
  assert.deepEqual(
    problems.map((p) => p.severity),
    ['warning'],
  );
});

test('one key alone is given to proxies as a set', () => {
  assert.equal(asKeySet('{"kty":"RSA"}'), '{"keys":[{"kty":"RSA"}]}');
  assert.equal(asKeySet('{"keys": []}'), '{"keys": []}');
});
