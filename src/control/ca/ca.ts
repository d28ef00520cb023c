// The certificate authority: a certificate request in, a chain out. Identity comes from the caller's authentication,
// never from the request. Of what it signs it remembers who has it and until when; no workload key is ever seen.
import type { Pkcs10CertificateRequest } from '@peculiar/x509';
import { err, ok, type Result } from '../../base/result.ts';
import { type Anchor, anchorText, mergeAnchors } from '../../identity/anchor-scope.ts';
import { leafLifeMs } from '../../identity/certificate-profile.ts';
import { admitCsr, type CsrFacts, type CsrRefusal } from '../../identity/csr-policy.ts';
import type { WorkloadIdentity } from '../../identity/spiffe-id.ts';
import { CSR_BYTES_MAX } from '../limits.ts';
import type { Authority } from './authority.ts';
import { makeServerCertificate } from './issue.ts';
import { LeafLedger } from './leaf-ledger.ts';
import { x509 } from './x509.ts';

export interface CertificateAuthorityOptions {
  readonly authority: Authority;
  /** The life that is given, and the most that can be asked for. */
  readonly leafMs: number;
  readonly now: () => number;
  /** Roots of other trust domains that this mesh trusts. */
  readonly federated?: () => readonly Anchor[];
  /** The mesh's own, with its aliases: what its own roots are for once another root is for one trust domain. */
  readonly trustDomains?: () => readonly string[];
}

export class CertificateAuthority {
  readonly #options: CertificateAuthorityOptions;
  readonly leaves = new LeafLedger();
  #anchors: readonly string[] = [];

  constructor(options: CertificateAuthorityOptions) {
    this.#options = options;
  }

  get authority(): Authority {
    return this.#options.authority;
  }

  get leafMs(): number {
    return this.#options.leafMs;
  }

  /** PEM; of this trust domain. */
  get roots(): readonly string[] {
    return this.#options.authority.roots;
  }

  /** Of other trust domains. */
  get federated(): readonly Anchor[] {
    return this.#options.federated?.() ?? [];
  }

  /** All that workloads are to trust, as `anchorText` writes it: the own roots, then those of other trust domains. The same object until it changes. */
  get anchors(): readonly string[] {
    const federated = this.federated;
    const bound = federated.some((anchor) => anchor.trustDomains !== undefined);
    const trustDomains = bound ? this.#options.trustDomains?.() : undefined;
    const now = mergeAnchors([...this.roots.map((pem) => ({ pem, trustDomains })), ...federated]).map(anchorText);
    if (now.length !== this.#anchors.length || now.some((pem, i) => pem !== this.#anchors[i])) this.#anchors = now;
    return this.#anchors;
  }

  /**
   * PEM: the workload's certificate, its issuers one by one, and last all that it is to trust as one text, as istiod answers.
   * `lifetimeMs` 0 asks for the default. `replica` is `namespace/name`, where it is known.
   */
  async sign(
    csrPem: string,
    caller: WorkloadIdentity,
    lifetimeMs: number,
    replica?: string,
  ): Promise<Result<readonly string[], CsrRefusal>> {
    const { authority, leafMs, now } = this.#options;
    const request = parseRequest(csrPem);
    if (!request.ok) return request;
    const admitted = admitCsr(await factsOf(request.value), caller);
    if (!admitted.ok) return admitted;
    const { publicKey } = request.value;
    const signed = await authority.sign({ csrPem, publicKey, uriSan: admitted.value, lifeMs: leafLifeMs(lifetimeMs, leafMs) });
    if (!signed.ok) return signed;
    const { chain, root, notAfterMs } = signed.value;
    this.leaves.note({ identity: admitted.value, holder: replica ?? admitted.value, root, issuedAtMs: now(), notAfterMs });
    return ok([...chain, this.anchors.join('')]);
  }

  /** A certificate for a server of the control plane itself; undefined where somebody else signs, or nothing can be signed. */
  async serverCertificate(uriSan: string, dnsNames: readonly string[], ips: readonly string[]): Promise<ServerCertificate | undefined> {
    const { authority, leafMs, now } = this.#options;
    const material = await authority.material();
    if (material === undefined || material.notAfterMs <= now()) return undefined;
    return makeServerCertificate(material, { uriSan, dnsNames, ips, nowMs: now(), lifeMs: leafMs });
  }
}

export type ServerCertificate = Awaited<ReturnType<typeof makeServerCertificate>>;

const parseRequest = (pem: string): Result<Pkcs10CertificateRequest, CsrRefusal> => {
  if (pem.length > CSR_BYTES_MAX) return err({ kind: 'invalid', message: `the certificate request is longer than ${CSR_BYTES_MAX} bytes` });
  try {
    return ok(new x509.Pkcs10CertificateRequest(pem));
  } catch {
    return err({ kind: 'invalid', message: 'the certificate request is not a PKCS#10 request in PEM' });
  }
};

const factsOf = async (request: Pkcs10CertificateRequest): Promise<CsrFacts> => {
  const asked = request.attributes.filter((a) => a.type === EXTENSION_REQUEST);
  const extensions = asked.flatMap((a) => (a instanceof x509.ExtensionsAttribute ? a.items : []));
  const names = extensions.flatMap((e) => (e instanceof x509.SubjectAlternativeNameExtension ? e.names.items : []));
  return {
    signatureValid: await request.verify().catch(() => false),
    key: keyOf(request.publicKey.algorithm),
    uriSans: names.filter((n) => n.type === 'url').map((n) => n.value),
    otherSans: names.filter((n) => n.type !== 'url').map((n) => `${n.type}:${n.value}`),
    asksForCa: extensions.some((e) => e instanceof x509.BasicConstraintsExtension && e.ca),
    // Readers of such a request see different ones of them, and an external signer is such a reader.
    asksTwice:
      asked.length > 1 || asked.some((a) => a.values.length !== 1) || new Set(extensions.map((e) => e.type)).size < extensions.length,
  };
};

/** extensionRequest of PKCS#9. */
const EXTENSION_REQUEST = '1.2.840.113549.1.9.14';

const keyOf = (algorithm: { readonly name: string; readonly namedCurve?: unknown; readonly modulusLength?: unknown }): CsrFacts['key'] => {
  if (typeof algorithm.namedCurve === 'string' && algorithm.name.startsWith('EC')) return { kind: 'ec', curve: algorithm.namedCurve };
  if (typeof algorithm.modulusLength === 'number') return { kind: 'rsa', bits: algorithm.modulusLength };
  return { kind: 'other', name: algorithm.name };
};
