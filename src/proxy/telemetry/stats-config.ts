// Istio's stats filter (`stats.PluginConfig`) compiled: whether a place reports the standard metrics and how. Overrides
// that need expressions are refused by name.
import { PlanError } from '../../plan/plan-error.ts';
import { typeOfUrl } from '../../xds/codec.ts';
import type { AnyMessage, PluginConfig } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';

export interface StatsPlan {
  readonly hostFallback: boolean;
  /** A gateway reports as a source whatever its listener's direction is. */
  readonly gateway: boolean;
  readonly tcpReportingMs: number;
  /** Metric names (without `istio_`) that are not reported; '*' for all. */
  readonly dropped: ReadonlySet<string>;
  /** Metric name or '*' → labels left out. */
  readonly removedTags: ReadonlyMap<string, readonly string[]>;
}

const STATS_TYPE = 'stats.PluginConfig';

/** Undefined when no stats filter is in the chain. Throws PlanError. */
export const compileStats = (
  filters: readonly { readonly name: string; readonly typedConfig: AnyMessage | undefined }[],
): StatsPlan | undefined => {
  for (const [i, { name, typedConfig }] of filters.entries()) {
    const { type, value } = unwrap(typedConfig);
    if (name === 'istio.stats' || type === STATS_TYPE) return compilePlan(value, `filters[${i}].typed_config`);
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

const compilePlan = (config: PluginConfig, path: string): StatsPlan => {
  const dropped = new Set<string>();
  const removed = new Map<string, readonly string[]>();
  for (const [i, metric] of (config.metrics ?? []).entries()) {
    const at = `${path}.metrics[${i}]`;
    if (metric.match) throw new PlanError(`${at}.match`, 'expressions are not supported');
    for (const [label, expression] of Object.entries(metric.dimensions ?? {})) {
      throw new PlanError(`${at}.dimensions[${label}]`, `expression ${JSON.stringify(expression)} is not supported`);
    }
    const name = metric.name || '*';
    if (metric.drop) dropped.add(name);
    if (metric.tags_to_remove?.length) removed.set(name, [...(removed.get(name) ?? []), ...metric.tags_to_remove]);
  }
  if (config.definitions?.length) throw new PlanError(`${path}.definitions`, 'own metric definitions are not supported');
  return {
    hostFallback: !config.disable_host_header_fallback,
    gateway: config.reporter === 'SERVER_GATEWAY',
    tcpReportingMs: durationMs(config.tcp_reporting_duration) ?? 5000,
    dropped,
    removedTags: removed,
  };
};
