// Tokens and key sets by themselves: what is taken apart, what is believed, and what hostile tokens come to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JWT, type JwtStatus } from '../../src/plan/jwt/jwt-status.ts';
import { type KeySet, parseKeySet, verifySignature } from '../../src/plan/jwt/key-set.ts';
import { readStrictObject } from '../../src/plan/jwt/strict-json.ts';
import { parseToken } from '../../src/plan/jwt/token.ts';
import { base64url, CLAIMS, ED25519, jwk, mint, OTHER_RSA, P256, P384, P521, RSA, SECRET } from '../proxy/token-mint.ts';

const setOf = (...keys: object[]): KeySet => {
  const read = parseKeySet(JSON.stringify({ keys }));
  if ('code' in read) throw new Error(read.text);
  return read;
};

const judge = (text: string, keys: KeySet): JwtStatus => {
  const token = parseToken(text);
  return 'code' in token ? token : verifySignature(token, keys);
};

const ALL = setOf(
  jwk(RSA, { kid: 'rsa' }),
  jwk(P256, { kid: 'p256' }),
  jwk(P384, { kid: 'p384' }),
  jwk(P521, { kid: 'p521' }),
  jwk(ED25519, { kid: 'ed' }),
  { kty: 'oct', kid: 'hmac', k: SECRET.toString('base64url') },
);

test('every algorithm is verified with a key of its kind', () => {
  for (const alg of ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'])
    assert.equal(judge(mint({ alg, kid: 'rsa' }, CLAIMS, RSA), ALL), JWT.ok, alg);
  assert.equal(judge(mint({ alg: 'ES256', kid: 'p256' }, CLAIMS, P256), ALL), JWT.ok);
  assert.equal(judge(mint({ alg: 'ES384', kid: 'p384' }, CLAIMS, P384), ALL), JWT.ok);
  assert.equal(judge(mint({ alg: 'ES512', kid: 'p521' }, CLAIMS, P521), ALL), JWT.ok);
  assert.equal(judge(mint({ alg: 'EdDSA', kid: 'ed' }, CLAIMS, ED25519), ALL), JWT.ok);
  for (const alg of ['HS256', 'HS384', 'HS512']) assert.equal(judge(mint({ alg, kid: 'hmac' }, CLAIMS, SECRET), ALL), JWT.ok, alg);
});

test('a token without a key id is tried with every key', () => {
  assert.equal(judge(mint({ alg: 'EdDSA' }, CLAIMS, ED25519), setOf(jwk(OTHER_RSA), jwk(ED25519))), JWT.ok);
  assert.equal(judge(mint({ alg: 'RS256' }, CLAIMS, RSA), ALL), JWT.ok);
});

test('an algorithm of another kind than the key is never tried with it', () => {
  const spki = RSA.publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const der = RSA.publicKey.export({ type: 'spki', format: 'der' });
  for (const secret of [Buffer.from(spki), Buffer.from(spki.trim()), der, Buffer.from(JSON.stringify(jwk(RSA)))]) {
    assert.equal(judge(mint({ alg: 'HS256', kid: 'rsa' }, CLAIMS, secret), ALL), JWT.unverified);
    assert.equal(judge(mint({ alg: 'HS256' }, CLAIMS, secret), setOf(jwk(RSA))), JWT.unverified);
  }
  // The key is the right one, but what it is said to be is not.
  const [, payload, signed] = mint({ alg: 'RS256', kid: 'rsa' }, CLAIMS, RSA).split('.');
  assert.equal(judge(`${base64url({ alg: 'PS256', kid: 'rsa' })}.${payload}.${signed}`, ALL), JWT.unverified);
  // A curve serves one algorithm.
  assert.equal(judge(mint({ alg: 'ES384', kid: 'p256' }, CLAIMS, P256), ALL), JWT.unverified);
  assert.equal(judge(mint({ alg: 'ES256', kid: 'p384' }, CLAIMS, P384), ALL), JWT.unverified);
  assert.equal(judge(mint({ alg: 'RS256', kid: 'hmac' }, CLAIMS, RSA), ALL), JWT.unverified);
  // A key that says which algorithm it is for serves no other.
  assert.equal(judge(mint({ alg: 'RS512' }, CLAIMS, RSA), setOf(jwk(RSA, { alg: 'RS256' }))), JWT.noSuchKey);
});

test('no algorithm, an unknown one and "none" are refused whatever else is right', () => {
  const payload = base64url(CLAIMS);
  assert.equal(judge(`${base64url({ alg: 'none' })}.${payload}.x`, ALL), JWT.unknownAlg);
  assert.equal(judge(`${base64url({ alg: 'None' })}.${payload}.x`, ALL), JWT.unknownAlg);
  assert.equal(judge(`${base64url({ alg: 'none' })}.${payload}.`, ALL), JWT.badForm);
  assert.equal(judge(`${base64url({ alg: '' })}.${payload}.x`, ALL), JWT.unknownAlg);
  assert.equal(judge(`${base64url({ typ: 'JWT' })}.${payload}.x`, ALL), JWT.badAlg);
  assert.equal(judge(`${base64url({ alg: ['RS256'] })}.${payload}.x`, ALL), JWT.badAlg);
  assert.equal(judge(`${base64url({ alg: 'RS256', kid: 7 })}.${payload}.x`, ALL), JWT.badKid);
});

test('another key, another key id and another payload are told apart', () => {
  assert.equal(judge(mint({ alg: 'RS256', kid: 'rsa' }, CLAIMS, OTHER_RSA), ALL), JWT.unverified);
  assert.equal(judge(mint({ alg: 'RS256', kid: 'zz' }, CLAIMS, RSA), ALL), JWT.noSuchKey);
  const [header, , signed] = mint({ alg: 'RS256', kid: 'rsa' }, CLAIMS, RSA).split('.');
  assert.equal(judge(`${header}.${base64url({ ...CLAIMS, sub: 'eve' })}.${signed}`, ALL), JWT.unverified);
  assert.equal(judge(`${header}.${base64url(CLAIMS)}.${'A'.repeat(342)}`, ALL), JWT.unverified);
  assert.equal(judge(mint({ alg: 'PS256', kid: 'rsa' }, CLAIMS, RSA, 20), ALL), JWT.unverified, 'a salt of another length');
  const ed = mint({ alg: 'EdDSA', kid: 'ed' }, CLAIMS, ED25519);
  assert.equal(judge(ed.slice(0, -4), ALL), JWT.ed25519Length);
  const es = mint({ alg: 'ES256', kid: 'p256' }, CLAIMS, P256);
  assert.equal(judge(es.slice(0, -4), ALL), JWT.unverified);
});

test('what is not three parts of base64url with JSON objects has the name of what is wrong', () => {
  const header = base64url({ alg: 'RS256' });
  const payload = base64url(CLAIMS);
  const table: readonly (readonly [string, JwtStatus])[] = [
    ['', JWT.badForm],
    ['a.b', JWT.badForm],
    ['a.b.c.d', JWT.badForm],
    ['.b.c', JWT.badForm],
    ['a..c', JWT.badForm],
    [`!!.${payload}.AA`, JWT.headerBase64],
    [`${base64url('nojson')}.${payload}.AA`, JWT.headerJson],
    [`${base64url('[1]')}.${payload}.AA`, JWT.headerJson],
    [`${header}.!!.AA`, JWT.payloadBase64],
    [`${header}.AAAAA.AA`, JWT.payloadBase64],
    [`${header}.${base64url('null')}.AA`, JWT.unknownIssuer],
    [`${header}.${base64url('"x"')}.AA`, JWT.payloadJson],
    [`${header}.${base64url(`${JSON.stringify(CLAIMS)} x`)}.AA`, JWT.payloadJson],
    [`${header}.${payload}.!!`, JWT.signatureBase64],
    [`${header}.${payload}.AA=`, JWT.signatureBase64],
    [`${header}.${base64url({ iss: 3 })}.AA`, JWT.badIss],
    [`${header}.${base64url({ sub: {} })}.AA`, JWT.badSub],
    [`${header}.${base64url({ iat: 'x' })}.AA`, JWT.badIat],
    [`${header}.${base64url({ iat: -1 })}.AA`, JWT.iatRange],
    [`${header}.${base64url({ nbf: null })}.AA`, JWT.badNbf],
    [`${header}.${base64url({ exp: '4102444800' })}.AA`, JWT.badExp],
    [`${header}.${base64url({ exp: -5 })}.AA`, JWT.expRange],
    [`${header}.${base64url({ exp: 1e30 })}.AA`, JWT.expRange],
    [`${header}.${base64url({ jti: 1 })}.AA`, JWT.badJti],
    [`${header}.${base64url({ aud: [1] })}.AA`, JWT.badAud],
    [`${header}.${base64url({ aud: { a: 1 } })}.AA`, JWT.badAud],
  ];
  for (const [text, status] of table) assert.equal(judge(text, ALL), status, text.slice(-40));
});

test('a name that stands twice, text that is not UTF-8 and deep nesting are no JSON', () => {
  const read = (text: string) => readStrictObject(Buffer.from(text));
  assert.deepEqual(read('{"a":{"b":[1,{"c":":\\":"}]},"d":"x:y"}'), { a: { b: [1, { c: ':":' }] }, d: 'x:y' });
  assert.equal(read('{"iss":"good","iss":"evil"}'), undefined);
  assert.equal(read('{"iss":"good","\\u0069ss":"evil"}'), undefined);
  assert.equal(read('{"a":[{"b":1,"b":1}]}'), undefined);
  assert.equal(read('\ufeff{"a":1}'), undefined);
  assert.equal(readStrictObject(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), undefined);
  assert.equal(read(`{"a":${'['.repeat(200)}${']'.repeat(200)}}`), undefined);
  assert.equal(read('['.repeat(100_000)), undefined);
  assert.notEqual(read('{"__proto__":{"a":1},"constructor":2}'), undefined);
});

test('keys that cannot be used are left out, and a set without any says so', () => {
  const bad = [{ kty: 'zz' }, { kty: 'RSA', n: '!!' }, { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }, 7, null, { kty: 'oct', k: '' }];
  const good = mint({ alg: 'RS256' }, CLAIMS, RSA);
  assert.equal(judge(good, setOf(...(bad as object[]), jwk(RSA))), JWT.ok);
  assert.equal(parseKeySet(JSON.stringify({ keys: bad })), JWT.jwksNoValidKeys);
  assert.equal(parseKeySet(JSON.stringify({ keys: [jwk(P256, { alg: 'ES384' })] })), JWT.jwksNoValidKeys);
  assert.equal(parseKeySet('{'), JWT.jwksJson);
  assert.equal(parseKeySet('[]'), JWT.jwksJson);
  assert.equal(parseKeySet('{}'), JWT.jwksNoKeys);
  assert.equal(parseKeySet('{"keys":{}}'), JWT.jwksBadKeys);
  // The private half of a key is of no use to whoever checks.
  assert.equal(judge(good, setOf({ ...RSA.privateKey.export({ format: 'jwk' }) })), JWT.ok);
});
