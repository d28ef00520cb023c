// Conditions of a route, and which of a rule's match blocks concern a proxy at all.

import type { HttpMatchRequest, StringMatch } from '../api/specs.ts';
import { compareText } from '../mesh/order.ts';
import { selects } from '../mesh/service.ts';
import type { HeaderMatcher, Matcher_StringMatcher, QueryParameterMatcher, Route, RouteMatch } from '../xds/gen/types.ts';
import { claimMatcher, isClaim } from './claim-match.ts';
import type { ProxyNode } from './proxy-node.ts';

/** Decided once per proxy: labels and namespace of the client are looked at only where the block names no gateways. */
export const concernsProxy = (match: HttpMatchRequest, node: ProxyNode, gateways: readonly string[], port: number): boolean => {
  if ((match.port ?? 0) !== 0 && match.port !== port) return false;
  const named = match.gateways ?? [];
  if (named.length > 0) return named.some((g) => gateways.includes(g));
  if (!selects(match.sourceLabels ?? {}, node.labels)) return false;
  const source = match.sourceNamespace ?? '';
  return source === '' || source === node.namespace;
};

export const routeMatch = (match: HttpMatchRequest | undefined): RouteMatch => {
  if (match === undefined) return { prefix: '/' };
  const headers: HeaderMatcher[] = [];
  const claims = [];
  for (const [name, value] of Object.entries(match.headers ?? {})) {
    if (isClaim(name)) claims.push(claimMatcher(name, value, false));
    else headers.push(headerMatcher(name, value));
  }
  for (const [name, value] of Object.entries(match.withoutHeaders ?? {})) {
    if (isClaim(name)) claims.push(claimMatcher(name, value, true));
    else headers.push(withoutHeader(name, value));
  }
  headers.sort((a, b) => compareText(a.name ?? '', b.name ?? ''));
  if (match.method !== undefined) headers.push(headerMatcher(':method', match.method));
  if (match.authority !== undefined) headers.push(headerMatcher(':authority', match.authority));
  if (match.scheme !== undefined) headers.push(headerMatcher(':scheme', match.scheme));
  const query = Object.entries(match.queryParams ?? {}).map(([name, value]) => queryMatcher(name, value));
  return {
    ...pathOf(match.uri),
    case_sensitive: match.ignoreUriCase !== true,
    ...(headers.length === 0 ? {} : { headers }),
    ...(query.length === 0 ? {} : { query_parameters: query }),
    ...(claims.length === 0 ? {} : { dynamic_metadata: claims }),
  };
};

const pathOf = (uri: StringMatch | undefined): RouteMatch => {
  if (uri?.exact !== undefined) return { path: uri.exact };
  if (uri?.prefix !== undefined) return { prefix: uri.prefix };
  if (uri?.regex !== undefined) return { safe_regex: { regex: uri.regex } };
  return { prefix: '/' };
};

/** Undefined asks for presence alone: no matcher, or the regex `*`. */
const stringMatcher = (value: StringMatch): Matcher_StringMatcher | undefined => {
  if (value.exact !== undefined) return { exact: value.exact };
  if (value.prefix !== undefined) return { prefix: value.prefix };
  if (value.regex !== undefined && value.regex !== '*') return { safe_regex: { regex: value.regex } };
  return undefined;
};

const headerMatcher = (name: string, value: StringMatch): HeaderMatcher => {
  const string = stringMatcher(value);
  return string === undefined ? { name, present_match: true } : { name, string_match: string };
};

/** A missing header counts as empty, except where absence itself is asked for. */
const withoutHeader = (name: string, value: StringMatch): HeaderMatcher => {
  const matcher = headerMatcher(name, value);
  return { ...matcher, invert_match: true, ...(matcher.string_match === undefined ? {} : { treat_missing_header_as_empty: true }) };
};

const queryMatcher = (name: string, value: StringMatch): QueryParameterMatcher => {
  const string = stringMatcher(value);
  return string === undefined ? { name, present_match: true } : { name, string_match: string };
};

/** Takes every request: nothing after it can be reached. */
export const isCatchAll = (r: Route): boolean => {
  const m = r.match ?? {};
  if (m.prefix !== '/' && m.safe_regex?.regex !== '.*') return false;
  return (m.headers ?? []).length === 0 && (m.query_parameters ?? []).length === 0 && (m.dynamic_metadata ?? []).length === 0;
};
