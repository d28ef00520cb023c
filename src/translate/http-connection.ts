// The HTTP connection manager of a filter chain: what is the same for every side, and what each side adds.

import type { MeshConfig } from '../api/mesh-config.ts';
import type { HttpConnectionManager, HttpConnectionManager_Tracing, Listener_Filter, RouteConfiguration } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { httpFilters } from './http-filters.ts';
import type { Side } from './istio-filters.ts';
import { statName } from './names.ts';
import type { ProxyNode } from './proxy-node.ts';

const HTTP_CONNECTION_MANAGER = 'envoy.filters.network.http_connection_manager';

export type RouteSource = { readonly rds: string } | { readonly inline: RouteConfiguration };

export const connectionManager = (c: Context, side: Side, statPrefix: string, routes: RouteSource): Listener_Filter => {
  const hcm: HttpConnectionManager = {
    stat_prefix: statName(statPrefix),
    ...('rds' in routes
      ? { rds: { config_source: { ads: {}, initial_fetch_timeout: '0s', resource_api_version: 'V3' }, route_config_name: routes.rds } }
      : { route_config: routes.inline }),
    http_filters: httpFilters(c, side),
    ...(c.mesh.enableTracing ? { tracing: tracing(c.node, c.mesh) } : {}),
    ...sideOptions(c, side),
    ...(c.node.http10 ? { http_protocol_options: { accept_http_10: true } } : {}),
    access_log: c.accessLogs,
    proxy_100_continue: true,
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    stream_idle_timeout: '0s',
    ...pathOptions(c.mesh),
    request_id_extension: {
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig',
        use_request_id_for_trace_sampling: true,
      },
    },
  };
  return {
    name: HTTP_CONNECTION_MANAGER,
    typed_config: {
      '@type': `type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      ...hcm,
    },
  };
};

const sideOptions = (c: Context, side: Side): HttpConnectionManager => {
  switch (side) {
    case 'outbound':
      return { use_remote_address: false };
    case 'inbound':
      return {
        server_name: 'istio-envoy',
        use_remote_address: false,
        forward_client_cert_details: 'APPEND_FORWARD',
        set_current_client_cert_details: { subject: true, dns: true, uri: true },
      };
    case 'gateway': {
      const hops = c.mesh.defaultConfig.gatewayTopology?.numTrustedProxies ?? 0;
      return {
        http_protocol_options: {},
        server_name: 'istio-envoy',
        use_remote_address: true,
        ...(hops === 0 ? {} : { xff_num_trusted_hops: hops }),
        forward_client_cert_details: 'SANITIZE_SET',
        set_current_client_cert_details: { subject: true, cert: true, dns: true, uri: true },
      };
    }
  }
};

const pathOptions = (mesh: MeshConfig): HttpConnectionManager => {
  switch (mesh.pathNormalization.normalization) {
    case 'NONE':
      return { normalize_path: false, path_with_escaped_slashes_action: 'KEEP_UNCHANGED' };
    case 'MERGE_SLASHES':
      return { normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: 'KEEP_UNCHANGED' };
    case 'DECODE_AND_MERGE_SLASHES':
      return { normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: 'UNESCAPE_AND_FORWARD' };
    default:
      return { normalize_path: true, path_with_escaped_slashes_action: 'KEEP_UNCHANGED' };
  }
};

const DRY_RUN_TAGS: readonly (readonly [tag: string, key: string])[] = [
  ['istio.authorization.dry_run.allow_policy.name', 'istio_dry_run_allow_shadow_effective_policy_id'],
  ['istio.authorization.dry_run.allow_policy.result', 'istio_dry_run_allow_shadow_engine_result'],
  ['istio.authorization.dry_run.deny_policy.name', 'istio_dry_run_deny_shadow_effective_policy_id'],
  ['istio.authorization.dry_run.deny_policy.result', 'istio_dry_run_deny_shadow_engine_result'],
];

const tracing = (node: ProxyNode, mesh: MeshConfig): HttpConnectionManager_Tracing => ({
  client_sampling: { value: 100 },
  random_sampling: { value: mesh.defaultConfig.tracing?.sampling ?? 1 },
  overall_sampling: { value: 100 },
  custom_tags: [
    ...DRY_RUN_TAGS.map(([tag, key]) => ({
      tag,
      metadata: { kind: { request: {} }, metadata_key: { key: 'envoy.filters.http.rbac', path: [{ key }] } },
    })),
    ...(
      [
        ['istio.canonical_revision', node.labels['service.istio.io/canonical-revision'] ?? 'latest'],
        ['istio.canonical_service', node.labels['service.istio.io/canonical-name'] ?? 'unknown'],
        ['istio.cluster_id', node.clusterId === '' ? 'unknown' : node.clusterId],
        ['istio.mesh_id', node.meshId === '' ? 'unknown' : node.meshId],
        ['istio.namespace', node.namespace === '' ? 'default' : node.namespace],
      ] as const
    ).map(([tag, value]) => ({ tag, literal: { value } })),
  ],
});
