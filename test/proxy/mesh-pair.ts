// Two data planes as a mesh has them: a client's sidecar and a server's, mutual TLS between them when asked.
import type { Cluster, ClusterLoadAssignment, FilterChain, RouteAction, Secret } from '../../src/xds/gen/types.ts';
import { createAuthority } from './certificates.ts';
import { chains, hcm, listener, type Plane, startPlane, staticCluster, toCluster } from './harness.ts';

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const SDS = { api_config_source: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }] } };

/** What Istio gives a route by default. */
export const ISTIO_RETRY: RouteAction['retry_policy'] = {
  retry_on: 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes',
  num_retries: 2,
  retry_host_predicate: [
    {
      name: 'envoy.retry_host_predicates.previous_hosts',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate' },
    },
  ],
  host_selection_retry_max_attempts: 5,
};

const secrets = (issued: { certificate: string; key: string }, pem: string): Secret[] => [
  {
    name: 'default',
    tls_certificate: { certificate_chain: { inline_string: issued.certificate }, private_key: { inline_string: issued.key } },
  },
  { name: 'ROOTCA', validation_context: { trusted_ca: { inline_string: pem } } },
];
const common = () => ({
  alpn_protocols: ['istio'],
  tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: SDS }],
  combined_validation_context: {
    default_validation_context: { match_subject_alt_names: [{ prefix: 'spiffe://cluster.local/' }] },
    validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: SDS },
  },
});
const inspectTls = {
  name: 'envoy.filters.listener.tls_inspector',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' },
};
const socketOf = (type: string, more: object) => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: { '@type': `${TLS}.${type}`, common_tls_context: common(), ...more },
});

export interface MeshPair extends AsyncDisposable {
  readonly client: Plane;
  readonly server: Plane;
  /** Where the client's application calls. */
  readonly port: number;
  /** Endpoints for the cluster 'out' of the client's sidecar. */
  endpoints(ports: readonly number[]): ClusterLoadAssignment;
  readonly serverPort: number;
}

export interface PairOptions {
  readonly tls: boolean;
  readonly retry?: RouteAction['retry_policy'];
  readonly cluster?: Partial<Cluster>;
}

/** client application → client's sidecar → server's sidecar → `backendPort`. */
export const startPair = async (backendPort: number, options: PairOptions): Promise<MeshPair> => {
  const authority = createAuthority('mesh pair');
  const identity = (name: string) => secrets(authority.issue({ uri: `spiffe://cluster.local/ns/default/sa/${name}` }), authority.pem);
  const chain: FilterChain = {
    name: 'in',
    ...(options.tls ? { filter_chain_match: { transport_protocol: 'tls' } } : {}),
    ...(options.tls ? { transport_socket: socketOf('DownstreamTlsContext', { require_client_certificate: true }) } : {}),
    filters: [hcm([toCluster('app')])],
  };
  const server = await startPlane({ clusters: [staticCluster('app', [backendPort], options.cluster)] });
  if (options.tls) for (const secret of identity('server')) server.plane.setSecret(secret);
  server.plane.setListener(chains('in', [chain], options.tls ? { listener_filters: [inspectTls] } : {}));
  await server.plane.settled();
  const endpoints = (ports: readonly number[]): ClusterLoadAssignment => ({
    ...staticCluster('out', ports).load_assignment,
    cluster_name: 'out',
  });
  const client = await startPlane({ clusters: [] });
  if (options.tls) for (const secret of identity('client')) client.plane.setSecret(secret);
  const serverPort = server.port('in');
  client.plane.setCluster({
    name: 'out',
    type: 'EDS',
    eds_cluster_config: { eds_config: { ads: {} } },
    connect_timeout: '1s',
    ...(options.tls ? { transport_socket: socketOf('UpstreamTlsContext', { sni: 'outbound_.80_._.b.test' }) } : {}),
    ...options.cluster,
  });
  client.plane.setEndpoints(endpoints([serverPort]));
  client.plane.setListener(listener('out', hcm([toCluster('out', options.retry === undefined ? {} : { retry_policy: options.retry })])));
  await client.plane.settled();
  return {
    client,
    server,
    port: client.port('out'),
    serverPort,
    endpoints,
    [Symbol.asyncDispose]: async () => {
      await client.plane.close();
      await server.plane.close();
    },
  };
};
