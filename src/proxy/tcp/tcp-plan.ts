// A tcp_proxy filter compiled: where its connections go and how long they may take.

import { PlanError } from '../../plan/plan-error.ts';
import type { HashPolicy, JsonObject, Metadata, TcpProxy } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import { IDLE_TIMEOUT_MS } from '../limits.ts';

/** A cluster, and which of its hosts (subsets) where that is said. */
export interface TcpTarget {
  readonly name: string;
  readonly metadata: JsonObject | undefined;
}

export interface TcpPlan {
  readonly context: ListenerContext;
  chooseCluster(random: () => number): TcpTarget;
  readonly idleTimeoutMs: number;
  readonly connectAttempts: number;
  /** Before the attempt that follows the `attempt`-th. */
  backOffMs(attempt: number, random: () => number): number;
  /** 0: no bound. */
  maxDurationMs(random: () => number): number;
  /** A client address keeps its host under a consistent-hash balancer. */
  readonly hashSource: boolean;
  /** 0: the log is written at the end only. */
  readonly logIntervalMs: number;
  readonly logsConnect: boolean;
  /** How long a connection waits for its cluster, 0 without end; undefined: it is not asked for. */
  readonly clusterWaitMs: number | undefined;
}

const REFUSED = ['tunneling_config'] as const;
/** As Envoy's. */
const CLUSTER_WAIT_MS = 60_000;
/** Envoy's smallest access_log_flush_interval. */
const LOG_INTERVAL_MIN_MS = 1;

export const compileTcpProxy = (config: TcpProxy, context: ListenerContext, asksOnDemand = false): TcpPlan => {
  for (const field of REFUSED) if (config[field] !== undefined) throw new PlanError(field, 'not supported');
  for (const field of ['downstream_idle_timeout', 'upstream_idle_timeout'] as const)
    if (config[field] !== undefined) throw new PlanError(field, 'not supported: idle_timeout is');
  // The other modes begin to dial later, which only matters to filters that are not there.
  if ((config.upstream_connect_mode ?? 0) !== 0) throw new PlanError('upstream_connect_mode', 'only IMMEDIATE is supported');
  if (config.max_early_data_bytes !== undefined) throw new PlanError('max_early_data_bytes', 'not supported');
  const longest = config.max_downstream_connection_duration === undefined ? 0 : durationMs(config.max_downstream_connection_duration);
  const jitter = (config.max_downstream_connection_duration_jitter_percentage?.value ?? 0) / 100;
  const options = config.access_log_options;
  const flush = options?.access_log_flush_interval ?? config.access_log_flush_interval;
  return {
    context,
    chooseCluster: compileClusters(config),
    idleTimeoutMs: config.idle_timeout === undefined ? IDLE_TIMEOUT_MS : durationMs(config.idle_timeout),
    connectAttempts: attempts(config.max_connect_attempts),
    backOffMs: compileBackOff(config),
    maxDurationMs: jitter === 0 ? () => longest : (random) => longest * (1 + jitter * random()),
    hashSource: compileHash(config.hash_policy),
    logIntervalMs: flush === undefined ? 0 : Math.max(LOG_INTERVAL_MIN_MS, durationMs(flush)),
    logsConnect: (options?.flush_access_log_on_connected ?? config.flush_access_log_on_connected) === true,
    clusterWaitMs: compileOnDemand(config.on_demand, asksOnDemand),
  };
};

const compileOnDemand = (config: TcpProxy['on_demand'], asksOnDemand: boolean): number | undefined => {
  if (config === undefined) return undefined;
  if (config.odcds_config?.ads === undefined) throw new PlanError('on_demand.odcds_config', 'only ads is supported');
  if ((config.resources_locator ?? '') !== '') throw new PlanError('on_demand.resources_locator', 'not supported');
  if (!asksOnDemand) throw new PlanError('on_demand.odcds_config', 'needs an incremental ADS stream (DELTA_GRPC)');
  return config.timeout === undefined ? CLUSTER_WAIT_MS : durationMs(config.timeout);
};

const attempts = (configured: number | undefined): number => {
  if (configured === 0) throw new PlanError('max_connect_attempts', 'must be at least 1');
  return configured ?? 1;
};

const subsetOf = (metadata: Metadata | undefined): JsonObject | undefined => metadata?.filter_metadata?.['envoy.lb'];

// What a weighted cluster says of the host's metadata stands over what is said of all, key by key, as in Envoy.
const compileClusters = (config: TcpProxy): TcpPlan['chooseCluster'] => {
  const common = subsetOf(config.metadata_match);
  const weighted = config.weighted_clusters?.clusters;
  if (weighted === undefined) {
    const name = config.cluster ?? '';
    if (name === '') throw new PlanError('cluster', 'cluster or weighted_clusters is needed');
    const target: TcpTarget = { name, metadata: common };
    return () => target;
  }
  if (weighted.length === 0) throw new PlanError('weighted_clusters.clusters', 'at least one is needed');
  const clusters = weighted.map((c, i) => {
    if ((c.weight ?? 0) < 1) throw new PlanError(`weighted_clusters.clusters[${i}].weight`, 'must be at least 1');
    const own = subsetOf(c.metadata_match);
    return { name: c.name ?? '', weight: c.weight ?? 0, metadata: own === undefined ? common : { ...common, ...own } };
  });
  const total = clusters.reduce((sum, c) => sum + c.weight, 0);
  const last: TcpTarget = clusters[clusters.length - 1] ?? { name: '', metadata: undefined };
  if (clusters.length === 1) return () => last;
  return (random) => {
    let at = random() * total;
    for (const cluster of clusters) {
      at -= cluster.weight;
      if (at < 0) return cluster;
    }
    return last;
  };
};

/** Full jitter over a doubling interval, as Envoy; without options attempts follow at once. */
const compileBackOff = (config: TcpProxy): TcpPlan['backOffMs'] => {
  const options = config.backoff_options;
  if (options === undefined) return () => 0;
  const base = options.base_interval === undefined ? 0 : durationMs(options.base_interval);
  if (base < 1) throw new PlanError('backoff_options.base_interval', 'must be at least 1 ms');
  const most = options.max_interval === undefined ? base * 10 : durationMs(options.max_interval);
  if (most < base) throw new PlanError('backoff_options.max_interval', 'must not be less than base_interval');
  return (attempt, random) => Math.max(1, Math.floor(random() * Math.min(most, base * 2 ** (attempt - 1))));
};

const compileHash = (policies: readonly HashPolicy[] | undefined): boolean => {
  policies?.forEach((policy, i) => {
    if (policy.filter_state !== undefined) throw new PlanError(`hash_policy[${i}].filter_state`, 'not supported');
  });
  return policies?.some((policy) => policy.source_ip !== undefined) === true;
};
