// Filters that only Istio's build of Envoy and our own sidecar have. Each is sent only to nodes that announced it.

import type { AnyMessage, Cluster_Filter, HttpFilter, JsonObject, Listener_Filter, PluginConfig } from '../xds/gen/types.ts';
import { type ProxyNode, understands } from './proxy-node.ts';

export type Side = 'outbound' | 'inbound' | 'gateway';

export interface IstioFilters {
  readonly http: {
    peerMetadata(side: Side): readonly HttpFilter[];
    alpn(side: Side): readonly HttpFilter[];
    stats(side: Side): readonly HttpFilter[];
  };
  readonly network: {
    /** First filter of inbound chains. */
    metadataExchange(): readonly Listener_Filter[];
    stats(side: Side): readonly Listener_Filter[];
  };
  /** Filters of upstream connections. */
  readonly upstream: readonly Cluster_Filter[];
  /** Is the protocol `istio-peer-exchange` offered in ALPN? */
  readonly exchangesMetadata: boolean;
}

const TYPED_STRUCT = 'type.googleapis.com/udpa.type.v1.TypedStruct';
const PEER_METADATA = 'io.istio.http.peer_metadata.Config';
const METADATA_EXCHANGE = 'envoy.tcp.metadataexchange.config.MetadataExchange';
const ALPN = 'istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig';
const STATS = 'stats.PluginConfig';

const typedStruct = (type: string, value: JsonObject): AnyMessage => ({
  '@type': TYPED_STRUCT,
  type_url: `type.googleapis.com/${type}`,
  value,
});

const exchange = (): { readonly name: string; readonly typed_config: AnyMessage } => ({
  name: 'istio.metadata_exchange',
  typed_config: typedStruct(METADATA_EXCHANGE, { enable_discovery: true, protocol: 'istio-peer-exchange' }),
});

const DISCOVERY = [{ istio_headers: {} }, { workload_discovery: {} }];
const PROPAGATION = [{ istio_headers: {} }];
const PROPAGATION_INSIDE = [{ istio_headers: { skip_external_clusters: true } }];

const ALPN_OVERRIDES = [
  { alpn_override: ['istio-http/1.0', 'istio', 'http/1.0'] },
  { upstream_protocol: 'HTTP11', alpn_override: ['istio-http/1.1', 'istio', 'http/1.1'] },
  { upstream_protocol: 'HTTP2', alpn_override: ['istio-h2', 'istio', 'h2'] },
];

/** Did the node announce the stats filter? */
export const announcesStats = (node: ProxyNode): boolean => understands(node, STATS, 'istio.stats');

/** Of a node that lists nothing what somebody asks for is believed. */
export const countsMetrics = (node: ProxyNode): boolean =>
  announcesStats(node) || (node.extensionTypes.size === 0 && node.extensionNames.size === 0);

/** `stats`: the configurations of the stats filter that the node's telemetry asks for. */
export const istioFilters = (
  node: ProxyNode,
  stats: (side: Side) => readonly PluginConfig[],
  /** Says nothing of the workload to servers outside the mesh. */
  hidesOutside: () => boolean = () => false,
): IstioFilters => {
  const peer = understands(node, PEER_METADATA, 'envoy.filters.http.peer_metadata');
  const mx = understands(node, METADATA_EXCHANGE, 'envoy.filters.network.metadata_exchange');
  const alpn = understands(node, ALPN, 'istio.alpn');
  const counts = countsMetrics(node);
  const statsFilters = (side: Side): readonly { readonly name: string; readonly typed_config: AnyMessage }[] =>
    counts
      ? stats(side).map((config) => ({ name: 'istio.stats', typed_config: { '@type': `type.googleapis.com/${STATS}`, ...config } }))
      : [];
  return {
    http: {
      peerMetadata: (side) => {
        if (!peer) return [];
        const value: JsonObject =
          side === 'inbound'
            ? { downstream_discovery: DISCOVERY, downstream_propagation: PROPAGATION }
            : {
                upstream_discovery: DISCOVERY,
                upstream_propagation: side === 'outbound' && hidesOutside() ? PROPAGATION_INSIDE : PROPAGATION,
              };
        return [{ name: 'istio.metadata_exchange', typed_config: typedStruct(PEER_METADATA, value) }];
      },
      alpn: (side) =>
        alpn && side !== 'inbound'
          ? [
              {
                name: 'istio.alpn',
                typed_config: {
                  '@type': `type.googleapis.com/${ALPN}`,
                  alpn_override: ALPN_OVERRIDES.filter((o) => node.http2 || o.upstream_protocol !== 'HTTP2'),
                },
              },
            ]
          : [],
      stats: statsFilters,
    },
    network: {
      metadataExchange: () => (mx ? [exchange()] : []),
      stats: statsFilters,
    },
    upstream: mx ? [exchange()] : [],
    exchangesMetadata: mx,
  };
};
