// The inbound listener of a sidecar: chains per application port by mutual TLS mode, and for every other port.

import type { Resource } from '../api/resource.ts';
import { type MtlsMode, modeForPort } from '../mesh/peer-authentication.ts';
import { isGrpc, type ListenerProtocol } from '../mesh/protocol.ts';
import type {
  FilterChain,
  FilterChainMatch,
  Listener,
  Listener_Filter,
  ListenerFilter,
  RouteConfiguration,
  TransportSocket,
} from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { connectionManager } from './http-connection.ts';
import type { InboundPort } from './inbound-ports.ts';
import { exceptPorts, HTTP_INSPECTOR, ORIGINAL_DESTINATION, onlyPorts, readAs, sniffedHttp, TLS_INSPECTOR } from './inspectors.ts';
import { listenerAddress } from './listener-address.ts';
import { BLACKHOLE, configPath, INBOUND_PASSTHROUGH, inboundCluster, VIRTUAL_INBOUND, WILDCARD_ADDRESS } from './names.ts';
import { capturesNothing, type ProxyNode } from './proxy-node.ts';
import { inboundRetry } from './route-retry.ts';
import { serverTls } from './server-tls.ts';
import { inboundStat } from './stat-names.ts';
import { blackHole, tcpProxy } from './tcp-proxy.ts';
import { workloadServerTls } from './tls-context.ts';

const MESH_HTTP1 = ['istio-http/1.0', 'istio-http/1.1'];
const MESH_HTTP = [...MESH_HTTP1, 'istio-h2'];
const MESH_TCP = ['istio-peer-exchange', 'istio'];
const MESH_ANY = ['istio', 'istio-peer-exchange', ...MESH_HTTP];

interface ChainOption {
  readonly protocol: 'http' | 'tcp';
  readonly match: FilterChainMatch;
  readonly terminatesTls: boolean;
}

const option = (
  protocol: 'http' | 'tcp',
  transport: 'tls' | 'raw_buffer',
  alpn: readonly string[],
  terminatesTls = false,
): ChainOption => ({
  protocol,
  match: { transport_protocol: transport, ...(alpn.length === 0 ? {} : { application_protocols: alpn }) },
  terminatesTls,
});

/** Which connections a port takes, best match first as Istio orders them. PERMISSIVE leaves the application's own TLS alone. */
const chainOptions = (protocol: ListenerProtocol, mode: MtlsMode, node: ProxyNode): readonly ChainOption[] => {
  const plainHttp = sniffedHttp(node);
  // Where HTTP/2 cannot be read, detected HTTP/2 passes as bytes.
  const meshHttp = node.http2 ? MESH_HTTP : MESH_HTTP1;
  switch (mode) {
    case 'STRICT':
      if (protocol === 'auto') return [option('http', 'tls', meshHttp, true), option('tcp', 'tls', [], true)];
      return [option(protocol, 'tls', [], true)];
    case 'DISABLE':
      if (protocol === 'auto') return [option('http', 'raw_buffer', plainHttp), option('tcp', 'raw_buffer', [])];
      return [option(protocol, 'raw_buffer', [])];
    case 'PERMISSIVE':
      switch (protocol) {
        case 'http':
          return [option('http', 'tls', MESH_ANY, true), option('http', 'raw_buffer', [])];
        case 'tcp':
          return [option('tcp', 'tls', MESH_ANY, true), option('tcp', 'tls', []), option('tcp', 'raw_buffer', [])];
        case 'auto':
          return [
            option('http', 'tls', meshHttp, true),
            option('http', 'raw_buffer', plainHttp),
            option('tcp', 'tls', MESH_TCP, true),
            option('tcp', 'raw_buffer', []),
            option('tcp', 'tls', []),
          ];
      }
  }
};

/** The one for captured connections, and those that Sidecar ports hold themselves. */
export const inboundListeners = (c: Context, ports: readonly InboundPort[]): readonly Listener[] => {
  const mtls = c.snapshot.peerAuthentication.forWorkload(c.node.namespace, c.node.labels);
  const own = ports.filter((p) => p.bindsToPort).map((p) => portListener(c, p, portChains(c, p, modeForPort(mtls, p.targetPort))));
  return capturesNothing(c.node)
    ? own
    : [
        ...own,
        captured(
          c,
          ports.filter((p) => !p.bindsToPort),
        ),
      ];
};

const portListener = (c: Context, p: InboundPort, chains: readonly FilterChain[]): Listener => ({
  name: `${p.bind}_${p.targetPort}`,
  address: listenerAddress(p.bind, p.targetPort),
  filter_chains: chains,
  listener_filters: listenerFilters(chains).filter((f) => f !== ORIGINAL_DESTINATION),
  listener_filters_timeout: c.mesh.protocolDetectionTimeout,
  continue_on_listener_filters_timeout: true,
  traffic_direction: 'INBOUND',
  access_log: c.telemetry.listenerLogs('inbound'),
  max_connections_to_accept_per_socket_event: 1,
});

const captured = (c: Context, ports: readonly InboundPort[]): Listener => {
  const mtls = c.snapshot.peerAuthentication.forWorkload(c.node.namespace, c.node.labels);
  const own = c.mesh.proxyInboundListenPort;
  const blackhole: FilterChain = {
    filter_chain_match: { destination_port: own },
    filters: [...c.filters.network.metadataExchange(), ...c.filters.network.stats('inbound'), blackHole(BLACKHOLE)],
    name: 'virtualInbound-blackhole',
  };
  const exposed = new Set(ports.map((p) => p.targetPort));
  const unexposed = [...mtls.ports.keys()].filter((p) => !exposed.has(p)).sort((a, b) => a - b);
  const chains = [
    blackhole,
    ...passthroughChains(c, mtls.mode, undefined),
    ...unexposed.flatMap((p) => passthroughChains(c, modeForPort(mtls, p), p)),
    ...ports.flatMap((p) => portChains(c, p, modeForPort(mtls, p.targetPort))),
  ];
  return {
    name: VIRTUAL_INBOUND,
    address: { socket_address: { address: WILDCARD_ADDRESS, port_value: own } },
    filter_chains: chains,
    listener_filters: listenerFilters(chains),
    listener_filters_timeout: c.mesh.protocolDetectionTimeout,
    continue_on_listener_filters_timeout: true,
    traffic_direction: 'INBOUND',
    access_log: c.telemetry.listenerLogs('inbound'),
    max_connections_to_accept_per_socket_event: 1,
  };
};

const build = (
  c: Context,
  options: readonly ChainOption[],
  port: number | undefined,
  name: (o: ChainOption) => string,
  filters: (o: ChainOption) => readonly Listener_Filter[],
  ownTls?: TransportSocket,
  sidecar?: Resource<'Sidecar'>,
): readonly FilterChain[] =>
  options.map((o) => ({
    filter_chain_match: { ...(port === undefined ? {} : { destination_port: port }), ...o.match },
    filters: [...c.filters.network.metadataExchange(), ...filters(o)],
    ...(o.terminatesTls
      ? {
          transport_socket:
            ownTls ??
            workloadServerTls({
              trustDomains: [c.mesh.trustDomain, ...c.mesh.trustDomainAliases],
              http2: c.node.http2,
              exchangesMetadata: c.filters.exchangesMetadata && o.protocol === 'tcp',
              mesh: c.mesh.meshMTLS,
            }),
        }
      : {}),
    ...(sidecar === undefined ? {} : { metadata: { filter_metadata: { istio: { config: configPath('sidecar', sidecar) } } } }),
    name: name(o),
  }));

/** Ports that no service exposes: detected, passed on to where the connection was going. */
const passthroughChains = (c: Context, mode: MtlsMode, port: number | undefined): readonly FilterChain[] =>
  build(
    c,
    chainOptions('auto', mode, c.node),
    port,
    (o) => (o.protocol === 'http' ? 'virtualInbound-catchall-http' : VIRTUAL_INBOUND),
    (o) =>
      o.protocol === 'http'
        ? [
            connectionManager(c, 'inbound', INBOUND_PASSTHROUGH, {
              inline: inboundRoutes(c, INBOUND_PASSTHROUGH, INBOUND_PASSTHROUGH, 0, ':0/*', false),
            }),
          ]
        : tcpProxy(c, 'inbound', INBOUND_PASSTHROUGH),
  );

const portChains = (c: Context, p: InboundPort, mode: MtlsMode): readonly FilterChain[] => {
  const name = `${p.bind}_${p.targetPort}`;
  const cluster = inboundCluster(p.targetPort);
  const protocol = readAs(p.servicePort.protocol, c.node.http2);
  // A server's own TLS is possible only where the mesh's is off.
  const ownTls = p.tls !== undefined && mode === 'DISABLE' ? serverTls(c, p.tls, protocol !== 'http') : undefined;
  const grpc = isGrpc(p.servicePort.protocol);
  const routes = inboundRoutes(c, cluster, cluster, p.servicePort.port, `${p.host}:${p.servicePort.port}/*`, grpc);
  return build(
    c,
    ownTls === undefined ? chainOptions(protocol, mode, c.node) : [option(protocol === 'http' ? 'http' : 'tcp', 'tls', [], true)],
    p.targetPort,
    () => name,
    (o) =>
      o.protocol === 'http'
        ? [connectionManager(c, 'inbound', inboundStat(c.mesh, p, `inbound_${name}`), { inline: routes }, p.servicePort.protocol)]
        : tcpProxy(c, 'inbound', cluster, inboundStat(c.mesh, p, cluster)),
    ownTls,
    (c.scope.sidecar?.spec.ingress ?? []).length > 0 ? c.scope.sidecar : undefined,
  );
};

const inboundRoutes = (c: Context, name: string, cluster: string, port: number, operation: string, grpc: boolean): RouteConfiguration => ({
  name,
  virtual_hosts: [
    {
      name: `inbound|http|${port}`,
      domains: ['*'],
      routes: [
        {
          name: 'default',
          match: { prefix: '/' },
          route: {
            cluster,
            timeout: '0s',
            // gRPC clients retry by themselves.
            ...(grpc ? {} : inboundRetry(c.mesh.defaultInboundHttpRetryPolicy)),
            max_stream_duration: { max_stream_duration: '0s', grpc_timeout_header_max: '0s' },
          },
          decorator: { operation },
        },
      ],
    },
  ],
  validate_clusters: false,
});

/** Looking at first bytes delays them, so it is done only on ports with a chain that asks. Port 0 stands for all ports without chains of their own. */
const listenerFilters = (chains: readonly FilterChain[]): readonly ListenerFilter[] => {
  const ports = new Map<number, { tls: boolean; http: boolean }>();
  for (const { filter_chain_match: m } of chains) {
    const port = m?.destination_port ?? 0;
    const needs = ports.get(port) ?? { tls: false, http: false };
    needs.tls ||= m?.transport_protocol === 'tls';
    needs.http ||= m?.transport_protocol === 'raw_buffer' && (m.application_protocols ?? []).length > 0;
    ports.set(port, needs);
  }
  const inspector = (filter: ListenerFilter, need: 'tls' | 'http'): readonly ListenerFilter[] => {
    if (![...ports.values()].some((n) => n[need])) return [];
    const named = (wanted: boolean): readonly number[] =>
      [...ports.entries()].filter(([p, n]) => p !== 0 && n[need] === wanted).map(([p]) => p);
    return [ports.get(0)?.[need] === true ? exceptPorts(filter, named(false)) : onlyPorts(filter, named(true))];
  };
  return [ORIGINAL_DESTINATION, ...inspector(TLS_INSPECTOR, 'tls'), ...inspector(HTTP_INSPECTOR, 'http')];
};
