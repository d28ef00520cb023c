// The proxies of a scenario: bootstrap, start, readiness, access log. Envoy and Skein's proxy take the same bootstrap.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Scenario } from './scenario.ts';

export interface ProxyNode {
  readonly id: string;
  readonly [key: string]: unknown;
}

/** Where the hosts of the sidecar topology live. */
export const HOSTS: {
  readonly [name: string]: {
    readonly address: string;
    readonly namespace: string;
    readonly serviceAccount: string;
    readonly labels: Readonly<Record<string, string>>;
  };
} = {
  sleep: { address: '10.77.1.1', namespace: 'default', serviceAccount: 'sleep', labels: { app: 'sleep', version: 'v1' } },
  curl: { address: '10.77.1.2', namespace: 'other', serviceAccount: 'curl', labels: { app: 'curl', version: 'v1' } },
  'reviews-v1': { address: '10.77.1.3', namespace: 'default', serviceAccount: 'reviews', labels: { app: 'reviews', version: 'v1' } },
  'reviews-v2': { address: '10.77.1.4', namespace: 'default', serviceAccount: 'reviews', labels: { app: 'reviews', version: 'v2' } },
  legacy: { address: '10.77.1.5', namespace: 'default', serviceAccount: '', labels: {} },
};

export const gatewayNode = (scenario: Scenario): ProxyNode => {
  const [region, zone, subZone] = scenario.gatewayLocality?.split('/') ?? [];
  return {
    id: 'router~127.0.0.1~gw.istio-system~istio-system.svc.cluster.local',
    cluster: 'gw.istio-system',
    ...(region === undefined ? {} : { locality: { region, ...(zone ? { zone } : {}), ...(subZone ? { sub_zone: subZone } : {}) } }),
    metadata: {
      NAMESPACE: 'istio-system',
      NAME: 'gw',
      WORKLOAD_NAME: 'gw',
      SERVICE_ACCOUNT: 'gw',
      LABELS: { istio: 'ingressgateway' },
      INSTANCE_IPS: '127.0.0.1',
      ISTIO_VERSION: '1.31.0',
      CLUSTER_ID: 'Kubernetes',
      MESH_ID: 'cluster.local',
      ...scenario.nodeMetadata,
    },
  };
};

export const sidecarNode = (name: string, scenario: Scenario): ProxyNode => {
  const host = HOSTS[name];
  if (!host) throw new Error(`no host "${name}" in this topology`);
  return {
    id: `sidecar~${host.address}~${name}.${host.namespace}~${host.namespace}.svc.cluster.local`,
    cluster: `${name}.${host.namespace}`,
    metadata: {
      NAMESPACE: host.namespace,
      NAME: name,
      WORKLOAD_NAME: name,
      SERVICE_ACCOUNT: host.serviceAccount,
      LABELS: host.labels,
      INSTANCE_IPS: host.address,
      ISTIO_VERSION: '1.31.0',
      CLUSTER_ID: 'Kubernetes',
      MESH_ID: 'cluster.local',
      INTERCEPTION_MODE: 'REDIRECT',
      ...scenario.nodeMetadata,
    },
  };
};

const grpcCluster = (name: string, address: string, port: number): object => ({
  name,
  type: 'STATIC',
  connect_timeout: '1s',
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address, port_value: port } } } }] }],
  },
});

export const writeBootstrap = (file: string, node: ProxyNode, address: string, xdsPort: number, sdsPort: number): void => {
  const ads = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0s' };
  const bootstrap = {
    node,
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: 15000 } } },
    dynamic_resources: {
      lds_config: ads,
      cds_config: ads,
      ads_config: {
        api_type: 'GRPC',
        transport_api_version: 'V3',
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }],
      },
    },
    static_resources: { clusters: [grpcCluster('xds-grpc', address, xdsPort), grpcCluster('sds-grpc', address, sdsPort)] },
  };
  writeFileSync(file, JSON.stringify(bootstrap));
};

/** Complete JSON lines that a proxy has logged so far. */
export const logEntries = (file: string): Record<string, unknown>[] => {
  if (!existsSync(file)) return [];
  const out: Record<string, unknown>[] = [];
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (!line.startsWith('{')) continue;
    try {
      out.push(JSON.parse(line) as Record<string, unknown>);
    } catch {
      // a line that is still being written
    }
  }
  return out;
};

/** The Envoy binary: $ENVOY, the place test/setup puts it, or `envoy` on the path. */
export const envoyBinary = (): string | undefined => {
  const places = [
    process.env['ENVOY'],
    join(process.env['HOME'] ?? '/root', '.cache/skein-test/envoy'),
    ...(process.env['PATH'] ?? '').split(':').map((d) => join(d, 'envoy')),
  ];
  return places.find((p) => p !== undefined && existsSync(p));
};
