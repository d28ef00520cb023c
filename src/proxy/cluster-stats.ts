// The counters of one cluster under Envoy's names, looked up once.

import type { Stat, StatsStore } from './stats-store.ts';

export interface ClusterStats {
  readonly cxTotal: Stat;
  readonly cxActive: Stat;
  readonly cxConnectFail: Stat;
  readonly cxConnectTimeout: Stat;
  readonly cxOverflow: Stat;
  readonly rqTotal: Stat;
  readonly rqActive: Stat;
  readonly rqPendingTotal: Stat;
  readonly rqPendingActive: Stat;
  readonly rqPendingOverflow: Stat;
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
  readonly noneHealthy: Stat;
  readonly membershipTotal: Stat;
  readonly membershipHealthy: Stat;
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
    rqTotal: counter('upstream_rq_total'),
    rqActive: gauge('upstream_rq_active'),
    rqPendingTotal: counter('upstream_rq_pending_total'),
    rqPendingActive: gauge('upstream_rq_pending_active'),
    rqPendingOverflow: counter('upstream_rq_pending_overflow'),
    rqRetry: counter('upstream_rq_retry'),
    rqRetrySuccess: counter('upstream_rq_retry_success'),
    rqRetryOverflow: counter('upstream_rq_retry_overflow'),
    rqRetryLimitExceeded: counter('upstream_rq_retry_limit_exceeded'),
    rqRetryAbandoned: counter('retry_or_shadow_abandoned'),
    rqTimeout: counter('upstream_rq_timeout'),
    rqPerTryTimeout: counter('upstream_rq_per_try_timeout'),
    rqCompleted: counter('upstream_rq_completed'),
    rqByClass: ['0xx', '1xx', '2xx', '3xx', '4xx', '5xx'].map((c) => counter(`upstream_rq_${c}`)),
    noneHealthy: counter('upstream_cx_none_healthy'),
    membershipTotal: gauge('membership_total'),
    membershipHealthy: gauge('membership_healthy'),
    ejectionsActive: gauge('outlier_detection.ejections_active'),
    updateSuccess: counter('update_success'),
  };
};
