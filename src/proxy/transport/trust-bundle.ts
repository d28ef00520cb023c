// Whom a TLS context trusts, as certificates: whether a later bundle leaves somebody out, and whether a chain that was shown at some
// handshake would still be accepted. Asked only when a bundle has lost a root; certificates are parsed then, not before.

import { hash, X509Certificate } from 'node:crypto';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g;
/** How an agent names a root that was replaced in an orderly way: a comment, for everybody else. See agent/sds.ts. */
const RETIRED = /^# retired root ([A-Za-z0-9+/=]+)$/gm;

export class TrustBundle {
  readonly #blocks: ReadonlySet<string>;
  /** No handshake is accepted by these; connections of before may stay. */
  readonly #retired: ReadonlySet<string>;
  #roots: readonly X509Certificate[] | undefined;
  readonly #verdicts = new WeakMap<readonly Buffer[], boolean>();

  constructor(pem: string) {
    this.#blocks = new Set([...pem.matchAll(CERTIFICATE)].map((match) => (match[1] ?? '').replace(/\s+/g, '')));
    this.#retired = new Set([...pem.matchAll(RETIRED)].map((match) => match[1] ?? ''));
  }

  get roots(): readonly X509Certificate[] {
    this.#roots ??= [...this.#blocks].map(certificateOf);
    return this.#roots;
  }

  has(root: X509Certificate): boolean {
    return this.#blocks.has(root.raw.toString('base64'));
  }

  /** A certificate of `before` is not among these. */
  lost(before: TrustBundle): boolean {
    for (const block of before.#blocks) if (!this.#blocks.has(block)) return true;
    return false;
  }

  /** `chain`: DER, the peer's own certificate first, then what may lie between it and a root. Its dates are looked at below a
   * retired root alone: once that is retired, every certificate below it has ended, and one that has not is an attacker's. */
  accepts(chain: readonly Buffer[]): boolean {
    let verdict = this.#verdicts.get(chain);
    if (verdict === undefined) {
      verdict = this.#verify(chain);
      this.#verdicts.set(chain, verdict);
    }
    return verdict;
  }

  #verify(chain: readonly Buffer[]): boolean {
    const [own, ...above] = chain.map((der) => new X509Certificate(der));
    const ended = own !== undefined && Date.parse(own.validTo) <= Date.now();
    const roots = ended ? [...this.roots, ...[...this.#retired].map(certificateOf)] : this.roots;
    for (let current = own; current !== undefined; ) {
      const at: X509Certificate = current;
      if (roots.some((root) => root.raw.equals(at.raw) || issued(root, at))) return true;
      const next = above.findIndex((issuer) => issued(issuer, at));
      current = next < 0 ? undefined : above.splice(next, 1)[0];
    }
    return false;
  }
}

/** Contexts that trust the same share it: the clusters of a mesh all do. */
const bundles = new Map<string, WeakRef<TrustBundle>>();

export const trustBundle = (pem: string): TrustBundle => {
  const key = hash('sha256', pem);
  const known = bundles.get(key)?.deref();
  if (known !== undefined) return known;
  for (const [old, reference] of bundles) if (reference.deref() === undefined) bundles.delete(old);
  const made = new TrustBundle(pem);
  bundles.set(key, new WeakRef(made));
  return made;
};

/** DER, in the order of the text. */
export const certificatesIn = (pem: string): Buffer[] =>
  [...pem.matchAll(CERTIFICATE)].map((match) => Buffer.from(match[1] ?? '', 'base64'));

const certificateOf = (block: string): X509Certificate => new X509Certificate(Buffer.from(block, 'base64'));

const issued = (issuer: X509Certificate, certificate: X509Certificate): boolean =>
  certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
