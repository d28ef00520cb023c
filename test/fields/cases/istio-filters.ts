// Istio's own filters: what each of their settings changes. The filters run by themselves, on an exchange that holds what they look at.
import { alpnFilter } from '../../../src/proxy/filters/alpn.ts';
import type { FilterExchange } from '../../../src/proxy/filters/http-filter.ts';
import { createPeerMetadata, PEER_METADATA_HEADER } from '../../../src/proxy/telemetry/peer-metadata.ts';
import { peerMetadataFilter } from '../../../src/proxy/telemetry/peer-metadata-filter.ts';
import { compileStats } from '../../../src/proxy/telemetry/stats-config.ts';
import { HeaderBlock } from '../../../src/wire/header-block.ts';
import type { AnyMessage } from '../../../src/xds/gen/types.ts';
import type { FieldCase, Part } from '../case.ts';

/** A part that is the configuration of an extension. */
const extension = (type: Part['type'], message: object): Part => ({
  type,
  message: { '@type': `type.googleapis.com/${type}`, ...message },
});
const configOf = (parts: readonly Part[], at = 0): AnyMessage => parts[at]?.message as unknown as AnyMessage;

const STATS = 'stats.PluginConfig' as Part['type'];
const GRPC_STATS = 'envoy.extensions.filters.http.grpc_stats.v3.FilterConfig' as Part['type'];
const istioStats: FieldCase = {
  name: 'istio-stats',
  parts: () => [
    extension(STATS, {
      disable_host_header_fallback: true,
      reporter: 'SERVER_GATEWAY',
      tcp_reporting_duration: '7s',
      definitions: [{ name: 'mine', type: 'GAUGE', value: 'request.size' }],
      metrics: [
        { name: 'requests_total', tags_to_remove: ['source_app'], dimensions: { method: 'request.method' } },
        { name: 'request_bytes', drop: true },
      ],
    }),
    extension(GRPC_STATS, { emit_filter_state: true }),
  ],
  observe: (parts) => {
    const plan = compileStats(parts.map((_, i) => ({ name: '', typedConfig: configOf(parts, i) })));
    const { dropped = [], changed = new Map(), added = new Map(), own = [] } = plan?.changes ?? {};
    const labels = [changed, added].map((by) => [...by].map(([metric, all]) => [metric, ...all.keys()]));
    const metrics = own.map(({ name, kind }) => [name, kind]);
    return [plan?.hostFallback, plan?.waypoint, plan?.messages, plan?.reportMs, [...dropped], labels, metrics];
  },
  expect: [
    false,
    true,
    true,
    7000,
    ['request_bytes'],
    [[['requests_total', 'source_app']], [['requests_total', 'method']]],
    [['istio_mine', 'gauge']],
  ],
};

const ALPN = 'istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig' as Part['type'];
const istioAlpn: FieldCase = {
  name: 'istio-alpn',
  parts: () => [
    extension(ALPN, {
      alpn_override: [
        { upstream_protocol: 'HTTP11', alpn_override: ['istio-http/1.1'] },
        { upstream_protocol: 'HTTP2', alpn_override: ['istio-h2'] },
      ],
    }),
  ],
  observe: (parts) => {
    const filter = alpnFilter.compile(configOf(parts), undefined as never, undefined as never);
    return [false, true].map((upstreamHttp2) => {
      const exchange = { upstreamHttp2, upstreamAlpn: undefined } as unknown as FilterExchange;
      filter?.onRequest?.(exchange, undefined);
      return exchange.upstreamAlpn;
    });
  },
  expect: [['istio-http/1.1'], ['istio-h2']],
};

const PEERS = 'io.istio.http.peer_metadata.Config' as Part['type'];
const WAYS = { istio_headers: {} };
const peer = createPeerMetadata({ id: 'peer', metadata: { NAME: 'peer' } });

/** What a chain leaves of metadata in a request and in its answer, and whom it saw. */
const metadataSeen = (config: AnyMessage, external: boolean): readonly unknown[] => {
  const filter = peerMetadataFilter(createPeerMetadata({ id: 'own', metadata: { NAME: 'own' } })).compile(config);
  const requestHeaders = new HeaderBlock();
  const responseHeaders = new HeaderBlock();
  peer.addOwn(requestHeaders);
  peer.addOwn(responseHeaders);
  const told = requestHeaders.get(PEER_METADATA_HEADER);
  const clusterMetadata = { filter_metadata: { istio: { external } } };
  const exchange = { info: { filterState: {}, clusterMetadata }, requestHeaders } as unknown as FilterExchange;
  filter.onRequest?.(exchange, undefined);
  filter.onResponse?.(exchange, responseHeaders, undefined as never);
  const header = (headers: HeaderBlock): string => {
    const value = headers.get(PEER_METADATA_HEADER);
    return value === undefined ? 'none' : value === told ? 'theirs' : 'own';
  };
  return [header(requestHeaders), header(responseHeaders), Object.keys(exchange.info.filterState).length];
};
const metadata = (name: string, config: object, expect: unknown): FieldCase => ({
  name,
  parts: () => [extension(PEERS, config)],
  observe: (parts) => [false, true].map((external) => metadataSeen(configOf(parts), external)),
  expect,
});
const istioServerMetadata = metadata('istio-server-metadata', { downstream_discovery: [WAYS], downstream_propagation: [WAYS] }, [
  ['none', 'own', 2],
  ['none', 'own', 2],
]);
const istioClientMetadata = metadata(
  'istio-client-metadata',
  { upstream_discovery: [WAYS], upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }] },
  [
    ['own', 'none', 1],
    ['theirs', 'none', 1],
  ],
);
export const ISTIO_CASES: readonly FieldCase[] = [istioStats, istioAlpn, istioServerMetadata, istioClientMetadata];
