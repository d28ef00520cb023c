// Certificates for tests: one authority and leaves with SPIFFE ids, made in the process (P-256, one hour). A few lines of DER
// instead of a library, so that a test of TLS does not rest on the code that issues certificates in production.
import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';

export interface LeafNames {
  readonly uri?: string;
  readonly uris?: readonly string[];
  readonly dns?: string;
  readonly ip?: string;
  readonly subject?: string;
  /** Milliseconds from now. */
  readonly validFrom?: number;
  readonly validFor?: number;
}

export interface TestAuthority {
  readonly pem: string;
  issue(names: LeafNames): { certificate: string; key: string };
  /** An authority that this one has signed; its leaves come with its certificate behind theirs. */
  intermediate(name: string): TestAuthority;
  /** A list, valid for an hour, that takes back these certificates (PEM, the first of each). */
  takesBack(...certificates: string[]): string;
}

const tlv = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : body.length < 256 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
};
const sequence = (...parts: Uint8Array[]): Buffer => tlv(0x30, ...parts);
const oid = (text: string): Buffer => {
  const [a = 0, b = 0, ...rest] = text.split('.').map(Number);
  const bytes = [a * 40 + b];
  for (const arc of rest) {
    const groups = [arc & 127];
    for (let more = arc >> 7; more > 0; more >>= 7) groups.unshift((more & 127) | 128);
    bytes.push(...groups);
  }
  return tlv(6, Buffer.from(bytes));
};
const utf8 = (text: string): Buffer => tlv(12, Buffer.from(text));
const time = (at: Date): Buffer => tlv(0x18, Buffer.from(`${at.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`));
const ECDSA_SHA256 = sequence(oid('1.2.840.10045.4.3.2'));
const organisation = (text: string): Buffer => (text === '' ? sequence() : sequence(tlv(0x31, sequence(oid('2.5.4.10'), utf8(text)))));
const extension = (id: string, critical: boolean, value: Buffer): Buffer =>
  sequence(oid(id), ...(critical ? [Buffer.from([1, 1, 255])] : []), tlv(4, value));
const pem = (label: string, der: Buffer): string =>
  `-----BEGIN ${label}-----\n${der
    .toString('base64')
    .match(/.{1,64}/g)
    ?.join('\n')}\n-----END ${label}-----\n`;

let serial = 1;

const HOUR_MS = 3_600_000;

const certificate = (
  subject: string,
  issuer: string,
  key: KeyObject,
  signer: KeyObject,
  extensions: Buffer[],
  validFrom = -60_000,
  validFor = HOUR_MS,
): string => {
  const body = sequence(
    tlv(0xa0, tlv(2, Buffer.from([2]))),
    tlv(2, Buffer.from([0x10, serial++])),
    ECDSA_SHA256,
    organisation(issuer),
    sequence(time(new Date(Date.now() + validFrom)), time(new Date(Date.now() + validFor))),
    organisation(subject),
    key.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, sequence(...extensions)),
  );
  return pem('CERTIFICATE', sequence(body, ECDSA_SHA256, tlv(3, Buffer.from([0]), sign('sha256', body, signer))));
};

const AUTHORITY = [
  extension('2.5.29.19', true, sequence(Buffer.from([1, 1, 255]))),
  extension('2.5.29.15', true, tlv(3, Buffer.from([1, 6]))),
];

export const createAuthority = (name: string): TestAuthority => {
  const root = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return authority(name, root.privateKey, certificate(name, name, root.publicKey, root.privateKey, AUTHORITY), '');
};

const authority = (name: string, key: KeyObject, ownPem: string, behind: string): TestAuthority => ({
  pem: ownPem,
  issue: (names) => {
    const leaf = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const sans: Buffer[] = [];
    for (const uri of names.uris ?? (names.uri === undefined ? [] : [names.uri])) sans.push(tlv(0x86, Buffer.from(uri)));
    if (names.dns !== undefined) sans.push(tlv(0x82, Buffer.from(names.dns)));
    if (names.ip !== undefined) sans.push(tlv(0x87, Buffer.from(names.ip.split('.').map(Number))));
    const extensions = [
      extension('2.5.29.17', (names.subject ?? '') === '', sequence(...sans)),
      extension('2.5.29.37', false, sequence(oid('1.3.6.1.5.5.7.3.1'), oid('1.3.6.1.5.5.7.3.2'))),
    ];
    const own = certificate(names.subject ?? '', name, leaf.publicKey, key, extensions, names.validFrom, names.validFor);
    return { certificate: own + behind, key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  },
  intermediate: (below) => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const own = certificate(below, name, pair.publicKey, key, AUTHORITY);
    return authority(below, pair.privateKey, own, own + behind);
  },
  takesBack: (...certificates) => {
    const since = time(new Date(Date.now() - 60_000));
    const entries = certificates.map((text) => sequence(tlv(2, Buffer.from(new X509Certificate(text).serialNumber, 'hex')), since));
    const list = entries.length === 0 ? [] : [sequence(...entries)];
    const until = time(new Date(Date.now() + HOUR_MS));
    const body = sequence(tlv(2, Buffer.from([1])), ECDSA_SHA256, organisation(name), since, until, ...list);
    return pem('X509 CRL', sequence(body, ECDSA_SHA256, tlv(3, Buffer.from([0]), sign('sha256', body, key))));
  },
});
