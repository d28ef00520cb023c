// Envoy's SPIFFE validator: whose roots may sign which names. The runtime has verified a chain against all roots together; here it must
// not lead to a root of another trust domain than the certificate's own, by whichever way. The runtime does not tell its way, so that
// every one that the signatures allow counts: stricter than Envoy for a chain that two trust domains have signed. Asked at full
// handshakes of contexts that have such a validator, and nowhere else.

import { hash, X509Certificate } from 'node:crypto';
import { PlanError } from '../../plan/plan-error.ts';
import type { CertificateFacts } from '../../plan/stream-info.ts';
import type { CertificateValidationContext, DataSource, SPIFFECertValidatorConfig } from '../../xds/gen/types.ts';
import { configAs, typeNameOf, unwrapConfig } from '../extension-config.ts';
import { PeerCertificateFacts, type SanList } from './peer-certificate.ts';
import { dataSourceText } from './secrets.ts';
import { type TrustBundle, trustBundle } from './trust-bundle.ts';

const VALIDATOR = 'envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig';
const TRUST_DOMAIN = /^spiffe:\/\/([^/]+)\//;
/** basicConstraints with cA; keyUsage and its first byte. Bytes of an extension, in hexadecimal. */
const CA_EXTENSION = /0603551d13(?:0101(?!00)..)?04..30..0101(?!00)/;
const KEY_USAGE = /0603551d0f(?:0101(?!00)..)?04..03....(..)/g;
const SIGNING_USES = 0x06;
/** Signatures that are looked at in one handshake beyond the runtime's own. */
const VERIFICATIONS_MAX = 24;

/** Why not, as Envoy says it or as verification names it. */
export type SpiffeFault = 'cert precheck' | 'no trust bundle store' | 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY';

export class SpiffeBundles {
  readonly #bundles: ReadonlyMap<string, TrustBundle>;
  readonly #chains = new WeakMap<PeerCertificateFacts, readonly Buffer[]>();
  /** Every root, for the runtime. */
  readonly pem: string;

  constructor(domains: ReadonlyMap<string, string>) {
    this.#bundles = new Map([...domains].map(([name, pem]) => [name, trustBundle(pem)]));
    this.pem = [...new Set(domains.values())].join('\n');
  }

  /** A root is not trusted any more for a name for which it was. */
  lost(before: SpiffeBundles): boolean {
    for (const [name, bundle] of before.#bundles) {
      const now = this.#bundles.get(name);
      if (now === undefined || now.lost(bundle)) return true;
    }
    return false;
  }

  /** Whether a peer of an earlier handshake would be let in; `above` as there. */
  accepts(peer: PeerCertificateFacts, above: readonly Buffer[]): boolean {
    let chain = this.#chains.get(peer);
    if (chain === undefined) {
      chain = [...peer.chain, ...above];
      this.#chains.set(peer, chain);
    }
    return this.#bundleOf(peer.uriSans)?.accepts(chain) === true;
  }

  /** Of a handshake, whose chain the runtime has verified. `above`: further certificates that may lie above it. undefined: it may pass. */
  fault(peer: CertificateFacts, above: readonly Buffer[]): SpiffeFault | undefined {
    if (!(peer instanceof PeerCertificateFacts)) return 'cert precheck';
    return this.faultOf([...peer.chain, ...above], { uri: peer.uriSans, dns: peer.dnsSans, email: peer.emailSans });
  }

  faultOf(chain: readonly Buffer[], { uri, dns, email }: Pick<SanList, 'uri' | 'dns' | 'email'>): SpiffeFault | undefined {
    const [own] = chain;
    if (own === undefined || mayBeAuthority(own)) return 'cert precheck';
    // An id in a name of another kind would be compared with ids as well, and no bundle stands for it.
    if (dns.some(looksLikeId) || email.some(looksLikeId)) return 'cert precheck';
    const bundle = this.#bundleOf(uri);
    if (bundle === undefined) return 'no trust bundle store';
    return this.#leadsOnlyTo(bundle, chain) ? undefined : 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY';
  }

  // Of two names one would be as good as the other; an SVID has one.
  #bundleOf(uriSans: readonly string[]): TrustBundle | undefined {
    return uriSans.length === 1 ? this.#bundles.get(TRUST_DOMAIN.exec(uriSans[0] ?? '')?.[1] ?? '') : undefined;
  }

  #leadsOnlyTo(bundle: TrustBundle, chain: readonly Buffer[]): boolean {
    const [own, ...shown] = chain.map((der) => new X509Certificate(der));
    const above = shown.filter((issuer) => issuer.ca);
    const now = Date.now();
    const strangers = [...this.#bundles.values()].flatMap((other) => (other === bundle ? [] : other.roots.filter((r) => !bundle.has(r))));
    const open = own === undefined ? [] : [own];
    const seen = new Set(open);
    // Names and cA are for whoever made the certificates to choose: what they may cost is bounded.
    let left = VERIFICATIONS_MAX;
    const leads = (at: X509Certificate, to: X509Certificate): boolean =>
      to.raw.equals(at.raw) || (at.checkIssued(to) && left-- > 0 && signed(to, at));
    while (open.length > 0) {
      const at = open.pop() as X509Certificate;
      if (strangers.some((root) => leads(at, root))) return false;
      for (const next of [...above, ...bundle.roots]) if (!seen.has(next) && leads(at, next)) open.push(seen.add(next) && next);
    }
    if (left < 0) return false;
    // And one way holds at every step.
    for (let current = own; current !== undefined; ) {
      const at: X509Certificate = current;
      if (bundle.roots.some((root) => root.raw.equals(at.raw) || (at.checkIssued(root) && signed(root, at)))) return true;
      const next = above.findIndex((issuer) => at.checkIssued(issuer) && authorityNow(issuer, now) && signed(issuer, at));
      current = next < 0 ? undefined : above.splice(next, 1)[0];
    }
    return false;
  }
}

const looksLikeId = (name: string): boolean => /^spiffe:/i.test(name);

const signed = (issuer: X509Certificate, certificate: X509Certificate): boolean => {
  try {
    return issuer.raw.equals(certificate.raw) || certificate.verify(issuer.publicKey);
  } catch {
    return false; // a key of another kind than the signature
  }
};

const authorityNow = (issuer: X509Certificate, now: number): boolean =>
  issuer.ca && Date.parse(issuer.validFrom) <= now && Date.parse(issuer.validTo) > now;

/** As Envoy reads it: a certificate that does not say what its key is for may be for everything. */
const mayBeAuthority = (der: Buffer): boolean => {
  const text = der.toString('hex');
  const uses = [...text.matchAll(KEY_USAGE)].map((match) => Number.parseInt(match[1] ?? '', 16));
  return uses.length === 0 || uses.some((use) => (use & SIGNING_USES) !== 0) || CA_EXTENSION.test(text);
};

/** Where the roots of a context stand, for who tells of them. */
export const rootSources = (context: CertificateValidationContext | undefined): readonly (DataSource | undefined)[] => {
  const typed = unwrapConfig(context?.custom_validator_config?.typed_config);
  if (typeNameOf(typed) !== VALIDATOR) return [context?.trusted_ca];
  return ((typed as unknown as SPIFFECertValidatorConfig).trust_domains ?? []).map((domain) => domain.trust_bundle);
};

/** Contexts that trust the same share it. */
const known = new Map<string, WeakRef<SpiffeBundles>>();

/** undefined: the context has no validator of its own. Throws PlanError for every other than this one. */
export const compileSpiffe = (context: CertificateValidationContext | undefined, path: string): SpiffeBundles | undefined => {
  const validator = context?.custom_validator_config;
  if (validator === undefined) return undefined;
  const where = `${path}.custom_validator_config`;
  const typed = unwrapConfig(validator.typed_config);
  const type = typeNameOf(typed);
  if (type !== VALIDATOR) throw new PlanError(where, `${type === '' ? (validator.name ?? '') : type} is not supported`);
  const config = configAs<SPIFFECertValidatorConfig>(typed, `${where}.typed_config`);
  if (config.trust_bundles !== undefined) throw new PlanError(`${where}.typed_config.trust_bundles`, 'not supported');
  const domains = new Map<string, string>();
  (config.trust_domains ?? []).forEach(({ name = '', trust_bundle }, i) => {
    const at = `${where}.typed_config.trust_domains[${i}]`;
    if (name === '') throw new PlanError(`${at}.name`, 'is needed');
    if (domains.has(name)) throw new PlanError(`${at}.name`, `${name} has a trust bundle already`);
    const pem = dataSourceText(trust_bundle, `${at}.trust_bundle`) ?? '';
    if (!pem.includes('-----BEGIN CERTIFICATE-----')) throw new PlanError(`${at}.trust_bundle`, 'holds no certificate');
    if (pem.includes('-----BEGIN X509 CRL-----'))
      throw new PlanError(`${at}.trust_bundle`, 'revocation lists are not supported here: use crl');
    domains.set(name, pem);
  });
  if (domains.size === 0) throw new PlanError(`${where}.typed_config.trust_domains`, 'is needed');
  const key = hash('sha256', JSON.stringify([...domains]));
  const shared = known.get(key)?.deref();
  if (shared !== undefined) return shared;
  for (const [old, reference] of known) if (reference.deref() === undefined) known.delete(old);
  const made = new SpiffeBundles(domains);
  known.set(key, new WeakRef(made));
  return made;
};
