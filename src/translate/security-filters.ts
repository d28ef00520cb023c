// What the security policies of a proxy's workload put into its chains: filters before all others, or a chain that takes nothing where
// the proxy announced that it has not got a filter that must decide. Policies act on what comes in: never on a sidecar's outbound side.

import { type AuthorizationPolicy, isDryRun } from '../mesh/authorization.ts';
import type { RequestAuthenticationPolicy } from '../mesh/request-authentication.ts';
import type { Service } from '../mesh/service.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { HttpFilter, Listener_Filter, RouteConfiguration } from '../xds/gen/types.ts';
import { authorizationFilters, externalFilters } from './authorization-filters.ts';
import { externalAuthorizer } from './external-authorization.ts';
import type { Side } from './istio-filters.ts';
import { JWT_FILTER, JWT_TYPE, jwtFilters } from './jwt-filter.ts';
import { type ProxyNode, understands } from './proxy-node.ts';

export interface SecurityFilters {
  /** In order, to stand before the filters of routing. */
  http(side: Side): readonly HttpFilter[];
  network(side: Side): readonly Listener_Filter[];
  /** The chain must take nothing: a policy governs it that the proxy cannot enforce. */
  refusesHttp(side: Side): boolean;
  refusesTcp(side: Side): boolean;
}

/** A policy that a proxy cannot carry out; what it governs there is refused. */
export interface Unenforced {
  readonly policy: AuthorizationPolicy | RequestAuthenticationPolicy;
  readonly filter: string;
  /** False for policies that only report: nothing is refused for them. */
  readonly refuses: boolean;
}

const typeOf = (filter: HttpFilter | Listener_Filter): string => {
  const config = filter.typed_config;
  const type = config !== undefined && '@type' in config ? config['@type'] : '';
  return type.slice(type.lastIndexOf('/') + 1);
};

/** A node that announces no extension at all says nothing of what it has: it is sent what Envoy has, and refuses what it does not know. */
const has = (node: ProxyNode, type: string, name: string): boolean =>
  (node.extensionTypes.size === 0 && node.extensionNames.size === 0) || understands(node, type, name);

const known = (node: ProxyNode) => (filter: HttpFilter | Listener_Filter) => has(node, typeOf(filter), filter.name ?? '');

/** A filter that lets everything pass as it is: it only counts and logs. */
const onlyReports = (filter: HttpFilter | Listener_Filter): boolean => {
  const config = filter.typed_config;
  if (config === undefined || !('@type' in config) || !typeOf(filter).endsWith('.rbac.v3.RBAC')) return false;
  const rules = config['rules'];
  return rules === undefined || (typeof rules === 'object' && rules !== null && 'action' in rules && rules.action === 'LOG');
};

interface Part<F> {
  readonly filters: readonly F[];
  readonly refuses: boolean;
}

/** What reports for an external authorizer must be there for it: the parts of one question stand or fall together. */
const part = <F extends HttpFilter | Listener_Filter>(node: ProxyNode, groups: readonly (readonly F[])[]): Part<F> => {
  const missing = groups.filter((group) => !group.every(known(node)));
  return { filters: groups.filter((g) => !missing.includes(g)).flat(), refuses: missing.some((g) => !g.every(onlyReports)) };
};

const NOTHING: Part<never> = { filters: [], refuses: false };

export const securityFilters = (snapshot: Snapshot, node: ProxyNode, services: () => readonly Service[]): SecurityFilters => {
  const policies = snapshot.authorization.forWorkload(node);
  const rules = snapshot.requestAuthentication.rulesFor(node);
  const mesh = snapshot.meshConfig;
  const context = {
    trustDomains: [mesh.trustDomain, ...mesh.trustDomainAliases],
    authorizer: (provider: string) => externalAuthorizer(mesh, services(), provider),
  };
  const jwt = jwtFilters(rules, { keySets: snapshot.keySets, routesByClaim: node.kind === 'router' });
  const http = part<HttpFilter>(node, [
    externalFilters(policies, false, context),
    jwt,
    ...authorizationFilters(policies, false, context).map((f) => [f]),
  ]);
  const network = part<Listener_Filter>(node, [
    externalFilters(policies, true, context),
    ...authorizationFilters(policies, true, context).map((f) => [f]),
  ]);
  const on = <F>(side: Side, p: Part<F>): Part<F> => (side === 'outbound' ? NOTHING : p);
  return {
    http: (side) => on(side, http).filters,
    network: (side) => on(side, network).filters,
    refusesHttp: (side) => on(side, http).refuses,
    refusesTcp: (side) => on(side, network).refuses,
  };
};

const NEEDS = {
  rbac: [
    ['envoy.extensions.filters.http.rbac.v3.RBAC', 'envoy.filters.http.rbac'],
    ['envoy.extensions.filters.network.rbac.v3.RBAC', 'envoy.filters.network.rbac'],
  ],
  ext_authz: [['envoy.extensions.filters.http.ext_authz.v3.ExtAuthz', 'envoy.filters.http.ext_authz']],
  jwt_authn: [[JWT_TYPE, JWT_FILTER]],
} as const;

/** The policies of a proxy's workload that it announced it cannot carry out, each once. */
export const unenforced = (snapshot: Snapshot, node: ProxyNode): readonly Unenforced[] => {
  const lacks = (filter: keyof typeof NEEDS): boolean => NEEDS[filter].some(([type, name]) => !has(node, type, name));
  if (!lacks('rbac') && !lacks('ext_authz') && !lacks('jwt_authn')) return [];
  const { custom, audit, deny, allow } = snapshot.authorization.forWorkload(node);
  const decides = (policy: AuthorizationPolicy): boolean => policy.spec.action === 'CUSTOM' || !isDryRun(policy);
  return [
    ...(lacks('rbac')
      ? [
          ...[...custom, ...deny, ...allow].map((policy) => ({ policy, filter: 'rbac', refuses: decides(policy) })),
          ...audit.map((policy) => ({ policy, filter: 'rbac', refuses: false })),
        ]
      : lacks('ext_authz')
        ? custom.map((policy) => ({ policy, filter: 'ext_authz', refuses: true }))
        : []),
    ...(lacks('jwt_authn')
      ? snapshot.requestAuthentication
          .policiesFor(node)
          .filter((p) => (p.spec.jwtRules ?? []).length > 0)
          .map((policy) => ({ policy, filter: 'jwt_authn', refuses: true }))
      : []),
  ];
};

/** Routes of a chain that takes nothing: Istio's words for a request that no policy allows. */
export const REFUSE_ALL: RouteConfiguration = {
  name: 'refuse-all',
  virtual_hosts: [
    {
      name: 'refuse-all',
      domains: ['*'],
      routes: [
        {
          name: 'not-enforced',
          match: { prefix: '/' },
          direct_response: { status: 403, body: { inline_string: 'RBAC: access denied' } },
        },
      ],
    },
  ],
  validate_clusters: false,
};
