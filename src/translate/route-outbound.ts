// Route configurations of a sidecar's outbound HTTP ports: one virtual host per service or rule host, then what happens to the rest.

import { compareSpecificity, hostsMatch, isWildcard } from '../mesh/host.ts';
import { compareText } from '../mesh/order.ts';
import { isHttpOrSniffed } from '../mesh/protocol.ts';
import type { Service, ServicePort } from '../mesh/service.ts';
import { MESH_GATEWAY, type VirtualServiceRule } from '../mesh/virtual-services.ts';
import type { Route, RouteConfiguration, VirtualHost } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { PASSTHROUGH } from './names.ts';
import { serviceDomains } from './route-domains.ts';
import { httpRoutes, serviceRoute } from './route-http.ts';

/** Largest body a rule may answer with itself. */
const DIRECT_RESPONSE_MAX_BYTES = 1_048_576;

export const routeConfiguration = (name: string, virtualHosts: readonly VirtualHost[]): RouteConfiguration => ({
  name,
  virtual_hosts: virtualHosts,
  validate_clusters: false,
  max_direct_response_body_size_bytes: DIRECT_RESPONSE_MAX_BYTES,
  ignore_port_in_host_matching: true,
});

/** `name` is a port, or `host:port` for a detected protocol on an address of its own. */
export const outboundRoutes = (c: Context, name: string): RouteConfiguration => {
  const colon = name.lastIndexOf(':');
  const port = Number(colon === -1 ? name : name.slice(colon + 1));
  const hosts = virtualHosts(c, port);
  if (colon !== -1) {
    const own = hosts.filter((h) => h.name === name);
    return routeConfiguration(name, own.length === 1 ? own.map((h) => ({ ...h, domains: ['*'] })) : hosts);
  }
  return routeConfiguration(name, [...hosts, catchAll(c)]);
};

const catchAll = (c: Context): VirtualHost =>
  c.registryOnly
    ? {
        name: 'block_all',
        domains: ['*'],
        routes: [{ name: 'block_all', match: { prefix: '/' }, direct_response: { status: 502 } }],
        include_request_attempt_count: true,
      }
    : {
        name: 'allow_any',
        domains: ['*'],
        routes: [{ name: 'allow_any', match: { prefix: '/' }, route: { cluster: PASSTHROUGH, timeout: '0s', max_grpc_timeout: '0s' } }],
        include_request_attempt_count: true,
      };

interface Group {
  readonly services: readonly Service[];
  /** Hosts of a rule that no service on this port has. */
  readonly bareHosts: readonly string[];
  readonly routes: readonly Route[];
}

const virtualHosts = (c: Context, port: number): readonly VirtualHost[] => {
  const registry = servicesOn(c, port);
  const rules = c.snapshot.virtualServices.for(c.node.namespace, MESH_GATEWAY).filter((r) => r.http.length > 0);
  const owners = wildcardOwners(rules, registry);
  const groups: Group[] = [];
  const spoken = new Set<Service>();
  for (const rule of rules) {
    const { services, bareHosts } = hostsOf(rule, registry, owners);
    // Hosts outside the registry are served on port 80, or wherever the rule has a service.
    if (services.length === 0 && port !== 80) continue;
    const routes = httpRoutes(c, rule, { port, gateways: [MESH_GATEWAY], service: (h) => narrowed(registry.get(h), port), tls: false });
    if (routes === undefined) continue;
    for (const s of services) spoken.add(s);
    groups.push({ services, bareHosts, routes });
  }
  for (const service of registry.values()) {
    if (!spoken.has(service)) groups.push({ services: [service], bareHosts: [], routes: [serviceRoute(c, service, port)] });
  }
  return render(c, groups, port);
};

/** On a port only that port of a service is known. */
const narrowed = (service: Service | undefined, port: number): { readonly ports: readonly ServicePort[] } | undefined =>
  service === undefined ? undefined : { ports: service.ports.filter((p) => p.port === port) };

const servicesOn = (c: Context, port: number): ReadonlyMap<string, Service> => {
  const out = new Map<string, Service>();
  for (const s of c.services) {
    if (!s.ports.some((p) => p.port === port && isHttpOrSniffed(p.protocol))) continue;
    const known = out.get(s.host);
    const better = s.registry === 'Kubernetes' && known?.registry !== 'Kubernetes';
    if (
      known === undefined ||
      better ||
      (s.namespace === c.node.namespace && known.namespace !== c.node.namespace && known.registry === s.registry)
    )
      out.set(s.host, s);
  }
  return out;
};

/** For each service the rule whose host fits it best; among equal hosts the first. A wildcard rule speaks only for services it owns. */
const wildcardOwners = (
  rules: readonly VirtualServiceRule[],
  registry: ReadonlyMap<string, Service>,
): ReadonlyMap<string, VirtualServiceRule> => {
  const exact = new Map<string, VirtualServiceRule>();
  const wild: { readonly host: string; readonly rule: VirtualServiceRule }[] = [];
  for (const rule of rules) {
    for (const host of rule.hosts) {
      if (isWildcard(host)) wild.push({ host, rule });
      else if (!exact.has(host)) exact.set(host, rule);
    }
  }
  if (wild.length === 0) return new Map();
  wild.sort((a, b) => compareSpecificity(a.host, b.host));
  const owners = new Map<string, VirtualServiceRule>();
  for (const host of registry.keys()) {
    const owner = exact.get(host) ?? wild.find((w) => hostsMatch(w.host, host))?.rule;
    if (owner !== undefined) owners.set(host, owner);
  }
  return owners;
};

const hostsOf = (
  rule: VirtualServiceRule,
  registry: ReadonlyMap<string, Service>,
  owners: ReadonlyMap<string, VirtualServiceRule>,
): { readonly services: readonly Service[]; readonly bareHosts: readonly string[] } => {
  const services: Service[] = [];
  const bareHosts: string[] = [];
  for (const host of rule.hosts.filter((h) => !isWildcard(h))) {
    const service = registry.get(host);
    if (service === undefined) bareHosts.push(host);
    else services.push(service);
  }
  for (const host of rule.hosts.filter(isWildcard)) {
    let covers = false;
    for (const [name, service] of registry) {
      if (!hostsMatch(host, name)) continue;
      covers = true;
      if (owners.get(name) === rule && !services.includes(service)) services.push(service);
    }
    if (!covers) bareHosts.push(host);
  }
  return { services, bareHosts };
};

const render = (c: Context, groups: readonly Group[], port: number): readonly VirtualHost[] => {
  const names = new Set<string>();
  const taken = new Set<string>();
  const full = new Set(groups.flatMap((g) => g.services.map((s) => s.host)));
  const out: VirtualHost[] = [];
  const add = (host: string, domains: readonly string[], abbreviations: ReadonlySet<string>, routes: readonly Route[]): void => {
    const name = `${host}:${port}`;
    if (names.has(name)) return;
    names.add(name);
    const free = domains.filter((d) => {
      const key = d.toLowerCase();
      if (taken.has(key) || (abbreviations.has(d) && full.has(d))) return false;
      taken.add(key);
      return true;
    });
    if (free.length > 0) out.push({ name, domains: free, routes, include_request_attempt_count: true });
  };
  for (const g of groups) {
    for (const host of g.bareHosts) add(host, [host], new Set(), g.routes);
    for (const s of g.services) {
      const { domains, abbreviations } = serviceDomains(s, c.node);
      add(s.host, domains, abbreviations, g.routes);
    }
  }
  return out.sort((a, b) => compareText(a.name ?? '', b.name ?? ''));
};
