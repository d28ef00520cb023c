// The data plane: what configuration is there, what of it is warm, and who serves whom. See data-plane.ts for the contract.

import type { Socket } from 'node:net';
import { PlanError } from '../plan/plan-error.ts';
import type { CertificateFacts } from '../plan/stream-info.ts';
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
import { plainIp } from './connection-facts.ts';
import type { ClusterView, DataPlane, DataPlaneOptions, ListenerView } from './data-plane.ts';
import { httpDate } from './downstream/http-date.ts';
import { silentObserver } from './exchange/observer.ts';
import { type HostOutcome, type HostUpdate, RouteTables } from './exchange/route-table.ts';
import { ExtensionConfigs } from './extension-configs.ts';
import { HttpFilterRegistry } from './filters/http-filters.ts';
import { Acceptance, type ConnectionOwner, type ServedConnection } from './listener/accept.ts';
import { AddressIndex } from './listener/address-index.ts';
import { BindRetry } from './listener/bind-retry.ts';
import type { ChainRuntime } from './listener/filter-chain-runtime.ts';
import { ListenerDrain } from './listener/listener-drain.ts';
import { ListenerRuntime, ListenerState } from './listener/listener-runtime.ts';
import { ListeningSockets, type SocketSource } from './listener/listening-sockets.ts';
import { kernelOriginalDestination } from './listener/original-destination.ts';
import { ownAddress } from './listener/own-address.ts';
import { ServerFirst } from './listener/server-first.ts';
import { Demand, type Demanded, type DemandKind } from './on-demand/demand.ts';
import { settleDemand, tellUses, updateHosts, waitForListener } from './on-demand/plane-demand.ts';
import { Overload, UNLIMITED } from './overload.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { type Count, oneWorker } from './shared-counts.ts';
import { TurnOutput } from './sockets/turn-output.ts';
import { stable } from './stable-text.ts';
import { StatsStore } from './stats-store.ts';
import { TimerWheel } from './timer-wheel.ts';
import { SecretStore } from './transport/secrets.ts';

export class DataPlaneRuntime implements DataPlane, ConnectionOwner {
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
  readonly #listeners = new Map<string, ListenerRuntime>();
  /** Virtual and bound listeners by address, for connections with an original destination. */
  readonly #byAddress = new AddressIndex();
  readonly #sockets: SocketSource;
  readonly #drains: ListenerDrain;
  readonly #overload: Overload;
  readonly #accepting = new Set<Socket>();
  /** Downstream, of all workers. */
  readonly #connections: Count;
  #changed: () => void = () => {};
  #connectionIds = 0;
  #draining = false;
  #stopped: 'none' | 'inbound' | 'all' = 'none';
  /** Refused because their address could not be had: tried again. */
  readonly #unbound = new Map<string, Listener>();
  readonly #bindRetry = new BindRetry(() => this.#bindAgain());
  /** Listeners that hand connections to others listen. */
  #begun = false;
  #closed = false;

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    this.stats = options.stats ?? new StatsStore();
    this.#sockets = options.sockets ?? new ListeningSockets();
    this.#drains = new ListenerDrain(options.drainTimeMs ?? DRAIN_TIME_MS, options.drainGradually ?? false, options.random ?? Math.random);
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
    this.#overload.onChange(() => this.#pauseListening());
    this.#routes = new RouteTables(options.asksOnDemand ?? false);
    this.#demand = new Demand({
      clock,
      changed: () => this.#changed(),
      sweeping: () => tellUses(this.#demand, this.#routes, this.#listeners.values()),
    });
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
      serverFirst: new ServerFirst(clock, this.stats),
      peerExchange: options.peerExchange,
      filters: new HttpFilterRegistry(options.httpFilters, () => this.#env),
      extensions: this.#extensions,
      demand: this.#demand,
      asksOnDemand: options.asksOnDemand ?? false,
      ...this.#clusters.lookup,
      nodeCluster: options.nodeCluster ?? '',
      ownAddress: ownAddress(),
      get draining() {
        return plane.#draining || plane.#overload.endsConnection;
      },
      overload: this.#overload,
      date: httpDate(clock),
    };
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
    this.stats.drop(`cluster.${statName}.`);
    this.#changed();
  }

  setEndpoints(assignment: ClusterLoadAssignment): void {
    this.#clusters.setEndpoints(assignment);
    this.#warm();
  }

  setListener(listener: Listener): void {
    const name = listener.name ?? '';
    this.#unbound.delete(name);
    const runtime = this.#listeners.get(name);
    if (runtime !== undefined && stable(runtime.warming?.config ?? runtime.active?.config ?? {}) === stable(listener)) return;
    const state = new ListenerState(listener, this.#env, this.#routes, () => this.#warm());
    const owner =
      runtime ?? new ListenerRuntime(name, this.#sockets, this.stats, this.#options.connectionLimit?.(name) ?? Infinity, this.#env.sharing);
    try {
      if (!this.#draining) owner.reserve(listener, (key) => this.#heldElsewhere(owner, key));
    } catch (problem) {
      state.replace();
      this.#unbound.set(name, listener);
      this.stats.counter('listener_manager.listener_create_failure').value++;
      this.#bindRetry.begin();
      throw problem;
    }
    owner.warming?.replace();
    owner.warming = state;
    this.#listeners.set(name, owner);
    this.#warm();
  }

  removeListener(name: string): void {
    this.#unbound.delete(name);
    const runtime = this.#listeners.get(name);
    if (runtime === undefined) return;
    this.#listeners.delete(name);
    this.#demand.settle('listener', name, false);
    const waiting = [...this.#listeners.values()].filter((l) => l.bindFailure !== '');
    runtime.unbind((key) => waiting.some((l) => l.key === key));
    for (const listener of waiting) this.#bind(listener);
    runtime.dropStats();
    this.#drains.remove(name);
    runtime.active?.replace();
    runtime.warming?.replace();
    this.#byAddress.rebuild(this.#listeners.values());
    if (!this.#begun) queueMicrotask(() => this.#begin());
    this.#changed();
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

  *listeners(): Iterable<ListenerView> {
    yield* this.#listeners.values();
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
    if (this.#unbound.size > 0) return false;
    if (!this.#clusters.ready) return false;
    for (const listener of this.#listeners.values()) {
      if (!listener.warm || listener.binding !== undefined) return false;
      if (listener.wantsPort && !this.#isStopped(listener)) return false;
    }
    return true;
  }

  bindFailures(): ReadonlyMap<string, string> {
    const failures = new Map<string, string>();
    for (const name of this.#unbound.keys()) failures.set(name, 'its address cannot be had');
    for (const { name, bindFailure } of this.#listeners.values()) if (bindFailure !== '') failures.set(name, bindFailure);
    return failures;
  }

  async settled(): Promise<void> {
    await Promise.resolve(); // what is set now begins to listen a moment later
    for (const listener of this.#listeners.values()) await listener.binding;
  }

  drain(): void {
    this.#draining = true;
    this.stopListening(false);
    this.#drains.everybody();
  }

  drainGracefully(inboundOnly: boolean): void {
    this.#drains.all(inboundOnly);
  }

  keepServing(): void {
    this.#drains.none();
  }

  stopListening(inboundOnly: boolean): void {
    if (this.#stopped !== 'all') this.#stopped = inboundOnly ? 'inbound' : 'all';
    for (const listener of this.#listeners.values()) if (this.#isStopped(listener)) listener.unbind();
    this.#changed();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#bindRetry.close();
    this.drain();
    for (const socket of this.#accepting) socket.destroy();
    this.#drains.close();
    this.#demand.close();
    this.#overload.close();
    this.#clusters.destroy();
    // Sockets report their end on the next turns of the loop.
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#wheel.close();
  }

  // --- ConnectionOwner ---

  opened(connection: ServedConnection, state: ListenerState, chain: ChainRuntime, peer: CertificateFacts | undefined): void {
    this.#drains.opened(connection, state, chain, peer);
    state.opened();
    if (chain.connections === undefined) return;
    chain.connections.total.value++;
    chain.connections.active.value++;
  }

  closed(connection: ServedConnection): void {
    const served = this.#drains.closed(connection);
    served?.state.closed();
    if (served?.chain.connections !== undefined) served.chain.connections.active.value--;
  }

  // --- inside ---

  // Whatever is complete now takes its place.
  #warm(): void {
    this.#clusters.warm();
    if (this.#options.localCluster !== undefined) for (const cluster of this.#clusters.actives()) cluster.localClusterChanged();
    let swapped = false;
    for (const listener of this.#listeners.values()) {
      const next = listener.warming;
      if (next === undefined || !next.warm) continue;
      const before = listener.active;
      listener.active = next;
      listener.warming = undefined;
      if (before !== undefined) this.#drains.replaced(listener.name, next);
      before?.replace();
      swapped = true;
      if (this.#isStopped(listener)) continue;
      if (this.#begun || next.config.use_original_dst !== true) this.#bind(listener);
    }
    // Not at once: the listeners of one answer are set one after the other.
    if (!this.#begun) queueMicrotask(() => this.#begin());
    if (swapped) this.#byAddress.rebuild(this.#listeners.values());
    settleDemand(this.#demand, {
      cluster: (name) => this.#clusters.active(name) !== undefined,
      listener: (name) => this.#listeners.get(name)?.active !== undefined,
    });
    this.#changed();
  }

  #bind(listener: ListenerRuntime): void {
    listener.bind(
      (owner, socket) => this.#accept(owner, socket),
      () => {
        if (listener.bindFailure !== '') this.#bindRetry.begin();
        if (this.#overload.stopConnections) this.#pauseListening();
        this.#changed();
      },
    );
  }

  // `stop_accepting_connections`: clients wait in the kernel's queue.
  #pauseListening(): void {
    for (const listener of this.#listeners.values()) {
      if (this.#overload.stopConnections && listener.config.bypass_overload_manager !== true) listener.pause();
      else if (listener.active !== undefined && !this.#isStopped(listener)) this.#bind(listener);
    }
  }

  #isStopped(listener: ListenerRuntime): boolean {
    return this.#stopped === 'all' || (this.#stopped === 'inbound' && listener.config.traffic_direction === 'INBOUND');
  }

  #heldElsewhere(owner: ListenerRuntime, key: string): boolean {
    return !key.endsWith(':0') && [...this.#listeners.values()].some((other) => other !== owner && other.holds(key));
  }

  /** True: something still waits for its address. */
  #bindAgain(): boolean {
    if (this.#draining) return false;
    for (const listener of this.#listeners.values()) if (listener.bindFailure !== '') this.#bind(listener);
    for (const listener of [...this.#unbound.values()]) this.#setAgain(listener);
    return this.#unbound.size > 0 || [...this.#listeners.values()].some((l) => l.bindFailure !== '');
  }

  #setAgain(listener: Listener): void {
    try {
      this.setListener(listener);
      this.#env.log.info('a listener that was refused for its address is in force now', { listener: listener.name ?? '' });
    } catch (problem) {
      if (!(problem instanceof PlanError)) throw problem;
    }
  }

  // What hands connections to other listeners first listens when all of them are warm, as Envoy's workers do: before, a connection to a
  // service whose listener still waits for its routes would be passed on to the service's virtual address, where nobody answers.
  #begin(): void {
    const listeners = [...this.#listeners.values()];
    if (this.#begun || this.#stopped === 'all' || listeners.some((l) => l.active === undefined)) return;
    const handing = listeners.filter((l) => l.active?.config.use_original_dst === true);
    if (handing.length === 0) return;
    this.#begun = true;
    for (const listener of handing) if (!this.#isStopped(listener)) this.#bind(listener);
  }

  #accept(listener: ListenerRuntime, socket: Socket): void {
    socket.on('error', () => {});
    const state = listener.active;
    if (state === undefined || this.#closed) {
      socket.destroy();
      return;
    }
    if (!state.mayBegin() || !listener.admits(this.#overload, this.#connections)) {
      socket.destroy();
      return;
    }
    this.#accepting.add(socket);
    listener.accepted();
    socket.once('close', () => {
      this.#accepting.delete(socket);
      this.#connections.release();
      listener.over();
    });
    try {
      const destination = state.usesOriginalDestination
        ? (this.#options.originalDestination ?? kernelOriginalDestination).of(socket)
        : undefined;
      const begin = (to: ListenerState): void => {
        if (to === state || to.mayBegin()) new Acceptance(this.#env, this, to, socket, ++this.#connectionIds, destination).start();
        else socket.destroy();
      };
      // As Envoy: a destination that is our own listening address was not redirected.
      const direct =
        destination === undefined || (destination.ip === plainIp(socket.localAddress) && destination.port === socket.localPort);
      if (state.config.use_original_dst === true && destination !== undefined && !direct) {
        const known = this.#byAddress.find(destination.ip, destination.port);
        const wait = state.listenerWaitMs;
        const arrived = (): void => begin(this.#byAddress.find(destination.ip, destination.port)?.active ?? state);
        if (known === undefined && wait !== undefined && waitForListener(this.#demand, socket, destination, wait, arrived)) return;
        if (known !== undefined && wait !== undefined) this.#demand.use('listener', known.name);
        begin(known?.active ?? state);
      } else begin(state);
    } catch (problem) {
      // One connection must not stop the rest.
      this.#env.log.error('connection given up', {
        listener: listener.name,
        problem: problem instanceof Error ? (problem.stack ?? problem.message) : 'unknown',
      });
      socket.destroy();
    }
  }
}

/** Envoy's `--drain-time-s`. */
const DRAIN_TIME_MS = 600_000;
