// The configuration of Istio's stats filter: which of the standard metrics are dropped, and which labels are set or taken away.

import type { MetricChoice } from '../mesh/telemetry-merge.ts';
import type { MetricConfig, PluginConfig } from '../xds/gen/types.ts';
import type { Side } from './istio-filters.ts';

const METRICS: Readonly<Record<string, string>> = {
  REQUEST_COUNT: 'requests_total',
  REQUEST_DURATION: 'request_duration_milliseconds',
  REQUEST_SIZE: 'request_bytes',
  RESPONSE_SIZE: 'response_bytes',
  TCP_OPENED_CONNECTIONS: 'tcp_connections_opened_total',
  TCP_CLOSED_CONNECTIONS: 'tcp_connections_closed_total',
  TCP_SENT_BYTES: 'tcp_sent_bytes_total',
  TCP_RECEIVED_BYTES: 'tcp_received_bytes_total',
  GRPC_REQUEST_MESSAGES: 'request_messages_total',
  GRPC_RESPONSE_MESSAGES: 'response_messages_total',
};

export const statsConfig = (side: Side, choice: MetricChoice): PluginConfig => {
  const metrics = choice.overrides.map((o): MetricConfig => {
    const set = [...o.tags].filter((t): t is [string, string] => t[1] !== undefined);
    const removed = [...o.tags].filter(([, value]) => value === undefined).map(([label]) => label);
    return {
      name: METRICS[o.metric] ?? o.metric,
      ...(set.length === 0 ? {} : { dimensions: Object.fromEntries(set) }),
      ...(removed.length === 0 ? {} : { tags_to_remove: removed }),
      ...(o.disabled ? { drop: true } : {}),
    };
  });
  return {
    // A server must not believe the Host header about its own name.
    ...(side === 'outbound' ? {} : { disable_host_header_fallback: true }),
    ...(choice.interval === undefined ? {} : { tcp_reporting_duration: choice.interval }),
    ...(metrics.length === 0 ? {} : { metrics }),
  };
};
