// The HTTP connection manager of a filter chain: what is the same for every side, and what each side adds.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Protocol } from '../mesh/protocol.ts';
import type { HttpConnectionManager, Listener_Filter, RouteConfiguration } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { gatewayTopology } from './gateway-topology.ts';
import { httpFilters } from './http-filters.ts';
import type { Side } from './istio-filters.ts';
import { statName } from './names.ts';
import { headerOptions, inboundClientCertificate, preservedCase } from './proxy-headers.ts';
import { REFUSE_ALL } from './security-filters.ts';

export const HTTP_CONNECTION_MANAGER = 'envoy.filters.network.http_connection_manager';

export type RouteSource = { readonly rds: string } | { readonly inline: RouteConfiguration };

export const connectionManager = (
  c: Context,
  side: Side,
  statPrefix: string,
  wanted: RouteSource,
  protocol: Protocol = 'UNSUPPORTED',
): Listener_Filter => {
  const routes: RouteSource = c.security.refusesHttp(side) ? { inline: REFUSE_ALL } : wanted;
  const tracing = c.telemetry.tracing(side);
  const hcm: HttpConnectionManager = {
    stat_prefix: statName(statPrefix),
    ...('rds' in routes
      ? { rds: { config_source: { ads: {}, initial_fetch_timeout: '0s', resource_api_version: 'V3' }, route_config_name: routes.rds } }
      : { route_config: routes.inline }),
    http_filters: httpFilters(c, side, protocol),
    ...(tracing === undefined ? {} : { tracing }),
    ...headerOptions(c, side),
    ...sideOptions(c, side),
    ...http1Options(c, side),
    access_log: c.telemetry.accessLogs(side),
    proxy_100_continue: true,
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    stream_idle_timeout: '0s',
    ...pathOptions(c.mesh),
    request_id_extension: {
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig',
        use_request_id_for_trace_sampling: c.telemetry.tracesByRequestId(side),
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
      return { use_remote_address: false, ...inboundClientCertificate(c) };
    case 'gateway': {
      const topology = gatewayTopology(c.mesh, c.node);
      const hops = topology.numTrustedProxies ?? 0;
      const details = topology.forwardClientCertDetails ?? 'UNDEFINED';
      const forward = details === 'UNDEFINED' ? 'SANITIZE_SET' : details;
      return {
        use_remote_address: true,
        ...(hops === 0 ? {} : { xff_num_trusted_hops: hops }),
        forward_client_cert_details: forward,
        // Only where the gateway writes the header itself.
        ...(forward === 'SANITIZE_SET' || forward === 'APPEND_FORWARD'
          ? { set_current_client_cert_details: { subject: true, cert: true, dns: true, uri: true } }
          : {}),
      };
    }
  }
};

const http1Options = (c: Context, side: Side): HttpConnectionManager => {
  const options = { ...(c.node.http10 ? { accept_http_10: true } : {}), ...preservedCase(c) };
  return side === 'gateway' || Object.keys(options).length > 0 ? { http_protocol_options: options } : {};
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
