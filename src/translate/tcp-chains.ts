// Filter chains of outbound ports that are not HTTP: rules by destination subnet and server name, else straight to the service.

import type { L4MatchAttributes, TlsMatchAttributes } from '../api/specs.ts';
import { parseRange } from '../mesh/cidr.ts';
import { hostsMatch } from '../mesh/host.ts';
import { isTls } from '../mesh/protocol.ts';
import { type Service, type ServicePort, selects } from '../mesh/service.ts';
import { MESH_GATEWAY, type VirtualServiceRule } from '../mesh/virtual-services.ts';
import type { CidrRange, FilterChain, FilterChainMatch, Listener_Filter } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { resolvesNames, serverNameResolution } from './dynamic-dns.ts';
import { WILDCARD_ADDRESS } from './names.ts';
import { serverNamesOf } from './route-domains.ts';
import { tcpToDestinations, tcpToService } from './tcp-proxy.ts';

/** Time for a TLS handshake upstream of which nothing else would bound. */
export const TRANSPORT_SOCKET_TIMEOUT = '15s';

const cidr = (text: string): CidrRange => {
  const { address, length } = parseRange(text);
  return { address_prefix: address, prefix_len: length };
};

const chain = (filters: readonly Listener_Filter[], ranges: readonly string[], sniHosts: readonly string[] = []): FilterChain => {
  const names = sniHosts.includes('*') ? [] : sniHosts;
  const match: FilterChainMatch = {
    ...(ranges.length === 0 ? {} : { prefix_ranges: ranges.map(cidr) }),
    ...(names.length === 0 ? {} : { server_names: names }),
  };
  return {
    ...(Object.keys(match).length === 0 ? {} : { filter_chain_match: match }),
    filters,
    transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT,
  };
};

export const concernsL4 = (m: L4MatchAttributes | TlsMatchAttributes, c: Context, gateways: readonly string[], port: number): boolean => {
  if ((m.port ?? 0) !== 0 && m.port !== port) return false;
  if ((m.gateways ?? []).length > 0 && !(m.gateways ?? []).some((g) => gateways.includes(g))) return false;
  if (!selects(m.sourceLabels ?? {}, c.node.labels)) return false;
  const source = m.sourceNamespace ?? '';
  return source === '' || source === c.node.namespace;
};

/** `bind` is where the listener stands; CIDR addresses become conditions of their chains. */
export const tcpChains = (
  c: Context,
  inScope: readonly VirtualServiceRule[],
  service: Service,
  port: ServicePort,
  bind: string,
): readonly FilterChain[] => {
  const rules = inScope.filter((r) => r.hosts.some((h) => hostsMatch(h, service.host)));
  const ranges = bind === WILDCARD_ADDRESS ? service.addresses.filter((a) => a.includes('/')) : [];
  return isTls(port.protocol) ? tlsChains(c, service, port, bind, rules, ranges) : plainChains(c, service, port, rules, ranges);
};

const tlsChains = (
  c: Context,
  service: Service,
  port: ServicePort,
  bind: string,
  rules: readonly VirtualServiceRule[],
  ranges: readonly string[],
): readonly FilterChain[] => {
  const out: FilterChain[] = [];
  const seen = new Set<string>();
  for (const rule of rules) {
    for (const route of rule.tls) {
      for (const m of route.match) {
        if (!concernsL4(m, c, [MESH_GATEWAY], port.port)) continue;
        // A Unix socket has no addresses.
        const subnets = (m.destinationSubnets ?? []).length > 0 && port.port > 0 ? (m.destinationSubnets ?? []) : ranges;
        const key = JSON.stringify([[...m.sniHosts].sort(), [...subnets].sort()]);
        if (seen.has(key)) continue;
        seen.add(key);
        out.push(chain(tcpToDestinations(c, 'outbound', rule, route.route ?? [], port.port), subnets, m.sniHosts));
      }
    }
  }
  if (out.length > 0) return out;
  // Only where no address of its own tells the service is the server name needed.
  const bySni = bind === WILDCARD_ADDRESS;
  const filters = tcpToService(c, 'outbound', service.host, port.port);
  const resolving = service.resolution === 'dynamic-dns' && resolvesNames(c.node) ? [serverNameResolution(c, port.port)] : [];
  return [chain([...resolving, ...filters], ranges, bySni ? serverNamesOf(service, c.node) : [])];
};

const plainChains = (
  c: Context,
  service: Service,
  port: ServicePort,
  rules: readonly VirtualServiceRule[],
  ranges: readonly string[],
): readonly FilterChain[] => {
  const out: FilterChain[] = [];
  for (const rule of rules) {
    for (const route of rule.tcp) {
      const matches = route.match ?? [];
      const fitting = matches.filter((m) => concernsL4(m, c, [MESH_GATEWAY], port.port));
      if (matches.length > 0 && fitting.length === 0) continue;
      const filters = tcpToDestinations(c, 'outbound', rule, route.route ?? [], port.port);
      const open = matches.length === 0 || port.port === 0 || fitting.some((m) => (m.destinationSubnets ?? []).length === 0);
      if (open) return [...out, chain(filters, ranges)];
      out.push(chain(filters, [...new Set(fitting.flatMap((m) => m.destinationSubnets ?? []))]));
    }
  }
  return [...out, chain(tcpToService(c, 'outbound', service.host, port.port), ranges)];
};
