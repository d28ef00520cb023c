// JSON web key sets (RFC 7517), and tokens checked against them. A key serves the algorithms of its own kind only, whatever a token
// says its algorithm is: an RSA key never checks an HMAC. Keys that cannot be read are left out. Those that are too short, or that the
// set keeps for encryption, check nothing: there we are stricter than Envoy.
import {
  constants,
  createHmac,
  createPublicKey,
  type JsonWebKey,
  type KeyObject,
  timingSafeEqual,
  verify,
  X509Certificate,
} from 'node:crypto';
import type { JsonObject, JsonValue } from '../../xds/gen/types.ts';
import { JWT, type JwtStatus } from './jwt-status.ts';
import type { Token } from './token.ts';

type Kind = 'RSA' | 'EC' | 'OKP' | 'oct';

interface Key {
  readonly kid: string;
  /** '' any of its kind. */
  readonly alg: string;
  readonly kind: Kind;
  /** EC only. */
  readonly curve: string;
  readonly key: KeyObject | Buffer;
  /** False: tokens are never checked with it. It stays in its set, so that the set is not refused for it. */
  readonly signs: boolean;
}

export interface KeySet {
  readonly keys: readonly Key[];
}

export const parseKeySet = (text: string): KeySet | JwtStatus => {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return JWT.jwksJson;
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return JWT.jwksJson;
  const { keys } = json as { readonly keys?: JsonValue };
  if (keys === undefined) return fromCertificates(json as JsonObject);
  if (!Array.isArray(keys)) return JWT.jwksBadKeys;
  const read = (keys as readonly JsonValue[]).map(readKey).filter((key): key is Key => key !== undefined);
  return read.length === 0 ? JWT.jwksNoValidKeys : { keys: read };
};

const CURVES: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };
const ED25519_BYTES = 64;
/** RFC 7518 3.3. */
const RSA_BITS_MIN = 2048;

const readKey = (value: JsonValue): Key | undefined => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const jwk = value as JsonObject;
  const { kty, kid = '', alg = '' } = jwk;
  if (typeof kid !== 'string' || typeof alg !== 'string') return undefined;
  const key = readByKind(jwk, kty, kid, alg);
  return key === undefined || mayVerify(jwk) ? key : { ...key, signs: false };
};

// RFC 7517 4.2, 4.3.
const mayVerify = ({ use, key_ops: operations }: JsonObject): boolean =>
  use !== 'enc' && !(Array.isArray(operations) && !operations.includes('verify'));

const readByKind = (jwk: JsonObject, kty: JsonValue | undefined, kid: string, alg: string): Key | undefined => {
  try {
    if (kty === 'RSA' && (alg === '' || /^[RP]S/.test(alg))) {
      const { n, e } = jwk as { n?: string; e?: string };
      return publicKey('RSA', { kty, n, e }, kid, alg);
    }
    if (kty === 'EC') return ellipticKey(jwk, kid, alg);
    if (kty === 'OKP' && jwk['crv'] === 'Ed25519' && (alg === '' || alg === 'EdDSA'))
      return publicKey('OKP', { kty, crv: 'Ed25519', x: String(jwk['x']) }, kid, alg);
    if (kty === 'oct' && (alg === '' || /^HS(256|384|512)$/.test(alg)) && typeof jwk['k'] === 'string') {
      const key = Buffer.from(jwk['k'], 'base64url');
      return key.length === 0 ? undefined : { kid, alg, kind: 'oct', curve: '', key, signs: true };
    }
  } catch {
    // As a key of a kind that is not known.
  }
  return undefined;
};

const ellipticKey = (jwk: JsonObject, kid: string, alg: string): Key | undefined => {
  const { crv = '', x, y } = jwk as { crv?: string; x?: string; y?: string };
  const curve = crv !== '' ? crv : alg === '' ? 'P-256' : (CURVES[alg] ?? '');
  if (!Object.values(CURVES).includes(curve) || (alg !== '' && CURVES[alg] !== curve)) return undefined;
  return publicKey('EC', { kty: 'EC', crv: curve, x, y }, kid, alg);
};

// Only the public members are given: a private key in a set is of no use here.
const publicKey = (kind: Kind, jwk: { readonly [K in keyof JsonWebKey]: JsonWebKey[K] | undefined }, kid: string, alg: string): Key => {
  const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
  return { kid, alg, kind, curve: kind === 'EC' ? (jwk.crv ?? '') : '', key, signs: kind !== 'RSA' || isLong(key) };
};

const isLong = (key: KeyObject): boolean => (key.asymmetricKeyDetails?.modulusLength ?? 0) >= RSA_BITS_MIN;

// Google's older form: key id → certificate.
const fromCertificates = (json: JsonObject): KeySet | JwtStatus => {
  const entries = Object.entries(json);
  if (entries.length === 0 || !entries.every(([kid, pem]) => kid !== '' && typeof pem === 'string' && pem !== '')) return JWT.jwksNoKeys;
  try {
    return {
      keys: entries.map(([kid, pem]) => {
        const key = new X509Certificate(String(pem)).publicKey;
        if (key.asymmetricKeyType !== 'rsa') throw new Error('not an RSA key');
        return { kid, alg: '', kind: 'RSA', curve: '', key, signs: isLong(key) };
      }),
    };
  } catch {
    return JWT.jwksNoValidKeys;
  }
};

/** JWT.ok, or why the token is not believed. Says nothing of its times and audiences. */
export const verifySignature = (token: Token, { keys }: KeySet): JwtStatus => {
  let found = false;
  let wrongLength = false;
  for (const key of keys) {
    if (token.kid !== '' && key.kid !== '' && key.kid !== token.kid) continue;
    if (key.alg !== '' && key.alg !== token.alg) continue;
    found = true;
    if (!key.signs) continue;
    if (key.kind === 'OKP' && token.signature.length !== ED25519_BYTES) wrongLength = true;
    else if (holds(token, key)) return token.plainlyWritten ? JWT.ok : JWT.unverified;
  }
  if (wrongLength) return JWT.ed25519Length;
  return found ? JWT.unverified : JWT.noSuchKey;
};

const holds = ({ alg, signed, signature }: Token, { kind, curve, key }: Key): boolean => {
  const hash = `sha${alg.slice(2)}`;
  try {
    if (key instanceof Uint8Array) {
      if (kind !== 'oct' || !alg.startsWith('HS')) return false;
      const mac = createHmac(hash, key).update(signed).digest();
      return mac.length === signature.length && timingSafeEqual(mac, signature);
    }
    if (kind === 'RSA' && alg.startsWith('RS')) return verify(hash, signed, key, signature);
    if (kind === 'RSA' && alg.startsWith('PS')) {
      const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
      return verify(hash, signed, pss, signature);
    }
    if (kind === 'EC' && CURVES[alg] === curve) return verify(hash, signed, { key, dsaEncoding: 'ieee-p1363' }, signature);
    return kind === 'OKP' && alg === 'EdDSA' && verify(null, signed, key, signature);
  } catch {
    return false;
  }
};
