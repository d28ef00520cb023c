// Listeners of a gateway: HTTP by route configuration, TLS by server name, TCP straight to the rule's destinations.

import { serverHosts, serverProtocol, terminatesTls } from '../mesh/gateways.ts';
import { hostSubsetOf } from '../mesh/host.ts';
import type { VirtualServiceRule } from '../mesh/virtual-services.ts';
import type { FilterChain, Listener, ListenerFilter, RouteConfiguration } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { gatewayRoutes, intersection } from './gateway-routes.ts';
import { type BoundServer, type GatewayListenerPlan, planGatewayListeners } from './gateway-servers.ts';
import { gatewayTopology } from './gateway-topology.ts';
import { connectionManager } from './http-connection.ts';
import { PROXY_PROTOCOL, TLS_INSPECTOR } from './inspectors.ts';
import { listenerAddress } from './listener-address.ts';
import { clusterSni } from './names.ts';
import { serverTls } from './server-tls.ts';
import { TakenMatches } from './taken-matches.ts';
import { TRANSPORT_SOCKET_TIMEOUT } from './tcp-chains.ts';
import { tcpToDestinations, tcpToService } from './tcp-proxy.ts';

export interface GatewayConfig {
  readonly listeners: readonly Listener[];
  readonly routes: readonly RouteConfiguration[];
  /** Hosts whose workloads other meshes' clients reach through this gateway by server name alone. */
  readonly passedThrough: readonly string[];
}

/** What sidecars offer for connections between workloads: nothing else passes a gateway by server name alone. */
const MESH_ALPN = ['istio', 'istio-peer-exchange', 'istio-http/1.0', 'istio-http/1.1', 'istio-h2'];

export const gatewayConfig = (c: Context): GatewayConfig => {
  const listeners: Listener[] = [];
  const routes = new Map<string, BoundServer[]>();
  const plans = planGatewayListeners(c);
  for (const plan of plans) {
    const chains = chainsOf(c, plan);
    if (chains.length === 0) continue;
    for (const s of plan.servers) {
      const known = routes.get(s.routeName) ?? [];
      // A server on several ports is there once.
      if (s.routeName !== '' && !known.some((k) => k.server === s.server)) routes.set(s.routeName, [...known, s]);
    }
    const filters = listenerFilters(c, plan);
    listeners.push({
      name: `${plan.bind}_${plan.port}`,
      address: listenerAddress(plan.bind, plan.port),
      filter_chains: chains,
      ...(filters.length === 0 ? {} : { listener_filters: filters }),
      traffic_direction: 'OUTBOUND',
      access_log: c.telemetry.listenerLogs('gateway'),
      max_connections_to_accept_per_socket_event: 1,
    });
  }
  return {
    listeners,
    routes: [...routes.entries()].map(([name, servers]) => gatewayRoutes(c, name, servers)),
    passedThrough: plans.flatMap((p) => p.servers.filter(isAutoPassthrough).flatMap((s) => serverHosts(s.server))),
  };
};

const isAutoPassthrough = (s: BoundServer): boolean => s.server.tls?.mode === 'AUTO_PASSTHROUGH';

const listenerFilters = (c: Context, plan: GatewayListenerPlan): readonly ListenerFilter[] => [
  ...(gatewayTopology(c.mesh, c.node).proxyProtocol === undefined ? [] : [PROXY_PROTOCOL]),
  ...(plan.kind === 'tls' ? [TLS_INSPECTOR] : []),
];

const chainsOf = (c: Context, plan: GatewayListenerPlan): readonly FilterChain[] => {
  const stat = `outbound_${plan.bind}_${plan.port}`;
  const first = plan.servers[0];
  if (plan.kind === 'http' && first !== undefined) {
    return [
      {
        filters: [connectionManager(c, 'gateway', stat, { rds: first.routeName }, serverProtocol(first.server))],
        transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT,
      },
    ];
  }
  const names = new Set<string>();
  const chains = plan.servers.flatMap((s) => {
    if (s.routeName === '') return tcpChains(c, s, names);
    const chain: FilterChain = {
      ...serverNames(ownNames(s)),
      filters: [connectionManager(c, 'gateway', (s.server.name ?? '') === '' ? stat : (s.server.name ?? ''), { rds: s.routeName })],
      transport_socket: serverTls(c, s.server.tls ?? {}, false),
      transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT,
    };
    return [chain];
  });
  const taken = new TakenMatches();
  return chains.flatMap((ch) => taken.add(ch));
};

/** A name that a server has for several namespaces is one name. */
const ownNames = (s: BoundServer): readonly string[] => [...new Set(serverHosts(s.server))].sort();

/** `*` is any name, so no condition. */
const serverNames = (hosts: readonly string[]): FilterChain =>
  hosts.includes('*') || hosts.length === 0 ? {} : { filter_chain_match: { server_names: hosts } };

/** TCP rules behind plain or terminated connections, TLS rules by server name behind passed-through ones. */
const tcpChains = (c: Context, s: BoundServer, names: Set<string>): readonly FilterChain[] => {
  if (isAutoPassthrough(s)) return autoPassthroughChains(c, s);
  const rules = c.snapshot.virtualServices.for(c.node.namespace, s.gatewayKey).filter((r) => intersection(s, r).length > 0);
  return s.server.tls !== undefined && !terminatesTls(s.server) ? passthroughChains(c, s, rules, names) : terminatedChains(c, s, rules);
};

/** Conditions that a gateway looks at: its port and its name. Of whom the connection comes it knows nothing. */
const concerns = (m: { readonly port?: number | undefined; readonly gateways?: readonly string[] | undefined }, s: BoundServer): boolean =>
  ((m.port ?? 0) === 0 || m.port === s.server.port.number) &&
  ((m.gateways ?? []).length === 0 || (m.gateways ?? []).includes(s.gatewayKey));

/** `names`: server names of the port that a chain has already; a match that repeats one is left out. */
const passthroughChains = (
  c: Context,
  s: BoundServer,
  rules: readonly VirtualServiceRule[],
  names: Set<string>,
): readonly FilterChain[] => {
  const out: FilterChain[] = [];
  for (const rule of rules) {
    for (const t of rule.tls) {
      for (const m of t.match) {
        if ((t.route ?? []).length === 0 || !concerns(m, s) || m.sniHosts.some((h) => names.has(h.toLowerCase()))) continue;
        for (const h of m.sniHosts) names.add(h.toLowerCase());
        out.push({
          ...serverNames(m.sniHosts),
          filters: tcpToDestinations(c, 'gateway', rule, t.route ?? [], s.server.port.number),
          transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT,
        });
      }
    }
  }
  return out;
};

const SEMANTICS_ANNOTATION = 'internal.istio.io/route-semantics';

const terminatedChains = (c: Context, s: BoundServer, rules: readonly VirtualServiceRule[]): readonly FilterChain[] => {
  for (const rule of rules) {
    // What was a TLSRoute of the Gateway API speaks of TLS whoever ends it.
    const tlsRoutes = rule.resource.annotations[SEMANTICS_ANNOTATION] === 'gateway' ? rule.tls : [];
    const route = [...rule.tcp, ...tlsRoutes].find(
      (t) => (t.route ?? []).length > 0 && ((t.match ?? []).length === 0 || (t.match ?? []).some((m) => concerns(m, s))),
    );
    if (route === undefined) continue;
    const tls = s.server.tls;
    const exchanges = tls?.mode === 'ISTIO_MUTUAL' ? c.filters.network.metadataExchange() : [];
    return [
      {
        ...(tls === undefined ? {} : serverNames(ownNames(s))),
        filters: [...exchanges, ...tcpToDestinations(c, 'gateway', rule, route.route ?? [], s.server.port.number)],
        ...(tls === undefined ? {} : { transport_socket: serverTls(c, tls, true) }),
        transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT,
      },
    ];
  }
  return [];
};

/** Straight to whichever workload's cluster the server name means, still encrypted between the workloads. */
const autoPassthroughChains = (c: Context, s: BoundServer): readonly FilterChain[] => {
  const hosts = serverHosts(s.server);
  const out: FilterChain[] = [];
  for (const service of c.services) {
    if (service.meshExternal || !hosts.some((h) => hostSubsetOf(service.host, h))) continue;
    const subsets = ['', ...(c.destinationRule(service)?.spec.subsets ?? []).map((x) => x.name)];
    for (const port of service.ports) {
      if (port.protocol === 'UDP') continue;
      for (const subset of subsets) {
        const name = clusterSni(port.port, subset, service.host);
        out.push({
          filter_chain_match: { server_names: [name], application_protocols: MESH_ALPN },
          filters: tcpToService(c, 'gateway', service.host, port.port, { cluster: name, subset }),
          transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT,
        });
      }
    }
  }
  return out;
};
