// Where in a request tokens of one or several providers may stand: headers behind a prefix, query parameters, cookies. Every place
// knows whose tokens it may hold.
import type { JwtProvider } from '../../xds/gen/types.ts';
import { PlanError } from '../plan-error.ts';
import { queryParameter } from '../query.ts';
import type { RequestView } from '../request-view.ts';

export interface FoundToken {
  readonly text: string;
  readonly place: TokenPlace;
}

export interface TokenPlace {
  readonly kind: 'header' | 'param' | 'cookie';
  readonly name: string;
  readonly prefix: string;
  /** Empty: whoever issued it. */
  readonly issuers: ReadonlySet<string>;
}

/** What was taken out of the request already. */
export type TakenOut = readonly TokenPlace[];

const DEFAULT_HEADER = { name: 'authorization', value_prefix: 'Bearer ' };
const DEFAULT_PARAM = 'access_token';
const TOKEN_START = /[A-Za-z0-9\-_.]/;

/** In the order in which Envoy finds tokens: headers, parameters, cookies, each by name. */
export const compilePlaces = (providers: readonly JwtProvider[], path: string): readonly TokenPlace[] => {
  const places = new Map<string, { place: Omit<TokenPlace, 'issuers'>; issuers: Set<string>; anybody: boolean }>();
  const add = (kind: TokenPlace['kind'], name: string, prefix: string, issuer: string): void => {
    if (name === '') throw new PlanError(path, `the ${kind} that a token stands in has no name`);
    const key = `${'hpc'['header param cookie'.split(' ').indexOf(kind)]}${name}${prefix}`;
    const known = places.get(key) ?? { place: { kind, name, prefix }, issuers: new Set(), anybody: false };
    places.set(key, known);
    if (issuer === '') known.anybody = true;
    else known.issuers.add(issuer);
  };
  for (const { issuer = '', from_headers: headers = [], from_params: params = [], from_cookies: cookies = [] } of providers) {
    const anywhere = headers.length + params.length + cookies.length === 0;
    for (const { name = '', value_prefix: prefix = '' } of anywhere ? [DEFAULT_HEADER] : headers)
      add('header', name.toLowerCase(), prefix, issuer);
    for (const name of anywhere ? [DEFAULT_PARAM] : params) add('param', name, '', issuer);
    for (const name of cookies) add('cookie', name, '', issuer);
  }
  const kinds = ['header', 'param', 'cookie'];
  const order = (p: Omit<TokenPlace, 'issuers'>): string => `${kinds.indexOf(p.kind)}${p.name}${p.prefix}`;
  return [...places.values()]
    .map(({ place, issuers, anybody }) => ({ ...place, issuers: anybody ? new Set<string>() : issuers }))
    .sort((a, b) => (order(a) < order(b) ? -1 : 1));
};

export const findTokens = (places: readonly TokenPlace[], request: RequestView, takenOut: TakenOut): FoundToken[] => {
  const found: FoundToken[] = [];
  for (const place of places) {
    if (takenOut.some((p) => p.kind === place.kind && p.name === place.name)) continue;
    if (place.kind === 'header') {
      for (const value of headerValues(request, place.name)) {
        const text = behindPrefix(value, place.prefix);
        if (text !== undefined) found.push({ text, place });
      }
      continue;
    }
    const text = place.kind === 'param' ? queryParameter(request.path, place.name, true) : cookie(request, place.name);
    if (text !== undefined) found.push({ text, place });
  }
  return found;
};

// Two of them are one value, as everywhere where the header may come only once; one that says nothing adds nothing.
const headerValues = (request: RequestView, name: string): readonly string[] => {
  const values = request.headers.values(name);
  return name === 'authorization' && values.length > 1 ? [values.filter((v) => v !== '').join(',')] : values;
};

// Found anywhere in the value; what no token begins with is passed over.
const behindPrefix = (value: string, prefix: string): string | undefined => {
  if (prefix === '') return value;
  const at = value.indexOf(prefix);
  if (at < 0) return undefined;
  const rest = value.slice(at + prefix.length);
  const start = rest.search(TOKEN_START);
  return start < 0 ? value : rest.slice(start);
};

const cookie = (request: RequestView, name: string): string | undefined => {
  for (const line of request.headers.values('cookie')) {
    for (const pair of line.split(';')) {
      const equals = pair.indexOf('=');
      if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
      const value = pair.slice(equals + 1).trim();
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
    }
  }
  return undefined;
};

/** The path without a query parameter; all else stays as it stands. */
export const withoutParameter = (path: string, name: string): string => {
  const mark = path.indexOf('?');
  if (mark < 0) return path;
  const kept = path
    .slice(mark + 1)
    .split('&')
    .filter((pair) => queryParameter(`?${pair}`, name, true) === undefined);
  return kept.length === 0 ? path.slice(0, mark) : `${path.slice(0, mark)}?${kept.join('&')}`;
};
