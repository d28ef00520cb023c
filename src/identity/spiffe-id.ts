// SPIFFE ids of workloads, as Istio writes them: spiffe://<trust domain>/ns/<namespace>/sa/<service account>.
// The only maker of the SpiffeId brand: a value of that type has been checked.
import { err, ok, type Result } from '../base/result.ts';

declare const brand: unique symbol;
export type SpiffeId = string & { readonly [brand]: 'SpiffeId' };

export interface WorkloadIdentity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** SPIFFE-ID section 2.3: the whole id is at most 2048 bytes. */
const ID_BYTES_MAX = 2048;
/** SPIFFE-ID section 2.1: letters are lower case; the name is at most 255 bytes. */
const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
/** SPIFFE-ID section 2.2. */
const SEGMENT = /^[A-Za-z0-9._-]+$/;
const SCHEME = 'spiffe://';

const segmentProblem = (what: string, value: string): string | undefined => {
  if (!SEGMENT.test(value)) return `${what} ${JSON.stringify(value)} may hold only letters, digits, ".", "_" and "-", and not be empty`;
  if (value === '.' || value === '..') return `${what} may not be ${JSON.stringify(value)}`;
  return undefined;
};

export const spiffeIdOf = (identity: WorkloadIdentity): Result<SpiffeId, string> => {
  if (!TRUST_DOMAIN.test(identity.trustDomain))
    return err(`trust domain ${JSON.stringify(identity.trustDomain)} is not a SPIFFE trust domain`);
  const problem = segmentProblem('namespace', identity.namespace) ?? segmentProblem('service account', identity.serviceAccount);
  if (problem !== undefined) return err(problem);
  const id = `${SCHEME}${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
  if (id.length > ID_BYTES_MAX) return err(`the SPIFFE id is longer than ${ID_BYTES_MAX} bytes`);
  return ok(id as SpiffeId);
};

/** Reads an id of Istio's shape; any other path, a query, a port or a user is refused. */
export const parseSpiffeId = (text: string): Result<WorkloadIdentity, string> => {
  if (!text.startsWith(SCHEME)) return err(`${JSON.stringify(text)} does not begin with ${SCHEME}`);
  const [trustDomain, ns, namespace, sa, serviceAccount, ...rest] = text.slice(SCHEME.length).split('/');
  if (
    trustDomain === undefined ||
    namespace === undefined ||
    serviceAccount === undefined ||
    ns !== 'ns' ||
    sa !== 'sa' ||
    rest.length > 0
  ) {
    return err(`${JSON.stringify(text)} is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>`);
  }
  const identity = { trustDomain, namespace, serviceAccount };
  const id = spiffeIdOf(identity);
  return id.ok ? ok(identity) : id;
};
