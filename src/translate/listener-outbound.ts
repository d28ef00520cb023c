// Outbound listeners of a sidecar: one per HTTP port for all services, one per address and port for the rest, and the listener that
// takes every captured connection and hands it to them.

import { isHttp } from '../mesh/protocol.ts';
import { endpointsOf, listenAddress, type Service, type ServicePort } from '../mesh/service.ts';
import type { FilterChain, Listener, ListenerFilter } from '../xds/gen/types.ts';
import { listenerAccessLogs } from './access-log.ts';
import type { Context } from './context.ts';
import { connectionManager } from './http-connection.ts';
import { HTTP_INSPECTOR, readAs, sniffedHttp, TLS_INSPECTOR } from './inspectors.ts';
import { BLACKHOLE, PASSTHROUGH, VIRTUAL_OUTBOUND, WILDCARD_ADDRESS } from './names.ts';
import { matchKey, TRANSPORT_SOCKET_TIMEOUT, tcpChains } from './tcp-chains.ts';
import { blackHole, tcpProxy } from './tcp-proxy.ts';

interface Entry {
  readonly bind: string;
  readonly port: number;
  /** Route configuration of the HTTP chain; undefined while the port is pure TCP. */
  rds: string | undefined;
  readonly tcp: FilterChain[];
}

export interface OutboundListeners {
  readonly listeners: readonly Listener[];
  /** Route configurations the listeners refer to. */
  readonly routeNames: readonly string[];
}

export const outboundListeners = (c: Context): OutboundListeners => {
  const entries = new Map<string, Entry>();
  for (const service of c.services) {
    for (const port of service.ports) if (port.protocol !== 'UDP') addPort(c, entries, service, port);
  }
  const listeners = [...entries.values()].map((e) => toListener(c, e));
  const routeNames = [...entries.values()].map((e) => e.rds).filter((n): n is string => n !== undefined);
  return { listeners: [...listeners, virtualOutbound(c)], routeNames: [...new Set(routeNames)] };
};

const entryAt = (entries: Map<string, Entry>, bind: string, port: number): Entry => {
  const key = `${bind}_${port}`;
  const known = entries.get(key);
  if (known !== undefined) return known;
  const entry: Entry = { bind, port, rds: undefined, tcp: [] };
  entries.set(key, entry);
  return entry;
};

const addPort = (c: Context, entries: Map<string, Entry>, service: Service, port: ServicePort): void => {
  const kind = readAs(port.protocol, c.node.http2);
  // HTTP is routed by its host, wherever it was going.
  if (isHttp(port.protocol)) entryAt(entries, WILDCARD_ADDRESS, port.port).rds = String(port.port);
  if (kind === 'http') return;
  for (const bind of bindAddresses(c, service, port)) {
    const entry = entryAt(entries, bind, port.port);
    addChains(entry, tcpChains(c, service, port, bind));
    if (kind === 'auto') entry.rds ??= bind === WILDCARD_ADDRESS ? String(port.port) : `${service.host}:${port.port}`;
  }
};

/** The first service to take everything keeps it: services come oldest first. */
const addChains = (entry: Entry, chains: readonly FilterChain[]): void => {
  for (const ch of chains) {
    const key = matchKey(ch);
    if (!entry.tcp.some((o) => matchKey(o) === key)) entry.tcp.push(ch);
  }
};

/** Headless services get a listener per endpoint, so that unrelated services on the port are left alone. */
const bindAddresses = (c: Context, service: Service, port: ServicePort): readonly string[] => {
  const address = listenAddress(service);
  if (address.includes('/')) return [WILDCARD_ADDRESS];
  if (service.resolution !== 'passthrough' || address !== WILDCARD_ADDRESS) return [address];
  const endpoints = endpointsOf(service, port.port);
  if (endpoints.length === 0 && service.registry !== 'Kubernetes' && !service.selects) return [WILDCARD_ADDRESS];
  return [...new Set(endpoints.filter((e) => e.ready && e.address !== c.node.ipAddresses[0]).map((e) => e.address))];
};

const toListener = (c: Context, e: Entry): Listener => {
  const http: readonly FilterChain[] =
    e.rds === undefined
      ? []
      : [
          {
            filter_chain_match: { transport_protocol: 'raw_buffer', application_protocols: sniffedHttp(c.node) },
            filters: [connectionManager(c, 'outbound', `outbound_${e.bind}_${e.port}`, { rds: e.rds })],
            transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT,
          },
        ];
  const all = e.tcp.find((ch) => ch.filter_chain_match === undefined);
  // Envoy does not go back once a chain fitted the transport: beside an HTTP chain the chain for all must be the default.
  const asDefault = http.length > 0 ? all : undefined;
  const chains = [...e.tcp.filter((ch) => ch !== asDefault), ...http];
  const unmatched: FilterChain | undefined =
    asDefault ?? (all === undefined ? { filter_chain_match: {}, filters: toUnknown(c), name: 'PassthroughFilterChain' } : undefined);
  const inspectors: readonly ListenerFilter[] = [
    ...(chains.some((ch) => (ch.filter_chain_match?.server_names ?? []).length > 0) ? [TLS_INSPECTOR] : []),
    ...(http.length > 0 ? [HTTP_INSPECTOR] : []),
  ];
  return {
    name: `${e.bind}_${e.port}`,
    address: { socket_address: { address: e.bind, port_value: e.port } },
    filter_chains: chains,
    ...(inspectors.length === 0 ? {} : { listener_filters: inspectors }),
    listener_filters_timeout: c.mesh.protocolDetectionTimeout,
    continue_on_listener_filters_timeout: true,
    traffic_direction: 'OUTBOUND',
    bind_to_port: false,
    ...(unmatched === undefined ? {} : { default_filter_chain: unmatched }),
  };
};

/** Connections to nothing the mesh knows. */
const toUnknown = (c: Context): NonNullable<FilterChain['filters']> => tcpProxy(c, 'outbound', c.registryOnly ? BLACKHOLE : PASSTHROUGH);

const virtualOutbound = (c: Context): Listener => ({
  name: VIRTUAL_OUTBOUND,
  address: { socket_address: { address: WILDCARD_ADDRESS, port_value: c.mesh.proxyListenPort } },
  filter_chains: [
    // A connection to the listener's own port would come back to it for ever.
    {
      filter_chain_match: { destination_port: c.mesh.proxyListenPort },
      filters: [...c.filters.network.stats('outbound'), blackHole(BLACKHOLE)],
      name: 'virtualOutbound-blackhole',
    },
    { filters: toUnknown(c), name: 'virtualOutbound-catchall-tcp' },
  ],
  use_original_dst: true,
  traffic_direction: 'OUTBOUND',
  access_log: listenerAccessLogs(c.accessLogs),
  max_connections_to_accept_per_socket_event: 1,
});
