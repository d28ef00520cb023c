// What every connection of a data plane shares.

import type { Log } from '../base/log.ts';
import type { Http1Writer } from '../wire/http1-writer.ts';
import type { Clock } from './clock.ts';
import type { ClusterRuntime } from './cluster/cluster-runtime.ts';
import type { Observer } from './exchange/observer.ts';
import type { ExtensionConfigs } from './extension-configs.ts';
import type { HttpFilterRegistry } from './filters/http-filters.ts';
import type { ServerFirst } from './listener/server-first.ts';
import type { Demand } from './on-demand/demand.ts';
import type { Overload } from './overload.ts';
import type { Sharing } from './shared-counts.ts';
import type { TurnOutput } from './sockets/turn-output.ts';
import type { StatsStore } from './stats-store.ts';
import type { TimerWheel } from './timer-wheel.ts';
import type { Tracers } from './tracing/tracers.ts';
import type { PeerExchange } from './transport/peer-exchange.ts';
import type { SecretStore } from './transport/secrets.ts';

export interface ProxyEnvironment {
  readonly log: Log;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly turn: TurnOutput;
  readonly random: () => number;
  readonly observer: Observer;
  readonly requestWriter: Http1Writer;
  readonly responseWriter: Http1Writer;
  readonly secrets: SecretStore;
  readonly stats: StatsStore;
  /** Where limits of the sidecar are counted. */
  readonly sharing: Sharing;
  /** How many workers a limit is divided among that is not counted there. */
  readonly workers: number;
  readonly serverFirst: ServerFirst;
  /** undefined: this proxy does not take part. */
  readonly peerExchange: PeerExchange | undefined;
  readonly filters: HttpFilterRegistry;
  /** Configurations of filters that come by name. */
  readonly extensions: ExtensionConfigs;
  /** What is not there and may be asked for. */
  readonly demand: Demand;
  /** There is a stream on which single names can be asked for. */
  readonly asksOnDemand: boolean;
  /** undefined: no such cluster, or it is not warm yet. */
  cluster(name: string): ClusterRuntime | undefined;
  /** There is such a cluster, warm or not. */
  knowsCluster(name: string): boolean;
  readonly tracers: Tracers;
  /** Who reports spans. */
  readonly tracedNode: { readonly id: string; readonly zone: string };
  /** node.cluster of the bootstrap. */
  readonly nodeCluster: string;
  /** Stands for a loopback client in x-forwarded-for: this machine's own address. */
  readonly ownAddress: string;
  /** Connections end with their next answer. */
  readonly draining: boolean;
  /** An operator has asked this proxy to fail the health checks it answers. */
  readonly healthFailed: boolean;
  readonly overload: Overload;
  /** `date` header text, made once a second. */
  date(): string;
}
