// Outbound listeners of a sidecar: one per HTTP port for all services, one per address and port for the rest, and the listener that
// takes every captured connection and hands it to them.

import { derive } from '../base/derive.ts';
import { isIpAddress } from '../mesh/host.ts';
import { isHttp, type Protocol, protocolOfName } from '../mesh/protocol.ts';
import { addressesFor, endpointsOf, type Service, type ServicePort } from '../mesh/service.ts';
import type { EgressListener } from '../mesh/sidecar-scope.ts';
import type { VirtualServiceRule } from '../mesh/virtual-services.ts';
import type { FilterChain, Listener, ListenerFilter } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { resolvesUnknown } from './dynamic-dns.ts';
import { connectionManager } from './http-connection.ts';
import { HTTP_INSPECTOR, readAs, sniffedHttp, TLS_INSPECTOR } from './inspectors.ts';
import { listenerAddress } from './listener-address.ts';
import { BLACKHOLE, LOCALHOST, VIRTUAL_OUTBOUND, WILDCARD_ADDRESS } from './names.ts';
import { capturesNothing } from './proxy-node.ts';
import { routeConfiguration } from './route-outbound.ts';
import { TakenMatches } from './taken-matches.ts';
import { TRANSPORT_SOCKET_TIMEOUT, tcpChains } from './tcp-chains.ts';
import { blackHole, tcpProxy } from './tcp-proxy.ts';
import { unknownCluster, unknownHost } from './unknown-destination.ts';

interface Entry {
  /** An IP address, or the path of a Unix socket. */
  readonly bind: string;
  readonly port: number;
  /** Taken by the application itself instead of being handed captured connections. */
  readonly bindsToPort: boolean;
  /** Route configuration of the HTTP chain; undefined while the port is pure TCP. */
  rds: string | undefined;
  /** Of the port that brought the HTTP chain. */
  protocol: Protocol;
  readonly tcp: FilterChain[];
  readonly taken: TakenMatches;
}

export interface OutboundListeners {
  readonly listeners: readonly Listener[];
  /** Route configurations the listeners refer to. */
  readonly routeNames: readonly string[];
}

/** Listeners of a Sidecar's own ports come first and are closed for services that a later listener imports. */
export const outboundListeners = (c: Context): OutboundListeners => {
  const entries = new Map<string, Entry>();
  for (const egress of c.scope.egress) {
    const open = new Map<string, Entry>();
    const place = placeOf(c, egress);
    const rules = egress.virtualServices.filter((r) => r.tcp.length > 0 || r.tls.length > 0);
    for (const service of egress.services) {
      const ports = place.port === undefined ? service.ports : [place.port];
      for (const port of ports) if (port.protocol !== 'UDP') addPort(c, { rules, place, entries: open, closed: entries }, service, port);
    }
    for (const [key, entry] of open) entries.set(key, entry);
  }
  const listeners = [...entries.values()].map((e) => toListener(c, e));
  const routeNames = [...entries.values()].map((e) => e.rds).filter((n): n is string => n !== undefined);
  const all = capturesNothing(c.node) ? listeners : [...listeners, virtualOutbound(c)];
  return { listeners: all, routeNames: [...new Set(routeNames)] };
};

interface Place {
  /** Of the listener; undefined for one listener per port of the services. */
  readonly port: ServicePort | undefined;
  readonly bind: string | undefined;
  readonly bindsToPort: boolean;
}

const placeOf = (c: Context, egress: EgressListener): Place => {
  const { port, bind = '', captureMode } = egress.spec ?? {};
  const bindsToPort = captureMode === 'NONE' || capturesNothing(c.node);
  return {
    port: port === undefined ? undefined : { name: port.name ?? '', port: port.number ?? 0, protocol: protocolOfName(port.protocol ?? '') },
    bind: bind !== '' ? bind : bindsToPort && port !== undefined ? LOCALHOST : undefined,
    bindsToPort,
  };
};

interface Target {
  /** Those of the listener that speak of connections. */
  readonly rules: readonly VirtualServiceRule[];
  readonly place: Place;
  readonly entries: Map<string, Entry>;
  readonly closed: ReadonlyMap<string, Entry>;
}

/** Undefined where an earlier listener holds the place. */
const entryAt = (t: Target, bind: string, port: number): Entry | undefined => {
  const key = `${bind}_${port}`;
  if (t.closed.has(key)) return undefined;
  const known = t.entries.get(key);
  if (known !== undefined) return known;
  const entry: Entry = {
    bind,
    port,
    bindsToPort: t.place.bindsToPort,
    rds: undefined,
    protocol: 'UNSUPPORTED',
    tcp: [],
    taken: new TakenMatches(),
  };
  t.entries.set(key, entry);
  return entry;
};

const addPort = (c: Context, t: Target, service: Service, port: ServicePort): void => {
  const kind = readAs(port.protocol, c.node.http2);
  const own = t.place.bind;
  if (own === undefined && isReserved(c, port.port) && isHttp(port.protocol)) return;
  // HTTP is routed by its host, wherever it was going.
  if (isHttp(port.protocol)) {
    const entry = entryAt(t, own ?? WILDCARD_ADDRESS, port.port);
    if (entry !== undefined) {
      if (entry.rds === undefined) entry.protocol = port.protocol;
      entry.rds = routeName(entry);
    }
  }
  if (kind === 'http') return;
  for (const bind of own === undefined ? bindAddresses(c, service, port) : [own]) {
    if (bind === WILDCARD_ADDRESS && isReserved(c, port.port)) continue;
    const entry = entryAt(t, bind, port.port);
    if (entry === undefined) continue;
    addChains(entry, tcpChains(c, t.rules, service, port, bind));
    if (kind === 'auto') entry.rds ??= bind === WILDCARD_ADDRESS || port.port === 0 ? routeName(entry) : `${service.host}:${port.port}`;
  }
};

/** On all addresses the proxy holds these ports itself: a second listener there would cost it the first. */
const isReserved = (c: Context, port: number): boolean =>
  port === c.mesh.proxyListenPort ||
  port === c.mesh.proxyInboundListenPort ||
  OWN_PORTS.some((key) => Number(c.node.metadata[key] ?? 0) === port);

const OWN_PORTS = ['ENVOY_STATUS_PORT', 'ENVOY_PROMETHEUS_PORT'];

/** Routes of a Unix socket are named for its path. */
const routeName = (e: Entry): string => (e.port === 0 ? e.bind : String(e.port));

/** Of a connection manager's own routes, which need no name. */
const UNKNOWN_ROUTES = '';

/** The first service to take everything keeps it: services come oldest first. */
const addChains = (entry: Entry, chains: readonly FilterChain[]): void => {
  for (const ch of chains) entry.tcp.push(...entry.taken.add(ch));
};

/** Headless services get a listener per endpoint, so that unrelated services on the port are left alone. */
const bindAddresses = (c: Context, service: Service, port: ServicePort): readonly string[] => {
  // A range is a condition of the chain on all addresses.
  const addresses = addressesFor(service, c.node.ipAddresses).map((a) => (a.includes('/') ? WILDCARD_ADDRESS : a));
  if (addresses.length > 0) return [...new Set(addresses)];
  if (service.resolution !== 'passthrough') return [WILDCARD_ADDRESS];
  const endpoints = endpointsOf(service, port.port);
  if (endpoints.length === 0 && service.registry !== 'Kubernetes' && service.selector === undefined) return [WILDCARD_ADDRESS];
  return [
    ...new Set(
      endpoints
        .filter((e) => e.ready && isIpAddress(e.address) && !derive(c.node, `first ${e.address}`, (n) => n.ipAddresses[0] === e.address))
        .map((e) => e.address),
    ),
  ];
};

const toListener = (c: Context, e: Entry): Listener => {
  const http: readonly FilterChain[] =
    e.rds === undefined
      ? []
      : [
          {
            filter_chain_match: { transport_protocol: 'raw_buffer', application_protocols: sniffedHttp(c.node) },
            filters: [connectionManager(c, 'outbound', `outbound_${e.bind}_${e.port}`, { rds: e.rds }, e.protocol)],
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
    address: listenerAddress(e.bind, e.port),
    filter_chains: chains,
    ...(inspectors.length === 0 ? {} : { listener_filters: inspectors }),
    listener_filters_timeout: c.mesh.protocolDetectionTimeout,
    continue_on_listener_filters_timeout: true,
    traffic_direction: 'OUTBOUND',
    ...(e.bindsToPort ? {} : { bind_to_port: false }),
    ...(unmatched === undefined ? {} : { default_filter_chain: unmatched }),
  };
};

/** Connections to nothing the mesh knows. */
const toUnknown = (c: Context): NonNullable<FilterChain['filters']> => tcpProxy(c, 'outbound', unknownCluster(c));

/** Plain HTTP on ports the mesh does not know: its names can be resolved. */
const unknownHttpChain = (c: Context): FilterChain => ({
  // By what was seen of it alone: Envoy does not go back to the chain for all once a chain fitted the transport.
  filter_chain_match: { application_protocols: sniffedHttp(c.node) },
  filters: [connectionManager(c, 'outbound', VIRTUAL_OUTBOUND, { inline: routeConfiguration(UNKNOWN_ROUTES, [unknownHost(c)]) })],
  name: 'virtualOutbound-catchall-tcp-http',
});

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
    ...(resolvesUnknown(c) ? [unknownHttpChain(c)] : []),
    { filters: toUnknown(c), name: 'virtualOutbound-catchall-tcp' },
  ],
  ...(resolvesUnknown(c) ? { listener_filters: [HTTP_INSPECTOR] } : {}),
  use_original_dst: true,
  traffic_direction: 'OUTBOUND',
  access_log: c.telemetry.listenerLogs('outbound'),
  max_connections_to_accept_per_socket_event: 1,
});
