// CommonTlsContext made usable: certificates, trust and rules from inline data or SDS, rebuilt when a secret changes.
// Warm once every secret it names has come. Keys stay inside node:tls contexts; nothing here prints them.

import { createSecureContext, type SecureContext, type SecureContextOptions, type SecureVersion } from 'node:tls';
import { PlanError } from '../plan/plan-error.ts';
import type { CertificateFacts } from '../plan/stream-info.ts';
import type { CertificateValidationContext, CommonTlsContext, SdsSecretConfig, TlsCertificate, TlsParameters } from '../xds/gen/types.ts';
import { certificateFacts } from './peer-certificate.ts';
import { compileSanCheck, type SanCheck } from './san-match.ts';
import { dataSourceText, type SecretStore, type SecretUser } from './secrets.ts';

/** One consistent state of a context; replaced whole. */
export interface TlsMaterial {
  readonly options: SecureContextOptions;
  readonly secureContext: SecureContext;
  /** A trust bundle is given: the peer's chain is verified. */
  readonly verifies: boolean;
  readonly acceptUntrusted: boolean;
  readonly sanCheck: SanCheck | undefined;
  /** Changes with the material: session caches are keyed by it. */
  readonly generation: number;
  /** First URI SAN of our own certificate; '' when it has none. */
  readonly localUri: string;
  /** Our own certificate, for logs and metrics. */
  readonly local: CertificateFacts | undefined;
}

const VERSIONS: { readonly [name: string]: SecureVersion } = {
  TLSv1_0: 'TLSv1',
  TLSv1_1: 'TLSv1.1',
  TLSv1_2: 'TLSv1.2',
  TLSv1_3: 'TLSv1.3',
};

export class TlsContext implements SecretUser {
  readonly #common: CommonTlsContext;
  readonly #secrets: SecretStore;
  readonly #path: string;
  readonly #defaults: { readonly min: SecureVersion; readonly max: SecureVersion };
  readonly #refers: SdsSecretConfig[] = [];
  /** Called when material came or changed. */
  onMaterial: () => void = () => {};
  material: TlsMaterial | undefined;
  #generation = 0;

  /** Throws PlanError for what it must refuse; a secret not there yet is not an error. */
  constructor(common: CommonTlsContext | undefined, secrets: SecretStore, path: string, side: 'upstream' | 'downstream') {
    this.#common = common ?? {};
    this.#secrets = secrets;
    this.#path = `${path}.common_tls_context`;
    // Envoy's defaults: clients offer 1.2 only, servers take 1.2 and 1.3; Istio always says.
    this.#defaults = { min: 'TLSv1.2', max: side === 'upstream' ? 'TLSv1.3' : 'TLSv1.3' };
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
    this.#build();
    this.onMaterial();
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
    for (const { certificate, path } of certificates) {
      if (certificate.private_key_provider !== undefined) throw new PlanError(`${path}.private_key_provider`, 'not supported');
      if (certificate.pkcs12 !== undefined) throw new PlanError(`${path}.pkcs12`, 'not supported');
      const chain = dataSourceText(certificate.certificate_chain, `${path}.certificate_chain`);
      const secret = dataSourceText(certificate.private_key, `${path}.private_key`);
      if (chain === undefined || secret === undefined) throw new PlanError(path, 'certificate chain and private key are both needed');
      cert.push(chain);
      key.push(secret);
    }
    const ca = dataSourceText(validation?.trusted_ca, `${this.#path}.validation_context.trusted_ca`);
    const crl = dataSourceText(validation?.crl, `${this.#path}.validation_context.crl`);
    const verifies = ca !== undefined || validation?.system_root_certs !== undefined;
    const sanCheck = compileSanCheck(validation, `${this.#path}.validation_context`);
    // As Envoy: names in a certificate that anybody may have written prove nothing.
    if (sanCheck !== undefined && !verifies)
      throw new PlanError(`${this.#path}.validation_context.trusted_ca`, 'is needed to check subject alternative names');
    const options: SecureContextOptions = {
      ...(cert.length > 0 ? { cert, key } : {}),
      ...(ca !== undefined ? { ca } : {}),
      ...(crl !== undefined ? { crl } : {}),
      ...versions(this.#common.tls_params, this.#defaults, `${this.#path}.tls_params`),
    };
    let secureContext: SecureContext;
    try {
      secureContext = createSecureContext(options);
    } catch (cause) {
      // The library's message names the fault, never the bytes.
      throw new PlanError(this.#path, `certificates or keys are not usable: ${cause instanceof Error ? cause.message : 'unknown'}`);
    }
    const own = cert[0] === undefined ? undefined : certificateFacts(cert[0]);
    this.material = {
      options,
      secureContext,
      verifies,
      acceptUntrusted: validation?.trust_chain_verification === 'ACCEPT_UNTRUSTED',
      sanCheck,
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
      match_subject_alt_names: [...(inline.match_subject_alt_names ?? []), ...(secret.match_subject_alt_names ?? [])],
      match_typed_subject_alt_names: [...(inline.match_typed_subject_alt_names ?? []), ...(secret.match_typed_subject_alt_names ?? [])],
    };
  }
}

const refuseValidation = (context: CertificateValidationContext | undefined, path: string): void => {
  if (context === undefined) return;
  if ((context.verify_certificate_hash?.length ?? 0) > 0) throw new PlanError(`${path}.verify_certificate_hash`, 'not supported');
  if ((context.verify_certificate_spki?.length ?? 0) > 0) throw new PlanError(`${path}.verify_certificate_spki`, 'not supported');
  if (context.custom_validator_config !== undefined) throw new PlanError(`${path}.custom_validator_config`, 'not supported');
  if (context.ca_certificate_provider_instance !== undefined)
    throw new PlanError(`${path}.ca_certificate_provider_instance`, 'not supported');
  if (context.allow_expired_certificate === true) throw new PlanError(`${path}.allow_expired_certificate`, 'not supported');
};

// Cipher suites of TLS 1.2 keep their order; TLS 1.3's are fixed as in BoringSSL. Groups that one runtime lacks are left to it.
const versions = (
  params: TlsParameters | undefined,
  defaults: { min: SecureVersion; max: SecureVersion },
  path: string,
): SecureContextOptions => {
  const of = (name: string | number | undefined, otherwise: SecureVersion): SecureVersion => {
    if (name === undefined || name === 'TLS_AUTO') return otherwise;
    const version = VERSIONS[name];
    if (version === undefined) throw new PlanError(path, `${name} is not a TLS version`);
    return version;
  };
  const suites = params?.cipher_suites ?? [];
  return {
    minVersion: of(params?.tls_minimum_protocol_version, defaults.min),
    maxVersion: of(params?.tls_maximum_protocol_version, defaults.max),
    ...(suites.length > 0
      ? { ciphers: [...TLS13_SUITES, ...suites.map((s) => s.replace(/^\[|\]$/g, '').replaceAll('|', ':'))].join(':') }
      : {}),
  };
};
const TLS13_SUITES = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];
