// Redirects that an upstream answers and that are followed here instead of by the client: RouteAction.internal_redirect_policy, compiled,
// and where a `location` leads. Which of them is followed is asked here; doing it is the exchange's.

import type {
  AllowListedRoutesConfig,
  AnyMessage,
  Core_TypedExtensionConfig,
  InternalRedirectPolicy,
  RouteAction,
} from '../xds/gen/types.ts';
import { typeNameOf } from './extension-type.ts';
import { PlanError } from './plan-error.ts';

export interface InternalRedirectPlan {
  /** Of one request, together. */
  readonly most: number;
  readonly statuses: ReadonlySet<number>;
  readonly crossScheme: boolean;
  /** Response headers that the next request has, lower case. */
  readonly copied: readonly string[];
  readonly predicates: readonly RedirectPredicate[];
}

/** One way that a redirect would take. */
export interface RedirectStep {
  /** The name of the route it leads to. */
  readonly route: string;
  readonly fromHttps: boolean;
  readonly toHttps: boolean;
  /** Where this request has been led, by the name of the route that led it; the predicates' own. */
  readonly visited: Map<string, Set<string>>;
}
type RedirectPredicate = (step: RedirectStep) => boolean;

export interface RedirectTarget {
  readonly scheme: string;
  readonly authority: string;
  /** With query, without fragment. */
  readonly path: string;
}

const STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export const compileInternalRedirect = (action: RouteAction, route: string, path: string): InternalRedirectPlan | undefined => {
  if (action.internal_redirect_policy !== undefined)
    return compilePolicy(action.internal_redirect_policy, route, `${path}.internal_redirect_policy`);
  if (action.internal_redirect_action !== 'HANDLE_INTERNAL_REDIRECT' && action.internal_redirect_action !== 1) return undefined;
  return compilePolicy({ max_internal_redirects: action.max_internal_redirects }, route, path);
};

const compilePolicy = (policy: InternalRedirectPolicy, route: string, path: string): InternalRedirectPlan => {
  const statuses = policy.redirect_response_codes ?? [];
  if (statuses.length > STATUSES.size) throw new PlanError(`${path}.redirect_response_codes`, `more than ${STATUSES.size}`);
  const copied = policy.response_headers_to_copy ?? [];
  if (new Set(copied).size < copied.length) throw new PlanError(`${path}.response_headers_to_copy`, 'a header is named twice');
  return {
    most: policy.max_internal_redirects ?? 1,
    // As Envoy: numbers that are no redirects are taken and never met.
    statuses: statuses.length === 0 ? new Set([302]) : new Set(statuses.filter((status) => STATUSES.has(status))),
    crossScheme: policy.allow_cross_scheme_redirect === true,
    copied: copied.filter((name) => name !== '').map((name, i) => copiedName(name, `${path}.response_headers_to_copy[${i}]`)),
    predicates: (policy.predicates ?? []).map((predicate, i) => compilePredicate(predicate, route, `${path}.predicates[${i}]`)),
  };
};

const copiedName = (name: string, path: string): string => {
  const lower = name.toLowerCase();
  if (lower.startsWith(':') || lower === 'host') throw new PlanError(path, `${name} cannot be copied`);
  return lower;
};

const ROOT = 'envoy.extensions.internal_redirect';
const PREDICATES: ReadonlyMap<string, (config: AnyMessage | undefined, route: string) => RedirectPredicate> = new Map([
  [
    `${ROOT}.allow_listed_routes.v3.AllowListedRoutesConfig`,
    (config) => {
      const allowed = new Set((config as AllowListedRoutesConfig | undefined)?.allowed_route_names);
      return ({ route }) => allowed.has(route);
    },
  ],
  [
    `${ROOT}.previous_routes.v3.PreviousRoutesConfig`,
    (_, from) =>
      ({ route, visited }) => {
        const before = visited.get(from) ?? new Set();
        visited.set(from, before);
        if (before.has(route)) return false;
        before.add(route);
        return true;
      },
  ],
  [
    `${ROOT}.safe_cross_scheme.v3.SafeCrossSchemeConfig`,
    () =>
      ({ fromHttps, toHttps }) =>
        fromHttps || !toHttps,
  ],
]);

const compilePredicate = ({ typed_config: config }: Core_TypedExtensionConfig, route: string, path: string): RedirectPredicate => {
  const compile = PREDICATES.get(typeNameOf(config));
  if (compile === undefined) throw new PlanError(path, `${typeNameOf(config)} is not supported`);
  return compile(config, route);
};

const ABSOLUTE = /^([a-z]+):\/\/(?:[\w.~!$&'()*+,;=:%-]*@)?(\[[\da-f:.]+\]|[a-z\d.-]+)(:\d{1,5})?([/?#][\x21-\x7e\x80-\xff]*)?$/i;

/** Where a `location` leads; undefined: it is no absolute address. */
export const redirectTarget = (location: string): RedirectTarget | undefined => {
  const [, scheme = '', host = '', port = '', rest = '/'] = ABSOLUTE.exec(location) ?? [];
  if (scheme === '' || Number(port.slice(1)) > 65_535) return undefined;
  const fragment = rest.indexOf('#');
  const path = fragment < 0 ? rest : rest.slice(0, fragment);
  return path === '' ? undefined : { scheme, authority: `${host}${port}`, path };
};
