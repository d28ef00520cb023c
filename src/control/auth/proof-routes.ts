// Routes of the admin API that make, show and revoke proofs: join tokens for machines, access tokens for people. What is shown of one
// is never the token.
import { AdminError, type AdminRequest, type AdminRoute, jsonBody } from '../admin/http.ts';
import { isResourceName } from '../registration/instance-document.ts';
import type { AccessTokens } from './access-tokens.ts';
import { JOIN_LIFE_MS_MAX, JOIN_USES_MAX, type JoinTokens } from './join-tokens.ts';

export interface ProofRoutesOptions {
  readonly joinTokens: JoinTokens;
  readonly accessTokens: AccessTokens;
}

const HOUR_S = 3600;
const ACCESS_LIFE_S = 30 * 24 * HOUR_S;

export const proofRoutes = ({ joinTokens, accessTokens }: ProofRoutesOptions): readonly AdminRoute[] => [
  { method: 'GET', pattern: '/v1/join-tokens', handle: () => ({ status: 200, json: { tokens: joinTokens.list() } }) },
  { method: 'POST', pattern: '/v1/join-tokens', handle: (r) => ({ status: 201, json: createJoin(r, joinTokens) }) },
  { method: 'DELETE', pattern: '/v1/join-tokens/:', handle: (r) => revoked(r, 'join', joinTokens) },
  { method: 'GET', pattern: '/v1/access-tokens', handle: () => ({ status: 200, json: { tokens: accessTokens.list() } }) },
  { method: 'POST', pattern: '/v1/access-tokens', handle: (r) => ({ status: 201, json: createAccess(r, accessTokens) }) },
  { method: 'DELETE', pattern: '/v1/access-tokens/:', handle: (r) => revoked(r, 'access', accessTokens) },
];

const createJoin = (request: AdminRequest, tokens: JoinTokens): unknown => {
  const {
    namespace,
    serviceAccount,
    uses = 1,
    expiresInS = HOUR_S,
  } = jsonBody(request, ['namespace', 'serviceAccount', 'uses', 'expiresInS']);
  if (!isResourceName(namespace) || !isResourceName(serviceAccount))
    throw new AdminError(400, 'INVALID', 'namespace and serviceAccount must be lower-case DNS names');
  const count = whole('uses', uses, JOIN_USES_MAX);
  const made = tokens.create({ namespace, serviceAccount, uses: count, lifeMs: lifeMs(expiresInS) });
  if (!made.ok) throw new AdminError(409, 'TOO_MANY', made.error);
  return made.value;
};

const createAccess = (request: AdminRequest, tokens: AccessTokens): unknown => {
  const { role, expiresInS = ACCESS_LIFE_S } = jsonBody(request, ['role', 'expiresInS']);
  if (role !== 'read' && role !== 'write') throw new AdminError(400, 'INVALID', 'role must be read or write');
  const made = tokens.create(role, lifeMs(expiresInS));
  if (!made.ok) throw new AdminError(409, 'TOO_MANY', made.error);
  return made.value;
};

const whole = (what: string, value: unknown, max: number): number => {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new AdminError(400, 'INVALID', `${what} must be a whole number from 1 to ${max}`);
};

const lifeMs = (seconds: unknown): number => whole('expiresInS', seconds, JOIN_LIFE_MS_MAX / 1000) * 1000;

const revoked = (request: AdminRequest, kind: string, tokens: { revoke(id: string): boolean }) => {
  const [id = ''] = request.parameters;
  if (!tokens.revoke(id))
    throw new AdminError(404, 'NOT_FOUND', `there is no ${kind} token with the id ${JSON.stringify(id.slice(0, 64))}`);
  return { status: 200, json: { revoked: id } };
};
