// What the main thread and its further workers say to each other. Everything is cloned on its way; secrets go along, because both
// are one process, and nowhere else. Messages of one direction arrive in the order in which they were sent.

import type { LogFields, LogLevel } from '../../base/log.ts';
import type {
  Cluster,
  ClusterLoadAssignment,
  Core_TypedExtensionConfig,
  Listener,
  RouteConfiguration,
  Secret,
} from '../../xds/gen/types.ts';
import type { HostUpdate } from '../exchange/route-table.ts';
import type { DemandKind } from '../on-demand/demand.ts';
import type { OpenTap, TapShown } from '../tap/sampler.ts';
import type { SummaryReport } from '../telemetry/summary-link.ts';
import type { Totals } from './totals.ts';

export type Change =
  | { readonly set: 'cluster'; readonly resource: Cluster }
  | { readonly set: 'endpoints'; readonly resource: ClusterLoadAssignment }
  | { readonly set: 'listener'; readonly resource: Listener }
  | { readonly set: 'routes'; readonly resource: RouteConfiguration }
  | { readonly set: 'secret'; readonly resource: Secret }
  | { readonly set: 'extension'; readonly resource: Core_TypedExtensionConfig }
  | { readonly remove: 'cluster' | 'listener' | 'routes' | 'secret' | 'extension' | 'waiting for extension'; readonly name: string }
  | { readonly hosts: HostUpdate }
  | { readonly absent: DemandKind; readonly name: string }
  | { readonly act: 'drain' | 'failHealth' | 'passHealth' | 'drainGracefully' | 'stopListening'; readonly inboundOnly: boolean };

/** A listening descriptor of this process, and the address that it was asked for under. */
export interface GivenSocket {
  readonly key: string;
  readonly fd: number;
}

export type ToWorker =
  /** `number` counts the changes; a worker says up to which it has come. */
  | { readonly kind: 'change'; readonly number: number; readonly change: Change }
  | { readonly kind: 'socket'; readonly socket: GivenSocket }
  | { readonly kind: 'signal'; readonly key: string }
  | { readonly kind: 'count'; readonly id: number }
  | { readonly kind: 'resetCounters' }
  | { readonly kind: 'reopenLogs' }
  | { readonly kind: 'level'; readonly level: LogLevel }
  | { readonly kind: 'taps'; readonly taps: readonly OpenTap[] }
  | { readonly kind: 'close' };

export interface WorkerState {
  readonly applied: number;
  readonly ready: boolean;
  readonly bindFailures: readonly (readonly [listener: string, reason: string])[];
  /** What it has asked for on demand. */
  readonly demanded: Readonly<Record<DemandKind, readonly string[]>>;
}

export type FromWorker =
  | { readonly kind: 'state'; readonly state: WorkerState }
  | { readonly kind: 'sockets'; readonly open: readonly GivenSocket[] }
  | { readonly kind: 'signal'; readonly key: string }
  /** What the control plane is to be told. */
  | { readonly kind: 'summary'; readonly report: SummaryReport }
  /** How much it has served so far. */
  | { readonly kind: 'records'; readonly records: number }
  | { readonly kind: 'totals'; readonly id: number; readonly totals: Totals }
  | { readonly kind: 'log'; readonly severity: Severity; readonly scope: string; readonly message: string; readonly fields: LogFields }
  | { readonly kind: 'tapped'; readonly id: number; readonly record: TapShown | undefined; readonly skipped: number }
  | { readonly kind: 'closed' };

export type Severity = Exclude<LogLevel, 'off'>;
