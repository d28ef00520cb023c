// Access logs for an OpenTelemetry collector, compiled: what a record says, which sink takes it, over gRPC or HTTP.

import type { EntryWriter } from '../../plan/log-entry.ts';
import { checkFormatters } from '../../plan/log-format.ts';
import { compileRecord } from '../../plan/log-record.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { ProtoBuffer } from '../../plan/proto-buffer.ts';
import type { ProcessFacts } from '../../plan/stream-info.ts';
import { encode } from '../../xds/codec.ts';
import type { KeyValueList, OpenTelemetryAccessLogConfig } from '../../xds/gen/types.ts';
import { compileHttpTarget, type Exporter, grpcExporter, httpExporter } from '../export/exporters.ts';
import { rejectedItems } from '../export/partial-success.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { stable } from '../stable-text.ts';
import { flushInterval, peerState } from './grpc-access-log.ts';
import type { LogExports } from './log-exports.ts';
import { OtelLogSink } from './otel-log-sink.ts';

const METHOD = '/opentelemetry.proto.collector.logs.v1.LogsService/Export';
const BUFFER_BYTES = 16384;
const STATS = 'access_logs.open_telemetry_access_log.';

export interface OtelLog {
  readonly write: EntryWriter;
  readonly sink: OtelLogSink;
}

/** Throws PlanError for what a sidecar cannot honour. */
export const compileOtelLog = (
  config: OpenTelemetryAccessLogConfig,
  path: string,
  { exports, env, facts }: { readonly exports: LogExports; readonly env: ProxyEnvironment; readonly facts: ProcessFacts },
): OtelLog => {
  checkFormatters(config.formatters, path);
  const write = compileRecord({
    body: config.body,
    attributes: config.attributes,
    customTags: config.custom_tags ?? [],
    filterState: config.filter_state_objects_to_log ?? [],
    process: facts,
    path,
    stateOf: peerState,
  });
  const plan = {
    flushMs: flushInterval(config.buffer_flush_interval === undefined ? (config.common_config ?? {}) : config, path),
    bufferBytes: config.buffer_size_bytes ?? config.common_config?.buffer_size_bytes ?? BUFFER_BYTES,
    statPrefix: config.stat_prefix ? `${STATS}${config.stat_prefix}.` : STATS,
    resource: resourceOf(config, exports),
  };
  const { grpc_service: grpc = config.common_config?.grpc_service, http_service: http } = config;
  const exporter = exporterOf(config, path, env);
  const key = `otel ${stable({ grpc, http, ...plan, resource: Buffer.from(plan.resource).toString('base64') })}`;
  return { write, sink: exports.at(key, () => new OtelLogSink(env, plan, exporter)) };
};

const exporterOf = (config: OpenTelemetryAccessLogConfig, path: string, env: ProxyEnvironment): Exporter => {
  const { common_config: common, grpc_service: grpc, http_service: http } = config;
  if (http !== undefined) {
    if (grpc !== undefined || common?.grpc_service !== undefined)
      throw new PlanError(`${path}.http_service`, 'there is a grpc_service too');
    return httpExporter(env, compileHttpTarget(http, `${path}.http_service`), 'application/x-protobuf', rejectedItems);
  }
  if (grpc !== undefined) return grpcExporter(env, grpc, METHOD, `${path}.grpc_service`, rejectedItems);
  return grpcExporter(env, common?.grpc_service, METHOD, `${path}.common_config.grpc_service`, rejectedItems);
};

/** As Envoy orders them: its own, then those of the configuration, which take the place of their namesakes. */
const resourceOf = (config: OpenTelemetryAccessLogConfig, { node }: LogExports): Uint8Array => {
  const attributes = new Map<string, Uint8Array>();
  const add = (key: string, value: NonNullable<KeyValueList['values']>[number]['value']): void => {
    attributes.set(key, encode('opentelemetry.proto.common.v1.KeyValue', { key, value }));
  };
  if (config.disable_builtin_labels !== true) {
    add('log_name', { string_value: config.log_name || config.common_config?.log_name || '' });
    add('zone_name', { string_value: node.locality?.zone ?? '' });
    add('cluster_name', { string_value: node.cluster ?? '' });
    add('node_name', { string_value: node.id ?? '' });
  }
  for (const { key = '', value } of config.resource_attributes?.values ?? []) add(key, value);
  const out = new ProtoBuffer(256);
  const resource = out.begin(1);
  for (const attribute of attributes.values()) out.blob(1, attribute);
  out.end(resource);
  return out.bytes.subarray(0, out.length);
};
