// Certificates are made here, and nowhere else: roots, the intermediates below them, workloads' leaves, and the control plane's own.
// Keeps nothing; keys pass through.
import { webcrypto } from 'node:crypto';
import type { PublicKeyType, X509Certificate } from '@peculiar/x509';
import { workloadProfile } from '../../identity/certificate-profile.ts';
import { BACKDATE_MS } from '../../identity/lives.ts';
import { x509 } from './x509.ts';

/** What signs leaves now. */
export interface CaMaterial {
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
  readonly signingAlgorithm: webcrypto.EcdsaParams | webcrypto.Algorithm;
  /** What a workload presents after its own certificate, issuer first; without the root. */
  readonly intermediates: readonly string[];
  /** PEM; what peers are checked against. */
  readonly roots: readonly string[];
  readonly notAfterMs: number;
}

export interface MadeAuthority {
  readonly certificate: X509Certificate;
  readonly pem: string;
  readonly keys: webcrypto.CryptoKeyPair;
}

export const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

const newKeys = async (extractable: boolean): Promise<webcrypto.CryptoKeyPair> =>
  (await webcrypto.subtle.generateKey(EC, extractable, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;

const authorityUsages = () => new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true);

/** RFC 5280 4.1.2.2: positive, at most 20 bytes. */
const randomSerial = (): string => {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
};

export const pemOf = (certificate: X509Certificate): string => `${certificate.toString('pem')}\n`;

/** Self-signed. The name holds the id: verifiers find an issuer by its name first. */
export const makeRoot = async (id: string, trustDomain: string, nowMs: number, lifeMs: number): Promise<MadeAuthority> => {
  const keys = await newKeys(true);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerial(),
    name: [{ O: [trustDomain] }, { CN: [`Skein root ${id}`] }],
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + lifeMs),
    signingAlgorithm: EC,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      authorityUsages(),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, pem: pemOf(certificate), keys };
};

type Issuer = Pick<CaMaterial, 'certificate' | 'key' | 'signingAlgorithm'>;

const issuerKeyId = ({ certificate }: Issuer) => {
  const keyId = certificate.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
  return keyId === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(keyId)];
};

/** Signs leaves only. Its key cannot be read out of this process's key store. */
export const makeIntermediate = async (
  root: Issuer,
  id: string,
  trustDomain: string,
  nowMs: number,
  lifeMs: number,
): Promise<MadeAuthority> => {
  const keys = await newKeys(false);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: [{ O: [trustDomain] }, { CN: [`Skein intermediate ${id}`] }],
    issuer: root.certificate.subjectName,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(Math.min(nowMs + lifeMs, root.certificate.notAfter.getTime())),
    signingKey: root.key,
    publicKey: keys.publicKey,
    signingAlgorithm: root.signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      authorityUsages(),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...issuerKeyId(root),
    ],
  });
  return { certificate, pem: pemOf(certificate), keys };
};

export interface LeafWish {
  readonly publicKey: PublicKeyType;
  readonly uriSan: string;
  /** Of a server that is called by name. */
  readonly dnsNames?: readonly string[];
  readonly ips?: readonly string[];
  readonly nowMs: number;
  readonly lifeMs: number;
}

/** The caller has checked that the signer lives long enough. */
export const makeLeaf = async (signer: CaMaterial, wish: LeafWish): Promise<X509Certificate> => {
  const profile = workloadProfile(wish.uriSan, wish.nowMs, wish.lifeMs, signer.notAfterMs);
  return x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: '',
    // The name as its bytes are in the issuer's certificate: a re-encoded name breaks chain building.
    issuer: signer.certificate.subjectName,
    notBefore: profile.notBefore,
    notAfter: profile.notAfter,
    signingKey: signer.key,
    publicKey: wish.publicKey,
    signingAlgorithm: signer.signingAlgorithm,
    extensions: [
      new x509.SubjectAlternativeNameExtension(
        [
          { type: 'url', value: profile.uriSan },
          ...(wish.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
          ...(wish.ips ?? []).map((value) => ({ type: 'ip' as const, value })),
        ],
        true,
      ),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.BasicConstraintsExtension(profile.ca, undefined, true),
      ...issuerKeyId(signer),
    ],
  });
};

/** The control plane's own certificate: a key that is made here and stays in this process. */
export const makeServerCertificate = async (
  signer: CaMaterial,
  wish: Omit<LeafWish, 'publicKey'>,
): Promise<{ readonly chainPem: string; readonly keyPem: string; readonly notAfterMs: number }> => {
  const keys = await newKeys(true);
  const leaf = await makeLeaf(signer, { ...wish, publicKey: keys.publicKey });
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return {
    chainPem: [pemOf(leaf), ...signer.intermediates].join(''),
    keyPem: `${x509.PemConverter.encode(pkcs8, 'PRIVATE KEY')}\n`,
    notAfterMs: leaf.notAfter.getTime(),
  };
};
