// Envoy's own counters of an HTTP connection manager (`http.PREFIX.downstream_rq_…`) and the response times of its clusters,
// counted when an exchange ends: `downstream_rq_total` lacks those that are under way.
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HistogramStat, Stat, StatsStore } from '../stats-store.ts';

export interface RequestStats {
  readonly store: StatsStore;
  readonly total: Stat;
  readonly completed: Stat;
  readonly http1: Stat;
  readonly http2: Stat;
  /** 1xx first. */
  readonly byClass: readonly Stat[];
  readonly time: HistogramStat;
}

export const requestStats = (store: StatsStore, prefix: string): RequestStats => {
  const counter = (name: string): Stat => store.counter(`http.${prefix}.downstream_rq_${name}`);
  return {
    store,
    total: counter('total'),
    completed: counter('completed'),
    http1: counter('http1_total'),
    http2: counter('http2_total'),
    byClass: ['1xx', '2xx', '3xx', '4xx', '5xx'].map(counter),
    time: store.histogram(`http.${prefix}.downstream_rq_time`),
  };
};

/** Names of the clusters that were called, so that no text is made for each exchange. */
const timeNames = new Map<string, string>();
const NAMES_MAX = 10_000;

export const countRequest = (stats: RequestStats, info: StreamInfo): void => {
  stats.total.value++;
  if (info.protocol === 'HTTP/2') stats.http2.value++;
  else stats.http1.value++;
  const byClass = stats.byClass[Math.floor(info.responseCode / 100) - 1];
  if (byClass !== undefined) byClass.value++;
  // Without an answer there is nothing completed and no time.
  if (info.responseCode === 0) return;
  stats.completed.value++;
  stats.time.record(info.endTime - info.startTime);
  const { upstreamCluster: cluster, firstUpstreamTxByte: sent, lastUpstreamRxByte: received } = info;
  if (cluster === '' || sent === 0 || received < sent) return;
  let name = timeNames.get(cluster);
  if (name === undefined) {
    if (timeNames.size >= NAMES_MAX) timeNames.clear();
    name = `cluster.${cluster}.upstream_rq_time`;
    timeNames.set(cluster, name);
  }
  stats.store.histogram(name).record(received - sent);
};
