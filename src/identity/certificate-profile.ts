// What a workload's certificate looks like: SPIFFE X509-SVID, section 4, in Istio's choice of extensions.
import { BACKDATE_MS, LEAF_MS_MIN } from './lives.ts';

export interface CertificateProfile {
  /** The only subject alternative name. The extension is critical because the subject is empty (RFC 5280 4.1.2.6). */
  readonly uriSan: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly keyUsage: readonly ['digitalSignature', 'keyEncipherment'];
  readonly extendedKeyUsage: readonly ['serverAuth', 'clientAuth'];
  readonly ca: false;
}

/** What is given to who asks for `wantedMs`: never more than the mesh's life of a leaf, which is also what is meant by 0. */
export const leafLifeMs = (wantedMs: number, leafMs: number): number =>
  wantedMs === 0 ? leafMs : Math.min(Math.max(wantedMs, LEAF_MS_MIN), leafMs);

/** The certificate never outlives its issuer. */
export const workloadProfile = (uriSan: string, nowMs: number, lifeMs: number, issuerNotAfterMs: number): CertificateProfile => ({
  uriSan,
  notBefore: new Date(nowMs - BACKDATE_MS),
  notAfter: new Date(Math.min(nowMs + lifeMs, issuerNotAfterMs)),
  keyUsage: ['digitalSignature', 'keyEncipherment'],
  extendedKeyUsage: ['serverAuth', 'clientAuth'],
  ca: false,
});
