// What one worker has counted, as a message, and the sum over all of them as the views that the admin API shows. What is the
// same in every worker (configuration, health, the process itself) is taken from the main thread and not added up.

import { Histogram, MetricRegistry } from '../../base/metrics.ts';
import type { ClusterView, DataPlane, HostView } from '../data-plane.ts';
import { type HistogramParts, StatsStore } from '../stats-store.ts';

type HostCounts = HostView['stats'];

interface FamilyTotals {
  readonly name: string;
  readonly help: string;
  readonly kind: 'counter' | 'histogram';
  readonly bounds: readonly number[];
  readonly series: readonly (readonly [labels: string, value: number | HistogramTotals])[];
}

interface HistogramTotals {
  readonly counts: Float64Array;
  readonly sum: number;
  readonly count: number;
}

export interface Totals {
  readonly stats: readonly (readonly [name: string, kind: 'counter' | 'gauge', value: number])[];
  readonly histograms: readonly (readonly [name: string, parts: HistogramParts])[];
  readonly families: readonly FamilyTotals[];
  readonly hosts: readonly (readonly [cluster: string, hosts: readonly HostTotals[]])[];
}

interface HostTotals {
  readonly address: string;
  readonly hostname: string;
  readonly counts: HostCounts;
}

export const totalsOf = (plane: Pick<DataPlane, 'stats' | 'clusters'>, metrics: MetricRegistry): Totals => ({
  stats: [...plane.stats.all()].map((s) => [s.name, s.kind, s.value]),
  histograms: [...plane.stats.histograms()].map((h) => [h.name, h.parts]),
  families: [...metrics.families()].flatMap((family) => {
    const { name, help, kind, bounds } = family;
    return kind === 'gauge' ? [] : [{ name, help, kind, bounds, series: [...family.entries()].map(([l, s]) => [l, seriesOf(s)] as const) }];
  }),
  hosts: [...plane.clusters()].map((c) => [
    c.name,
    [...c.hosts()].map(({ address, hostname, stats }) => ({ address, hostname, counts: { ...stats } })),
  ]),
});

const seriesOf = (s: { readonly value: number } | Histogram): number | HistogramTotals =>
  s instanceof Histogram ? { counts: s.counts, sum: s.sum, count: s.count } : s.value;

/** Counted by every worker for the same event, or of the process: the main thread's number is everybody's. */
const SAME_EVERYWHERE =
  /^(?:server\.|cluster_manager\.|listener_manager\.|control_plane\.|server_first\.ports_|overload\..*\.(?:pressure|active|scale_percent)$)|^cluster\..*\.(?:update_success|update_attempt|update_failure|update_empty|update_rejected|update_no_rebuild|membership_\w+|outlier_detection\.ejections_active|circuit_breakers\.\w+\.\w+)$|^http\..*\.rds\.|\.ssl_context_update_by_sds$/;

/** Envoy tells these for each worker too. */
const OF_A_WORKER = /^(listener\..+\.)(downstream_cx_(?:total|active))$/;

export interface Summed {
  readonly stats: StatsStore;
  readonly metrics: MetricRegistry;
  clusters(): Iterable<ClusterView>;
}

/** `main`: the worker whose configuration and own numbers stand; `others` are added to it. */
export const sumOf = (main: Pick<DataPlane, 'stats' | 'clusters'>, mainMetrics: MetricRegistry, others: readonly Totals[]): Summed => {
  const stats = new StatsStore();
  const own = totalsOf(main, mainMetrics);
  [own, ...others].forEach((totals, worker) => {
    const add = (name: string, kind: 'counter' | 'gauge', value: number): void => {
      (kind === 'counter' ? stats.counter(name) : stats.gauge(name)).value += value;
    };
    for (const [name, kind, value] of totals.stats) {
      if (totals === own || !SAME_EVERYWHERE.test(name)) add(name, kind, value);
      const [, listener, what] = OF_A_WORKER.exec(name) ?? [];
      if (listener !== undefined) add(`${listener}worker_${worker}.${what}`, kind, value);
    }
    for (const [name, parts] of totals.histograms) stats.histogram(name).add(parts);
  });
  return {
    stats,
    metrics: summedMetrics(mainMetrics, [own, ...others]),
    clusters: () => [...main.clusters()].map((c) => summedCluster(c, others)),
  };
};

const summedMetrics = (main: MetricRegistry, all: readonly Totals[]): MetricRegistry => {
  const metrics = new MetricRegistry();
  for (const family of main.families())
    if (family.kind === 'gauge')
      for (const [labels, s] of family.entries())
        metrics.gauge(family.name, family.help).at(labels).value = s instanceof Histogram ? 0 : s.value;
  for (const { families } of all)
    for (const { name, help, kind, bounds, series } of families) {
      if (kind === 'counter') {
        const family = metrics.counter(name, help);
        for (const [labels, value] of series) if (typeof value === 'number') family.at(labels).value += value;
      } else {
        const family = metrics.histogram(name, help, bounds);
        for (const [labels, value] of series) if (typeof value !== 'number') addTo(family.at(labels), value);
      }
    }
  return metrics;
};

const addTo = (histogram: Histogram, { counts, sum, count }: HistogramTotals): void => {
  counts.forEach((n, i) => {
    histogram.counts[i] = (histogram.counts[i] ?? 0) + n;
  });
  histogram.sum += sum;
  histogram.count += count;
};

const keyOf = ({ address, hostname }: { readonly address: string; readonly hostname: string }): string => `${hostname}|${address}`;

const summedCluster = (cluster: ClusterView, others: readonly Totals[]): ClusterView => {
  const hosts = new Map<string, HostView>();
  for (const host of cluster.hosts()) hosts.set(keyOf(host), { ...viewOf(host), stats: { ...host.stats } });
  for (const totals of others)
    for (const host of totals.hosts.find(([name]) => name === cluster.name)?.[1] ?? []) {
      const known = hosts.get(keyOf(host));
      // Hosts that a worker made for itself: original destinations, and names that it resolved a moment earlier.
      hosts.set(keyOf(host), known === undefined ? unknownHost(host) : { ...known, stats: plus(known.stats, host.counts) });
    }
  const { name, config, warm, assignment, breakers } = cluster;
  const own = { name, config, warm, assignment, breakers };
  return { ...own, hosts: () => hosts.values() };
};

const viewOf = ({ address, hostname, locality, priority, weight, edsHealth, ejected, checks, metadata, stats }: HostView): HostView => ({
  ...{ address, hostname, locality, priority, weight },
  ...{ edsHealth, ejected, checks, metadata, stats },
});

const UNCHECKED: HostView['checks'] = {
  failed: false,
  timedOut: false,
  degraded: false,
  degradedByAnswer: false,
  pending: false,
  excluded: false,
  leaving: false,
};

const unknownHost = ({ address, hostname, counts }: HostTotals): HostView => ({
  ...{ address, hostname, locality: undefined, priority: 0, weight: 1 },
  ...{ edsHealth: undefined, ejected: false, checks: UNCHECKED, metadata: undefined, stats: counts },
});

const plus = (a: HostCounts, b: HostCounts): HostCounts => ({
  cxActive: a.cxActive + b.cxActive,
  cxTotal: a.cxTotal + b.cxTotal,
  cxConnectFail: a.cxConnectFail + b.cxConnectFail,
  rqActive: a.rqActive + b.rqActive,
  rqTotal: a.rqTotal + b.rqTotal,
  rqSuccess: a.rqSuccess + b.rqSuccess,
  rqError: a.rqError + b.rqError,
  rqTimeout: a.rqTimeout + b.rqTimeout,
});
