// Envoy's resource manager: what a cluster may have open at one time, per routing priority. Counts only; who asks decides what a
// refusal means. The limits hold for the sidecar: with several workers they are counted in shared memory (workers/shared-limits.ts).

import { PlanError } from '../../plan/plan-error.ts';
import type { CircuitBreakers, CircuitBreakers_Thresholds } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { BREAKER_DEFAULT, BREAKER_RETRIES_DEFAULT } from '../limits.ts';
import { type HostState, LocalHostState } from './host-state.ts';
import { RequestWindow } from './request-window.ts';

/** More than there can be: Envoy's own default where a bound has none. */
const NO_LIMIT = 0xffffffff;

export interface LimitBounds {
  readonly connectionsMax: number;
  readonly pendingMax: number;
  readonly requestsMax: number;
  readonly retriesMax: number;
  readonly budgetPercent: number | undefined;
  readonly budgetMin: number;
  /** Of one host. */
  readonly hostConnectionsMax: number;
  readonly poolsMax: number;
  /** What is left is told beside what is full. */
  readonly tracksRemaining: boolean;
  /** With a budget_interval the budget is a share of what began in it; each worker counts its own. */
  readonly lately?: RequestWindow | undefined;
}

export interface InHand {
  readonly connections: number;
  readonly pending: number;
  readonly requests: number;
  readonly retries: number;
}

/** A pool that has no connection and may not make one, because other workers have them all. */
export interface ConnectionWaiter {
  /** A connection is counted for it. False: it needs none any more, and the next in turn gets it. */
  granted(): boolean;
}

/** Whatever `try…` has answered with true, and whatever was taken, is released once. */
export interface ResourceLimits {
  readonly bounds: LimitBounds;
  /** Counted now, by all workers. */
  readonly inHand: InHand;
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

  get inHand(): InHand {
    return { connections: this.#connections, pending: this.#pending, requests: this.#requests, retries: this.#retries };
  }
  get connectionsFull(): boolean {
    return this.#connections >= this.bounds.connectionsMax;
  }
  tryConnection(host: HostState | undefined, none: boolean): boolean {
    const full = this.#connections >= this.bounds.connectionsMax || (host?.connections ?? 0) >= this.bounds.hostConnectionsMax;
    if (full && !none) return false;
    this.takeConnection(host);
    return true;
  }
  takeConnection(host: HostState | undefined): void {
    this.#connections++;
    if (host instanceof LocalHostState) host.connections++;
  }
  releaseConnection(host: HostState | undefined): void {
    this.#connections--;
    if (host instanceof LocalHostState) host.connections--;
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
    this.bounds.lately?.took();
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
export const retriesAllowed = ({ budgetPercent, budgetMin, retriesMax, lately }: LimitBounds, requests: number): number =>
  budgetPercent === undefined
    ? retriesMax
    : Math.max(budgetMin, Math.floor((Math.max(requests, lately?.count ?? 0) * budgetPercent) / 100));

const boundsOf = (
  thresholds: CircuitBreakers_Thresholds | undefined,
  ofHost: CircuitBreakers_Thresholds | undefined,
  now: () => number,
): LimitBounds => {
  const budget = thresholds?.retry_budget;
  const percent = budget?.budget_percent?.value ?? 20;
  const intervalMs = durationMs(budget?.budget_interval ?? '0s');
  if (!(percent >= 0 && percent <= 100)) throw new PlanError('circuit_breakers.thresholds.retry_budget.budget_percent', 'is no percentage');
  return {
    connectionsMax: thresholds?.max_connections ?? BREAKER_DEFAULT,
    pendingMax: thresholds?.max_pending_requests ?? BREAKER_DEFAULT,
    requestsMax: thresholds?.max_requests ?? BREAKER_DEFAULT,
    retriesMax: thresholds?.max_retries ?? BREAKER_RETRIES_DEFAULT,
    budgetPercent: budget === undefined ? undefined : percent,
    budgetMin: budget?.min_retry_concurrency ?? 3,
    hostConnectionsMax: ofHost?.max_connections ?? NO_LIMIT,
    poolsMax: thresholds?.max_connection_pools ?? NO_LIMIT,
    tracksRemaining: thresholds?.track_remaining === true,
    lately: intervalMs > 0 ? new RequestWindow(intervalMs, now) : undefined,
  };
};

/** Of what is counted and never refused. */
export const NO_BOUNDS: LimitBounds = {
  connectionsMax: NO_LIMIT,
  pendingMax: NO_LIMIT,
  requestsMax: NO_LIMIT,
  retriesMax: NO_LIMIT,
  budgetPercent: undefined,
  budgetMin: 0,
  hostConnectionsMax: NO_LIMIT,
  poolsMax: NO_LIMIT,
  tracksRemaining: false,
};

const NOT_OF_A_HOST = ['max_pending_requests', 'max_requests', 'max_retries', 'retry_budget', 'max_connection_pools'] as const;

export interface Breakers {
  readonly default: ResourceLimits;
  readonly high: ResourceLimits;
}

/** `make`: the counts of a priority. `now`: a clock for what is counted over time. */
export const compileBreakers = (
  breakers: CircuitBreakers | undefined,
  make: (priority: string, bounds: LimitBounds) => ResourceLimits,
  now: () => number = () => 0,
): Breakers => {
  breakers?.per_host_thresholds?.forEach((t, i) => {
    for (const name of NOT_OF_A_HOST)
      if (t[name] !== undefined)
        throw new PlanError(`circuit_breakers.per_host_thresholds[${i}].${name}`, 'only max_connections is known for each host');
  });
  const pick = (all: readonly CircuitBreakers_Thresholds[] | undefined, high: boolean) =>
    all?.find((t) => (t.priority === 'HIGH') === high);
  const of = (high: boolean) => boundsOf(pick(breakers?.thresholds, high), pick(breakers?.per_host_thresholds, high), now);
  return { default: make('default', of(false)), high: make('high', of(true)) };
};
