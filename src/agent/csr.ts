// A certificate signing request (PKCS#10, RFC 2986) for one URI: SPKI, an extension request with the subject alternative
// name, an ECDSA-SHA256 signature. Writes the few DER shapes it needs itself: an X.509 library costs a sidecar 13 MB.
// The private key is used to sign and is not kept or printed.
import { createPublicKey, type KeyObject, sign } from 'node:crypto';

/** PEM. `uri` must be ASCII (a SPIFFE id is). Throws RangeError otherwise. */
export const certificateRequest = (privateKey: KeyObject, uri: string): string => {
  if (!/^[\x21-\x7e]+$/.test(uri)) throw new RangeError(`not an ASCII URI: ${uri}`);
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const names = der(SEQUENCE, der(URI_NAME, Buffer.from(uri, 'ascii')));
  // Critical, because the subject is empty (RFC 5280 4.2.1.6).
  const san = der(SEQUENCE, OID_SUBJECT_ALT_NAME, DER_TRUE, der(OCTET_STRING, names));
  const extensionRequest = der(SEQUENCE, OID_EXTENSION_REQUEST, der(SET, der(SEQUENCE, san)));
  const info = der(SEQUENCE, DER_VERSION_0, der(SEQUENCE), spki, der(ATTRIBUTES, extensionRequest));
  const signature = sign('sha256', info, { key: privateKey, dsaEncoding: 'der' });
  const request = der(SEQUENCE, info, der(SEQUENCE, OID_ECDSA_SHA256), der(BIT_STRING, Buffer.of(0), signature));
  return pem('CERTIFICATE REQUEST', request);
};

const SEQUENCE = 0x30;
const SET = 0x31;
const OCTET_STRING = 0x04;
const BIT_STRING = 0x03;
/** `[0]` constructed, implicit: the attributes of the request. */
const ATTRIBUTES = 0xa0;
/** `[6]` primitive, implicit: uniformResourceIdentifier of GeneralName. */
const URI_NAME = 0x86;
const DER_VERSION_0 = Buffer.of(0x02, 0x01, 0x00);
const DER_TRUE = Buffer.of(0x01, 0x01, 0xff);
/** 2.5.29.17 */
const OID_SUBJECT_ALT_NAME = Buffer.of(0x06, 0x03, 0x55, 0x1d, 0x11);
/** 1.2.840.113549.1.9.14 */
const OID_EXTENSION_REQUEST = Buffer.of(0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e);
/** 1.2.840.10045.4.3.2 */
const OID_ECDSA_SHA256 = Buffer.of(0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02);

const der = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const length = parts.reduce((n, p) => n + p.length, 0);
  return Buffer.concat([Buffer.of(tag, ...derLength(length)), ...parts]);
};

const derLength = (length: number): readonly number[] => {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
};

const pem = (label: string, bytes: Buffer): string => {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
};
