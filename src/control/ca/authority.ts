// What stands behind the certificate authority: the mesh's own roots, the operator's signing certificate, or a signer elsewhere.
import { createHash, X509Certificate } from 'node:crypto';
import type { PublicKeyType } from '@peculiar/x509';
import type { Result } from '../../base/result.ts';
import type { CsrRefusal } from '../../identity/csr-policy.ts';
import type { RotationPhase, RotationStep } from '../../identity/root-rotation.ts';
import type { CaMaterial } from './issue.ts';

/** A request that has been admitted. */
export interface LeafRequest {
  readonly csrPem: string;
  readonly publicKey: PublicKeyType;
  readonly uriSan: string;
  readonly lifeMs: number;
}

export interface SignedLeaf {
  /** PEM, the workload's first, without the root. */
  readonly chain: readonly string[];
  readonly notAfterMs: number;
  /** Of the root that it chains to. */
  readonly root: string;
}

export interface Authority {
  readonly kind: 'own' | 'folder' | 'signer';
  /** PEM; everything that is trusted for the trust domain. */
  readonly roots: readonly string[];
  sign(request: LeafRequest): Promise<Result<SignedLeaf, CsrRefusal>>;
  /** For certificates of the control plane itself; undefined where somebody else signs. */
  material(): Promise<CaMaterial> | undefined;
  about(): AuthorityAbout;
  /** Absent where the roots are the operator's. */
  readonly rotation?: RotationControl;
  close(): void;
}

export interface RotationControl {
  /** The next step; `step` refuses any other. Gives the step that was taken. */
  take(step: RotationStep | undefined, force: boolean): Promise<Result<RotationStep, string>>;
  /** Trust in a root ends at once; in the one that is on its way out when none is named. Gives its id. */
  revoke(id: string | undefined): Promise<Result<string, string>>;
}

export interface RootAbout {
  readonly id: string;
  readonly subject: string;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly signs: boolean;
}

export interface AuthorityAbout {
  readonly roots: readonly RootAbout[];
  /** Of the certificate that signs leaves, when it is not a root. */
  readonly intermediate: { readonly subject: string; readonly notBefore: string; readonly notAfter: string } | undefined;
  readonly rotation:
    | {
        readonly phase: RotationPhase;
        readonly automatic: boolean;
        readonly next: RotationStep;
        /** When the next step breaks nothing. */
        readonly soundFrom: string;
        /** When it is taken without anybody asking. */
        readonly due: string | undefined;
        readonly replaced: number;
      }
    | undefined;
}

/** A name for a root that is nobody's own: the beginning of its fingerprint. */
export const rootId = (pem: string): string => createHash('sha256').update(new X509Certificate(pem).raw).digest('hex').slice(0, 8);

export const rootAbout = (id: string, pem: string, signs: boolean): RootAbout => {
  const { subject, validFrom, validTo } = new X509Certificate(pem);
  return { id, subject: subject.split('\n').join(', '), notBefore: instant(validFrom), notAfter: instant(validTo), signs };
};

export const intermediateAbout = ({ certificate }: CaMaterial): AuthorityAbout['intermediate'] => ({
  subject: certificate.subject,
  notBefore: certificate.notBefore.toISOString(),
  notAfter: certificate.notAfter.toISOString(),
});

const instant = (text: string): string => new Date(text).toISOString();

/** Is `pem` signed by the certificate `issuer`? */
export const issued = (issuer: string, pem: string): boolean => {
  const by = new X509Certificate(issuer);
  const certificate = new X509Certificate(pem);
  return certificate.issuer === by.subject && certificate.verify(by.publicKey);
};
