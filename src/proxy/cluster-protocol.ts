// What HttpProtocolOptions say about connections of a cluster; the old fields of Cluster where a cluster has none.

import { PlanError } from '../plan/plan-error.ts';
import type { Cluster, UpstreamsHttp_HttpProtocolOptions } from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import { configAs } from './extension-config.ts';
import { IDLE_TIMEOUT_MS } from './limits.ts';

export interface ClusterProtocol {
  readonly idleTimeoutMs: number;
  readonly requestsPerConnection: number;
  /** 0: no bound. */
  readonly maxConnectionDurationMs: number;
  readonly autoSni: boolean;
  readonly autoSanValidation: boolean;
}

const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

export const compileClusterProtocol = (cluster: Cluster): ClusterProtocol => {
  const path = `typed_extension_protocol_options.${OPTIONS}`;
  const raw = cluster.typed_extension_protocol_options?.[OPTIONS];
  const options = raw === undefined ? undefined : configAs<UpstreamsHttp_HttpProtocolOptions>(raw, path);
  if (options?.explicit_http_config?.http2_protocol_options !== undefined)
    throw new PlanError(`${path}.explicit_http_config.http2_protocol_options`, 'HTTP/2 to upstreams is not supported yet');
  if (options?.explicit_http_config?.http3_protocol_options !== undefined || options?.auto_config?.http3_protocol_options !== undefined)
    throw new PlanError(path, 'HTTP/3 is not supported');
  if (cluster.http2_protocol_options !== undefined && options === undefined)
    throw new PlanError('http2_protocol_options', 'HTTP/2 to upstreams is not supported yet');
  const filters = options?.http_filters ?? [];
  if (filters.some((f) => f.name !== 'envoy.filters.http.upstream_codec'))
    throw new PlanError(`${path}.http_filters`, 'upstream HTTP filters are not supported');
  const common = options?.common_http_protocol_options ?? cluster.common_http_protocol_options;
  const upstream = options?.upstream_http_protocol_options ?? cluster.upstream_http_protocol_options;
  if (upstream?.override_auto_sni_header !== undefined && upstream.override_auto_sni_header !== '')
    throw new PlanError(`${path}.upstream_http_protocol_options.override_auto_sni_header`, 'not supported');
  if (common?.max_stream_duration !== undefined && durationMs(common.max_stream_duration) > 0)
    throw new PlanError(`${path}.common_http_protocol_options.max_stream_duration`, 'not supported for clusters');
  return {
    idleTimeoutMs: common?.idle_timeout === undefined ? IDLE_TIMEOUT_MS : durationMs(common.idle_timeout),
    requestsPerConnection: common?.max_requests_per_connection ?? cluster.max_requests_per_connection ?? 0,
    maxConnectionDurationMs: common?.max_connection_duration === undefined ? 0 : durationMs(common.max_connection_duration),
    autoSni: upstream?.auto_sni ?? false,
    autoSanValidation: upstream?.auto_san_validation ?? false,
  };
};
