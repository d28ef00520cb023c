// How many more attempts one request may have: its own count and its place in the cluster's retry limit, held while it is used.

import type { RequestView } from '../../plan/request-view.ts';
import { FLAG } from '../../plan/response-flag.ts';
import {
  type ResetKind,
  type RetryPlan,
  rateLimitedBackOffMs,
  retryBackOffMs,
  shouldRetryReset,
  shouldRetryStatus,
} from '../../plan/retry.ts';
import { requestRetry } from '../../plan/retry-request.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { ResourceLimits } from './circuit-breaker.ts';
import type { ClusterStats } from './cluster-stats.ts';
import type { Host } from './host.ts';

export class RetryBudget {
  left = 0;
  plan: RetryPlan | undefined;
  /** Where the attempts before this one went. */
  tried: Host[] = [];
  #held: ResourceLimits | undefined;

  reset(): void {
    this.left = 0;
    this.plan = undefined;
    if (this.tried.length > 0) this.tried = [];
  }

  /** The route's policy with what an internal client's headers add; they are removed from the request. */
  begin(policy: RetryPlan | undefined, request: RequestView): void {
    const plan = requestRetry(policy, request);
    this.plan = plan;
    this.left = plan !== undefined && plan.on !== 0 ? plan.numRetries : 0;
  }

  wantsReset(kind: ResetKind, info: StreamInfo): boolean {
    return this.plan !== undefined && shouldRetryReset(this.plan, kind, info.upstreamHeaderBytesSent > 0);
  }

  wantsStatus(status: number, headers: HeaderBlock): boolean {
    return this.plan !== undefined && shouldRetryStatus(this.plan, status, headers);
  }

  /** Until the attempt after number `attempts`, which came back with `response`. */
  waitMs(response: HeaderBlock | undefined, attempts: number, { clock, random }: ProxyEnvironment, stats?: ClusterStats): number {
    if (this.plan === undefined) return 0;
    const asked = response === undefined ? undefined : rateLimitedBackOffMs(this.plan, response, clock.wallMs(), random);
    const counted = asked === undefined ? stats?.rqBackOff : stats?.rqBackOffAsked;
    if (counted !== undefined) counted.value++;
    return asked ?? retryBackOffMs(this.plan, attempts, random);
  }

  /** False, with URX or UO set and counted, when one was wanted and may not be. */
  take(limits: ResourceLimits, stats: ClusterStats, info: StreamInfo, host: Host | undefined): boolean {
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
    if (host !== undefined) this.tried.push(host);
    return true;
  }

  /** The upstream has begun to answer: the next one would not know what the client was told. */
  forgo(): void {
    this.plan = undefined;
    this.left = 0;
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
