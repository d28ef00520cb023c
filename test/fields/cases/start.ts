// What is read at start: who the proxy says it is, from when on it sheds load, how its histograms are cut, where its resources are.
import { announcedNode } from '../../../src/proxy/bootstrap/node.ts';
import { connectionLimits, overloadConfig } from '../../../src/proxy/bootstrap/overload-config.ts';
import { compileBuckets } from '../../../src/proxy/telemetry/stats-config.ts';
import { compileStatsSinks } from '../../../src/proxy/telemetry/stats-sinks.ts';
import { initialFetchTimeoutMs, parseSource, reconnectBackoff } from '../../../src/proxy/xds/config-source.ts';
import type { AnyMessage, ConfigSource } from '../../../src/xds/gen/types.ts';
import { type FieldCase, only, type Part } from '../case.ts';

const bootstrap = (message: object): Part => ({ type: 'envoy.config.bootstrap.v3.Bootstrap', message });
const HEAP = {
  '@type': 'type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig',
  max_heap_size_bytes: 1000,
} as AnyMessage;

export const startSettings: FieldCase = {
  name: 'start-settings',
  parts: () => [
    bootstrap({
      node: {
        id: 'id',
        cluster: 'cluster',
        metadata: { a: 1 },
        locality: { region: 'r', zone: 'z', sub_zone: 's' },
        client_features: ['feature'],
      },
      layered_runtime: {
        layers: [{ name: 'base', static_layer: { envoy: { resource_limits: { listener: { in: { connection_limit: 5 } } } } } }],
      },
      overload_manager: {
        refresh_interval: '0.5s',
        resource_monitors: [{ name: 'heap', typed_config: HEAP }],
        actions: [
          {
            name: 'envoy.overload_actions.stop_accepting_requests',
            triggers: [
              { name: 'heap', threshold: { value: 0.7 } },
              { name: 'heap', scaled: { scaling_threshold: 0.5, saturation_threshold: 0.9 } },
            ],
          },
        ],
      },
      stats_config: { histogram_bucket_settings: [{ match: { exact: 'a' }, buckets: [1, 2] }] },
    }),
  ],
  observe: (parts) => {
    const config = only(parts, 'envoy.config.bootstrap.v3.Bootstrap');
    const { id, cluster, metadata, locality, client_features: features } = announcedNode(config.node, '1.2.3');
    const { refreshMs, memory, actions } = overloadConfig(config.overload_manager, config, new Set());
    return {
      node: [id, cluster, metadata, locality, features?.includes('feature')],
      connections: connectionLimits(config)('in'),
      overload: [refreshMs, [...memory], [...actions]],
      buckets: compileBuckets(config.stats_config?.histogram_bucket_settings)('a'),
    };
  },
  expect: {
    node: ['id', 'cluster', { a: 1 }, { region: 'r', zone: 'z', sub_zone: 's' }, true],
    connections: 5,
    overload: [
      500,
      [['heap', 1000]],
      [
        [
          'envoy.overload_actions.stop_accepting_requests',
          [
            { name: 'heap', from: 0.7, full: 0.7 },
            { name: 'heap', from: 0.5, full: 0.9 },
          ],
        ],
      ],
    ],
    buckets: [1, 2],
  },
};

/** All sinks of a bootstrap, and how often they are told. */
export const startSinks: FieldCase = {
  name: 'start-sinks',
  parts: () => [
    bootstrap({
      stats_flush_interval: '2s',
      stats_sinks: [
        {
          name: 'sink',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig',
            grpc_service: { envoy_grpc: { cluster_name: 'metrics' } },
            report_counters_as_deltas: true,
            transport_api_version: 'V3',
            emit_tags_as_labels: true,
            histogram_emit_mode: 'HISTOGRAM',
          } as AnyMessage,
        },
      ],
    }),
  ],
  observe: (parts) =>
    compileStatsSinks(only(parts, 'envoy.config.bootstrap.v3.Bootstrap')).map(({ service, ...rest }) => ({
      cluster: service.cluster,
      ...rest,
    })),
  expect: [{ cluster: 'metrics', everyMs: 2000, deltas: true, tags: true, summaries: false, histograms: true }],
};

const SOURCES: readonly ConfigSource[] = [
  { ads: {}, initial_fetch_timeout: '3s' },
  { path: '/old' },
  { path_config_source: { path: '/new', watched_directory: { path: '/dir' } } },
  {
    api_config_source: {
      api_type: 'GRPC',
      grpc_services: [
        { envoy_grpc: { cluster_name: 'xds', retry_policy: { retry_back_off: { base_interval: '2s', max_interval: '4s' } } } },
      ],
    },
  },
];
export const startSources: FieldCase = {
  name: 'start-sources',
  parts: () => [
    bootstrap({
      dynamic_resources: { lds_config: SOURCES[0], cds_config: SOURCES[3] },
      static_resources: { clusters: SOURCES.slice(1, 3).map((eds_config, i) => ({ name: `c${i}`, eds_cluster_config: { eds_config } })) },
    }),
  ],
  observe: (parts) => {
    const { dynamic_resources: dynamic, static_resources: fixed } = only(parts, 'envoy.config.bootstrap.v3.Bootstrap');
    const sources = [dynamic?.lds_config, dynamic?.cds_config, ...(fixed?.clusters ?? []).map((c) => c.eds_cluster_config?.eds_config)];
    return sources.map((config) => {
      if (config === undefined) return 'none';
      const source = parseSource(config, 'source');
      const where =
        source.kind === 'file' ? [source.path, source.watchedDirectory] : source.kind === 'grpc' ? reconnectBackoff(source.service) : 'ads';
      return [source.kind, where, initialFetchTimeoutMs(config)];
    });
  },
  expect: [
    ['ads', 'ads', 3000],
    ['grpc', { baseMs: 2000, maxMs: 4000 }, 15_000],
    ['file', ['/old', undefined], 15_000],
    ['file', ['/new', '/dir'], 15_000],
  ],
};
