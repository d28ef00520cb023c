// The matchers that permissions and principals share: addresses, ports, headers, paths, metadata, filter state, identities.
import type {
  CidrRange,
  FilterStateMatcher,
  HeaderMatcher,
  Int32Range,
  MetadataMatcher,
  PathMatcher,
  Principal_Authenticated,
  SourcedMetadata,
} from '../../xds/gen/types.ts';
import { compileHeaderMatcher } from '../header-matcher.ts';
import { compileRange, inRange, parseIp } from '../ip-range.ts';
import { PlanError } from '../plan-error.ts';
import { withoutQuery } from '../query.ts';
import { compileStringMatcher } from '../string-matcher.ts';
import { compileMetadataMatcher } from '../value-matcher.ts';
import type { AuthzMatch, AuthzView } from './authz-view.ts';

/** Most clients send many requests: what an address was read as is kept for so many of them. */
const ADDRESSES_KEPT = 1024;

/** One set of policies as it is compiled. */
export class AuthzCompilation {
  /** The policies govern connections, which have no headers. */
  readonly connections: boolean;
  readonly #addresses = new Map<string, Uint8Array | undefined>();

  constructor(connections: boolean) {
    this.connections = connections;
  }

  address(text: string): Uint8Array | undefined {
    const known = this.#addresses.get(text);
    if (known !== undefined) return known;
    const read = parseIp(text);
    if (this.#addresses.size >= ADDRESSES_KEPT) this.#addresses.clear();
    this.#addresses.set(text, read);
    return read;
  }
}

export const always: AuthzMatch = () => true;

export const allOf = (matches: readonly AuthzMatch[]): AuthzMatch => {
  const asked = matches.filter((m) => m !== always);
  const [first, second] = asked;
  if (first === undefined) return always;
  if (second === undefined) return first;
  if (asked.length === 2) return (view) => first(view) && second(view);
  return (view) => {
    for (let i = 0; i < asked.length; i++) if (!(asked[i] as AuthzMatch)(view)) return false;
    return true;
  };
};

export const anyOf = (matches: readonly AuthzMatch[]): AuthzMatch => {
  if (matches.includes(always)) return always;
  const [first] = matches;
  if (first !== undefined && matches.length === 1) return first;
  return (view) => {
    for (let i = 0; i < matches.length; i++) if ((matches[i] as AuthzMatch)(view)) return true;
    return false;
  };
};

export const addressMatch = (
  range: CidrRange,
  of: (view: AuthzView) => string,
  compilation: AuthzCompilation,
  path: string,
): AuthzMatch => {
  const within = compileRange(range, path);
  return (view) => {
    const address = compilation.address(of(view));
    return address !== undefined && inRange(within, address);
  };
};

export const headerMatch = (matcher: HeaderMatcher, compilation: AuthzCompilation, path: string): AuthzMatch => {
  if (compilation.connections) throw new PlanError(path, 'a connection has no headers');
  const match = compileHeaderMatcher(matcher, path);
  return ({ request }) => request !== undefined && match(request);
};

export const pathMatch = (matcher: PathMatcher, path: string): AuthzMatch => {
  const match = compileStringMatcher(matcher.path ?? {}, `${path}.path`);
  return ({ request }) => request !== undefined && request.path !== '' && match(withoutQuery(request.path));
};

export const portRangeMatch = ({ start = 0, end = 0 }: Int32Range, path: string): AuthzMatch => {
  for (const [name, port] of [['start', start] as const, ['end', end] as const])
    if (port < 0 || port > 65_536) throw new PlanError(`${path}.${name}`, `${port} is no port`);
  if (start >= end) throw new PlanError(path, `its start ${start} is not below its end ${end}`);
  return (view) => view.localPort >= start && view.localPort < end;
};

export const metadataMatch = (matcher: MetadataMatcher, path: string): AuthzMatch => {
  const match = compileMetadataMatcher(matcher, path);
  return (view) => match(view.dynamicMetadata);
};

export const sourcedMetadataMatch = (sourced: SourcedMetadata, path: string): AuthzMatch => {
  if (sourced.metadata_matcher === undefined) throw new PlanError(`${path}.metadata_matcher`, 'is required');
  if (sourced.metadata_source !== 'ROUTE') return metadataMatch(sourced.metadata_matcher, `${path}.metadata_matcher`);
  const match = compileMetadataMatcher(sourced.metadata_matcher, `${path}.metadata_matcher`);
  return (view) => view.routeMetadata !== undefined && match(view.routeMetadata);
};

export const filterStateMatch = (matcher: FilterStateMatcher, compilation: AuthzCompilation, path: string): AuthzMatch => {
  const key = matcher.key ?? '';
  if (key === '') throw new PlanError(`${path}.key`, 'is required');
  if (matcher.string_match !== undefined) {
    const match = compileStringMatcher(matcher.string_match, `${path}.string_match`);
    return (view) => {
      const value = view.filterState?.[key];
      return typeof value === 'string' && match(value);
    };
  }
  const ranges = (matcher.address_match as { readonly ranges?: readonly CidrRange[] } | undefined)?.ranges;
  if (ranges === undefined || ranges.length === 0) throw new PlanError(path, 'no match pattern is set');
  const within = ranges.map((range, i) => compileRange(range, `${path}.address_match.ranges[${i}]`));
  return (view) => {
    const value = view.filterState?.[key];
    const address = typeof value === 'string' ? compilation.address(value.replace(/^\[?(.*?)\]?(?::\d+)?$/, '$1')) : undefined;
    return address !== undefined && within.some((range) => inRange(range, address));
  };
};

/** Any SAN that names who the client is, else the subject; without a name: a connection with TLS. */
export const authenticatedMatch = (authenticated: Principal_Authenticated, path: string): AuthzMatch => {
  if (authenticated.principal_name === undefined) return (view) => view.tls !== undefined;
  const match = compileStringMatcher(authenticated.principal_name, `${path}.principal_name`);
  return ({ tls }) => {
    if (tls === undefined) return false;
    const peer = tls.peer;
    if (peer === undefined) return match('');
    for (let i = 0; i < peer.uriSans.length; i++) if (match(peer.uriSans[i] as string)) return true;
    for (let i = 0; i < peer.dnsSans.length; i++) if (match(peer.dnsSans[i] as string)) return true;
    return match(peer.subject);
  };
};
