// Keys and tokens for tests: JSON web tokens of every algorithm, good ones and hostile ones.
import { constants, createHmac, generateKeyPairSync, type JsonWebKey, type KeyObject, sign } from 'node:crypto';

interface Pair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export const RSA: Pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
export const OTHER_RSA: Pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
export const P256: Pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
export const P384: Pair = generateKeyPairSync('ec', { namedCurve: 'P-384' });
export const P521: Pair = generateKeyPairSync('ec', { namedCurve: 'P-521' });
export const ED25519: Pair = generateKeyPairSync('ed25519');
export const SECRET = Buffer.from('a secret that is shared');

export const base64url = (value: unknown): string =>
  (Buffer.isBuffer(value) ? value : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))).toString('base64url');

export const jwk = ({ publicKey }: Pair, more: JsonWebKey & { kid?: string } = {}): object => ({
  ...publicKey.export({ format: 'jwk' }),
  ...more,
});

export const CLAIMS = { iss: 'https://issuer.test', sub: 'alice', aud: 'api', exp: 4_102_444_800 };

/** `header` and `claims` are taken as they are when they are texts. */
export const mint = (
  header: { alg: string; kid?: string } | string,
  claims: object | string,
  pair: Pair | Buffer,
  saltLength?: number,
): string => {
  const signed = `${base64url(header)}.${base64url(claims)}`;
  const alg = typeof header === 'string' ? 'RS256' : header.alg;
  return `${signed}.${signature(alg, signed, pair, saltLength).toString('base64url')}`;
};

const signature = (alg: string, signed: string, pair: Pair | Buffer, saltLength = constants.RSA_PSS_SALTLEN_DIGEST): Buffer => {
  const hash = `sha${alg.slice(2)}`;
  const bytes = Buffer.from(signed);
  if (Buffer.isBuffer(pair)) return createHmac(hash, pair).update(bytes).digest();
  const key = pair.privateKey;
  if (alg.startsWith('RS')) return sign(hash, bytes, key);
  if (alg.startsWith('PS')) return sign(hash, bytes, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
  if (alg.startsWith('ES')) return sign(hash, bytes, { key, dsaEncoding: 'ieee-p1363' });
  return alg === 'EdDSA' ? sign(null, bytes, key) : Buffer.from('x');
};
