// HTTP rules of a VirtualService as Envoy routes, for one port of one proxy; and the plain route of a service without rules.

import type { Destination, HttpMatchRequest, HttpRedirect, HttpRoute, HttpRouteDestination } from '../api/specs.ts';
import { retriesIdempotentOnly } from '../mesh/idempotent-retries.ts';
import type { Service } from '../mesh/service.ts';
import type { VirtualServiceRule } from '../mesh/virtual-services.ts';
import type {
  DirectResponseAction,
  RedirectAction,
  Route,
  RouteAction,
  RouteAction_HashPolicy,
  RouteAction_RequestMirrorPolicy,
} from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { configPath, outboundCluster } from './names.ts';
import { proxyHeaders } from './proxy-headers.ts';
import { fraction, perRouteFilters } from './route-filters.ts';
import { concatChanges, planHeaders } from './route-headers.ts';
import { concernsProxy, isCatchAll, routeMatch } from './route-match.ts';
import { idempotentOnly, retryPolicy } from './route-retry.ts';
import { sessionOf } from './sessions.ts';
import { hashSettings } from './traffic-policy.ts';

export interface RouteScope {
  /** Port the requests arrive for: of the service for sidecars, of the server for gateways. */
  readonly port: number;
  /** `mesh` or the gateway's key. */
  readonly gateways: readonly string[];
  /** The single port of a service, which a destination without one means. */
  onlyPort(host: string): number | undefined;
  readonly tls: boolean;
}

/** For `RouteScope.onlyPort`. */
export const onlyPortOf = (service: Pick<Service, 'ports'> | undefined): number | undefined =>
  service?.ports.length === 1 ? service.ports[0]?.port : undefined;

/** Undefined when no rule concerns the proxy: the VirtualService then has no say here. */
export const httpRoutes = (c: Context, vs: VirtualServiceRule, scope: RouteScope): readonly Route[] | undefined => {
  const routes: Route[] = [];
  for (const written of vs.http) {
    const rule = withCanonicalHosts(c, written);
    const matches: readonly (HttpMatchRequest | undefined)[] =
      rule.match === undefined || rule.match.length === 0 ? [undefined] : rule.match;
    for (const match of matches) {
      if (match !== undefined && !concernsProxy(match, c.node, scope.gateways, scope.port)) continue;
      const own = httpRoute(c, vs, rule, match, scope);
      const route = c.node.idempotentRetries === true && retriesIdempotentOnly(vs.resource) ? idempotentOnly(own) : own;
      routes.push(route);
      if (isCatchAll(route)) return routes;
    }
  }
  return routes.length === 0 ? undefined : routes;
};

/** A destination that stands for another host is that host. */
const withCanonicalHosts = (c: Context, rule: HttpRoute): HttpRoute => {
  const of = (d: Destination): Destination => ({ ...d, host: c.scope.canonical(d.host) });
  const { route, mirror, mirrors } = rule;
  return {
    ...rule,
    ...(route === undefined ? {} : { route: route.map((r) => ({ ...r, destination: of(r.destination) })) }),
    ...(mirror === undefined ? {} : { mirror: of(mirror) }),
    ...(mirrors === undefined ? {} : { mirrors: mirrors.map((m) => ({ ...m, destination: of(m.destination) })) }),
  };
};

const httpRoute = (c: Context, vs: VirtualServiceRule, rule: HttpRoute, match: HttpMatchRequest | undefined, scope: RouteScope): Route => {
  // As Istio writes it: the dot stays where only the match has a name.
  const name = `${rule.name ?? ''}${(match?.name ?? '') === '' ? '' : `.${match?.name}`}`;
  const matched = routeMatch(match);
  const base: Route = {
    ...(name === '' ? {} : { name }),
    match: matched,
    metadata: { filter_metadata: { istio: { config: configPath('virtual-service', vs) } } },
    ...perRouteFilters(rule),
    ...((match?.statPrefix ?? '') === '' ? {} : { stat_prefix: match?.statPrefix }),
  };
  const own = planHeaders(rule.headers);
  if (rule.redirect !== undefined)
    return decorated({ ...base, ...own.changes, redirect: redirect(rule.redirect, scope) }, vs.name, scope.port);
  if (rule.directResponse !== undefined)
    return decorated({ ...base, ...own.changes, direct_response: directResponse(rule) }, vs.name, scope.port);
  const destinations = rule.route ?? [];
  const only = destinations.length === 1 ? destinations[0] : undefined;
  if (only !== undefined) {
    const theirs = planHeaders(only.headers);
    const hash = hashPolicies(c, [only]);
    const action: RouteAction = {
      cluster: clusterOf(only.destination, scope),
      ...actionFields(c, rule, scope, own.authority ?? theirs.authority, hash),
    };
    return decorated(
      { ...withSession(base, c, only.destination.host), ...concatChanges(own.changes, theirs.changes), route: action },
      vs.name,
      scope.port,
      only.destination.host,
      scope,
    );
  }
  const weighted = destinations.filter((d) => (d.weight ?? 0) > 0);
  const action: RouteAction = {
    weighted_clusters: { clusters: weighted.map((d) => weightedCluster(c, d, scope)) },
    ...actionFields(c, rule, scope, own.authority, hashPolicies(c, weighted), false),
  };
  return decorated({ ...base, ...own.changes, route: action }, vs.name, scope.port);
};

const weightedCluster = (
  c: Context,
  d: HttpRouteDestination,
  scope: RouteScope,
): NonNullable<NonNullable<RouteAction['weighted_clusters']>['clusters']>[number] => {
  const plan = planHeaders(d.headers);
  return {
    name: clusterOf(d.destination, scope),
    weight: d.weight ?? 0,
    ...plan.changes,
    ...(plan.authority === undefined ? {} : { host_rewrite_literal: plan.authority }),
    ...withSession({}, c, d.destination.host),
  };
};

const withSession = <T extends Pick<Route, 'typed_per_filter_config'>>(of: T, c: Context, host: string): T => {
  const session = sessionOf(c, host);
  return session === undefined ? of : { ...of, typed_per_filter_config: { ...of.typed_per_filter_config, ...session } };
};

const destinationPort = (d: Destination, scope: RouteScope): number => {
  if (d.port?.number !== undefined) return d.port.number;
  return scope.onlyPort(d.host) ?? scope.port;
};

const clusterOf = (d: Destination, scope: RouteScope): string => outboundCluster(destinationPort(d, scope), d.subset ?? '', d.host);

const actionFields = (
  c: Context,
  rule: HttpRoute,
  scope: RouteScope,
  headerAuthority: string | undefined,
  hash: readonly RouteAction_HashPolicy[],
  hashed = hash.length > 0,
): RouteAction => {
  const rewrittenHost = (rule.rewrite?.authority ?? '') !== '' ? rule.rewrite?.authority : headerAuthority;
  const timeout = rule.timeout ?? '0s';
  const retry = retryPolicy(rule.retries ?? c.mesh.defaultHttpRetryPolicy, hashed);
  const mirrors = mirrorPolicies(rule, scope);
  const regex = rule.rewrite?.uriRegexRewrite;
  const uri = rule.rewrite?.uri ?? '';
  return {
    ...(regex === undefined ? {} : { regex_rewrite: { pattern: { regex: regex.match ?? '' }, substitution: regex.rewrite ?? '' } }),
    ...(regex !== undefined || uri === '' ? {} : { prefix_rewrite: uri }),
    ...(rewrittenHost === undefined ? {} : { host_rewrite_literal: rewrittenHost }),
    ...(proxyHeaders(c).xForwardedHost?.enabled === true ? { append_x_forwarded_host: true } : {}),
    timeout,
    ...(retry === undefined ? {} : { retry_policy: retry }),
    max_grpc_timeout: timeout,
    ...(mirrors.length === 0 ? {} : { request_mirror_policies: mirrors }),
    ...(hash.length === 0 ? {} : { hash_policy: hash }),
  };
};

/** Nothing said is every request, a zero (which an empty percentage is too) is none. A rule has both spellings when a delegate brings one. */
const mirrorPolicies = (rule: HttpRoute, scope: RouteScope): readonly RouteAction_RequestMirrorPolicy[] => {
  const { mirror, mirrorPercentage, mirrorPercent, mirrors = [] } = rule;
  const wanted = [
    ...(mirror === undefined ? [] : [{ destination: mirror, percentage: mirrorPercentage, whole: mirrorPercent }]),
    ...mirrors.map((m) => ({ destination: m.destination, percentage: m.percentage, whole: undefined })),
  ];
  return wanted
    .filter((m) => (m.percentage === undefined ? m.whole !== 0 : (m.percentage.value ?? 0) > 0))
    .map((m) => ({
      cluster: clusterOf(m.destination, scope),
      runtime_fraction: { default_value: m.percentage === undefined ? { numerator: m.whole ?? 100 } : fraction(m.percentage.value) },
      trace_sampled: false,
      disable_shadow_host_suffix_append: true,
    }));
};

const REDIRECT_CODES: Readonly<Record<number, RedirectAction['response_code']>> = {
  302: 'FOUND',
  303: 'SEE_OTHER',
  307: 'TEMPORARY_REDIRECT',
  308: 'PERMANENT_REDIRECT',
};

const redirect = (r: HttpRedirect, scope: RouteScope): RedirectAction => {
  const code = REDIRECT_CODES[r.redirectCode ?? 301];
  const scheme = r.scheme ?? '';
  const port = redirectPort(r, scope, scheme === '' ? (scope.tls ? 'https' : 'http') : scheme);
  return {
    ...((r.authority ?? '') === '' ? {} : { host_redirect: r.authority }),
    ...((r.prefixRewrite ?? '') === '' ? { path_redirect: r.uri ?? '' } : { prefix_rewrite: r.prefixRewrite }),
    ...(scheme === '' ? {} : { scheme_redirect: scheme }),
    ...(port === undefined ? {} : { port_redirect: port }),
    ...(code === undefined ? {} : { response_code: code }),
  };
};

/** A scheme's own port is not written out. */
const redirectPort = (r: HttpRedirect, scope: RouteScope, scheme: string): number | undefined => {
  const port = r.port ?? (r.derivePort === 'FROM_REQUEST_PORT' ? scope.port : undefined);
  if (port === undefined || port === 0 || port === (scheme === 'https' ? 443 : 80)) return undefined;
  return port;
};

const directResponse = (rule: HttpRoute): DirectResponseAction => {
  const body = rule.directResponse?.body;
  const bytes: unknown = body?.bytes;
  return {
    status: rule.directResponse?.status ?? 200,
    ...(body?.string !== undefined ? { body: { inline_string: body.string } } : {}),
    ...(bytes instanceof Uint8Array
      ? { body: { inline_bytes: bytes } }
      : typeof bytes === 'string'
        ? { body: { inline_bytes: Uint8Array.from(atob(bytes), (ch) => ch.charCodeAt(0)) } }
        : {}),
  };
};

const hashPolicies = (c: Context, destinations: readonly HttpRouteDestination[]): readonly RouteAction_HashPolicy[] =>
  destinations.flatMap((d) => {
    const rule = c.destinationRule({ host: d.destination.host });
    return hashPolicy(hashSettings(rule, d.destination.subset ?? '', d.destination.port?.number));
  });

const hashPolicy = (hash: ReturnType<typeof hashSettings>): readonly RouteAction_HashPolicy[] => {
  if (hash === undefined) return [];
  if (hash.httpHeaderName !== undefined) return [{ header: { header_name: hash.httpHeaderName } }];
  const cookie = hash.httpCookie;
  if (cookie !== undefined) {
    const attributes = (cookie.attributes ?? []).map((a) => ({ name: a.name ?? '', ...(a.value === undefined ? {} : { value: a.value }) }));
    return [
      {
        cookie: {
          name: cookie.name,
          ...(cookie.ttl === undefined ? {} : { ttl: cookie.ttl }),
          ...((cookie.path ?? '') === '' ? {} : { path: cookie.path }),
          ...(attributes.length === 0 ? {} : { attributes }),
        },
      },
    ];
  }
  if (hash.useSourceIp === true) return [{ connection_properties: { source_ip: true } }];
  if (hash.httpQueryParameterName !== undefined) return [{ query_parameter: { name: hash.httpQueryParameterName } }];
  return [];
};

/** The span's name: `host:port/path`, or the rule's name where the host is not certain. */
const decorated = (route: Route, ruleName: string, port: number, host?: string, scope?: RouteScope): Route => {
  const m = route.match ?? {};
  const path = m.path ?? (m.safe_regex?.regex !== undefined ? m.safe_regex.regex : `${m.prefix ?? '/'}*`);
  const cluster = route.route?.cluster;
  const clusterPort = cluster === undefined || scope === undefined ? port : Number(cluster.split('|')[1]);
  return { ...route, decorator: { operation: `${host ?? ruleName}:${host === undefined ? port : clusterPort}${path}` } };
};

/** Of a service that no rule speaks for. */
export const serviceRoute = (c: Context, service: Pick<Service, 'host' | 'labels'>, port: number): Route => {
  const hash = hashPolicy(hashSettings(c.destinationRule(service), '', port));
  // Istio keeps the predicate here although the hash leads back to the same host.
  const retry = retryPolicy(c.mesh.defaultHttpRetryPolicy, false);
  const session = sessionOf(c, service.host);
  return {
    name: 'default',
    match: { prefix: '/' },
    route: {
      cluster: outboundCluster(port, '', service.host),
      timeout: '0s',
      ...(retry === undefined ? {} : { retry_policy: retry }),
      max_grpc_timeout: '0s',
      ...(hash.length === 0 ? {} : { hash_policy: hash }),
    },
    ...(session === undefined ? {} : { typed_per_filter_config: session }),
    decorator: { operation: `${service.host}:${port}/*` },
  };
};
