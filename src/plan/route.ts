// A route configuration compiled, and the decision for one request: virtual host, first matching route, weight.
// Every outcome is made at configuration time; matching looks up and returns it. The caller gives randomness.
import type {
  AnyMessage,
  JsonObject,
  Metadata,
  Route,
  RouteConfiguration,
  VirtualCluster,
  VirtualHost,
  WeightedCluster,
} from '../xds/gen/types.ts';
import { compileHeaderMatcher } from './header-matcher.ts';
import { compileHeaderOps, type HeaderOps } from './header-ops.ts';
import { PlanError } from './plan-error.ts';
import { withoutQuery } from './query.ts';
import { compileRateLimits } from './rate-limit/policy.ts';
import type { RequestView } from './request-view.ts';
import { type ActionContext, compileAction, HTTPS_REDIRECT } from './route-action.ts';
import { compileCriteria } from './route-criteria.ts';
import { buildRouteIndex, type Candidate, firstMatch, type RouteIndex } from './route-index.ts';
import type { CompiledRoute, NoMatch, RouteMatch, Runtime, VirtualHostPlan } from './route-plan.ts';
import { compileHostTable, type HostTable, lookUpHost } from './virtual-host-lookup.ts';

export type {
  CompiledRoute,
  DirectResponsePlan,
  HashPolicyPlan,
  HostRewrite,
  MirrorPlan,
  NoMatch,
  RedirectPlan,
  RouteMatch,
  Runtime,
  VirtualHostPlan,
} from './route-plan.ts';

export interface RoutePlan {
  readonly name: string;
  readonly hosts: HostTable<HostRoutes>;
  readonly ignorePathParameters: boolean;
  /** Cluster names the configuration can lead to, for admin and validation. */
  readonly clusterNames: ReadonlySet<string>;
}
export interface HostRoutes {
  readonly plan: VirtualHostPlan;
  readonly index: RouteIndex;
  readonly httpsRedirect: RouteMatch;
}

const NO_VHOST: NoMatch = { kind: 'no-vhost' };
const NO_ROUTE: NoMatch = { kind: 'no-route' };

/** One draw of `random` decides fractions, another weights; a request draws only when it must. */
export const matchRoute = (plan: RoutePlan, req: RequestView, random: () => number, runtime?: Runtime): RouteMatch | NoMatch => {
  const host = lookUpHost(plan.hosts, req.authority);
  if (host === undefined) return NO_VHOST;
  const require = host.plan.requireTls;
  if (require !== 'none' && req.scheme !== 'https' && (require === 'all' || req.internal !== true)) return host.httpsRedirect;
  let path = withoutQuery(req.path);
  if (plan.ignorePathParameters) {
    const semicolon = path.indexOf(';');
    if (semicolon >= 0) path = path.slice(0, semicolon);
  }
  const found = firstMatch(host.index, path, req, random, runtime);
  return found === undefined ? NO_ROUTE : found.choose(req, random);
};

/** Compiled virtual hosts of one configuration, to be used again while that stays the same. */
export type KeptHosts = WeakMap<VirtualHost, HostRoutes>;

/** Throws PlanError for what must be refused. `discovered`: virtual hosts that came one by one; their names need not be unlike. */
export const compileRoutes = (rc: RouteConfiguration, discovered: Iterable<VirtualHost> = [], kept?: KeptHosts): RoutePlan => {
  if ((rc.cluster_specifier_plugins ?? []).length > 0) throw new PlanError('cluster_specifier_plugins', 'is not supported');
  const names = new Set<string>();
  const clusterNames = new Set<string>();
  const root: Level = { ...opsOf(rc, ''), filters: rc.typed_per_filter_config };
  const hosts = (rc.virtual_hosts ?? []).map((host, i) => {
    const path = `virtual_hosts[${i}]`;
    const name = host.name ?? '';
    if (name === '') throw new PlanError(`${path}.name`, 'is required');
    if (names.has(name)) throw new PlanError(`${path}.name`, `"${name}" is the name of more than one virtual host`);
    names.add(name);
    return { domains: host.domains ?? [], value: compileHost(host, rc, root, clusterNames, path), path };
  });
  for (const host of discovered) {
    const value = kept?.get(host) ?? compileHost(host, rc, root, clusterNames, '');
    kept?.set(host, value);
    hosts.push({ domains: host.domains ?? [], value, path: '' });
  }
  return {
    name: rc.name ?? '',
    hosts: compileHostTable(hosts, rc.ignore_port_in_host_matching === true),
    ignorePathParameters: rc.ignore_path_parameters_in_path_matching === true,
    clusterNames,
  };
};

/** What one level (configuration, virtual host, route, weight) adds. */
interface Level {
  readonly request: HeaderOps | undefined;
  readonly response: HeaderOps | undefined;
  readonly filters: { readonly [key: string]: AnyMessage } | undefined;
}
type OpsFields = Pick<
  Route,
  'request_headers_to_add' | 'request_headers_to_remove' | 'response_headers_to_add' | 'response_headers_to_remove'
>;
const opsOf = (level: OpsFields, path: string): Pick<Level, 'request' | 'response'> => ({
  request: compileHeaderOps({ add: level.request_headers_to_add, remove: level.request_headers_to_remove }, path, 'request'),
  response: compileHeaderOps({ add: level.response_headers_to_add, remove: level.response_headers_to_remove }, path, 'response'),
});

const compileHost = (host: VirtualHost, rc: RouteConfiguration, root: Level, clusterNames: Set<string>, path: string): HostRoutes => {
  if (host.cors !== undefined) throw new PlanError(`${path}.cors`, 'is not supported: typed_per_filter_config says the same');
  if (host.matcher !== undefined) throw new PlanError(`${path}.matcher`, 'generic matchers are not supported');
  if (host.retry_policy_typed_config !== undefined) throw new PlanError(`${path}.retry_policy_typed_config`, 'is not supported');
  const plan: VirtualHostPlan = {
    name: host.name ?? '',
    requireTls: host.require_tls === 'ALL' ? 'all' : host.require_tls === 'EXTERNAL_ONLY' ? 'external-only' : 'none',
    includeRequestAttemptCount: host.include_request_attempt_count === true,
    includeAttemptCountInResponse: host.include_attempt_count_in_response === true,
    includeTimeoutRetryHeader: host.include_is_timeout_retry_header === true,
    rateLimits: compileRateLimits(host.rate_limits, `${path}.rate_limits`),
    metadata: host.metadata,
    virtualClusterOf: compileVirtualClusters(host, path),
  };
  const level: Level = { ...opsOf(host, path), filters: host.typed_per_filter_config };
  const ownMirrors = host.request_mirror_policies ?? [];
  const context: ActionContext = {
    virtualHost: host,
    directBodyBytesMax: rc.max_direct_response_body_size_bytes,
    inheritedMirrors: ownMirrors.length > 0 ? ownMirrors : (rc.request_mirror_policies ?? []),
  };
  const compiler: RouteCompiler = {
    plan,
    context,
    above: [level, root],
    mostSpecificWins: rc.most_specific_header_mutations_wins === true,
    clusterNames,
  };
  const candidates = (host.routes ?? []).map((route, i) => compileRoute(route, compiler, `${path}.routes[${i}]`));
  return { plan, index: buildRouteIndex(candidates), httpsRedirect: outcome(compiler, HTTPS_REDIRECT, [], { clusterName: '' }) };
};

const compileVirtualClusters = (host: VirtualHost, path: string): VirtualHostPlan['virtualClusterOf'] => {
  const clusters = (host.virtual_clusters ?? []).map((cluster, i) => ({
    name: cluster.name ?? '',
    matchers: virtualClusterMatchers(cluster, `${path}.virtual_clusters[${i}]`),
  }));
  if (clusters.length === 0) return undefined;
  return (req) => clusters.find((c) => c.matchers.every((match) => match(req)))?.name ?? '';
};

// As Envoy: one that names no headers would take every request.
const virtualClusterMatchers = ({ headers = [] }: VirtualCluster, path: string) => {
  if (headers.length === 0) throw new PlanError(`${path}.headers`, 'virtual clusters must define headers');
  return headers.map((matcher, i) => compileHeaderMatcher(matcher, `${path}.headers[${i}]`));
};

interface RouteCompiler {
  readonly plan: VirtualHostPlan;
  readonly context: ActionContext;
  /** Virtual host, then route configuration. */
  readonly above: readonly Level[];
  readonly mostSpecificWins: boolean;
  readonly clusterNames: Set<string>;
}

const compileRoute = (route: Route, compiler: RouteCompiler, path: string): Candidate => {
  const criteria = compileCriteria(route.match, `${path}.match`);
  const compiled = compileAction(route, criteria.path, compiler.context, path);
  const own: Level = { ...opsOf(route, path), filters: route.typed_per_filter_config };
  const action = route.route;
  const lb = lbMetadata(action?.metadata_match);
  if (action?.weighted_clusters !== undefined)
    return {
      criteria,
      choose: compileWeights(action.weighted_clusters, compiler, compiled, own, lb, `${path}.route.weighted_clusters`),
    };
  const clusterName = action?.cluster ?? '';
  if (clusterName !== '') compiler.clusterNames.add(clusterName);
  const match = outcome(compiler, compiled, [own], { clusterName, metadataMatch: lb });
  const header = (action?.cluster_header ?? '').toLowerCase();
  if (header === '') return { criteria, choose: () => match };
  return { criteria, choose: (req) => ({ ...match, clusterName: pseudoOr(req, header) }) };
};

const pseudoOr = (req: RequestView, header: string): string =>
  header === ':authority' || header === 'host'
    ? req.authority
    : header === ':path'
      ? req.path
      : header === ':method'
        ? req.method
        : (req.headers.get(header) ?? '');

const lbMetadata = (metadata: Metadata | undefined): JsonObject | undefined => metadata?.filter_metadata?.['envoy.lb'];

const outcome = (
  compiler: RouteCompiler,
  route: RouteMatch['route'],
  levels: readonly Level[],
  facts: { clusterName: string; hostRewriteLiteral?: string | undefined; metadataMatch?: JsonObject | undefined },
): RouteMatch => {
  const all = [...levels, ...compiler.above];
  const ordered = compiler.mostSpecificWins ? [...all].reverse() : all;
  const filters = new Map<string, AnyMessage>();
  for (const level of [...all].reverse()) for (const [name, config] of Object.entries(level.filters ?? {})) filters.set(name, config);
  return {
    kind: 'route',
    virtualHost: compiler.plan,
    route,
    clusterName: facts.clusterName,
    requestHeaderOps: ordered.map((l) => l.request).filter((o) => o !== undefined),
    responseHeaderOps: ordered.map((l) => l.response).filter((o) => o !== undefined),
    hostRewriteLiteral: facts.hostRewriteLiteral,
    metadataMatch: facts.metadataMatch,
    typedPerFilterConfig: filters,
  };
};

/** Where a number that the request brings stands among the weights; undefined: it brings none. */
const headerPoint = (name: string, req: RequestView, total: number): number | undefined => {
  const given = name === '' ? undefined : req.headers.get(name);
  if (given === undefined || !/^\d{1,20}$/.test(given)) return undefined;
  if (given.length <= 15) return Number(given) % total;
  const value = BigInt(given);
  return value > 0xffffffffffffffffn ? undefined : Number(value % BigInt(total));
};
const hashPoint = (route: CompiledRoute, req: RequestView, total: number): number | undefined => {
  const value = req.hash?.(route.hashPolicy);
  return value === undefined ? undefined : Number(value % BigInt(total));
};

const compileWeights = (
  config: WeightedCluster,
  compiler: RouteCompiler,
  route: RouteMatch['route'],
  own: Level,
  lb: JsonObject | undefined,
  path: string,
): Candidate['choose'] => {
  const clusters = config.clusters ?? [];
  if (clusters.length === 0) throw new PlanError(`${path}.clusters`, 'must not be empty');
  let total = 0;
  const weights = clusters.map((cluster, i) => {
    const where = `${path}.clusters[${i}]`;
    const clusterHeader = (cluster.cluster_header ?? '').toLowerCase();
    const clusterName = cluster.name ?? '';
    if ((clusterName === '') === (clusterHeader === '')) throw new PlanError(where, 'exactly one of name, cluster_header is required');
    if (clusterName !== '') compiler.clusterNames.add(clusterName);
    total += cluster.weight ?? 0;
    const level: Level = { ...opsOf(cluster, where), filters: cluster.typed_per_filter_config };
    const weightLb = lbMetadata(cluster.metadata_match);
    const match = outcome(compiler, route, [level, own], {
      clusterName,
      hostRewriteLiteral: cluster.host_rewrite_literal || undefined,
      metadataMatch: weightLb === undefined ? lb : { ...lb, ...weightLb },
    });
    return { upTo: total, match, clusterHeader };
  });
  if (total === 0) throw new PlanError(path, 'the sum of the weights must be greater than 0');
  if (total > 0xffffffff) throw new PlanError(path, 'the sum of the weights is too large');
  const drawHeader = (config.header_name ?? '').toLowerCase();
  const byHash = config.use_hash_policy === true;
  return (req, random) => {
    const point = (byHash ? hashPoint(route, req, total) : headerPoint(drawHeader, req, total)) ?? random() * total;
    // The last one stands for rounding at the end of the range; its weight cannot be 0 alone, or the sum would be 0.
    let chosen = weights[weights.length - 1];
    for (const weight of weights) {
      if (point < weight.upTo) {
        chosen = weight;
        break;
      }
    }
    if (chosen === undefined) throw new PlanError(path, 'no weight');
    return chosen.clusterHeader === '' ? chosen.match : { ...chosen.match, clusterName: pseudoOr(req, chosen.clusterHeader) };
  };
};
