// What a set of resources says that cannot take effect: unknown hosts, subsets, gateways and delegates, rules that an older one hides.
// Warnings only: the mesh serves with them, as Istio does.

import type { Problem } from '../api/problem.ts';
import type { Resource } from '../api/resource.ts';
import type { Destination } from '../api/specs.ts';
import { credentialProblems } from './credential-findings.ts';
import { envoyFilterProblems } from './envoy-filter-findings.ts';
import { shadowedCatchAlls } from './gateway-route-findings.ts';
import { gatewayKey, serverConflicts } from './gateways.ts';
import { isWildcard } from './host.ts';
import { idempotentRetriesMessage, RETRIES_ANNOTATION } from './idempotent-retries.ts';
import { compareText } from './order.ts';
import { policyProblems } from './policy-findings.ts';
import { isHttp, isHttp2 } from './protocol.ts';
import { type Endpoint, endpointsOf, type Service, selects } from './service.ts';
import { canJoin } from './service-merge.ts';
import { sessionProblems } from './sessions.ts';
import type { Snapshot } from './snapshot.ts';
import { telemetryProblems } from './telemetry-findings.ts';
import { MESH_GATEWAY, type MissingDelegate, type UnusedDelegateRule, type VirtualServiceRule } from './virtual-services.ts';
import { isPublic } from './visibility.ts';

/** Codes this room gives, with what they mean. */
export const meshProblemCodes = {
  DESTINATION_UNKNOWN: 'a route goes to a host that no service has; requests get 503',
  SUBSET_UNKNOWN: 'a route goes to a subset that no destination rule defines; requests get 503',
  PORT_UNKNOWN: 'a route goes to a port the service does not have; requests get 503',
  GATEWAY_UNKNOWN: 'a rule is bound to a gateway that does not exist',
  DELEGATE_UNKNOWN: 'a rule delegates to a VirtualService that does not exist or is not exported to it; the rule is dropped',
  DELEGATE_RULE_UNUSED: 'a rule of a delegate does not lie within the match of any rule that delegates to it; it is left out',
  ROUTE_SHADOWED:
    'an older VirtualService owns the same host in the mesh, or takes the rest of it at a gateway; this one has no effect there',
  SUBSET_SHADOWED: 'an older DestinationRule defines the same subset; this one has no effect',
  POLICY_SHADOWED: 'an older DestinationRule of the same host has a traffic policy; this one has no effect',
  SIDECAR_SHADOWED: 'an older Sidecar is for the same workloads; this one has no effect',
  SERVICE_SHADOWED: 'an older entry owns the same host; this one has no effect where both are seen',
  SERVER_CONFLICT: 'an older Gateway holds the same port for the same proxies; this server has no effect',
  RETRIES_DIFFER: "the retries of these routes differ from Istio's, as their annotation asks",
  PORT_RESERVED: 'sidecars hold this port themselves; calls to it pass them as bytes, without routes and retries',
  HTTP2_NOT_YET: 'a port speaks HTTP/2 and a connected proxy does not read it: its streams pass as bytes, without routes and retries',
} as const;

/** What became known of delegates while rules were merged. */
export interface DelegateFindings {
  readonly missing: readonly MissingDelegate[];
  readonly unused: readonly UnusedDelegateRule[];
}

export const findProblems = (snapshot: Snapshot, { missing, unused }: DelegateFindings): readonly Problem[] => {
  const problems: Problem[] = [];
  const gateways = new Set(snapshot.gateways.map(gatewayKey));
  const subsets = subsetNames(snapshot);
  for (const m of missing)
    problems.push(
      problem('DELEGATE_UNKNOWN', m.root, m.path, `no VirtualService ${m.delegate} to delegate to is visible from ${m.root.namespace}`),
    );
  for (const { delegate, path, roots } of unused) {
    const message = `this rule has no effect: its match does not lie within that of the rule in ${roots.join(', ')} which delegates to it`;
    problems.push(problem('DELEGATE_RULE_UNUSED', delegate, path, message));
  }
  for (const rule of snapshot.virtualServices.all) {
    const retries = idempotentRetriesMessage(rule.resource);
    if (retries !== undefined)
      problems.push(problem('RETRIES_DIFFER', rule.resource, `metadata.annotations["${RETRIES_ANNOTATION}"]`, retries));
    for (const [i, g] of rule.gateways.entries()) {
      if (g !== MESH_GATEWAY && !gateways.has(g))
        problems.push(problem('GATEWAY_UNKNOWN', rule.resource, `spec.gateways[${i}]`, `no Gateway ${g}`));
    }
    checkDestinations(snapshot, subsets, rule, problems);
  }
  findShadowed(snapshot, problems);
  for (const s of shadowedCatchAlls(snapshot)) problems.push(problem('ROUTE_SHADOWED', s.rule.resource, s.path, s.message));
  for (const s of snapshot.destinationRules.shadowed) {
    const [code, what] =
      s.part === 'subset'
        ? (['SUBSET_SHADOWED', 'defines this subset'] as const)
        : (['POLICY_SHADOWED', 'has a traffic policy for this host'] as const);
    problems.push(problem(code, s.resource, s.path, `DestinationRule ${s.winner} already ${what}`));
  }
  for (const { resource, winner } of snapshot.scopes.shadowed)
    problems.push(
      problem('SIDECAR_SHADOWED', resource, 'spec', `Sidecar ${winner.namespace}/${winner.name} is for the same workloads and is older`),
    );
  findShadowedServices(snapshot, problems);
  findReservedPorts(snapshot, problems);
  for (const c of serverConflicts(snapshot.gateways)) problems.push(problem('SERVER_CONFLICT', c.gateway.resource, c.path, c.message));
  problems.push(...credentialProblems(snapshot), ...sessionProblems(snapshot.services.all));
  problems.push(...policyProblems(snapshot), ...telemetryProblems(snapshot), ...envoyFilterProblems(snapshot.envoyFilters.all));
  return problems.sort(
    (a, b) =>
      compareText(a.file, b.file) || a.line - b.line || a.column - b.column || compareText(a.path, b.path) || compareText(a.code, b.code),
  );
};

/** HTTP is served on all addresses of a sidecar, and two ports there are its own. */
const findReservedPorts = ({ services, meshConfig }: Snapshot, problems: Problem[]): void => {
  const own = [meshConfig.proxyListenPort, meshConfig.proxyInboundListenPort];
  for (const { ports, origin } of services.all)
    for (const [i, p] of ports.entries()) {
      if (!own.includes(p.port) || !isHttp(p.protocol)) continue;
      const path = `spec.ports[${i}]`;
      const message = `port ${p.port} is a sidecar's own: calls pass as bytes, without routes and retries`;
      problems.push({ code: 'PORT_RESERVED', severity: 'warning', file: origin.file, ...origin.at(path), path, message });
    }
};

/** Ports whose HTTP/2 a proxy without HTTP/2 does not read. Ports of gateways are served by proxies, which speak HTTP/1.1 too. */
export const http2Problems = (snapshot: Snapshot): readonly Problem[] =>
  snapshot.services.all.flatMap((service) =>
    service.ports.flatMap((port, i) => {
      if (!isHttp2(port.protocol) || isGatewayPort(snapshot, endpointsOf(service, port.port))) return [];
      const path = `spec.ports[${i}]`;
      const what = `port ${port.name === '' ? '' : `${port.name} `}(${port.port}) of ${service.namespace}/${service.name} is ${port.protocol}`;
      const message = `${what}: connected Skein proxies read HTTP/1.1 only, so HTTP/2 passes sidecars as bytes (no routes, retries or request metrics) and gateways send HTTP/1.1`;
      return [
        { code: 'HTTP2_NOT_YET', severity: 'warning', file: service.origin.file, ...service.origin.at(path), path, message } as const,
      ];
    }),
  );

const isGatewayPort = (snapshot: Snapshot, endpoints: readonly Endpoint[]): boolean =>
  endpoints.length > 0 &&
  endpoints.every((e) => snapshot.gateways.some((g) => Object.keys(g.selector).length > 0 && selects(g.selector, e.labels)));

const problem = (code: keyof typeof meshProblemCodes, resource: Resource, path: string, message: string): Problem => {
  const { line, column } = resource.origin.at(path);
  return { code, severity: 'warning', file: resource.origin.file, line, column, path, message };
};

/** Names of the subsets that some rule defines, by host; those of wildcard hosts by what names end with. */
interface SubsetNames {
  readonly exact: ReadonlyMap<string, ReadonlySet<string>>;
  readonly endings: ReadonlyMap<string, ReadonlySet<string>>;
}

const subsetNames = (snapshot: Snapshot): SubsetNames => {
  const exact = new Map<string, Set<string>>();
  const endings = new Map<string, Set<string>>();
  const add = (to: Map<string, Set<string>>, key: string, name: string): void => {
    to.set(key, (to.get(key) ?? new Set()).add(name));
  };
  for (const { host, spec } of snapshot.destinationRules.all) {
    for (const { name } of spec.subsets ?? []) {
      add(exact, host, name);
      if (isWildcard(host)) add(endings, host.slice(1), name);
    }
  }
  return { exact, endings };
};

const definesSubset = ({ exact, endings }: SubsetNames, host: string, subset: string): boolean =>
  exact.get(host)?.has(subset) === true || [...endings].some(([ending, names]) => host.endsWith(ending) && names.has(subset));

const checkDestinations = (snapshot: Snapshot, subsets: SubsetNames, rule: VirtualServiceRule, problems: Problem[]): void => {
  // Rules that came in through a delegate are the delegate's own and have no path in this document.
  const delegating =
    rule.http.length !== (rule.resource.spec.http ?? []).length || (rule.resource.spec.http ?? []).some((h) => h.delegate !== undefined);
  const check = (d: Destination, path: string): void => checkDestination(snapshot, subsets, rule, d, path, problems);
  if (!delegating) {
    for (const [i, h] of rule.http.entries()) {
      for (const [j, d] of (h.route ?? []).entries()) check(d.destination, `spec.http[${i}].route[${j}].destination`);
      if (h.mirror !== undefined) check(h.mirror, `spec.http[${i}].mirror`);
      for (const [j, m] of (h.mirrors ?? []).entries()) check(m.destination, `spec.http[${i}].mirrors[${j}].destination`);
    }
  }
  for (const [i, t] of rule.tcp.entries())
    for (const [j, d] of (t.route ?? []).entries()) check(d.destination, `spec.tcp[${i}].route[${j}].destination`);
  for (const [i, t] of rule.tls.entries())
    for (const [j, d] of (t.route ?? []).entries()) check(d.destination, `spec.tls[${i}].route[${j}].destination`);
};

const checkDestination = (
  snapshot: Snapshot,
  subsets: SubsetNames,
  rule: VirtualServiceRule,
  d: Destination,
  path: string,
  problems: Problem[],
): void => {
  const service = snapshot.services.find(d.host, rule.namespace);
  if (service === undefined) {
    if (!isWildcard(d.host))
      problems.push(
        problem('DESTINATION_UNKNOWN', rule.resource, `${path}.host`, `no service ${d.host} is visible from namespace ${rule.namespace}`),
      );
    return;
  }
  const port = d.port?.number;
  if (port !== undefined && !service.ports.some((p) => p.port === port)) {
    problems.push(problem('PORT_UNKNOWN', rule.resource, `${path}.port.number`, `service ${d.host} has no port ${port}`));
  }
  if (d.subset === undefined || d.subset === '') return;
  if (!definesSubset(subsets, d.host, d.subset))
    problems.push(problem('SUBSET_UNKNOWN', rule.resource, `${path}.subset`, `no DestinationRule defines subset ${d.subset} of ${d.host}`));
};

/** In sidecars the oldest rule for a host wins alone; at gateways rules for one host are joined. */
const findShadowed = (snapshot: Snapshot, problems: Problem[]): void => {
  const owner = new Map<string, VirtualServiceRule>();
  for (const rule of snapshot.virtualServices.all) {
    if (!rule.gateways.includes(MESH_GATEWAY) || !rule.exportTo.includes('*')) continue;
    for (const [i, host] of rule.hosts.entries()) {
      const first = owner.get(host);
      if (first === undefined) owner.set(host, rule);
      else if (first !== rule) {
        problems.push(
          problem(
            'ROUTE_SHADOWED',
            rule.resource,
            `spec.hosts[${i}]`,
            `VirtualService ${first.namespace}/${first.name} is older and owns ${host} in the mesh`,
          ),
        );
      }
    }
  }
};

/** Entries of one host in one namespace are joined where they agree; of others only the oldest is known to proxies that see both. */
const findShadowedServices = (snapshot: Snapshot, problems: Problem[]): void => {
  const owners = new Map<string, Service>();
  for (const service of snapshot.services.all) {
    const owner = owners.get(service.host);
    if (owner === undefined) owners.set(service.host, service);
    else if (service.registry === 'External' && owner.origin !== service.origin && isPublic(service.exportTo) && !canJoin(owner, service)) {
      const { line, column } = service.origin.at('spec.hosts');
      const message = `${owner.registry === 'Kubernetes' ? 'Service' : 'an older ServiceEntry'} in namespace ${owner.namespace} owns ${service.host}`;
      problems.push({
        code: 'SERVICE_SHADOWED',
        severity: 'warning',
        file: service.origin.file,
        line,
        column,
        path: 'spec.hosts',
        message,
      });
    }
  }
};
