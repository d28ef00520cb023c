// What the token rules of a proxy make of a request: through the compiled requirement of its jwt_authn filter. A token is verified
// with the keys that the configuration holds; claims that are only said stand for a token whose signature is good.

import { JwtOutcome, type JwtSetting } from '../plan/jwt/jwt-outcome.ts';
import { compileJwtRules } from '../plan/jwt/jwt-rules.ts';
import { JWT, type JwtStatus } from '../plan/jwt/jwt-status.ts';
import { parseKeySet } from '../plan/jwt/key-set.ts';
import { parseToken } from '../plan/jwt/token.ts';
import type { JsonObject, JwtAuthentication, JwtProvider } from '../xds/gen/types.ts';
import type { AskedRequest } from './asked-request.ts';

export interface TokenVerdict {
  readonly status: JwtStatus;
  readonly ok: boolean;
  /** 401, or 403 for a wrong audience. */
  readonly code: number;
  /** Of the token that was looked at; '' none. */
  readonly issuer: string;
  /** To be left for the filters that follow. */
  readonly metadata: JsonObject | undefined;
}

const METADATA = 'envoy.filters.http.jwt_authn';

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Of claims that are taken for true. */
const standIn = (claims: JsonObject): string => `${base64({ alg: 'RS256', typ: 'JWT' })}.${base64(claims)}.${base64('said')}`;

/** Puts the token where the provider of its issuer looks for it. */
export const bringToken = (
  config: JwtAuthentication,
  asked: AskedRequest,
  given: { readonly token?: string; readonly claims?: JsonObject },
): void => {
  const token = given.token ?? (given.claims === undefined ? undefined : standIn(given.claims));
  if (token === undefined || asked.request === undefined) return;
  const issuer = issuerOf(token);
  const providers = Object.values(config.providers ?? {});
  const provider: JwtProvider | undefined = providers.find((p) => p.issuer === issuer) ?? providers[0];
  const place = provider?.from_headers?.[0];
  if (place !== undefined) asked.request.headers.set((place.name ?? '').toLowerCase(), `${place.value_prefix ?? ''}${token}`);
  else asked.request.headers.set('authorization', `Bearer ${token}`);
};

const issuerOf = (token: string): string => {
  const read = parseToken(token);
  return 'code' in read ? '' : read.iss;
};

export const checkToken = (
  config: JwtAuthentication,
  asked: AskedRequest,
  given: { readonly token?: string; readonly claims?: JsonObject },
  nowS: number,
): TokenVerdict => {
  const { request } = asked;
  const rules = compileJwtRules(config);
  const requirement = request === undefined ? undefined : rules.find(request, asked.filterState);
  const text = given.token ?? (given.claims === undefined ? undefined : standIn(given.claims));
  const issuer = text === undefined ? '' : issuerOf(text);
  if (request === undefined || requirement === undefined) return { status: JWT.ok, ok: true, code: 200, issuer, metadata: undefined };
  const setting: JwtSetting = {
    nowS,
    keys: (provider) => {
      const inline = provider.config.local_jwks?.inline_string;
      return inline === undefined ? JWT.fetchFailed : parseKeySet(inline);
    },
    known: (written) => {
      if (given.token !== undefined || text === undefined || written !== text) return undefined;
      const read = parseToken(written);
      return 'code' in read ? undefined : read;
    },
    remember: () => undefined,
  };
  const outcome = new JwtOutcome(request, setting);
  const status = requirement(outcome);
  const metadata = outcome.metadata === undefined ? undefined : { [METADATA]: outcome.metadata };
  return { status, ok: status === JWT.ok, code: status === JWT.audience ? 403 : 401, issuer, metadata };
};
