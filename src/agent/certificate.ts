// What an authority answered, checked before it is used: the leaf is for our key and our identity and is alive, the
// self-issued certificates are the roots. Refuses instead of serving a certificate that every peer would refuse.
import { type KeyObject, X509Certificate } from 'node:crypto';
import { err, ok, type Result } from '../base/result.ts';

export interface IssuedCertificate {
  /** PEM, leaf first, without the root. */
  readonly chainPem: string;
  readonly rootsPem: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly serial: string;
}

export const checkIssued = (
  chain: readonly string[],
  privateKey: KeyObject,
  identity: string,
  nowMs: number,
): Result<IssuedCertificate, string> => {
  // An entry may hold several certificates (istiod sends an intermediate bundle as one).
  const pems = chain.flatMap((text) => text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []);
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
  // Several roots while an authority changes its own; without a self-issued one the last is the anchor.
  const anchors = pems.filter((_, i) => i > 0 && certificates[i]?.subject === certificates[i]?.issuer);
  const roots = anchors.length > 0 ? anchors : pems.slice(-1);
  return ok({
    chainPem: `${pems.filter((text) => !roots.includes(text)).join('\n')}\n`,
    rootsPem: `${roots.join('\n')}\n`,
    notBeforeMs,
    notAfterMs,
    serial: leaf.serialNumber,
  });
};
