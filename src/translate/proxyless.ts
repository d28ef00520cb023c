// Configuration of gRPC programs that take part in the mesh without a proxy. They ask for a listener by the `host:port` they dial, for
// what it names, and so on; a server asks for the listener it stands on. Sent is what gRPC's xDS clients carry out: balancing by ring
// or in turn, priorities, weights, matches, retries, faults, and mutual TLS where a rule or policy says so.

import { modeForPort } from '../mesh/peer-authentication.ts';
import { isHttpOrSniffed } from '../mesh/protocol.ts';
import type { Service, ServicePort } from '../mesh/service.ts';
import type {
  Cluster,
  ClusterLoadAssignment,
  CommonTlsContext,
  HttpFilter,
  Listener,
  Route,
  RouteConfiguration,
  TransportSocket,
} from '../xds/gen/types.ts';
import { policyOf } from './cluster-outbound.ts';
import { serverIdentities } from './cluster-tls.ts';
import type { Context } from './context.ts';
import { type EndpointsInput, loadAssignment } from './endpoints.ts';
import { inboundPorts } from './inbound-ports.ts';
import { listenerAddress } from './listener-address.ts';
import { loadBalancing } from './load-balancing.ts';
import { outboundCluster } from './names.ts';
import { serviceDomains } from './route-domains.ts';
import { outboundRoutes } from './route-outbound.ts';
import { downstreamTls, exactNames, upstreamTls } from './tls-context.ts';

export interface Proxyless {
  readonly clusters: readonly Cluster[];
  readonly endpoints: readonly ClusterLoadAssignment[];
  readonly listeners: readonly Listener[];
  readonly routes: readonly RouteConfiguration[];
}

const FILTERS = 'type.googleapis.com/envoy.extensions.filters';
const FAULT_NAME = 'envoy.filters.http.fault';
const FAULT: HttpFilter = { name: FAULT_NAME, typed_config: { '@type': `${FILTERS}.http.fault.v3.HTTPFault` } };
const ROUTER: HttpFilter = { name: 'envoy.filters.http.router', typed_config: { '@type': `${FILTERS}.http.router.v3.Router` } };
const MANAGER = `${FILTERS}.network.http_connection_manager.v3.HttpConnectionManager`;

/** What a server's listener is called before its address. */
const SERVER_PREFIX = 'xds.istio.io/grpc/lds/inbound/';
const ANY_ADDRESS = ['0.0.0.0', '[::]'];

/** Certificate providers as the agent's bootstrap names them. */
const PROVIDER = 'default';

export const proxyless = (c: Context): Proxyless => {
  const clusters: Cluster[] = [];
  const endpoints: ClusterLoadAssignment[] = [];
  const listeners: Listener[] = [];
  const routes: RouteConfiguration[] = [];
  const byPort = new Map<number, RouteConfiguration>();
  for (const service of c.services) {
    for (const port of service.ports) {
      if (port.protocol === 'UDP') continue;
      for (const built of clustersOf(c, service, port)) {
        clusters.push(built.cluster);
        if (built.endpoints !== undefined) endpoints.push(built.endpoints);
      }
      routes.push(routesOf(c, service, port, byPort));
      listeners.push(...clientListeners(c, service, port));
    }
  }
  return { clusters, endpoints, listeners: [...listeners, ...serverListeners(c)], routes };
};

interface Built {
  readonly cluster: Cluster;
  readonly endpoints?: ClusterLoadAssignment;
}

const clustersOf = (c: Context, service: Service, port: ServicePort): readonly Built[] => {
  const rule = c.destinationRule(service);
  return [undefined, ...(rule?.spec.subsets ?? [])].flatMap((subset): readonly Built[] => {
    const name = outboundCluster(port.port, subset?.name ?? '', service.host);
    const policy = policyOf(c, rule, subset, port.port);
    const input: EndpointsInput = { cluster: name, service, port: port.port, subsetLabels: subset?.labels, policy };
    const hash = policy.loadBalancer?.consistentHash;
    const requests = policy.connectionPool?.http?.http2MaxRequests ?? 0;
    const common: Cluster = {
      name,
      // The tables of Maglev are unknown to gRPC; a ring does the same for one key.
      ...(hash === undefined ? {} : loadBalancing({ consistentHash: hash.ringHash === undefined ? {} : { ringHash: hash.ringHash } })),
      ...(requests > 0 ? { circuit_breakers: { thresholds: [{ max_requests: requests }] } } : {}),
      ...(policy.tls?.mode === 'ISTIO_MUTUAL'
        ? { transport_socket: clientTls(policy.tls.subjectAltNames ?? serverIdentities(c, service)) }
        : {}),
    };
    const assignment = loadAssignment(c, input);
    if (service.resolution === 'listed' || service.resolution === 'passthrough') {
      const eds = { eds_config: { ads: {}, resource_api_version: 'V3' as const }, service_name: name };
      return [{ cluster: { ...common, type: 'EDS', eds_cluster_config: eds }, endpoints: assignment }];
    }
    // One name to resolve is all that gRPC takes.
    const hosts = (assignment.endpoints ?? []).flatMap((l) => l.lb_endpoints ?? []);
    return hosts.length === 1 ? [{ cluster: { ...common, type: 'LOGICAL_DNS', load_assignment: assignment } }] : [];
  });
};

/** A route configuration for one service's port alone, so that its domains need no telling apart. */
const routesOf = (c: Context, service: Service, port: ServicePort, byPort: Map<number, RouteConfiguration>): RouteConfiguration => {
  const name = outboundCluster(port.port, '', service.host);
  const all = byPort.get(port.port) ?? outboundRoutes(c, String(port.port));
  byPort.set(port.port, all);
  const host = isHttpOrSniffed(port.protocol) ? all.virtual_hosts?.find((v) => v.domains?.includes(service.host)) : undefined;
  const routes = host?.routes?.map(asUnderstood) ?? [{ match: { prefix: '' }, route: { cluster: name } }];
  return { name, virtual_hosts: [{ name, domains: ['*'], routes }] };
};

/** Without what gRPC refuses: filters it has not got, and answers that are not a server's, in whose place the call fails. */
const asUnderstood = (route: Route): Route => {
  const { typed_per_filter_config: filters, redirect, direct_response: direct, ...rest } = route;
  const fault = filters?.[FAULT_NAME];
  return {
    ...rest,
    ...(redirect === undefined && direct === undefined ? {} : { non_forwarding_action: {} }),
    ...(fault === undefined ? {} : { typed_per_filter_config: { [FAULT_NAME]: fault } }),
  };
};

const clientListeners = (c: Context, service: Service, port: ServicePort): readonly Listener[] => {
  const names = serviceDomains(service, c.node).domains.filter((d) => !d.startsWith('*') && !d.endsWith('.'));
  return [...new Set(names)].map((host) => ({
    name: `${host}:${port.port}`,
    api_listener: {
      api_listener: {
        '@type': MANAGER,
        rds: { config_source: { ads: {}, resource_api_version: 'V3' }, route_config_name: outboundCluster(port.port, '', service.host) },
        http_filters: [FAULT, ROUTER],
      },
    },
  }));
};

const serverListeners = (c: Context): readonly Listener[] => {
  const mtls = c.snapshot.peerAuthentication.forWorkload(c.node.namespace, c.node.labels);
  const known = new Set([...ANY_ADDRESS, ...c.node.ipAddresses.map((a) => (a.includes(':') ? `[${a}]` : a))]);
  return inboundPorts(c).flatMap(({ targetPort }) => {
    const mode = modeForPort(mtls, targetPort);
    // A server takes either plain connections or encrypted ones; clients that look at its label send encrypted ones.
    const encrypted = mode === 'STRICT' || (mode === 'PERMISSIVE' && c.node.labels['security.istio.io/tlsMode'] === 'istio');
    return [...known].map((address) => ({
      name: `${SERVER_PREFIX}${address}:${targetPort}`,
      address: listenerAddress(address.replace(/^\[(.*)\]$/, '$1'), targetPort),
      filter_chains: [
        {
          name: encrypted ? 'inbound-mtls' : 'inbound-plaintext',
          filters: [{ name: 'inbound-hcm', typed_config: serverManager(c) }],
          ...(encrypted ? { transport_socket: SERVER_TLS } : {}),
        },
      ],
    }));
  });
};

const serverManager = (c: Context): { readonly '@type': string } & Readonly<Record<string, unknown>> => ({
  '@type': MANAGER,
  route_config: {
    name: 'inbound',
    virtual_hosts: [
      {
        name: 'inbound',
        domains: ['*'],
        routes: c.security.refusesHttp('inbound') ? [] : [{ match: { prefix: '/' }, non_forwarding_action: {} }],
      },
    ],
  },
  // A filter that gRPC has not got makes it refuse the listener: a policy is never left out in silence.
  http_filters: [...c.security.http('inbound'), ROUTER],
});

const provided = (names: readonly string[]): CommonTlsContext => ({
  tls_certificate_certificate_provider_instance: { instance_name: PROVIDER, certificate_name: 'default' },
  combined_validation_context: {
    default_validation_context: exactNames(names),
    validation_context_certificate_provider_instance: { instance_name: PROVIDER, certificate_name: 'ROOTCA' },
  },
});

const clientTls = (names: readonly string[]): TransportSocket => upstreamTls({ common_tls_context: provided(names) });

const SERVER_TLS: TransportSocket = downstreamTls({ common_tls_context: provided([]), require_client_certificate: true });
