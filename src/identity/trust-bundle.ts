// The roots that a mesh trusts, per trust domain. An immutable value: rotation makes a new one, with old and new
// roots together while certificates of both are in use.
import { err, ok, type Result } from '../base/result.ts';
import { pemCertificates } from './pem.ts';

export interface TrustBundle {
  readonly trustDomain: string;
  /** PEM certificates, each once, in the order they were added. */
  readonly roots: readonly string[];
}

/** A bundle beyond this is a mistake: it is sent to every workload. */
const ROOTS_MAX = 16;

export const trustBundle = (trustDomain: string, pem: string): Result<TrustBundle, string> => {
  const roots = [...new Set(pemCertificates(pem))];
  if (roots.length === 0) return err('no certificate in the trust bundle');
  if (roots.length > ROOTS_MAX) return err(`the trust bundle holds ${roots.length} certificates; at most ${ROOTS_MAX} are allowed`);
  return ok({ trustDomain, roots });
};

/** Both bundles' roots; the first one's come first. */
export const mergeBundles = (a: TrustBundle, b: TrustBundle): Result<TrustBundle, string> =>
  a.trustDomain === b.trustDomain
    ? trustBundle(a.trustDomain, [...a.roots, ...b.roots].join(''))
    : err(`bundles of ${a.trustDomain} and ${b.trustDomain} are not one bundle`);

export const bundlePem = (bundle: TrustBundle): string => bundle.roots.join('');
