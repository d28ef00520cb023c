// What a workload's certificate looks like: SPIFFE X509-SVID, section 4, in Istio's choice of extensions.

export interface CertificateProfile {
  /** The only subject alternative name. The extension is critical because the subject is empty (RFC 5280 4.1.2.6). */
  readonly uriSan: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly keyUsage: readonly ['digitalSignature', 'keyEncipherment'];
  readonly extendedKeyUsage: readonly ['serverAuth', 'clientAuth'];
  readonly ca: false;
}

export const LIFETIME_DEFAULT_MS = 24 * 3_600_000;
export const LIFETIME_MIN_MS = 60_000;
/** Istio's MAX_WORKLOAD_CERT_TTL is 90 days. */
export const LIFETIME_MAX_MS = 90 * 24 * 3_600_000;
/** Clocks of two machines differ: a certificate is valid from a little before it is made. */
const BACKDATE_MS = 60_000;

/** `lifetimeMs` 0 means the default; the certificate never outlives its issuer. */
export const workloadProfile = (uriSan: string, nowMs: number, lifetimeMs: number, issuerNotAfterMs: number): CertificateProfile => {
  const wanted = lifetimeMs === 0 ? LIFETIME_DEFAULT_MS : Math.min(Math.max(lifetimeMs, LIFETIME_MIN_MS), LIFETIME_MAX_MS);
  return {
    uriSan,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(Math.min(nowMs + wanted, issuerNotAfterMs)),
    keyUsage: ['digitalSignature', 'keyEncipherment'],
    extendedKeyUsage: ['serverAuth', 'clientAuth'],
    ca: false,
  };
};
