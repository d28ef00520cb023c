// How many more attempts one request may have: its own count and its place in the cluster's retry limit, held while it is used.

import type { RequestView } from '../plan/request-view.ts';
import { FLAG } from '../plan/response-flag.ts';
import { mayRetryRequest, type RetryPlan, requestRetry } from '../plan/retry.ts';
import type { StreamInfo } from '../plan/stream-info.ts';
import type { ResourceLimits } from './circuit-breaker.ts';
import type { ClusterStats } from './cluster-stats.ts';

export class RetryBudget {
  left = 0;
  plan: RetryPlan | undefined;
  #held: ResourceLimits | undefined;

  /** The route's policy with what an internal client's headers add; they are removed from the request. */
  begin(policy: RetryPlan | undefined, request: RequestView, allowed: boolean): void {
    const plan = requestRetry(policy, request.headers);
    this.plan = plan;
    this.left = plan !== undefined && allowed && mayRetryRequest(plan, request) ? plan.numRetries : 0;
  }

  /** False, with URX or UO set and counted, when one was wanted and may not be. */
  take(limits: ResourceLimits, stats: ClusterStats, info: StreamInfo): boolean {
    this.release();
    if (this.left <= 0) {
      info.setFlag(FLAG.URX);
      stats.rqRetryLimitExceeded.value++;
      return false;
    }
    if (!limits.tryRetry()) {
      info.setFlag(FLAG.UO);
      stats.rqRetryOverflow.value++;
      return false;
    }
    this.left--;
    this.#held = limits;
    stats.rqRetry.value++;
    return true;
  }

  /** The request cannot be sent again: what comes back now is its answer. */
  abandon(stats: ClusterStats | undefined): void {
    if (this.plan === undefined) return;
    this.plan = undefined;
    this.left = 0;
    if (stats !== undefined) stats.rqRetryAbandoned.value++;
  }

  release(): void {
    if (this.#held === undefined) return;
    this.#held.releaseRetry();
    this.#held = undefined;
  }
}
