// CommonTlsContext made usable: certificates, trust and rules from inline data or SDS, rebuilt when a secret changes.
// Warm once every secret it names has come. Keys stay inside node:tls contexts; nothing here prints them.

import { X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { PlanError } from '../../plan/plan-error.ts';
import type { CertificateFacts } from '../../plan/stream-info.ts';
import type { CertificateValidationContext, CommonTlsContext, SdsSecretConfig, TlsCertificate } from '../../xds/gen/types.ts';
import { compilePinCheck } from './certificate-pins.ts';
import { certificateFacts, PeerCertificateFacts } from './peer-certificate.ts';
import { Revocations } from './revocations.ts';
import { compileSanCheck, type SanCheck } from './san-match.ts';
import { dataSourceText, type SecretStore, type SecretUser } from './secrets.ts';
import { compileSpiffe, type SpiffeBundles } from './spiffe-bundles.ts';
import { tlsParameters } from './tls-parameters.ts';
import { certificatesIn, type TrustBundle, trustBundle } from './trust-bundle.ts';

type MakeContext = (options: SecureContextOptions) => SecureContext;

/** One consistent state of a context; replaced whole. */
export interface TlsMaterial {
  readonly options: SecureContextOptions;
  readonly secureContext: SecureContext;
  /** A trust bundle is given: the peer's chain is verified. */
  readonly verifies: boolean;
  readonly acceptUntrusted: boolean;
  /** Names are signed by the roots of their own trust domain. */
  readonly spiffe: SpiffeBundles | undefined;
  /** DER; beside such a validator, what lies above our own certificate. A server on Node is not shown what lies above a client's. */
  readonly issuers: readonly Buffer[];
  readonly sanCheck: SanCheck | undefined;
  /** The certificate is one of those named by hash. Takes its DER bytes. */
  readonly pinCheck: ((raw: Buffer) => boolean) | undefined;
  /** Changes with the material: session caches are keyed by it. */
  readonly generation: number;
  /** First URI SAN of our own certificate; '' when it has none. */
  readonly localUri: string;
  /** Our own certificate, for logs and metrics. */
  readonly local: CertificateFacts | undefined;
}

export class TlsContext implements SecretUser {
  readonly #common: CommonTlsContext;
  readonly #secrets: SecretStore;
  readonly #path: string;
  readonly #refers: SdsSecretConfig[] = [];
  /** Called when material came or changed. */
  onMaterial: () => void = () => {};
  /** Called when somebody who was trusted may no longer be, after the material has changed. */
  onDistrust: () => void = () => {};
  material: TlsMaterial | undefined;
  #generation = 0;
  readonly #make: MakeContext;
  trust: TrustBundle | undefined;
  #spiffe: SpiffeBundles | undefined;
  /** A root has been lost since this context is there. */
  #lost = false;
  #crl: string | undefined;
  #revocations: Revocations | undefined;
  /** Somebody has been revoked since this context is there. */
  #revoked = false;

  /** Throws PlanError for what it must refuse; a secret not there yet is not an error. */
  constructor(common: CommonTlsContext | undefined, secrets: SecretStore, path: string, make: MakeContext = createSecureContext) {
    this.#make = make;
    this.#common = common ?? {};
    this.#secrets = secrets;
    this.#path = `${path}.common_tls_context`;
    this.#refuse();
    this.#build();
    this.#refers.push(...(this.#common.tls_certificate_sds_secret_configs ?? []));
    const validation = this.#validationRef();
    if (validation !== undefined) this.#refers.push(validation);
    for (const ref of this.#refers) secrets.use(ref, this);
  }

  get alpn(): readonly string[] {
    return this.#common.alpn_protocols ?? [];
  }

  get warm(): boolean {
    return this.material !== undefined;
  }

  close(): void {
    for (const ref of this.#refers) this.#secrets.release(ref, this);
  }

  secretChanged(): void {
    const { trust } = this;
    const spiffe = this.#spiffe;
    const crl = this.#crl;
    this.#build();
    this.onMaterial();
    if ((this.#lost && (this.trust !== trust || this.#spiffe !== spiffe)) || (this.#revoked && this.#crl !== crl)) this.onDistrust();
  }

  /** Whether a peer that was accepted once would be now. Costs nothing before a root is lost or somebody revoked. */
  trusts(peer: CertificateFacts): boolean {
    if (!this.#lost && !this.#revoked) return true;
    if (!(peer instanceof PeerCertificateFacts)) return false;
    if (this.#lost && !this.#accepts(peer)) return false;
    return !this.#revoked || this.#revocations?.names(peer.chain) !== true;
  }

  #accepts(peer: PeerCertificateFacts): boolean {
    if (this.#spiffe === undefined) return this.trust?.accepts(peer.chain) === true;
    return this.#spiffe.accepts(peer, this.material?.issuers ?? NO_ISSUERS);
  }

  /** Whom the first list names was never let in; it is read when another comes. */
  #setRevoked(crl: string | undefined): void {
    if (this.material !== undefined && crl !== this.#crl) {
      const before = this.#revocations ?? (this.#crl === undefined ? undefined : new Revocations(this.#crl));
      this.#revocations = crl === undefined ? undefined : new Revocations(crl);
      if (this.#revocations?.addsTo(before) === true) this.#revoked = true;
    }
    this.#crl = crl;
  }

  #setTrust(ca: string | undefined, spiffe: SpiffeBundles | undefined): void {
    const next = ca === undefined ? undefined : trustBundle(ca);
    if (this.trust !== undefined && next?.lost(this.trust) === true) this.#lost = true;
    if (this.trust !== undefined && spiffe !== undefined && (this.#spiffe === undefined || spiffe.lost(this.#spiffe))) this.#lost = true;
    this.trust = next;
    this.#spiffe = spiffe;
  }

  #refuse(): void {
    for (const field of [
      'tls_certificate_certificate_provider',
      'tls_certificate_certificate_provider_instance',
      'tls_certificate_provider_instance',
      'validation_context_certificate_provider',
      'validation_context_certificate_provider_instance',
      'custom_handshaker',
      'key_log',
    ] as const)
      if (this.#common[field] !== undefined) throw new PlanError(`${this.#path}.${field}`, 'not supported');
  }

  #validationRef(): SdsSecretConfig | undefined {
    return (
      this.#common.validation_context_sds_secret_config ?? this.#common.combined_validation_context?.validation_context_sds_secret_config
    );
  }

  // Leaves the old material in place while a secret is missing.
  #build(): void {
    const certificates: { certificate: TlsCertificate; path: string }[] = [];
    this.#common.tls_certificates?.forEach((certificate, i) => {
      certificates.push({ certificate, path: `${this.#path}.tls_certificates[${i}]` });
    });
    for (const ref of this.#common.tls_certificate_sds_secret_configs ?? []) {
      const certificate = this.#secrets.find(ref.name ?? '')?.tls_certificate;
      if (certificate === undefined) return;
      certificates.push({ certificate, path: `secret ${ref.name}` });
    }
    const validation = this.#validation();
    if (validation === 'missing') return;
    const cert: string[] = [];
    const key: string[] = [];
    let passphrase: string | undefined;
    for (const { certificate, path } of certificates) {
      if (certificate.private_key_provider !== undefined) throw new PlanError(`${path}.private_key_provider`, 'not supported');
      if (certificate.pkcs12 !== undefined) throw new PlanError(`${path}.pkcs12`, 'not supported');
      const chain = dataSourceText(certificate.certificate_chain, `${path}.certificate_chain`);
      const secret = dataSourceText(certificate.private_key, `${path}.private_key`);
      if (chain === undefined || secret === undefined) throw new PlanError(path, 'certificate chain and private key are both needed');
      refuseCertificate(certificate, path);
      const password = dataSourceText(certificate.password, `${path}.password`);
      if (passphrase !== undefined && password !== undefined && password !== passphrase)
        throw new PlanError(`${path}.password`, 'all keys of one context must have the same');
      passphrase ??= password;
      cert.push(chain);
      key.push(secret);
    }
    if (cert.length > 1) refuseSameKind(cert, this.#path);
    const spiffe = compileSpiffe(validation, `${this.#path}.validation_context`);
    // Beside such a validator Envoy looks at no other roots.
    const ca = spiffe?.pem ?? dataSourceText(validation?.trusted_ca, `${this.#path}.validation_context.trusted_ca`);
    const crl = dataSourceText(validation?.crl, `${this.#path}.validation_context.crl`);
    const verifies = ca !== undefined || validation?.system_root_certs !== undefined;
    const sanCheck = compileSanCheck(validation, `${this.#path}.validation_context`);
    // As Envoy: names in a certificate that anybody may have written prove nothing.
    if (sanCheck !== undefined && !verifies)
      throw new PlanError(`${this.#path}.validation_context.trusted_ca`, 'is needed to check subject alternative names');
    const pinCheck = compilePinCheck(validation, `${this.#path}.validation_context`);
    if (pinCheck !== undefined && !verifies)
      throw new PlanError(`${this.#path}.validation_context.trusted_ca`, 'is needed beside certificate hashes');
    const options: SecureContextOptions = {
      ...(cert.length > 0 ? { cert, key } : {}),
      ...(passphrase !== undefined ? { passphrase } : {}),
      ...(ca !== undefined ? { ca } : {}),
      ...(crl !== undefined ? { crl } : {}),
      ...tlsParameters(this.#common.tls_params, `${this.#path}.tls_params`),
    };
    let secureContext: SecureContext;
    try {
      secureContext = this.#make(options);
    } catch (cause) {
      // The library's message names the fault, never the bytes.
      throw new PlanError(this.#path, `certificates or keys are not usable: ${cause instanceof Error ? cause.message : 'unknown'}`);
    }
    this.#setTrust(ca, spiffe);
    this.#setRevoked(crl);
    const own = cert[0] === undefined ? undefined : certificateFacts(cert[0]);
    this.material = {
      options,
      secureContext,
      verifies,
      acceptUntrusted: spiffe === undefined && validation?.trust_chain_verification === 'ACCEPT_UNTRUSTED',
      spiffe,
      issuers: spiffe === undefined ? NO_ISSUERS : cert.flatMap((pem) => certificatesIn(pem).slice(1)),
      sanCheck,
      pinCheck,
      generation: ++this.#generation,
      localUri: own?.uriSans[0] ?? '',
      local: own,
    };
  }

  #validation(): CertificateValidationContext | undefined | 'missing' {
    const ref = this.#validationRef();
    const inline = this.#common.validation_context ?? this.#common.combined_validation_context?.default_validation_context;
    refuseValidation(inline, `${this.#path}.validation_context`);
    if (ref === undefined) return inline;
    const secret = this.#secrets.find(ref.name ?? '')?.validation_context;
    if (secret === undefined) return 'missing';
    refuseValidation(secret, `secret ${ref.name}`);
    if (inline === undefined) return secret;
    // Envoy merges messages: scalars of the secret win, lists are joined.
    return {
      ...inline,
      ...secret,
      verify_certificate_hash: [...(inline.verify_certificate_hash ?? []), ...(secret.verify_certificate_hash ?? [])],
      verify_certificate_spki: [...(inline.verify_certificate_spki ?? []), ...(secret.verify_certificate_spki ?? [])],
      match_subject_alt_names: [...(inline.match_subject_alt_names ?? []), ...(secret.match_subject_alt_names ?? [])],
      match_typed_subject_alt_names: [...(inline.match_typed_subject_alt_names ?? []), ...(secret.match_typed_subject_alt_names ?? [])],
    };
  }
}

const NO_ISSUERS: readonly Buffer[] = [];

const refuseValidation = (context: CertificateValidationContext | undefined, path: string): void => {
  if (context === undefined) return;
  if (context.ca_certificate_provider_instance !== undefined)
    throw new PlanError(`${path}.ca_certificate_provider_instance`, 'not supported');
  for (const field of ['allow_expired_certificate', 'require_signed_certificate_timestamp', 'only_verify_leaf_cert_crl'] as const)
    if (context[field] === true) throw new PlanError(`${path}.${field}`, 'not supported');
  if (context.max_verify_depth !== undefined) throw new PlanError(`${path}.max_verify_depth`, 'not supported');
  if (context.watched_directory !== undefined) throw new PlanError(`${path}.watched_directory`, 'files are read once: use SDS');
};

const refuseCertificate = (certificate: TlsCertificate, path: string): void => {
  if (certificate.watched_directory !== undefined) throw new PlanError(`${path}.watched_directory`, 'files are read once: use SDS');
  if (certificate.ocsp_staple !== undefined) throw new PlanError(`${path}.ocsp_staple`, 'not supported');
  if ((certificate.signed_certificate_timestamp?.length ?? 0) > 0)
    throw new PlanError(`${path}.signed_certificate_timestamp`, 'not supported');
};

/** The runtime keeps one certificate per kind of key and would drop the others without a word. */
const refuseSameKind = (certificates: readonly string[], path: string): void => {
  const kinds = new Set<string>();
  for (const pem of certificates) {
    const kind = new X509Certificate(pem).publicKey.asymmetricKeyType ?? '';
    if (kinds.has(kind))
      throw new PlanError(path, `two certificates with ${kind} keys are not supported: use a filter chain for each name`);
    kinds.add(kind);
  }
};
