// What an authority answered, checked before it is used: the leaf is for our key and our identity and is alive, the
// self-issued certificates are the roots. Refuses instead of serving a certificate that every peer would refuse.
import { type KeyObject, X509Certificate } from 'node:crypto';
import { err, ok, type Result } from '../base/result.ts';
import { anchorOf } from '../identity/anchor-scope.ts';

export interface IssuedCertificate {
  /** PEM, leaf first, without the root. */
  readonly chainPem: string;
  readonly rootsPem: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly serial: string;
}

const CERTIFICATE = /(?:# trust domains [^\n]*\n)?-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Each certificate of a text by itself, with the comment that says what it is for (identity/anchor-scope.ts). */
export const certificatesIn = (text: string): readonly string[] => text.replaceAll('\r', '').match(CERTIFICATE) ?? [];

export const joinPem = (pems: readonly string[]): string => `${pems.join('\n')}\n`;

export const checkIssued = (
  chain: readonly string[],
  privateKey: KeyObject,
  identity: string,
  nowMs: number,
): Result<IssuedCertificate, string> => {
  // An entry may hold several certificates: istiod sends an intermediate bundle as one, and all roots as the last.
  const entries = chain.map(certificatesIn).filter((e) => e.length > 0);
  const pems = entries.flat();
  const [leafPem] = pems;
  if (leafPem === undefined || pems.length < 2) return err(`${pems.length} certificates in the answer, at least leaf and root expected`);
  let certificates: readonly X509Certificate[];
  try {
    certificates = pems.map((text) => new X509Certificate(text));
  } catch (e) {
    return err(`a certificate cannot be read: ${e instanceof Error ? e.message : String(e)}`);
  }
  const leaf = certificates[0] as X509Certificate;
  if (!leaf.checkPrivateKey(privateKey)) return err('the leaf is for another key');
  const names = (leaf.subjectAltName ?? '').split(', ');
  if (!names.includes(`URI:${identity}`)) return err(`the leaf is for ${leaf.subjectAltName ?? 'no name'}, not for ${identity}`);
  const notBeforeMs = Date.parse(leaf.validFrom);
  const notAfterMs = Date.parse(leaf.validTo);
  if (!(notAfterMs > nowMs)) return err(`the leaf expired at ${leaf.validTo}`);
  // Several roots while an authority changes its own; where there is none that signs itself, what came last is the anchor.
  const selfIssued = pems.filter((_, i) => i > 0 && certificates[i]?.subject === certificates[i]?.issuer);
  const last = entries.length > 1 ? (entries.at(-1) ?? []) : pems.slice(-1);
  const anchors = entries.length > 1 || selfIssued.length === 0 ? [...selfIssued, ...last] : selfIssued;
  // What the last entry says a root is for holds for the same root elsewhere.
  const told = new Map(anchors.map((text) => [anchorOf(text).pem, text]));
  told.delete(leafPem);
  const roots = [...told.values()];
  return ok({
    chainPem: joinPem(pems.filter((text) => !told.has(anchorOf(text).pem))),
    rootsPem: joinPem(roots),
    notBeforeMs,
    notAfterMs,
    serial: leaf.serialNumber,
  });
};

/** The root that the chain ends at; undefined for none of these, and for a chain that cannot be read. */
export const rootOf = (chainPem: string, roots: readonly string[]): string | undefined => {
  try {
    const top = certificatesIn(chainPem).at(-1);
    if (top === undefined) return undefined;
    const last = new X509Certificate(top);
    return roots.find((pem) => {
      const root = new X509Certificate(pem);
      return root.subject === last.issuer && last.verify(root.publicKey);
    });
  } catch {
    return undefined;
  }
};

/** When the first of them ends. */
export const firstEndMs = (pems: readonly string[]): number => Math.min(...pems.map((pem) => Date.parse(new X509Certificate(pem).validTo)));
