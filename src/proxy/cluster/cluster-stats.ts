// The counters of one cluster under Envoy's names, looked up once.

import type { PickerCounters } from '../balance/host-picker.ts';
import { type ConnectionLedger, connectionLedger } from '../connection-ledger.ts';
import type { Stat, StatsStore } from '../stats-store.ts';
import { type Breakers, type ResourceLimits, retriesAllowed } from './circuit-breaker.ts';

export interface ClusterStats {
  readonly cxTotal: Stat;
  readonly cxActive: Stat;
  readonly cxConnectFail: Stat;
  readonly cxConnectTimeout: Stat;
  readonly cxOverflow: Stat;
  /** Too many pools. */
  readonly cxPoolOverflow: Stat;
  readonly connections: ConnectionLedger;
  readonly rqTotal: Stat;
  readonly rqActive: Stat;
  readonly rqPendingTotal: Stat;
  readonly rqPendingActive: Stat;
  readonly rqPendingOverflow: Stat;
  /** Gave up before they had a connection, or had none because it failed. */
  readonly rqCancelled: Stat;
  readonly rqPendingFailed: Stat;
  readonly rqRetry: Stat;
  readonly rqRetrySuccess: Stat;
  readonly rqRetryOverflow: Stat;
  readonly rqRetryLimitExceeded: Stat;
  /** A body too large to be sent again. */
  readonly rqRetryAbandoned: Stat;
  readonly rqTimeout: Stat;
  readonly rqPerTryTimeout: Stat;
  readonly rqCompleted: Stat;
  /** Index is the hundreds digit of the status. */
  readonly rqByClass: readonly Stat[];
  /** Made when it is first answered. */
  readonly rqByCode: Map<number, Stat>;
  readonly makeCode: (status: number) => Stat;
  readonly rqBackOff: Stat;
  readonly rqBackOffAsked: Stat;
  readonly noneHealthy: Stat;
  readonly membershipTotal: Stat;
  readonly membershipHealthy: Stat;
  readonly membershipDegraded: Stat;
  readonly membershipExcluded: Stat;
  readonly ejectionsActive: Stat;
  readonly updateSuccess: Stat;
}

export const createClusterStats = (store: StatsStore, statName: string): ClusterStats => {
  const counter = (name: string) => store.counter(`cluster.${statName}.${name}`);
  const gauge = (name: string) => store.gauge(`cluster.${statName}.${name}`);
  return {
    cxTotal: counter('upstream_cx_total'),
    cxActive: gauge('upstream_cx_active'),
    cxConnectFail: counter('upstream_cx_connect_fail'),
    cxConnectTimeout: counter('upstream_cx_connect_timeout'),
    cxOverflow: counter('upstream_cx_overflow'),
    cxPoolOverflow: counter('upstream_cx_pool_overflow'),
    connections: connectionLedger(store, `cluster.${statName}.upstream_cx_`, 'upstream'),
    rqTotal: counter('upstream_rq_total'),
    rqActive: gauge('upstream_rq_active'),
    rqPendingTotal: counter('upstream_rq_pending_total'),
    rqPendingActive: gauge('upstream_rq_pending_active'),
    rqPendingOverflow: counter('upstream_rq_pending_overflow'),
    rqCancelled: counter('upstream_rq_cancelled'),
    rqPendingFailed: counter('upstream_rq_pending_failure_eject'),
    rqRetry: counter('upstream_rq_retry'),
    rqRetrySuccess: counter('upstream_rq_retry_success'),
    rqRetryOverflow: counter('upstream_rq_retry_overflow'),
    rqRetryLimitExceeded: counter('upstream_rq_retry_limit_exceeded'),
    rqRetryAbandoned: counter('retry_or_shadow_abandoned'),
    rqTimeout: counter('upstream_rq_timeout'),
    rqPerTryTimeout: counter('upstream_rq_per_try_timeout'),
    rqCompleted: counter('upstream_rq_completed'),
    rqByCode: new Map(),
    makeCode: (status) => counter(`upstream_rq_${status}`),
    rqBackOff: counter('upstream_rq_retry_backoff_exponential'),
    rqBackOffAsked: counter('upstream_rq_retry_backoff_ratelimited'),
    rqByClass: ['0xx', '1xx', '2xx', '3xx', '4xx', '5xx'].map((c) => counter(`upstream_rq_${c}`)),
    noneHealthy: counter('upstream_cx_none_healthy'),
    membershipTotal: gauge('membership_total'),
    membershipHealthy: gauge('membership_healthy'),
    membershipDegraded: gauge('membership_degraded'),
    membershipExcluded: gauge('membership_excluded'),
    ejectionsActive: gauge('outlier_detection.ejections_active'),
    updateSuccess: counter('update_success'),
  };
};

/** An answer of one status, which is 100 to 599 or not told apart. */
export const countAnswer = (stats: ClusterStats, status: number): void => {
  stats.rqCompleted.value++;
  const byClass = stats.rqByClass[Math.floor(status / 100)];
  if (byClass === undefined || status < 100) return;
  byClass.value++;
  let byCode = stats.rqByCode.get(status);
  if (byCode === undefined) {
    byCode = stats.makeCode(status);
    stats.rqByCode.set(status, byCode);
  }
  byCode.value++;
};

/** What of each priority's limits is used up, and where that is asked for, what is left. Found when somebody looks. */
export const tellBreakers = (store: StatsStore, statName: string, breakers: Breakers, pools: () => number): void =>
  store.computed(`cluster.${statName}.circuit_breakers.`, () => [
    ...breakerGauges('default', breakers.default, pools()),
    ...breakerGauges('high', breakers.high, pools()),
  ]);

const breakerGauges = (priority: string, { bounds, inHand }: ResourceLimits, pools: number): (readonly [string, number])[] => {
  const retries = retriesAllowed(bounds, inHand.requests + inHand.pending);
  const told: (readonly [string, number])[] = [];
  for (const [open, remaining, most, used] of [
    ['cx_open', 'remaining_cx', bounds.connectionsMax, inHand.connections],
    ['rq_pending_open', 'remaining_pending', bounds.pendingMax, inHand.pending],
    ['rq_open', 'remaining_rq', bounds.requestsMax, inHand.requests],
    ['cx_pool_open', 'remaining_cx_pools', bounds.poolsMax, pools],
    ['rq_retry_open', 'remaining_retries', retries, inHand.retries],
  ] as const) {
    told.push([`${priority}.${open}`, used >= most ? 1 : 0]);
    if (bounds.tracksRemaining) told.push([`${priority}.${remaining}`, Math.max(0, most - used)]);
  }
  return told;
};

export const pickerStats = (store: StatsStore, statName: string): PickerCounters => {
  const counter = (name: string) => store.counter(`cluster.${statName}.lb_${name}`);
  return {
    panic: counter('healthy_panic'),
    subsets: () => ({
      active: store.gauge(`cluster.${statName}.lb_subsets_active`),
      created: counter('subsets_created'),
      removed: counter('subsets_removed'),
      selected: counter('subsets_selected'),
      fallback: counter('subsets_fallback'),
      fallbackPanic: counter('subsets_fallback_panic'),
      duplicate: store.gauge(`cluster.${statName}.lb_subsets_single_host_per_subset_duplicate`),
    }),
    zones: () => ({
      tooSmall: counter('zone_cluster_too_small'),
      allDirectly: counter('zone_routing_all_directly'),
      sampled: counter('zone_routing_sampled'),
      crossZone: counter('zone_routing_cross_zone'),
      noCapacityLeft: counter('zone_no_capacity_left'),
      localNotOk: counter('local_cluster_not_ok'),
    }),
  };
};
