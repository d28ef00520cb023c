// Destinations whose names only the traffic says: the proxy resolves each name it is asked for. Only for proxies that have Envoy's dynamic
// forward proxy; for others such traffic passes on to where it was going.

import { derive } from '../base/derive.ts';
import type { Cluster, HttpFilter, Listener_Filter } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { type ProxyNode, understands } from './proxy-node.ts';

export const ANY_NAME_CLUSTER = 'AllowAnyDynamicDNSCluster';

const HTTP_FILTER = 'envoy.filters.http.dynamic_forward_proxy';
const HTTP_TYPE = 'envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig';
const SNI_FILTER = 'envoy.filters.network.sni_dynamic_forward_proxy';
const SNI_TYPE = 'envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig';

export const resolvesNames = (node: ProxyNode): boolean => node.kind === 'sidecar' && understands(node, HTTP_TYPE, HTTP_FILTER);

/** Is plain HTTP to unknown names resolved? An egress proxy resolves by itself. */
export const resolvesUnknown = (c: Context): boolean =>
  c.scope.outboundMode === 'ALLOW_ANY_DYNAMIC_DNS' && c.scope.egressProxy === undefined && resolvesNames(c.node);

/** One cache for all clusters and filters of a proxy; Envoy wants its settings equal wherever it is named. */
const cache = (c: Context): Readonly<Record<string, unknown>> => ({
  dns_cache_config: {
    name: 'dynamic_dns',
    dns_lookup_family: derive(c.node, 'first v6', (n) => n.ipAddresses[0]?.includes(':') === true) ? 'V6_ONLY' : 'V4_ONLY',
    dns_refresh_rate: c.mesh.dnsRefreshRate,
  },
});

export const byName = (c: Context): Cluster => ({
  lb_policy: 'CLUSTER_PROVIDED',
  cluster_type: {
    name: 'envoy.clusters.dynamic_forward_proxy',
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig', ...cache(c) },
  },
});

/** In every outbound connection manager of a proxy that has such a destination: names are resolved before the router needs them. */
export const nameResolution = (c: Context): readonly HttpFilter[] =>
  resolvesUnknown(c) || (resolvesNames(c.node) && c.services.some((s) => s.resolution === 'dynamic-dns'))
    ? [{ name: HTTP_FILTER, typed_config: { '@type': `type.googleapis.com/${HTTP_TYPE}`, ...cache(c) } }]
    : [];

/** The name comes from the server name a TLS client asks for. */
export const serverNameResolution = (c: Context, port: number): Listener_Filter => ({
  name: SNI_FILTER,
  typed_config: { '@type': `type.googleapis.com/${SNI_TYPE}`, port_value: port, ...cache(c) },
});
