// The certificate authority: a certificate request in, a chain out. Identity comes from the caller's authentication,
// never from the request. It keeps nothing: no certificate is recorded, no workload key is ever seen.
import { webcrypto } from 'node:crypto';
import type { Extension, Pkcs10CertificateRequest, X509Certificate } from '@peculiar/x509';
import { err, ok, type Result } from '../base/result.ts';
import { type CertificateProfile, workloadProfile } from '../identity/certificate-profile.ts';
import { admitCsr, type CsrFacts, type CsrRefusal } from '../identity/csr-policy.ts';
import type { WorkloadIdentity } from '../identity/spiffe-id.ts';
import type { CaMaterial } from './ca-material.ts';
import { CSR_BYTES_MAX } from './limits.ts';
import { x509 } from './x509.ts';

export class CertificateAuthority {
  readonly #material: CaMaterial;
  readonly #now: () => number;

  constructor(material: CaMaterial, now: () => number) {
    this.#material = material;
    this.#now = now;
  }

  get roots(): readonly string[] {
    return this.#material.roots;
  }

  /** PEM certificates, the workload's first, the root last. `lifetimeMs` 0 asks for the default. */
  async sign(csrPem: string, caller: WorkloadIdentity, lifetimeMs: number): Promise<Result<readonly string[], CsrRefusal>> {
    const request = parseRequest(csrPem);
    if (!request.ok) return request;
    const admitted = admitCsr(await factsOf(request.value), caller);
    if (!admitted.ok) return admitted;
    const { roots, intermediates, notAfterMs } = this.#material;
    const profile = workloadProfile(admitted.value, this.#now(), lifetimeMs, notAfterMs);
    if (profile.notAfter.getTime() <= this.#now()) return err({ kind: 'forbidden', message: 'the signing certificate has expired' });
    const leaf = await this.#issue(request.value, profile);
    return ok([`${leaf.toString('pem')}\n`, ...intermediates, ...roots]);
  }

  #issue(request: Pkcs10CertificateRequest, profile: CertificateProfile): Promise<X509Certificate> {
    const { certificate, key, signingAlgorithm } = this.#material;
    const issuerKeyId = certificate.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
    return x509.X509CertificateGenerator.create({
      serialNumber: randomSerial(),
      subject: '',
      // The name as its bytes are in the issuer's certificate: a re-encoded name breaks chain building.
      issuer: certificate.subjectName,
      notBefore: profile.notBefore,
      notAfter: profile.notAfter,
      signingKey: key,
      publicKey: request.publicKey,
      signingAlgorithm,
      extensions: [
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: profile.uriSan }], true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        new x509.BasicConstraintsExtension(profile.ca, undefined, true),
        ...(issuerKeyId === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(issuerKeyId)]),
      ],
    });
  }
}

/** RFC 5280 4.1.2.2: positive, at most 20 bytes. */
const randomSerial = (): string => {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
};

const parseRequest = (pem: string): Result<Pkcs10CertificateRequest, CsrRefusal> => {
  if (pem.length > CSR_BYTES_MAX) return err({ kind: 'invalid', message: `the certificate request is longer than ${CSR_BYTES_MAX} bytes` });
  try {
    return ok(new x509.Pkcs10CertificateRequest(pem));
  } catch {
    return err({ kind: 'invalid', message: 'the certificate request is not a PKCS#10 request in PEM' });
  }
};

const factsOf = async (request: Pkcs10CertificateRequest): Promise<CsrFacts> => {
  const names = extension(request, x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  return {
    signatureValid: await request.verify().catch(() => false),
    key: keyOf(request.publicKey.algorithm),
    uriSans: names.filter((n) => n.type === 'url').map((n) => n.value),
    otherSans: names.filter((n) => n.type !== 'url').map((n) => `${n.type}:${n.value}`),
    asksForCa: extension(request, x509.BasicConstraintsExtension)?.ca === true,
  };
};

const extension = <T extends Extension>(request: Pkcs10CertificateRequest, type: new (...args: never[]) => T): T | undefined =>
  request.extensions.find((e): e is T => e instanceof type);

const keyOf = (algorithm: { readonly name: string; readonly namedCurve?: unknown; readonly modulusLength?: unknown }): CsrFacts['key'] => {
  if (typeof algorithm.namedCurve === 'string' && algorithm.name.startsWith('EC')) return { kind: 'ec', curve: algorithm.namedCurve };
  if (typeof algorithm.modulusLength === 'number') return { kind: 'rsa', bits: algorithm.modulusLength };
  return { kind: 'other', name: algorithm.name };
};
