// The door of the data plane: configuration goes in as xDS resources, sockets are served, views come out for the admin API.
// Each set… either takes the resource whole or throws PlanError and leaves what was there; nothing here is asynchronous but close().

import type { Log } from '../base/log.ts';
import type { SamplingPlan } from '../plan/tracing/sampling.ts';
import type {
  Cluster,
  ClusterLoadAssignment,
  ConfigSource,
  Core_TypedExtensionConfig,
  Listener,
  Locality,
  RouteConfiguration,
  Secret,
  Tracing_Http,
} from '../xds/gen/types.ts';
import type { Clock } from './clock.ts';
import type { Breakers } from './cluster/circuit-breaker.ts';
import type { DnsLookup } from './cluster/dns-lookup.ts';
import { DataPlaneRuntime } from './data-plane-runtime.ts';
import type { Observer } from './exchange/observer.ts';
import type { HostOutcome, HostUpdate } from './exchange/route-table.ts';
import type { HttpFilterFactory } from './filters/http-filter.ts';
import type { SocketSource } from './listener/listening-sockets.ts';
import type { OriginalDestination } from './listener/original-destination.ts';
import type { Demanded, DemandKind } from './on-demand/demand.ts';
import type { OverloadConfig } from './overload.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import type { Sharing } from './shared-counts.ts';
import type { StatsStore } from './stats-store.ts';
import type { PeerExchange } from './transport/peer-exchange.ts';

export interface HostChecks {
  readonly failed: boolean;
  readonly timedOut: boolean;
  readonly degraded: boolean;
  /** By answers to requests. */
  readonly degradedByAnswer: boolean;
  /** It does not count before its first check. */
  readonly pending: boolean;
  /** It asked to be left alone at once. */
  readonly excluded: boolean;
  /** No longer among the endpoints. */
  readonly leaving: boolean;
}

export interface HostView {
  readonly address: string; // 'ip:port'
  readonly hostname: string;
  readonly locality: Locality | undefined;
  readonly priority: number;
  readonly weight: number;
  /** From EDS; absent is UNKNOWN, which counts as healthy. */
  readonly edsHealth: string | undefined;
  readonly ejected: boolean;
  /** What active checking and answers say of it. */
  readonly checks: HostChecks;
  readonly metadata: unknown;
  readonly stats: {
    readonly cxActive: number;
    readonly cxTotal: number;
    readonly cxConnectFail: number;
    readonly rqActive: number;
    readonly rqTotal: number;
    readonly rqSuccess: number;
    readonly rqError: number;
    readonly rqTimeout: number;
  };
}

export interface ClusterView {
  readonly name: string;
  readonly config: Cluster;
  /** Endpoints and secrets are there: the cluster may be used. */
  readonly warm: boolean;
  /** The last assignment taken (EDS or inline), for config_dump?include_eds. */
  readonly assignment: ClusterLoadAssignment | undefined;
  hosts(): Iterable<HostView>;
  readonly breakers: Breakers;
}

export interface ListenerView {
  readonly name: string;
  readonly config: Listener;
  readonly warm: boolean;
  /** What is really bound ('ip:port', the port the kernel gave for port 0); the configured address for bind_to_port: false. */
  readonly localAddress: string;
  readonly bound: boolean;
  readonly activeConnections: number;
}

export interface DataPlane {
  setCluster(cluster: Cluster): void;
  removeCluster(name: string): void;
  /** Keyed by cluster_name, which equals eds_cluster_config.service_name or the cluster's name. May come before its cluster. */
  setEndpoints(assignment: ClusterLoadAssignment): void;
  setListener(listener: Listener): void;
  removeListener(name: string): void;
  setRoutes(routes: RouteConfiguration): void;
  removeRoutes(name: string): void;
  setSecret(secret: Secret): void;
  removeSecret(name: string): void;
  /** A filter's configuration that listeners name instead of holding it. */
  setExtension(extension: Core_TypedExtensionConfig): void;
  removeExtension(name: string): void;
  /** It has not come in time: filters of this name take their default, or answer 500. */
  giveUpExtension(name: string): void;
  /** What must be asked for with SDS, RDS and EDS, by everything configured now. */
  referencedSecrets(): ReadonlyMap<string, ConfigSource>;
  referencedRoutes(): ReadonlySet<string>;
  referencedEndpoints(): ReadonlySet<string>;
  referencedExtensions(): ReadonlyMap<string, ConfigSource>;
  /** What somebody needs and is to be asked for by name, beside what is referenced. */
  demanded(): Demanded;
  /** Virtual hosts that were asked for one by one. What is good is taken. */
  updateHosts(update: HostUpdate): HostOutcome;
  /** What was asked for is not there. */
  notThere(kind: DemandKind, name: string): void;
  clusters(): Iterable<ClusterView>;
  listeners(): Iterable<ListenerView>;
  routes(): Iterable<RouteConfiguration>;
  secrets(): Iterable<Secret>;
  extensions(): Iterable<Core_TypedExtensionConfig>;
  /** Calls back after any change of warmth, of what is referenced, or of a listener's binding. One subscriber. */
  onChange(changed: () => void): void;
  /** Everything configured is warm, bound and in use. */
  readonly ready: boolean;
  /** Sockets that could not be bound, by listener name; emptied when a later attempt succeeds. */
  bindFailures(): ReadonlyMap<string, string>;
  /** Resolves when every warm listener set so far is bound or has failed to (tests, start-up). */
  settled(): Promise<void>;
  /** Stops accepting, announces `connection: close`, finishes what runs. */
  drain(): void;
  /** Asks connections (all, or of inbound listeners) to come to their end, those that are still to come too, and goes on accepting. */
  drainGracefully(inboundOnly: boolean): void;
  /** Health checks of this proxy itself are answered with failure, and connections come to their end as in `drainGracefully`; false takes both back. */
  failHealth(failed: boolean): void;
  /** Stops accepting, at all or where traffic is inbound. Connections live on. */
  stopListening(inboundOnly: boolean): void;
  /** Downstream connections that are open, of listeners in force and of others. */
  readonly connections: number;
  /** Drops every connection and socket. */
  close(): Promise<void>;
  readonly stats: StatsStore;
}

export interface DataPlaneOptions {
  readonly log: Log;
  readonly observer?: Observer;
  readonly clock?: Clock;
  /** [0,1) */
  readonly random?: () => number;
  readonly originalDestination?: OriginalDestination;
  readonly dns?: DnsLookup;
  /** Source address of every upstream connection whose cluster names none (bootstrap cluster_manager.upstream_bind_config). */
  readonly upstreamBindAddress?: string;
  /** The cluster this proxy belongs to (bootstrap cluster_manager.local_cluster_name), and where this proxy is: for routing by zone. */
  readonly localCluster?: { readonly name: string; readonly locality: Locality };
  /** node.cluster of the bootstrap: who asks, for rate limits. */
  readonly nodeCluster?: string;
  /** node.id and the zone of its locality: tags of spans. */
  readonly tracedNode?: { readonly id: string; readonly zone: string };
  /** The tracer of listeners that name none (bootstrap tracing.http). */
  readonly tracer?: Tracing_Http | undefined;
  /** Of the runtime (`tracing.client_enabled` and its like): stands over what listeners and routes say. */
  readonly traceSampling?: Partial<SamplingPlan>;
  readonly stats?: StatsStore;
  /** Limits of the process; absent: the descriptors'. */
  readonly overload?: OverloadConfig;
  /** Connections that one listener may have (runtime `envoy.resource_limits.listener.NAME.connection_limit`). */
  readonly connectionLimit?: (listener: string) => number;
  /** Where listening sockets come from; absent: bound anew. */
  readonly sockets?: SocketSource;
  /** Counts that other workers see; absent: there is one worker. */
  readonly sharing?: Sharing;
  /** How many there are; absent: one. */
  readonly workers?: number;
  /** How long connections of a removed or changed listener live on (Envoy's `--drain-time-s`). */
  readonly drainTimeMs?: number;
  /** They are asked to leave one after the other over that time, not all at once (`--drain-strategy`). */
  readonly drainGradually?: boolean;
  /** HTTP filters implemented outside (peer metadata), by type URL. They take precedence over the built-in ones. */
  readonly httpFilters?: ReadonlyMap<string, HttpFilterFactory>;
  /** There is a stream on which single names can be asked for. */
  readonly asksOnDemand?: boolean;
  /** Given what connections share, once: for what leaves the process over its clusters and is of no listener. */
  readonly made?: (environment: ProxyEnvironment) => void;
  /** Tells TCP peers who this proxy is, where configuration asks for it. */
  readonly peerExchange?: PeerExchange;
}

export const createDataPlane = (options: DataPlaneOptions): DataPlane => new DataPlaneRuntime(options);
