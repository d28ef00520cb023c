// Certificate requests (PKCS#10) as a hostile agent writes them: any extensions, any number of times, signed by any key. A few lines of DER,
// so that what is asked for does not rest on the code that asks in production.
import { type KeyObject, sign } from 'node:crypto';

const tlv = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : body.length < 256 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
};
const sequence = (...parts: Uint8Array[]): Buffer => tlv(0x30, ...parts);
const oid = (...bytes: number[]): Buffer => tlv(6, Buffer.from(bytes));
const EXTENSION_REQUEST = oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e);
const ECDSA_SHA256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
const COMMON_NAME = oid(0x55, 0x04, 0x03);

const extension = (id: number, value: Buffer): Buffer => sequence(oid(0x55, 0x1d, id), tlv(4, value));

/** Tags of GeneralName. */
export const NAME = { email: 0x81, dns: 0x82, uri: 0x86, ip: 0x87 } as const;

export const names = (...list: readonly (readonly [tag: number, value: string])[]): Buffer =>
  extension(17, sequence(...list.map(([tag, value]) => tlv(tag, Buffer.from(value)))));
export const uris = (...list: readonly string[]): Buffer => names(...list.map((uri) => [NAME.uri, uri] as const));
export const AUTHORITY = extension(19, sequence(Buffer.from([1, 1, 255])));
export const SIGNS_CERTIFICATES = extension(15, tlv(3, Buffer.from([1, 6])));

export interface RequestParts {
  readonly key: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  /** Whose signature it has; that of `key` when absent. */
  readonly signer?: KeyObject;
  readonly commonName?: string;
  /** A list each attribute; most requests have one, and more are no error of form. */
  readonly extensions?: readonly (readonly Buffer[])[];
  /** All lists are values of one attribute. */
  readonly oneAttribute?: true;
}

export const requestPem = ({ key, signer = key.privateKey, commonName, extensions = [], oneAttribute }: RequestParts): string => {
  const subject = commonName === undefined ? [] : [tlv(0x31, sequence(COMMON_NAME, tlv(12, Buffer.from(commonName))))];
  const lists = extensions.map((list) => sequence(...list));
  const values = oneAttribute === true ? [lists] : lists.map((list) => [list]);
  const attributes = values.map((list) => sequence(EXTENSION_REQUEST, tlv(0x31, ...list)));
  const info = sequence(
    tlv(2, Buffer.from([0])),
    sequence(...subject),
    key.publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa0, ...attributes),
  );
  const signature = sign('sha256', info, signer);
  const der = sequence(info, ECDSA_SHA256, tlv(3, Buffer.from([0]), signature));
  // No empty line at the end, however long the signature is.
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join('\n')}\n-----END CERTIFICATE REQUEST-----\n`;
};
