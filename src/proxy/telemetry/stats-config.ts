// Istio's stats filter (`stats.PluginConfig`) compiled: whether a place reports the standard metrics and how.
import type { CelPlace } from '../../plan/cel/attributes.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { compileStringMatcher } from '../../plan/string-matcher.ts';
import { typeOfUrl } from '../../xds/codec.ts';
import type { AnyMessage, HistogramBucketSettings, HttpGrpcStats_FilterConfig, PluginConfig } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { compileChanges, type MetricChanges } from './metric-changes.ts';

export interface StatsPlan {
  readonly hostFallback: boolean;
  /** It stands before a set of workloads and reports of both its sides, whatever its listener's direction is. */
  readonly waypoint: boolean;
  /** The chain counts gRPC messages (grpc_stats with emit_filter_state). */
  readonly messages: boolean;
  /** How often open connections and calls are told of; undefined: as always. */
  readonly reportMs: number | undefined;
  /** Undefined: the standard metrics as they are. */
  readonly changes: MetricChanges | undefined;
}

const STATS_TYPE = 'stats.PluginConfig';

/** Undefined when no stats filter is in the chain. Throws PlanError. */
export const compileStats = (
  filters: readonly { readonly name: string; readonly typedConfig: AnyMessage | undefined }[],
  place?: CelPlace,
): StatsPlan | undefined => {
  for (const [i, { name, typedConfig }] of filters.entries()) {
    const { type, value } = unwrap(typedConfig);
    if (name === 'istio.stats' || type === STATS_TYPE)
      return compilePlan(value, `filters[${i}].typed_config`, filters.some(countsMessages), place);
  }
  return undefined;
};

/** A configuration that may be wrapped in a TypedStruct, as istiod sends those of Istio's own filters. */
export const unwrap = (config: AnyMessage | undefined): { readonly type: string; readonly value: object } => {
  if (!config || !('@type' in config)) return { type: '', value: {} };
  const { '@type': url, ...fields } = config as { readonly '@type': string; readonly [k: string]: unknown };
  if (!typeOfUrl(url).endsWith('.TypedStruct')) return { type: typeOfUrl(url), value: fields };
  const inner = fields['type_url'];
  return { type: typeOfUrl(typeof inner === 'string' ? inner : ''), value: (fields['value'] ?? {}) as object };
};

const GRPC_STATS_TYPE = 'envoy.extensions.filters.http.grpc_stats.v3.FilterConfig';
const countsMessages = ({ typedConfig }: { readonly typedConfig: AnyMessage | undefined }): boolean => {
  const { type, value } = unwrap(typedConfig);
  return type === GRPC_STATS_TYPE && (value as HttpGrpcStats_FilterConfig).emit_filter_state === true;
};

/** Bounds of a histogram by its name. */
export type BucketsOf = (name: string) => readonly number[];

/** Envoy's default histogram buckets; for bytes as for milliseconds. */
export const DEFAULT_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
];

/** `stats_config.histogram_bucket_settings` of the bootstrap: the first match of a name (`istiocustom.istio_…` for Istio's) wins. Throws PlanError. */
export const compileBuckets = (settings: readonly HistogramBucketSettings[] = []): BucketsOf => {
  const rules = settings.map(({ match = {}, buckets = [] }, i) => {
    const path = `stats_config.histogram_bucket_settings[${i}]`;
    const bounds = [...buckets].sort((a, b) => a - b);
    if (bounds.length === 0 || bounds.some((b) => !(b > 0))) throw new PlanError(`${path}.buckets`, 'must be numbers above 0');
    return { matches: compileStringMatcher(match, `${path}.match`), bounds: [...new Set(bounds)] };
  });
  return (name) => rules.find(({ matches }) => matches(name))?.bounds ?? DEFAULT_BUCKETS;
};

const compilePlan = (config: PluginConfig, path: string, messages: boolean, place: CelPlace | undefined): StatsPlan => ({
  hostFallback: !config.disable_host_header_fallback,
  messages,
  waypoint: config.reporter === 'SERVER_GATEWAY',
  reportMs: config.tcp_reporting_duration === undefined ? undefined : reportMs(config.tcp_reporting_duration),
  changes: compileChanges(config, path, place),
});

/** Not so often that reporting is the work. */
const reportMs = (text: string): number => {
  const ms = durationMs(text);
  return ms <= 0 ? 0 : Math.max(REPORT_MS_MIN, ms);
};
const REPORT_MS_MIN = 100;
