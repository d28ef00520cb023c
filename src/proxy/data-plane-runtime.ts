// The data plane: what configuration is there, what of it is warm, and who serves whom. See data-plane.ts for the contract.

import { Http1Writer } from '../wire/http1-writer.ts';
import type {
  Cluster,
  ClusterLoadAssignment,
  ConfigSource,
  Core_TypedExtensionConfig,
  Listener,
  RouteConfiguration,
  Secret,
} from '../xds/gen/types.ts';
import { systemClock } from './clock.ts';
import { ClusterTable } from './cluster/cluster-table.ts';
import { systemDns } from './cluster/dns-lookup.ts';
import type { ClusterView, DataPlane, DataPlaneOptions, ListenerView } from './data-plane.ts';
import { httpDate } from './downstream/http-date.ts';
import { silentObserver } from './exchange/observer.ts';
import { type HostOutcome, type HostUpdate, RouteTables } from './exchange/route-table.ts';
import { ExtensionConfigs } from './extension-configs.ts';
import { HttpFilterRegistry } from './filters/http-filters.ts';
import { ListenerTable } from './listener/listener-table.ts';
import { ListeningSockets } from './listener/listening-sockets.ts';
import { kernelOriginalDestination } from './listener/original-destination.ts';
import { ownAddress } from './listener/own-address.ts';
import { ServerFirst } from './listener/server-first.ts';
import { Demand, type Demanded, type DemandKind } from './on-demand/demand.ts';
import { settleDemand, tellUses, updateHosts } from './on-demand/plane-demand.ts';
import { Overload, UNLIMITED } from './overload.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { type Count, oneWorker } from './shared-counts.ts';
import { TurnOutput } from './sockets/turn-output.ts';
import { StatsStore } from './stats-store.ts';
import { TimerWheel } from './timer-wheel.ts';
import { Tracers } from './tracing/tracers.ts';
import { SecretStore } from './transport/secrets.ts';

export class DataPlaneRuntime implements DataPlane {
  readonly stats: StatsStore;
  readonly #options: DataPlaneOptions;
  readonly #env: ProxyEnvironment;
  readonly #wheel: TimerWheel;
  readonly #turn = new TurnOutput();
  readonly #secrets = new SecretStore();
  readonly #routes: RouteTables;
  readonly #demand: Demand;
  readonly #extensions = new ExtensionConfigs();
  readonly #clusters = new ClusterTable();
  readonly #listeners: ListenerTable;
  readonly #overload: Overload;
  readonly #tracers: Tracers;
  /** Downstream, of all workers. */
  readonly #connections: Count;
  #changed: () => void = () => {};
  #closed = false;
  #healthFailed = false;

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    this.stats = options.stats ?? new StatsStore();
    const clock = options.clock ?? systemClock;
    this.#wheel = new TimerWheel(clock, (problem) => {
      options.log.error('timer failed', { problem: problem instanceof Error ? (problem.stack ?? problem.message) : 'unknown' });
    });
    this.#overload = new Overload({
      config: options.overload ?? UNLIMITED,
      stats: this.stats,
      log: options.log,
      random: options.random ?? Math.random,
    });
    this.#routes = new RouteTables(options.asksOnDemand ?? false);
    this.#demand = new Demand({
      clock,
      changed: () => this.#changed(),
      sweeping: () => tellUses(this.#demand, this.#routes, this.#listeners.all()),
    });
    this.#tracers = new Tracers(options.tracer, options.traceSampling);
    const plane = this;
    const sharing = options.sharing ?? oneWorker;
    this.#connections = sharing.count('connections');
    this.#env = {
      log: options.log,
      clock,
      wheel: this.#wheel,
      turn: this.#turn,
      random: options.random ?? Math.random,
      observer: options.observer ?? silentObserver,
      requestWriter: new Http1Writer(),
      responseWriter: new Http1Writer(),
      secrets: this.#secrets,
      stats: this.stats,
      sharing,
      workers: options.workers ?? 1,
      serverFirst: new ServerFirst(clock, this.stats),
      peerExchange: options.peerExchange,
      filters: new HttpFilterRegistry(options.httpFilters, () => this.#env),
      extensions: this.#extensions,
      demand: this.#demand,
      asksOnDemand: options.asksOnDemand ?? false,
      ...this.#clusters.lookup,
      tracers: this.#tracers,
      tracedNode: options.tracedNode ?? { id: '', zone: '' },
      nodeCluster: options.nodeCluster ?? '',
      ownAddress: ownAddress(),
      get draining() {
        return plane.#listeners.draining || plane.#overload.endsConnection;
      },
      get healthFailed() {
        return plane.#healthFailed;
      },
      overload: this.#overload,
      date: httpDate(clock),
    };
    this.#listeners = new ListenerTable({
      env: this.#env,
      routes: this.#routes,
      sockets: options.sockets ?? new ListeningSockets(),
      originalDestination: options.originalDestination ?? kernelOriginalDestination,
      connections: this.#connections,
      connectionLimit: (name) => options.connectionLimit?.(name) ?? Infinity,
      drainTimeMs: options.drainTimeMs ?? DRAIN_TIME_MS,
      drainGradually: options.drainGradually ?? false,
      warm: () => this.#warm(),
      changed: () => this.#changed(),
    });
    options.made?.(this.#env);
  }

  setCluster(cluster: Cluster): void {
    const isNew = this.#clusters.set(cluster, {
      wheel: this.#wheel,
      turn: this.#turn,
      writer: this.#env.requestWriter,
      secrets: this.#secrets,
      stats: this.stats,
      sharing: this.#env.sharing,
      dns: this.#options.dns ?? systemDns,
      random: this.#env.random,
      bindAddress: this.#options.upstreamBindAddress,
      localCluster: () => this.#clusters.local(this.#options.localCluster),
      changed: () => this.#warm(),
    });
    if (isNew) this.#warm();
  }

  removeCluster(name: string): void {
    const statName = this.#clusters.remove(name);
    if (statName === undefined) return;
    this.#demand.settle('cluster', name, false);
    this.stats.counter('cluster_manager.cluster_removed').value++;
    this.stats.drop(`cluster.${statName}.`);
    this.#changed();
  }

  setEndpoints(assignment: ClusterLoadAssignment): void {
    this.#clusters.setEndpoints(assignment);
    this.#warm();
  }

  setListener(listener: Listener): void {
    this.#listeners.set(listener);
  }

  removeListener(name: string): void {
    this.#listeners.remove(name);
  }

  setRoutes(routes: RouteConfiguration): void {
    this.#routes.set(routes, (config) => this.#env.filters.checkRoutes(config));
    this.#warm();
  }

  removeRoutes(name: string): void {
    this.#routes.remove(name);
    this.#changed();
  }

  setSecret(secret: Secret): void {
    this.#secrets.set(secret);
    this.#warm();
  }

  removeSecret(name: string): void {
    this.#secrets.remove(name);
    this.#changed();
  }

  setExtension(extension: Core_TypedExtensionConfig): void {
    this.#extensions.set(extension);
    this.#warm();
  }

  removeExtension(name: string): void {
    this.#extensions.remove(name);
    this.#changed();
  }

  giveUpExtension(name: string): void {
    this.#extensions.giveUp(name);
    this.#warm();
  }

  demanded(): Demanded {
    return this.#demand.names();
  }

  updateHosts(update: HostUpdate): HostOutcome {
    return updateHosts(this.#demand, this.#routes, update, (config) => this.#env.filters.checkRoutes(config));
  }

  notThere(kind: DemandKind, name: string): void {
    this.#demand.settle(kind, name, false);
  }

  referencedExtensions(): ReadonlyMap<string, ConfigSource> {
    return this.#extensions.referenced();
  }

  referencedSecrets(): ReadonlyMap<string, ConfigSource> {
    return this.#secrets.referenced();
  }

  referencedRoutes(): ReadonlySet<string> {
    return this.#routes.referenced();
  }

  referencedEndpoints(): ReadonlySet<string> {
    return this.#clusters.referencedEndpoints();
  }

  clusters(): Iterable<ClusterView> {
    return this.#clusters.views();
  }

  listeners(): Iterable<ListenerView> {
    return this.#listeners.all();
  }

  routes(): Iterable<RouteConfiguration> {
    return this.#routes.configs();
  }

  secrets(): Iterable<Secret> {
    return this.#secrets.all();
  }

  extensions(): Iterable<Core_TypedExtensionConfig> {
    return this.#extensions.all();
  }

  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  get connections(): number {
    return this.#connections.value;
  }

  get ready(): boolean {
    return this.#clusters.ready && this.#listeners.ready;
  }

  bindFailures(): ReadonlyMap<string, string> {
    return this.#listeners.bindFailures();
  }

  settled(): Promise<void> {
    return this.#listeners.settled();
  }

  drain(): void {
    this.#listeners.drain();
  }

  drainGracefully(inboundOnly: boolean): void {
    this.#listeners.drainGracefully(inboundOnly);
  }

  failHealth(failed: boolean): void {
    this.#healthFailed = failed;
    if (failed) this.#listeners.drainGracefully(false);
    else this.#listeners.keepServing();
  }

  stopListening(inboundOnly: boolean): void {
    this.#listeners.stop(inboundOnly);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.retire();
    await this.#tracers.close(SPANS_CLOSE_MS);
    this.#listeners.destroy();
    this.#demand.close();
    this.#overload.close();
    this.#clusters.destroy();
    // Sockets report their end on the next turns of the loop.
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#wheel.close();
  }

  // --- inside ---

  // Whatever is complete now takes its place.
  #warm(): void {
    this.#clusters.warm();
    if (this.#options.localCluster !== undefined) for (const cluster of this.#clusters.actives()) cluster.localClusterChanged();
    this.#listeners.warm();
    settleDemand(this.#demand, {
      cluster: (name) => this.#clusters.active(name) !== undefined,
      listener: (name) => this.#listeners.isActive(name),
    });
    this.#changed();
  }
}

/** Envoy's `--drain-time-s`. */
const DRAIN_TIME_MS = 600_000;
/** For spans that wait, when all ends. */
const SPANS_CLOSE_MS = 1000;
