// Route configurations of a sidecar's outbound HTTP ports: one virtual host per service or rule host, then what happens to the rest.

import { compareSpecificity, hostSubsetOf, hostsMatch, isWildcard } from '../mesh/host.ts';
import { compareText } from '../mesh/order.ts';
import { isHttpOrSniffed, protocolOfName } from '../mesh/protocol.ts';
import type { ServicePort, ServiceShape } from '../mesh/service.ts';
import { trimmedTo } from '../mesh/service-merge.ts';
import type { RoutingListener } from '../mesh/sidecar-scope.ts';
import { MESH_GATEWAY, type VirtualServiceRule } from '../mesh/virtual-services.ts';
import type { Route, RouteConfiguration, VirtualHost } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import type { Given } from './part.ts';
import { attemptCount } from './proxy-headers.ts';
import { domainsFor } from './route-domains.ts';
import { httpRoutes, onlyPortOf, serviceRoute } from './route-http.ts';
import { unknownHost } from './unknown-destination.ts';

/** Largest body a rule may answer with itself. */
const DIRECT_RESPONSE_MAX_BYTES = 1_048_576;

const UNIX = 'unix://';

/** Where rules for hosts outside the registry are served, and what a name without a port means to a proxy for all ports. */
const UNREGISTERED_PORT = 80;

/** In place of a port: all of them. */
const ANY_PORT = 0;

export const routeConfiguration = (name: string, virtualHosts: readonly VirtualHost[]): RouteConfiguration => ({
  name,
  virtual_hosts: virtualHosts,
  validate_clusters: false,
  max_direct_response_body_size_bytes: DIRECT_RESPONSE_MAX_BYTES,
  ignore_port_in_host_matching: true,
});

/** `name` is a port, `host:port` for a detected protocol on an address of its own, or the path of a Unix socket. */
export const outboundRoutes = (c: Context, name: string): RouteConfiguration => {
  const socket = name.startsWith(UNIX);
  const colon = socket ? -1 : name.lastIndexOf(':');
  const port = socket ? 0 : Number(colon === -1 ? name : name.slice(colon + 1));
  const egress = listenerOf(c, port, name);
  const hosts = egress === undefined ? [] : virtualHosts(c, egress, servesAllPorts(egress) ? ANY_PORT : port);
  if (colon !== -1) {
    const own = hosts.filter((h) => h.name === name);
    return routeConfiguration(
      name,
      own.map((h) => ({ ...h, domains: ['*'] })),
    );
  }
  return routeConfiguration(name, [...hosts, unknownHost(c)]);
};

/** The listener of the port, or of the socket; else the one for all ports, which is the last. */
const listenerOf = (c: Context, port: number, name: string): RoutingListener | undefined =>
  c.scope.routing.find(({ spec }) => {
    if (spec?.port === undefined) return true;
    return (spec.port.number ?? 0) === port && (port !== 0 || spec.bind === name);
  });

/** A listener that its clients use as a proxy, and a Unix socket, serve whatever port the name says. */
const servesAllPorts = ({ spec }: RoutingListener): boolean =>
  spec?.port !== undefined && ((spec.port.number ?? 0) === 0 || protocolOfName(spec.port.protocol ?? '') === 'HTTP_PROXY');

interface Group {
  /** Of the services; of the listener where there are none. */
  readonly port: number;
  readonly services: readonly ServiceShape[];
  /** Hosts of a rule that no service on this port has. */
  readonly bareHosts: readonly string[];
  readonly routes: readonly Route[];
}

const virtualHosts = (c: Context, egress: RoutingListener, port: number): readonly VirtualHost[] => {
  const registry = servicesOn(c, egress.services, port);
  const rules = egress.virtualServices.filter((r) => r.http.length > 0);
  const owners = wildcardOwners(rules, registry);
  const groups: Group[] = [];
  const spoken = new Set<ServiceShape>();
  for (const rule of rules) {
    const { services, bareHosts } = hostsOf(rule, registry, owners);
    const ports = new Map<number, ServiceShape[]>();
    for (const s of services) for (const p of httpPorts(s)) ports.set(p.port, [...(ports.get(p.port) ?? []), s]);
    // Hosts outside the registry are served on port 80, or wherever the rule has a service.
    if (ports.size === 0 && port === UNREGISTERED_PORT) ports.set(port, []);
    if (ports.size === 0) continue;
    const onlyPort = (host: string): number | undefined => onlyPortOf(registry.get(host));
    const { routes } = c.part(`rule ${rule.namespace}/${rule.name} ${port}`, { rule, port, onlyPort }, ruleRoutes);
    if (routes === undefined) continue;
    for (const [own, served] of ports) {
      for (const s of served) spoken.add(s);
      groups.push({ port: own, services: served, bareHosts, routes });
    }
  }
  for (const service of registry.values()) {
    if (spoken.has(service)) continue;
    for (const p of httpPorts(service)) {
      const of = { host: service.host, labels: service.labels, port: p.port };
      groups.push({ port: p.port, services: [service], bareHosts: [], ...c.part(`service ${service.host} ${p.port}`, of, plainRoutes) });
    }
  }
  return port === ANY_PORT ? renderAll(c, groups) : render(c, groups, true);
};

interface RuleGiven extends Given {
  readonly rule: VirtualServiceRule;
  readonly port: number;
  readonly onlyPort: (host: string) => number | undefined;
}

const ruleRoutes = (c: Context, { rule, port, onlyPort }: RuleGiven): { readonly routes: readonly Route[] | undefined } => ({
  routes: httpRoutes(c, rule, { port, gateways: [MESH_GATEWAY], onlyPort, tls: false }),
});

const plainRoutes = (
  c: Context,
  of: Pick<ServiceShape, 'host' | 'labels'> & { readonly port: number },
): { readonly routes: readonly Route[] } => ({
  routes: [serviceRoute(c, of, of.port)],
});

const httpPorts = (s: ServiceShape): readonly ServicePort[] => s.ports.filter((p) => isHttpOrSniffed(p.protocol));

/** Services with a port, with that port alone. */
const servicesOn = (c: Context, services: readonly ServiceShape[], port: number): ReadonlyMap<string, ServiceShape> => {
  const out = new Map<string, ServiceShape>();
  const only = new Set([port]);
  for (const candidate of services) {
    const s = port === ANY_PORT ? candidate : trimmedTo(candidate, only);
    if (s === undefined) continue;
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
  registry: ReadonlyMap<string, ServiceShape>,
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
    const owner = exact.get(host) ?? wild.find((w) => hostSubsetOf(host, w.host))?.rule;
    if (owner !== undefined) owners.set(host, owner);
  }
  return owners;
};

const hostsOf = (
  rule: VirtualServiceRule,
  registry: ReadonlyMap<string, ServiceShape>,
  owners: ReadonlyMap<string, VirtualServiceRule>,
): { readonly services: readonly ServiceShape[]; readonly bareHosts: readonly string[] } => {
  const services: ServiceShape[] = [];
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

/** Virtual hosts of one port; with `portless` the route configuration ignores the port a client writes after the name. */
const render = (c: Context, groups: readonly Group[], portless: boolean): readonly VirtualHost[] => {
  const names = new Set<string>();
  const taken = new Set<string>();
  const full = new Set(groups.flatMap((g) => g.services.map((s) => s.host)));
  const out: VirtualHost[] = [];
  const attempts = attemptCount(c);
  const domainsOf = domainsFor(c.node);
  const add = (g: Group, host: string, domains: readonly string[], abbreviations: ReadonlySet<string>): void => {
    const name = `${host}:${g.port}`;
    if (names.has(name)) return;
    names.add(name);
    const wanted = portless ? domains : domains.flatMap((d) => [d, `${d}:${g.port}`]);
    const free = wanted.filter((d) => {
      const key = d.toLowerCase();
      if (taken.has(key) || (abbreviations.has(d) && full.has(d))) return false;
      taken.add(key);
      return true;
    });
    if (free.length > 0) out.push({ name, domains: free, routes: g.routes, ...attempts });
  };
  for (const g of groups) {
    for (const host of g.bareHosts.map((h) => (h.includes(':') ? `[${h}]` : h))) add(g, host, [host], new Set());
    for (const s of g.services) {
      const { domains, abbreviations } = domainsOf(s);
      add(g, s.host, domains, abbreviations);
    }
  }
  return out.sort((a, b) => compareText(a.name ?? '', b.name ?? ''));
};

/** Of all ports at once: names with a port mean that port, names without one mean port 80. */
const renderAll = (c: Context, groups: readonly Group[]): readonly VirtualHost[] => {
  const ports = [...new Set(groups.map((g) => g.port))].sort((a, b) => a - b);
  const hosts = ports.flatMap((port) => {
    const own = render(
      c,
      groups.filter((g) => g.port === port),
      false,
    );
    if (port === UNREGISTERED_PORT) return own;
    return own.flatMap((h) => {
      const domains = (h.domains ?? []).filter((d) => d.endsWith(`:${port}`));
      return domains.length === 0 ? [] : [{ ...h, domains }];
    });
  });
  return [...hosts].sort((a, b) => compareText(a.name ?? '', b.name ?? ''));
};
