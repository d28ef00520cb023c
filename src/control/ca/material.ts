// A signing certificate and its key from a folder in the layout of Istio's `cacerts` secret: checked that the four files fit together
// before anything is signed with them. The key never leaves this process.
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pemCertificates } from '../../identity/pem.ts';
import { trustBundle } from '../../identity/trust-bundle.ts';
import { type CaMaterial, EC } from './issue.ts';
import { x509 } from './x509.ts';

/** A broken or incomplete folder: the operator must repair it, so the process does not start. */
export class CaMaterialError extends Error {}

/** Of Istio's `cacerts`. */
export const CA_FILES = { certificate: 'ca-cert.pem', key: 'ca-key.pem', root: 'root-cert.pem', chain: 'cert-chain.pem' } as const;

/** Reads Istio's four files; throws CaMaterialError naming the file at fault. */
export const loadCaMaterial = async (folder: string, trustDomain: string, nowMs: number): Promise<CaMaterial> => {
  const certificatePem = pemCertificates(readPem(folder, CA_FILES.certificate))[0];
  const bundle = trustBundle(trustDomain, readPem(folder, CA_FILES.root));
  const chain = existsSync(join(folder, CA_FILES.chain)) ? pemCertificates(readPem(folder, CA_FILES.chain)) : [];
  if (certificatePem === undefined) throw new CaMaterialError(`${join(folder, CA_FILES.certificate)} holds no certificate`);
  if (!bundle.ok) throw new CaMaterialError(`${join(folder, CA_FILES.root)}: ${bundle.error}`);
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
    // A leaf is worth nothing once any link above it has ended.
    notAfterMs: Math.min(...[certificatePem, ...chain].map((pem) => Date.parse(new X509Certificate(pem).validTo))),
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
  const where = join(folder, CA_FILES.certificate);
  const authority = parseCertificate(folder, CA_FILES.certificate, pem);
  if (!authority.ca) throw new CaMaterialError(`${where} is not a CA certificate`);
  if (Date.parse(authority.validTo) <= nowMs) throw new CaMaterialError(`${where} expired at ${authority.validTo}`);
  const rootCertificates = roots.map((root) => parseCertificate(folder, CA_FILES.root, root));
  let at = authority;
  for (const next of chain.map((link) => parseCertificate(folder, CA_FILES.chain, link))) {
    if (next.fingerprint256 === at.fingerprint256) continue;
    if (!at.verify(next.publicKey)) break;
    at = next;
  }
  if (!rootCertificates.some((root) => root.fingerprint256 === at.fingerprint256 || at.verify(root.publicKey))) {
    throw new CaMaterialError(`${where} does not chain to a certificate of ${join(folder, CA_FILES.root)}`);
  }
};

const importKey = async (folder: string, certificatePem: string): Promise<Pick<CaMaterial, 'key' | 'signingAlgorithm'>> => {
  const where = join(folder, CA_FILES.key);
  return importKeyPem(where, readPem(folder, CA_FILES.key), certificatePem);
};

/** A certificate and its key, for signing. Throws CaMaterialError. */
export const loadSigning = async (
  certificateFile: string,
  keyFile: string,
): Promise<Pick<CaMaterial, 'certificate' | 'key' | 'signingAlgorithm'>> => {
  const certificatePem = pemCertificates(readPem('', certificateFile))[0];
  if (certificatePem === undefined) throw new CaMaterialError(`${certificateFile} holds no certificate`);
  return { certificate: new x509.X509Certificate(certificatePem), ...(await importKeyPem(keyFile, readPem('', keyFile), certificatePem)) };
};

const importKeyPem = async (where: string, pem: string, certificatePem: string): Promise<Pick<CaMaterial, 'key' | 'signingAlgorithm'>> => {
  let key: ReturnType<typeof createPrivateKey>;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw new CaMaterialError(`${where} holds no private key that can be read (encrypted keys are not supported)`);
  }
  if (!new X509Certificate(certificatePem).checkPrivateKey(key))
    throw new CaMaterialError(`${where} is not the key of ${CA_FILES.certificate}`);
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
