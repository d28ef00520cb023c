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
  /** Extended key usages; both of TLS when absent, the extension is left out when empty. */
  readonly usages?: readonly string[];
  /** First byte of the key usage; the extension is left out when absent. */
  readonly keyUsage?: number;
  /** Says that it is an authority. */
  readonly authority?: boolean;
  /** An extension that nobody knows, and that must be known. */
  readonly unknownCritical?: boolean;
  readonly key?: 'P-256' | 'rsa1024' | 'ed25519';
  readonly digest?: Digest;
}

export type Digest = 'sha256' | 'sha1';

export interface IntermediateFacts {
  readonly validFrom?: number;
  readonly validFor?: number;
  /** URIs of leaves below it must be of this host. */
  readonly onlyUriHost?: string;
  /** How many authorities may follow it. */
  readonly pathLength?: number;
  /** It does not say that it is one. */
  readonly plain?: true;
}

export interface TestAuthority {
  readonly pem: string;
  issue(names: LeafNames): { certificate: string; key: string };
  /** An authority that this one has signed; its leaves come with its certificate behind theirs. */
  intermediate(name: string, facts?: IntermediateFacts): TestAuthority;
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
const ECDSA_SHA1 = sequence(oid('1.2.840.10045.4.1'));
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
export const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
export const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const BOTH_ENDS = [SERVER_AUTH, CLIENT_AUTH];

const certificate = (
  subject: string,
  issuer: string,
  key: KeyObject,
  signer: KeyObject,
  extensions: Buffer[],
  validFrom = -60_000,
  validFor = HOUR_MS,
  digest: Digest = 'sha256',
): string => {
  const algorithm = digest === 'sha1' ? ECDSA_SHA1 : ECDSA_SHA256;
  const body = sequence(
    tlv(0xa0, tlv(2, Buffer.from([2]))),
    tlv(2, Buffer.from([0x10, serial++])),
    algorithm,
    organisation(issuer),
    sequence(time(new Date(Date.now() + validFrom)), time(new Date(Date.now() + validFor))),
    organisation(subject),
    key.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, sequence(...extensions)),
  );
  return pem('CERTIFICATE', sequence(body, algorithm, tlv(3, Buffer.from([0]), sign(digest, body, signer))));
};

const IS_AUTHORITY = Buffer.from([1, 1, 255]);
const SIGNS_CERTIFICATES = extension('2.5.29.15', true, tlv(3, Buffer.from([1, 6])));
const AUTHORITY = [extension('2.5.29.19', true, sequence(IS_AUTHORITY)), SIGNS_CERTIFICATES];

const authorityExtensions = ({ onlyUriHost, pathLength, plain }: IntermediateFacts): Buffer[] => {
  if (plain === true) return [];
  const length = pathLength === undefined ? [] : [tlv(2, Buffer.from([pathLength]))];
  const only = onlyUriHost === undefined ? [] : [sequence(tlv(0xa0, sequence(tlv(0x86, Buffer.from(onlyUriHost)))))];
  return [
    extension('2.5.29.19', true, sequence(IS_AUTHORITY, ...length)),
    SIGNS_CERTIFICATES,
    ...only.map((names) => extension('2.5.29.30', true, names)),
  ];
};

const keysOf = (kind: LeafNames['key']) => {
  if (kind === 'rsa1024') return generateKeyPairSync('rsa', { modulusLength: 1024 });
  if (kind === 'ed25519') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
};

export const createAuthority = (name: string): TestAuthority => {
  const root = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return authority(name, root.privateKey, certificate(name, name, root.publicKey, root.privateKey, AUTHORITY), '');
};

const authority = (name: string, key: KeyObject, ownPem: string, behind: string): TestAuthority => ({
  pem: ownPem,
  issue: (names) => {
    const leaf = keysOf(names.key);
    const sans: Buffer[] = [];
    for (const uri of names.uris ?? (names.uri === undefined ? [] : [names.uri])) sans.push(tlv(0x86, Buffer.from(uri)));
    if (names.dns !== undefined) sans.push(tlv(0x82, Buffer.from(names.dns)));
    if (names.ip !== undefined) sans.push(tlv(0x87, Buffer.from(names.ip.split('.').map(Number))));
    const usages = names.usages ?? BOTH_ENDS;
    const extensions = [
      extension('2.5.29.17', (names.subject ?? '') === '', sequence(...sans)),
      ...(usages.length === 0 ? [] : [extension('2.5.29.37', false, sequence(...usages.map(oid)))]),
      ...(names.authority === true ? (names.keyUsage === undefined ? AUTHORITY : AUTHORITY.slice(0, 1)) : []),
      ...(names.keyUsage === undefined ? [] : [extension('2.5.29.15', true, tlv(3, Buffer.from([0, names.keyUsage])))]),
      ...(names.unknownCritical === true ? [extension('1.3.6.1.4.1.99999.1', true, utf8('x'))] : []),
    ];
    const { validFrom, validFor, digest } = names;
    const own = certificate(names.subject ?? '', name, leaf.publicKey, key, extensions, validFrom, validFor, digest);
    return { certificate: own + behind, key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  },
  intermediate: (below, facts = {}) => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const own = certificate(below, name, pair.publicKey, key, authorityExtensions(facts), facts.validFrom, facts.validFor);
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
