// What can be wrong with a token or with the keys for it: Envoy's texts, told to the client, and its numbers, told to metadata.

export interface JwtStatus {
  readonly code: number;
  readonly text: string;
}

const status = (code: number, text: string): JwtStatus => ({ code, text });
const field = (code: number, name: string, problem: string): JwtStatus => status(code, `Jwt payload [${name}] field is not ${problem}`);

export const JWT = {
  ok: status(0, 'OK'),
  missing: status(1, 'Jwt is missing'),
  notYetValid: status(2, 'Jwt not yet valid'),
  expired: status(3, 'Jwt is expired'),
  badForm: status(4, 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'),
  headerBase64: status(5, 'Jwt header is an invalid Base64url encoded'),
  headerJson: status(6, 'Jwt header is an invalid JSON'),
  badAlg: status(7, 'Jwt header [alg] field is required and must be a string'),
  unknownAlg: status(8, 'Jwt header [alg] is not supported'),
  badKid: status(9, 'Jwt header [kid] field is not a string'),
  payloadBase64: status(10, 'Jwt payload is an invalid Base64url encoded'),
  payloadJson: status(11, 'Jwt payload is an invalid JSON'),
  badIss: field(12, 'iss', 'a string'),
  badSub: field(13, 'sub', 'a string'),
  badIat: field(14, 'iat', 'an integer'),
  iatRange: field(15, 'iat', 'a positive 64 bit integer'),
  badNbf: field(16, 'nbf', 'an integer'),
  nbfRange: field(17, 'nbf', 'a positive 64 bit integer'),
  badExp: field(18, 'exp', 'an integer'),
  expRange: field(19, 'exp', 'a positive 64 bit integer'),
  badJti: field(20, 'jti', 'a string'),
  badAud: field(21, 'aud', 'a string or string list'),
  signatureBase64: status(22, 'Jwt signature is an invalid Base64url encoded'),
  ed25519Length: status(23, 'Jwt ED25519 signature is wrong length'),
  unknownIssuer: status(24, 'Jwt issuer is not configured'),
  audience: status(25, 'Audiences in Jwt are not allowed'),
  unverified: status(26, 'Jwt verification fails'),
  jwksJson: status(28, 'Jwks is an invalid JSON'),
  jwksNoKeys: status(29, 'Jwks does not have [keys] field'),
  jwksBadKeys: status(30, '[keys] in Jwks is not an array'),
  jwksNoValidKeys: status(31, "Jwks doesn't have any valid public key"),
  noSuchKey: status(32, "Jwks doesn't have key to match kid or alg from Jwt"),
  fetchFailed: status(40, 'Jwks remote fetch is failed'),
} as const;
