// What was decided, per limit, under the reference implementation's names. Limits that tell the values of requests have bounded series.
import type { Counter, Family, MetricRegistry } from '../base/metrics.ts';
import type { Limit } from './limit.ts';

const SERIES_MAX = 10_000;
const NAMES = ['total_hits', 'over_limit', 'near_limit', 'over_limit_with_local_cache', 'within_limit', 'shadow_mode'] as const;
export type LimitSeries = { readonly [N in (typeof NAMES)[number]]: Counter };

export class LimitMetrics {
  readonly #families: { readonly [N in (typeof NAMES)[number]]: Family<Counter> };
  readonly #series = new Map<string, LimitSeries>();
  readonly requests: Counter;
  readonly redisErrors: Counter;
  readonly serviceErrors: Counter;
  readonly configLoads: Counter;
  readonly configErrors: Counter;

  constructor(registry: MetricRegistry) {
    const family = (name: string): Family<Counter> =>
      registry.counter(`ratelimit_service_rate_limit_${name}`, `hits of a limit: ${name.replaceAll('_', ' ')}`);
    this.#families = {
      total_hits: family('total_hits'),
      over_limit: family('over_limit'),
      near_limit: family('near_limit'),
      over_limit_with_local_cache: family('over_limit_with_local_cache'),
      within_limit: family('within_limit'),
      shadow_mode: family('shadow_mode'),
    };
    this.requests = registry.counter('ratelimit_service_total_requests', 'calls of ShouldRateLimit').series();
    this.redisErrors = registry.counter('ratelimit_service_call_should_rate_limit_redis_error', 'calls that Redis did not answer').series();
    this.serviceErrors = registry.counter('ratelimit_service_call_should_rate_limit_service_error', 'calls that asked nothing').series();
    this.configLoads = registry.counter('ratelimit_service_config_load_success', 'configurations taken').series();
    this.configErrors = registry.counter('ratelimit_service_config_load_error', 'configurations refused').series();
  }

  /** `values`: the request's descriptor as text. */
  of(limit: Limit, values: string): LimitSeries {
    const wanted = limit.detailed ? `${limit.path} ${values}` : limit.path;
    const key = this.#series.has(wanted) || this.#series.size < SERIES_MAX ? wanted : limit.path;
    let series = this.#series.get(key);
    if (series === undefined) {
      const labels = [['key', key]] as const;
      const made = NAMES.map((name) => [name, this.#families[name].series(labels)] as const);
      series = Object.fromEntries(made) as LimitSeries;
      this.#series.set(key, series);
    }
    return series;
  }
}
