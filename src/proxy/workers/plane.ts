// One worker's data plane with what watches it: the same on the main thread and on every other.

import type { Log } from '../../base/log.ts';
import type { HistogramBucketSettings, Node } from '../../xds/gen/types.ts';
import type { Clock } from '../clock.ts';
import type { DataPlaneOptions } from '../data-plane.ts';
import { DataPlaneRuntime } from '../data-plane-runtime.ts';
import { createPeerMetadata } from '../telemetry/peer-metadata.ts';
import { PEER_METADATA_TYPE_URL, peerMetadataFilter } from '../telemetry/peer-metadata-filter.ts';
import { Telemetry } from '../telemetry/telemetry.ts';
import { createPeerExchange } from '../transport/peer-exchange.ts';

/** What every worker is told the same; a message. */
export interface PlaneSettings {
  /** As it is announced. */
  readonly node: Node;
  readonly version: string;
  readonly logFlushMs: number | undefined;
  /** How many there are of it. */
  readonly workers: number;
  readonly rotateMetricsMs: number | undefined;
  /** How often the control plane is told what happens; undefined: it is not. */
  readonly summariesMs?: number | undefined;
  readonly buckets: readonly HistogramBucketSettings[] | undefined;
  readonly plane: Pick<
    DataPlaneOptions,
    'overload' | 'drainTimeMs' | 'drainGradually' | 'upstreamBindAddress' | 'localCluster' | 'asksOnDemand' | 'traceSampling'
  >;
}

export interface PlaneParts {
  readonly log: Log;
  readonly clock: Clock;
  /** [0, 1) */
  readonly random: () => number;
  readonly own: Pick<DataPlaneOptions, 'originalDestination' | 'connectionLimit' | 'sockets' | 'sharing' | 'made'>;
}

export const makePlane = (
  settings: PlaneSettings,
  { log, clock, random, own }: PlaneParts,
): { readonly plane: DataPlaneRuntime; readonly telemetry: Telemetry } => {
  const metadata = createPeerMetadata(settings.node);
  const telemetry: Telemetry = new Telemetry({
    own: metadata.own,
    version: settings.version,
    node: settings.node,
    clock,
    random,
    logFlushMs: settings.logFlushMs,
    workers: settings.workers,
    buckets: settings.buckets,
    rotateMs: settings.rotateMetricsMs,
    stats: () => plane.stats,
  });
  const plane: DataPlaneRuntime = new DataPlaneRuntime({
    ...settings.plane,
    ...own,
    workers: settings.workers,
    nodeCluster: settings.node.cluster ?? '',
    tracedNode: { id: settings.node.id ?? '', zone: settings.node.locality?.zone ?? '' },
    log: log.scope('proxy'),
    observer: telemetry,
    clock,
    random,
    httpFilters: new Map([[PEER_METADATA_TYPE_URL, peerMetadataFilter(metadata)]]),
    peerExchange: createPeerExchange(metadata),
  });
  return { plane, telemetry };
};
