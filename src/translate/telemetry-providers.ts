// Where telemetry goes: the mesh's extension providers by name, and the clusters that lead to them.

import { CONTROL_PLANE_COLLECTOR, type ExtensionProvider, type MeshConfig } from '../api/mesh-config/mesh-config.ts';
import { derive } from '../base/derive.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { TAKES_SPANS } from '../xds/client-features.ts';
import type { AnyMessage, Cluster } from '../xds/gen/types.ts';
import { outboundCluster } from './names.ts';
import type { ProxyNode } from './proxy-node.ts';

/** Names are compared without regard to case. */
export const findProvider = (mesh: MeshConfig, name: string): ExtensionProvider | undefined =>
  mesh.extensionProviders.find((p) => (p.name ?? '').toLowerCase() === name.toLowerCase());

export interface Collector {
  readonly host: string;
  readonly cluster: string;
}

/** `service` is a host, or `namespace/host` where several namespaces have it. */
export const findCollector = (snapshot: Snapshot, service: string | undefined, port: number | undefined): Collector | undefined => {
  const [namespace, host] = (service ?? '').includes('/') ? (service ?? '').split('/') : [undefined, service ?? ''];
  const found = snapshot.services.withHost(host ?? '').filter((s) => namespace === undefined || s.namespace === namespace);
  const [only] = found;
  if (only === undefined || new Set(found.map((s) => s.namespace)).size > 1) return undefined;
  return { host: only.host, cluster: outboundCluster(port ?? 0, '', only.host) };
};

/** The provider is the control plane itself. */
export const isControlPlane = ({ opentelemetry }: ExtensionProvider): boolean => opentelemetry?.service === CONTROL_PLANE_COLLECTOR;

/** Undefined: nothing beside the proxy hands spans on. Where it does differs from replica to replica, and is read for the cluster alone. */
export const controlPlaneCollector = (node: ProxyNode, { opentelemetry }: ExtensionProvider): Collector | undefined =>
  opentelemetry?.http === undefined && derive(node, 'takes spans', (n) => spansPath(n) !== '')
    ? { host: CONTROL_PLANE_COLLECTOR, cluster: CONTROL_PLANE_CLUSTER }
    : undefined;

const CONTROL_PLANE_CLUSTER = 'skein-control-plane';

const spansPath = (node: ProxyNode): string => {
  const path = node.metadata[TAKES_SPANS];
  return typeof path === 'string' && path.startsWith('/') ? path : '';
};

/** Through the agent beside the proxy, which has its credentials. */
export const controlPlaneCluster = (node: ProxyNode): Cluster => ({
  name: CONTROL_PLANE_CLUSTER,
  type: 'STATIC',
  connect_timeout: '1s',
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': typed('envoy.extensions.upstreams.http.v3.HttpProtocolOptions', {
      explicit_http_config: { http2_protocol_options: {} },
    }),
  },
  load_assignment: {
    cluster_name: CONTROL_PLANE_CLUSTER,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: spansPath(node) } } } }] }],
  },
});

export const typed = (type: string, fields: Readonly<Record<string, unknown>>): AnyMessage => ({
  '@type': `type.googleapis.com/${type}`,
  ...fields,
});
