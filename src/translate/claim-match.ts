// Routing by claims of a validated token: `@request.auth.claims.a.b` or `@request.auth.claims[a][b]` as a header name reads the payload
// that JWT authentication left in metadata; a claim is a string or a list of strings.

import type { StringMatch } from '../api/specs.ts';
import { routingClaim } from '../api/values/header-text.ts';
import type { Matcher_StringMatcher, MetadataMatcher } from '../xds/gen/types.ts';

export const isClaim = (header: string): boolean => routingClaim(header) !== undefined;

const stringOf = (value: StringMatch): Matcher_StringMatcher => {
  if (value.exact !== undefined) return { exact: value.exact };
  if (value.prefix !== undefined) return { prefix: value.prefix };
  if (value.regex !== undefined) return { safe_regex: { regex: value.regex } };
  return {};
};

export const claimMatcher = (header: string, value: StringMatch, invert: boolean): MetadataMatcher => ({
  filter: 'envoy.filters.http.jwt_authn',
  path: ['payload', ...(routingClaim(header) ?? [])].map((key) => ({ key })),
  value: {
    or_match: { value_matchers: [{ list_match: { one_of: { string_match: stringOf(value) } } }, { string_match: stringOf(value) }] },
  },
  ...(invert ? { invert: true } : {}),
});
