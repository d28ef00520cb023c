// The HTTP filters of a connection manager, in Istio's order: peer metadata, external authorization, JWT, authorization, gRPC-Web,
// gRPC stats, ALPN, fault, CORS, stats, router. Telemetry joins here.

import type { Protocol } from '../mesh/protocol.ts';
import type { HttpFilter } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { nameResolution } from './dynamic-dns.ts';
import type { Side } from './istio-filters.ts';
import { proxyHeaders } from './proxy-headers.ts';
import { sessionFilter } from './sessions.ts';

const typed = (name: string, type: string, fields: Readonly<Record<string, unknown>> = {}): HttpFilter => ({
  name,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.filters.http.${type}`, ...fields },
});

const GRPC_WEB = typed('envoy.filters.http.grpc_web', 'grpc_web.v3.GrpcWeb');
const GRPC_STATS = typed('envoy.filters.http.grpc_stats', 'grpc_stats.v3.FilterConfig', {
  emit_filter_state: true,
  stats_for_all_methods: false,
});
const FAULT = typed('envoy.filters.http.fault', 'fault.v3.HTTPFault');
const CORS = typed('envoy.filters.http.cors', 'cors.v3.Cors');
const ROUTER = typed('envoy.filters.http.router', 'router.v3.Router');
/** Tells nobody what the proxy did. */
const SILENT_ROUTER = typed('envoy.filters.http.router', 'router.v3.Router', { suppress_envoy_headers: true });

/** `protocol`: of the port that asked for the connection manager first. Other ports may share it, as in Istio. */
export const httpFilters = (c: Context, side: Side, protocol: Protocol): readonly HttpFilter[] => [
  ...c.filters.http.peerMetadata(side),
  ...c.security.http(side),
  ...(protocol === 'GRPC-WEB' ? [GRPC_WEB] : []),
  GRPC_STATS,
  ...c.filters.http.alpn(side),
  ...(side === 'outbound' ? nameResolution(c) : []),
  FAULT,
  CORS,
  ...(side === 'inbound' ? [] : sessionFilter(c)),
  ...c.filters.http.stats(side),
  proxyHeaders(c).envoyDebugHeaders?.disabled === true ? SILENT_ROUTER : ROUTER,
];
