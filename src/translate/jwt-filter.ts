// The token rules of a workload as Envoy's jwt_authn: no token passes, a token must be valid for the provider whose place it was
// found in, and one that is valid for any provider passes. Claims are left in metadata for RBAC and for routes.

import { type JwtRule, type KeySets, keysOf } from '../mesh/key-sets.ts';
import type { HttpFilter, JwtAuthentication, JwtProvider, JwtRequirement } from '../xds/gen/types.ts';

export const JWT_FILTER = 'envoy.filters.http.jwt_authn';
export const JWT_TYPE = 'envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication';

/** Claims of OAuth that are lists written with spaces. */
const SPACE_DELIMITED = ['permission', 'scope'];

export interface JwtOptions {
  readonly keySets: KeySets;
  /** Routes look at claims, so the route is chosen anew once the token has been read. */
  readonly routesByClaim: boolean;
}

export const jwtFilters = (rules: readonly JwtRule[], options: JwtOptions): readonly HttpFilter[] => {
  if (rules.length === 0) return [];
  const providers: Record<string, JwtProvider> = {};
  for (const [index, rule] of rules.entries()) providers[providerName(index)] = provider(rule, options);
  const config: JwtAuthentication = {
    providers,
    rules: [{ match: { prefix: '/' }, requires: requirement(Object.keys(providers)) }],
    bypass_cors_preflight: true,
  };
  return [{ name: JWT_FILTER, typed_config: { '@type': `type.googleapis.com/${JWT_TYPE}`, ...config } }];
};

const providerName = (index: number): string => `origins-${index}`;

const requirement = (names: readonly string[]): JwtRequirement => {
  const anyOf = (requirements: readonly JwtRequirement[]): JwtRequirement => ({ requires_any: { requirements } });
  const each = names.map((provider_name) => anyOf([{ provider_name }, { allow_missing: {} }]));
  const [only] = each;
  if (only !== undefined && each.length === 1) return only;
  return anyOf([...names.map((provider_name) => ({ provider_name })), { requires_all: { requirements: each } }]);
};

const list = <K extends string, T>(key: K, values: readonly T[] | undefined): { readonly [P in K]?: readonly T[] } =>
  values === undefined || values.length === 0 ? {} : ({ [key]: values } as { readonly [P in K]: readonly T[] });

const provider = (rule: JwtRule, { keySets, routesByClaim }: JwtOptions): JwtProvider => {
  const issuer = rule.issuer ?? '';
  const payloadHeader = rule.outputPayloadToHeader ?? '';
  return {
    ...(issuer === '' ? {} : { issuer }),
    ...list('audiences', rule.audiences),
    local_jwks: { inline_string: keysOf(rule, keySets) },
    ...(rule.forwardOriginalToken === true ? { forward: true } : {}),
    ...list(
      'from_headers',
      rule.fromHeaders?.map(({ name = '', prefix = '' }) => ({ name, ...(prefix === '' ? {} : { value_prefix: prefix }) })),
    ),
    ...list('from_params', rule.fromParams),
    ...(payloadHeader === '' ? {} : { forward_payload_header: payloadHeader }),
    payload_in_metadata: 'payload',
    ...list('from_cookies', rule.fromCookies),
    ...list(
      'claim_to_headers',
      rule.outputClaimToHeaders?.map(({ header = '', claim = '' }) => ({ header_name: header, claim_name: claim })),
    ),
    ...(routesByClaim ? { clear_route_cache: true } : {}),
    normalize_payload_in_metadata: {
      space_delimited_claims: [...new Set([...SPACE_DELIMITED, ...(rule.spaceDelimitedClaims ?? [])])].sort(),
    },
  };
};
