// envoy.filters.http.health_check: answers health checks of others, from what is known of clusters, or lets them pass and remembers the
// answer for a while. Requests are health checks when all header matchers take them. While an operator
// has asked for failure (POST /healthcheck/fail), they fail, and every other answer says so.

import { compileHeaderMatcher, type RequestMatch } from '../../plan/header-matcher.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { FLAG } from '../../plan/response-flag.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { HttpHealthCheck_HealthCheck as HealthCheckConfig } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { configAs } from '../extension-config.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { FilterExchange, FilterVerdict, HttpFilter, HttpFilterFactory } from './http-filter.ts';

class HealthCheckFilter implements HttpFilter {
  readonly #env: ProxyEnvironment;
  readonly #matches: readonly RequestMatch[];
  readonly #passes: boolean;
  readonly #cacheMs: number;
  readonly #percentages: readonly (readonly [string, number])[];
  #cached = 0;
  #cachedDegraded = false;
  #cachedUntilMs = 0;

  constructor(config: HealthCheckConfig, env: ProxyEnvironment) {
    if (config.pass_through_mode === undefined) throw new PlanError('pass_through_mode', 'is required');
    this.#env = env;
    this.#passes = config.pass_through_mode;
    this.#cacheMs = config.cache_time === undefined ? 0 : durationMs(config.cache_time);
    if (this.#cacheMs > 0 && !this.#passes) throw new PlanError('cache_time', 'needs pass_through_mode');
    this.#matches = (config.headers ?? []).map((matcher, i) => compileHeaderMatcher(matcher, `headers[${i}]`));
    this.#percentages = Object.entries(config.cluster_min_healthy_percentages ?? {}).map(([name, { value = 0 }]) => [name, value]);
    if (this.#passes && this.#percentages.length > 0)
      throw new PlanError('cluster_min_healthy_percentages', 'needs pass_through_mode to be false');
  }

  onRequest(exchange: FilterExchange): FilterVerdict {
    const { method, path, authority, info, requestHeaders: headers } = exchange;
    const view = { method, path, authority, scheme: info.scheme, headers };
    if (!this.#matches.every((match) => match(view))) return undefined;
    info.healthCheck = true;
    exchange.note(this, true);
    if (!this.#passes) return answer(...this.#verdict());
    if (this.#env.healthFailed) return answer(...FAILED);
    if (this.#env.clock.monotonicMs() >= this.#cachedUntilMs) return undefined;
    return answer(this.#cached, 'health_check_cached', this.#cachedDegraded ? DEGRADED : []);
  }

  onResponse(exchange: FilterExchange, response: HeaderBlock): void {
    if (exchange.noteOf(this) !== true) {
      if (this.#env.healthFailed) response.set('x-envoy-immediate-health-check-fail', 'true');
      return;
    }
    const { responseCode } = exchange.info;
    if (this.#cacheMs > 0 && this.#env.clock.monotonicMs() >= this.#cachedUntilMs) {
      this.#cached = responseCode;
      this.#cachedDegraded = response.has('x-envoy-degraded');
      this.#cachedUntilMs = this.#env.clock.monotonicMs() + this.#cacheMs;
    }
    response.set('x-envoy-upstream-healthchecked-cluster', this.#env.nodeCluster);
  }

  #verdict(): readonly [number, string] {
    if (this.#env.healthFailed) return FAILED;
    for (const [name, least] of this.#percentages) {
      const stats = this.#env.cluster(name)?.stats;
      if (stats === undefined) return [503, 'health_check_failed_no_cluster_found'];
      const all = stats.membershipTotal.value;
      if (all === 0 && least > 0) return [503, 'health_check_failed_cluster_empty'];
      if (100 * (stats.membershipHealthy.value + stats.membershipDegraded.value) < all * least)
        return [503, 'health_check_failed_cluster_unhealthy'];
    }
    return [200, this.#percentages.length === 0 ? 'health_check_ok' : 'health_check_ok_cluster_healthy'];
  }
}

const FAILED = [503, 'health_check_failed'] as const;
const DEGRADED = [['x-envoy-degraded', '']] as const;

const answer = (status: number, details: string, headers: readonly (readonly [string, string])[] = []): FilterVerdict => ({
  kind: 'reply',
  status,
  body: '',
  details,
  headers,
  ...(status >= 200 && status < 300 ? {} : { flag: FLAG.LH }),
});

export const healthCheckFilter: HttpFilterFactory = {
  compile: (typed, _context, { env }) => new HealthCheckFilter(configAs<HealthCheckConfig>(typed, 'typed_config'), env),
};
