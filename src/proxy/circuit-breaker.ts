// Envoy's resource manager: what a cluster may have open at one time, per routing priority. Counts only; who asks decides what a refusal means.

import { PlanError } from '../plan/plan-error.ts';
import type { CircuitBreakers, CircuitBreakers_Thresholds } from '../xds/gen/types.ts';
import { BREAKER_DEFAULT, BREAKER_RETRIES_DEFAULT } from './limits.ts';

export class ResourceLimits {
  readonly connectionsMax: number;
  readonly pendingMax: number;
  readonly requestsMax: number;
  readonly retriesMax: number;
  readonly #budgetPercent: number | undefined;
  readonly #budgetMin: number;
  connections = 0;
  pending = 0;
  requests = 0;
  retries = 0;

  constructor(thresholds: CircuitBreakers_Thresholds | undefined) {
    this.connectionsMax = thresholds?.max_connections ?? BREAKER_DEFAULT;
    this.pendingMax = thresholds?.max_pending_requests ?? BREAKER_DEFAULT;
    this.requestsMax = thresholds?.max_requests ?? BREAKER_DEFAULT;
    this.retriesMax = thresholds?.max_retries ?? BREAKER_RETRIES_DEFAULT;
    const budget = thresholds?.retry_budget;
    this.#budgetPercent = budget === undefined ? undefined : (budget.budget_percent?.value ?? 20);
    this.#budgetMin = budget?.min_retry_concurrency ?? 3;
  }

  mayRetry(): boolean {
    if (this.#budgetPercent === undefined) return this.retries < this.retriesMax;
    return this.retries < Math.max(this.#budgetMin, Math.floor(((this.requests + this.pending) * this.#budgetPercent) / 100));
  }
}

const NO_LIMIT = 1024 * 1024 * 1024;

export interface Breakers {
  readonly default: ResourceLimits;
  readonly high: ResourceLimits;
}

export const compileBreakers = (breakers: CircuitBreakers | undefined): Breakers => {
  // Envoy's own default there is no limit, so that alone changes nothing.
  breakers?.per_host_thresholds?.forEach((t, i) => {
    if ((t.max_connections ?? NO_LIMIT) < NO_LIMIT)
      throw new PlanError(`circuit_breakers.per_host_thresholds[${i}].max_connections`, 'not supported');
  });
  const of = (high: boolean) => new ResourceLimits(breakers?.thresholds?.find((t) => (t.priority === 'HIGH') === high));
  return { default: of(false), high: of(true) };
};
