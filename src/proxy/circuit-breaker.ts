// Envoy's resource manager: what a cluster may have open at one time, per routing priority. Counts only; who asks decides what a
// refusal means. The limits hold for the sidecar: with several workers they are counted in shared memory (workers/shared-limits.ts).

import { PlanError } from '../plan/plan-error.ts';
import type { CircuitBreakers, CircuitBreakers_Thresholds } from '../xds/gen/types.ts';
import type { HostState } from './host-state.ts';
import { BREAKER_DEFAULT, BREAKER_RETRIES_DEFAULT } from './limits.ts';

export interface LimitBounds {
  readonly connectionsMax: number;
  readonly pendingMax: number;
  readonly requestsMax: number;
  readonly retriesMax: number;
  readonly budgetPercent: number | undefined;
  readonly budgetMin: number;
}

/** A pool that has no connection and may not make one, because other workers have them all. */
export interface ConnectionWaiter {
  /** A connection is counted for it. False: it needs none any more, and the next in turn gets it. */
  granted(): boolean;
}

/** Whatever `try…` has answered with true, and whatever was taken, is released once. */
export interface ResourceLimits {
  readonly bounds: LimitBounds;
  readonly connectionsFull: boolean;
  /** Another worker waits for a connection, of which this one has some. */
  readonly connectionsWanted: boolean;
  /** `none`: of a pool that has none to this host, which may have one beyond the limit. */
  tryConnection(host: HostState | undefined, none: boolean): boolean;
  /** One that stands already. */
  takeConnection(host: HostState | undefined): void;
  releaseConnection(host: HostState | undefined): void;
  /** `host`: where it is to lead. */
  waitForConnection(waiter: ConnectionWaiter, host: HostState): void;
  tryPending(): boolean;
  releasePending(): void;
  tryRequest(): boolean;
  releaseRequest(): void;
  tryRetry(): boolean;
  releaseRetry(): void;
  /** Its cluster is replaced; what is held is still released. */
  retire(): void;
}

export class LocalLimits implements ResourceLimits {
  readonly bounds: LimitBounds;
  readonly connectionsWanted = false;
  #connections = 0;
  #pending = 0;
  #requests = 0;
  #retries = 0;

  constructor(bounds: LimitBounds) {
    this.bounds = bounds;
  }

  get connectionsFull(): boolean {
    return this.#connections >= this.bounds.connectionsMax;
  }
  tryConnection(_host: HostState | undefined, none: boolean): boolean {
    if (this.#connections >= this.bounds.connectionsMax && !none) return false;
    this.#connections++;
    return true;
  }
  takeConnection(): void {
    this.#connections++;
  }
  releaseConnection(): void {
    this.#connections--;
  }
  waitForConnection(): void {}

  tryPending(): boolean {
    if (this.#pending >= this.bounds.pendingMax) return false;
    this.#pending++;
    return true;
  }
  releasePending(): void {
    this.#pending--;
  }

  tryRequest(): boolean {
    if (this.#requests >= this.bounds.requestsMax) return false;
    this.#requests++;
    return true;
  }
  releaseRequest(): void {
    this.#requests--;
  }

  tryRetry(): boolean {
    if (this.#retries >= retriesAllowed(this.bounds, this.#requests + this.#pending)) return false;
    this.#retries++;
    return true;
  }
  releaseRetry(): void {
    this.#retries--;
  }

  retire(): void {}
}

/** How many retries there may be while so many requests run or wait. */
export const retriesAllowed = ({ budgetPercent, budgetMin, retriesMax }: LimitBounds, requests: number): number =>
  budgetPercent === undefined ? retriesMax : Math.max(budgetMin, Math.floor((requests * budgetPercent) / 100));

const boundsOf = (thresholds: CircuitBreakers_Thresholds | undefined): LimitBounds => {
  const budget = thresholds?.retry_budget;
  return {
    connectionsMax: thresholds?.max_connections ?? BREAKER_DEFAULT,
    pendingMax: thresholds?.max_pending_requests ?? BREAKER_DEFAULT,
    requestsMax: thresholds?.max_requests ?? BREAKER_DEFAULT,
    retriesMax: thresholds?.max_retries ?? BREAKER_RETRIES_DEFAULT,
    budgetPercent: budget === undefined ? undefined : (budget.budget_percent?.value ?? 20),
    budgetMin: budget?.min_retry_concurrency ?? 3,
  };
};

const NO_LIMIT = 1024 * 1024 * 1024;

export interface Breakers {
  readonly default: ResourceLimits;
  readonly high: ResourceLimits;
}

/** `make`: the counts of a priority. */
export const compileBreakers = (
  breakers: CircuitBreakers | undefined,
  make: (priority: string, bounds: LimitBounds) => ResourceLimits,
): Breakers => {
  // Envoy's own default there is no limit, so that alone changes nothing.
  breakers?.per_host_thresholds?.forEach((t, i) => {
    if ((t.max_connections ?? NO_LIMIT) < NO_LIMIT)
      throw new PlanError(`circuit_breakers.per_host_thresholds[${i}].max_connections`, 'not supported');
  });
  const of = (high: boolean) => boundsOf(breakers?.thresholds?.find((t) => (t.priority === 'HIGH') === high));
  return { default: make('default', of(false)), high: make('high', of(true)) };
};
