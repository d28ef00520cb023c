// `stats_sinks` of a bootstrap compiled: metrics services, and how often they are told. Throws PlanError for every other sink, by name.

import { PlanError } from '../../plan/plan-error.ts';
import type { Bootstrap, MetricsServiceConfig } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { configAs, typeNameOf, unwrapConfig } from '../extension-config.ts';
import { compileGrpcService, type GrpcServicePlan } from '../grpc-side-call.ts';

export interface MetricsSinkPlan {
  readonly service: GrpcServicePlan;
  readonly everyMs: number;
  /** Counters say what was added since the message before. */
  readonly deltas: boolean;
  /** What is a tag of a name is a label, and not in the name. */
  readonly tags: boolean;
  readonly summaries: boolean;
  readonly histograms: boolean;
}

const TYPE = 'envoy.config.metrics.v3.MetricsServiceConfig';
const EVERY_MS = 5000;
/** Envoy's bounds are 1 ms and 5 minutes; more often than this it would be all that the process does. */
const EVERY_MS_MIN = 50;
const EVERY_MS_END = 300_000;

export const compileStatsSinks = ({ stats_sinks: sinks = [], stats_flush_interval: every }: Bootstrap): MetricsSinkPlan[] => {
  if (sinks.length === 0) return [];
  const everyMs = every === undefined ? EVERY_MS : durationMs(every);
  if (!(everyMs >= 1 && everyMs < EVERY_MS_END)) throw new PlanError('stats_flush_interval', 'must be at least 1 ms and below 5 minutes');
  return sinks.map((sink, i) => {
    const config = unwrapConfig(sink.typed_config);
    const type = typeNameOf(config);
    if (type !== TYPE) throw new PlanError(`stats_sinks[${i}]`, `sink ${type === '' ? (sink.name ?? '') : type} is not supported`);
    return compileSink(configAs<MetricsServiceConfig>(config, `stats_sinks[${i}].typed_config`), `stats_sinks[${i}].typed_config`, everyMs);
  });
};

const compileSink = (config: MetricsServiceConfig, path: string, everyMs: number): MetricsSinkPlan => {
  const { transport_api_version: version, histogram_emit_mode: mode = 'SUMMARY_AND_HISTOGRAM' } = config;
  if (version !== 'V3') throw new PlanError(`${path}.transport_api_version`, `${version ?? 'AUTO'} is not supported: use V3`);
  return {
    service: compileGrpcService(config.grpc_service, `${path}.grpc_service`),
    everyMs: Math.max(EVERY_MS_MIN, everyMs),
    deltas: config.report_counters_as_deltas === true,
    tags: config.emit_tags_as_labels === true,
    summaries: mode !== 'HISTOGRAM',
    histograms: mode !== 'SUMMARY',
  };
};
