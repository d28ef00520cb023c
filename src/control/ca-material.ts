// The certificate authority's key and certificates on disk. Either the mesh's own self-signed root, made on first start in
// `<state>/ca/`, or a signing certificate of the operator's in the layout of Istio's `cacerts` secret.
// Nothing here signs a workload's certificate, and the key never leaves this process.
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { X509Certificate as SigningCertificate } from '@peculiar/x509';
import { pemCertificates } from '../identity/pem.ts';
import { trustBundle } from '../identity/trust-bundle.ts';
import { writeStateFile } from './state-file.ts';
import { x509 } from './x509.ts';

export interface CaMaterial {
  /** Signs workload certificates. */
  readonly certificate: SigningCertificate;
  readonly key: webcrypto.CryptoKey;
  readonly signingAlgorithm: EcdsaParams | webcrypto.Algorithm;
  /** What a workload presents after its own certificate, issuer first; without the root. */
  readonly intermediates: readonly string[];
  /** PEM; the last entries of every answer, and what peers are checked against. */
  readonly roots: readonly string[];
  readonly notAfterMs: number;
}
type EcdsaParams = webcrypto.EcdsaParams;

/** A broken or incomplete folder: the operator must repair it, so the process does not start. */
export class CaMaterialError extends Error {}

const ROOT_LIFETIME_MS = 10 * 365 * 24 * 3_600_000;
const BACKDATE_MS = 60_000;
const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const FILES = { certificate: 'ca-cert.pem', key: 'ca-key.pem', root: 'root-cert.pem', chain: 'cert-chain.pem' } as const;

/** Loads `folder`, or makes a root there when it holds none. */
export const ownCaMaterial = async (folder: string, trustDomain: string, nowMs: number): Promise<CaMaterial> => {
  // The certificate is written last: a crash in between leaves a folder that counts as empty.
  if (!existsSync(join(folder, FILES.certificate))) await createRoot(folder, trustDomain, nowMs);
  return loadCaMaterial(folder, trustDomain, nowMs);
};

const createRoot = async (folder: string, trustDomain: string, nowMs: number): Promise<void> => {
  const keys = await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: Buffer.from(webcrypto.getRandomValues(new Uint8Array(16))).toString('hex'),
    name: [{ O: [trustDomain] }, { CN: ['Skein root'] }],
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + ROOT_LIFETIME_MS),
    signingAlgorithm: EC,
    keys: keys as webcrypto.CryptoKeyPair,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  const pem = `${certificate.toString('pem')}\n`;
  writeStateFile(join(folder, FILES.key), `${x509.PemConverter.encode(pkcs8, 'PRIVATE KEY')}\n`);
  writeStateFile(join(folder, FILES.root), pem);
  writeStateFile(join(folder, FILES.chain), '');
  writeStateFile(join(folder, FILES.certificate), pem);
};

/** Reads Istio's four files; throws CaMaterialError naming the file at fault. */
export const loadCaMaterial = async (folder: string, trustDomain: string, nowMs: number): Promise<CaMaterial> => {
  const certificatePem = pemCertificates(readPem(folder, FILES.certificate))[0];
  const bundle = trustBundle(trustDomain, readPem(folder, FILES.root));
  const chain = existsSync(join(folder, FILES.chain)) ? pemCertificates(readPem(folder, FILES.chain)) : [];
  if (certificatePem === undefined) throw new CaMaterialError(`${join(folder, FILES.certificate)} holds no certificate`);
  if (!bundle.ok) throw new CaMaterialError(`${join(folder, FILES.root)}: ${bundle.error}`);
  const { roots } = bundle.value;
  checkAuthority(folder, certificatePem, chain, roots, nowMs);
  const certificate = new x509.X509Certificate(certificatePem);
  const selfSigned = roots.includes(certificatePem);
  const issuers = chain.includes(certificatePem) ? chain : [certificatePem, ...chain];
  return {
    certificate,
    ...(await importKey(folder, certificatePem)),
    intermediates: selfSigned ? [] : issuers.filter((pem) => !roots.includes(pem)),
    roots,
    notAfterMs: certificate.notAfter.getTime(),
  };
};

const readPem = (folder: string, name: string): string => {
  try {
    return readFileSync(join(folder, name), 'utf8');
  } catch (error) {
    throw new CaMaterialError(`cannot read ${join(folder, name)}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
};

const parseCertificate = (folder: string, name: string, pem: string): X509Certificate => {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new CaMaterialError(`${join(folder, name)} holds a certificate that cannot be read`);
  }
};

const checkAuthority = (folder: string, pem: string, chain: readonly string[], roots: readonly string[], nowMs: number): void => {
  const where = join(folder, FILES.certificate);
  const authority = parseCertificate(folder, FILES.certificate, pem);
  if (!authority.ca) throw new CaMaterialError(`${where} is not a CA certificate`);
  if (Date.parse(authority.validTo) <= nowMs) throw new CaMaterialError(`${where} expired at ${authority.validTo}`);
  const rootCertificates = roots.map((root) => parseCertificate(folder, FILES.root, root));
  let at = authority;
  for (const next of chain.map((link) => parseCertificate(folder, FILES.chain, link))) {
    if (next.fingerprint256 === at.fingerprint256) continue;
    if (!at.verify(next.publicKey)) break;
    at = next;
  }
  if (!rootCertificates.some((root) => root.fingerprint256 === at.fingerprint256 || at.verify(root.publicKey))) {
    throw new CaMaterialError(`${where} does not chain to a certificate of ${join(folder, FILES.root)}`);
  }
};

const importKey = async (folder: string, certificatePem: string): Promise<Pick<CaMaterial, 'key' | 'signingAlgorithm'>> => {
  const where = join(folder, FILES.key);
  const pem = readPem(folder, FILES.key);
  let key: ReturnType<typeof createPrivateKey>;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw new CaMaterialError(`${where} holds no private key that can be read (encrypted keys are not supported)`);
  }
  if (!new X509Certificate(certificatePem).checkPrivateKey(key))
    throw new CaMaterialError(`${where} is not the key of ${FILES.certificate}`);
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' });
  const algorithm = signingAlgorithmOf(where, key.asymmetricKeyType, key.asymmetricKeyDetails?.namedCurve);
  return { key: await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']), signingAlgorithm: algorithm };
};

const signingAlgorithmOf = (where: string, type: string | undefined, curve: string | undefined) => {
  if (type === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  if (type === 'ec' && (curve === 'prime256v1' || curve === 'P-256')) return EC;
  if (type === 'ec' && (curve === 'secp384r1' || curve === 'P-384')) return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' };
  throw new CaMaterialError(
    `${where}: keys of type ${type ?? 'unknown'}${curve ? ` on ${curve}` : ''} cannot sign; use EC P-256, EC P-384 or RSA`,
  );
};
