// What a certificate request may ask for. The identity in the certificate is always the authenticated caller's:
// names in the request are only compared with it, and a request for another identity is refused, never corrected.
import { err, ok, type Result } from '../base/result.ts';
import { type SpiffeId, spiffeIdOf, type WorkloadIdentity } from './spiffe-id.ts';

/** What the certificate authority has read out of the request; `signatureValid` proves possession of the key. */
export interface CsrFacts {
  readonly signatureValid: boolean;
  readonly key:
    | { readonly kind: 'ec'; readonly curve: string }
    | { readonly kind: 'rsa'; readonly bits: number }
    | { readonly kind: 'other'; readonly name: string };
  readonly uriSans: readonly string[];
  /** DNS, IP, e-mail and other names of the subjectAltName extension. */
  readonly otherSans: readonly string[];
  readonly asksForCa: boolean;
  /** An extension, or the list of them, is there more than once. */
  readonly asksTwice: boolean;
}

export type CsrRefusal = { readonly kind: 'invalid' | 'forbidden' | 'unavailable'; readonly message: string };

const CURVES: ReadonlySet<string> = new Set(['P-256', 'P-384']);
const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 4096;

/** The identity to certify, or why not. */
export const admitCsr = (facts: CsrFacts, caller: WorkloadIdentity): Result<SpiffeId, CsrRefusal> => {
  const id = spiffeIdOf(caller);
  if (!id.ok) return err({ kind: 'forbidden', message: id.error });
  if (!facts.signatureValid) return err({ kind: 'invalid', message: 'the request is not signed by its own key' });
  const key = keyProblem(facts.key);
  if (key !== undefined) return err({ kind: 'invalid', message: key });
  if (facts.asksForCa) return err({ kind: 'forbidden', message: 'a workload may not ask for a CA certificate' });
  if (facts.asksTwice) return err({ kind: 'invalid', message: 'the request asks for the same extension twice' });
  const foreign = facts.uriSans.find((san) => san !== id.value);
  if (foreign !== undefined) return err({ kind: 'forbidden', message: `the request names ${foreign} but the caller is ${id.value}` });
  const name = facts.otherSans[0];
  if (name !== undefined) return err({ kind: 'forbidden', message: `the request names ${name}; only the SPIFFE id is certified` });
  return ok(id.value);
};

const keyProblem = (key: CsrFacts['key']): string | undefined => {
  switch (key.kind) {
    case 'ec':
      return CURVES.has(key.curve) ? undefined : `keys on curve ${key.curve} are not certified; use P-256`;
    case 'rsa':
      return key.bits >= RSA_BITS_MIN && key.bits <= RSA_BITS_MAX
        ? undefined
        : `RSA keys have ${RSA_BITS_MIN} to ${RSA_BITS_MAX} bits, not ${key.bits}`;
    default:
      return `keys of type ${key.name} are not certified; use EC P-256`;
  }
};
