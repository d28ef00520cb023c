// A JSON web token in compact form, taken apart. Nothing in it is believed yet.
import type { JsonObject, JsonValue } from '../../xds/gen/types.ts';
import { JWT, type JwtStatus } from './jwt-status.ts';
import { readStrictObject } from './strict-json.ts';

export interface Token {
  readonly header: JsonObject;
  readonly payload: JsonObject;
  /** As it stands in the token. */
  readonly payloadText: string;
  readonly alg: string;
  /** '' none. */
  readonly kid: string;
  readonly iss: string;
  readonly sub: string;
  readonly audiences: readonly string[];
  /** Seconds since the epoch; 0 none. */
  readonly nbf: number;
  readonly exp: number;
  readonly signed: Buffer;
  readonly signature: Buffer;
  /** False when bits of its last character belong to no byte: the same signature would have several texts. */
  readonly plainlyWritten: boolean;
}

const ALGORITHMS: ReadonlySet<string> = new Set(['RS', 'PS', 'ES', 'HS'].flatMap((f) => [`${f}256`, `${f}384`, `${f}512`]).concat('EdDSA'));
const BASE64URL = /^[A-Za-z0-9_-]*={0,2}$/;
const BLANKS = /[ \t]/;

export const parseToken = (text: string): Token | JwtStatus => {
  if (BLANKS.test(text)) return withBlanks(text);
  const firstDot = text.indexOf('.');
  const secondDot = text.indexOf('.', firstDot + 1);
  if (firstDot <= 0 || secondDot <= firstDot + 1 || secondDot === text.length - 1 || text.includes('.', secondDot + 1)) return JWT.badForm;
  const headerBytes = base64url(text.slice(0, firstDot));
  if (headerBytes === undefined) return JWT.headerBase64;
  const header = readStrictObject(headerBytes);
  if (header === undefined) return isNull(headerBytes) ? JWT.badAlg : JWT.headerJson;
  const { alg, kid = '' } = header;
  if (typeof alg !== 'string') return JWT.badAlg;
  if (!ALGORITHMS.has(alg)) return JWT.unknownAlg;
  if (typeof kid !== 'string') return JWT.badKid;
  const payloadText = text.slice(firstDot + 1, secondDot);
  const payloadBytes = base64url(payloadText);
  if (payloadBytes === undefined) return JWT.payloadBase64;
  const payload = readStrictObject(payloadBytes);
  if (payload === undefined) return isNull(payloadBytes) ? JWT.unknownIssuer : JWT.payloadJson;
  const claims = readClaims(payload);
  if ('code' in claims) return claims;
  const signatureText = text.slice(secondDot + 1);
  const signature = base64url(signatureText);
  if (signature === undefined) return JWT.signatureBase64;
  // RFC 7515 4.1.11: whoever does not understand all of it refuses the token. Nothing of it is understood here.
  if (Object.hasOwn(header, 'crit')) return JWT.unverified;
  const plainlyWritten = signature.toString('base64url') === signatureText.replace(/=+$/, '');
  const signed = Buffer.from(text.slice(0, secondDot), 'latin1');
  return { header, payload, payloadText, alg, kid, ...claims, signed, signature, plainlyWritten };
};

// As Envoy, which leaves them out where it decodes but not where it verifies.
const withBlanks = (text: string): JwtStatus => {
  const read = parseToken(text.replaceAll(/[ \t]/g, ''));
  return 'code' in read ? read : JWT.unverified;
};

// Envoy takes it for an object without members.
const isNull = (bytes: Buffer): boolean => bytes.toString('latin1').trim() === 'null';

const base64url = (text: string): Buffer | undefined => {
  if (!BASE64URL.test(text)) return undefined;
  const padding = text.indexOf('=');
  const length = padding < 0 ? text.length : padding;
  if (length % 4 === 1 || (padding >= 0 && text.length % 4 !== 0)) return undefined;
  return Buffer.from(text, 'base64url');
};

type Claims = Pick<Token, 'iss' | 'sub' | 'audiences' | 'nbf' | 'exp'>;

const readClaims = (payload: JsonObject): Claims | JwtStatus => {
  const { iss = '', sub = '', jti = '' } = payload;
  if (typeof iss !== 'string') return JWT.badIss;
  if (typeof sub !== 'string') return JWT.badSub;
  const iat = seconds(payload['iat'], JWT.badIat, JWT.iatRange);
  if (typeof iat !== 'number') return iat;
  const nbf = seconds(payload['nbf'], JWT.badNbf, JWT.nbfRange);
  if (typeof nbf !== 'number') return nbf;
  const exp = seconds(payload['exp'], JWT.badExp, JWT.expRange);
  if (typeof exp !== 'number') return exp;
  if (typeof jti !== 'string') return JWT.badJti;
  const audiences = texts(payload['aud']);
  return audiences === undefined ? JWT.badAud : { iss, sub, audiences, nbf, exp };
};

const seconds = (value: JsonValue | undefined, wrong: JwtStatus, outside: JwtStatus): number | JwtStatus => {
  if (value === undefined) return 0;
  if (typeof value !== 'number') return wrong;
  return value < 0 || value > 2 ** 63 ? outside : Math.trunc(value);
};

const texts = (value: JsonValue | undefined): readonly string[] | undefined => {
  if (value === undefined) return [];
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) return undefined;
  return value.every((one) => typeof one === 'string') ? (value as readonly string[]) : undefined;
};
