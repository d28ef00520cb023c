// The data plane: what configuration is there, what of it is warm, and who serves whom. See data-plane.ts for the contract.

import type { Socket } from 'node:net';
import { PlanError } from '../plan/plan-error.ts';
import { Http1Writer } from '../wire/http1-writer.ts';
import type { Cluster, ClusterLoadAssignment, ConfigSource, Listener, RouteConfiguration, Secret } from '../xds/gen/types.ts';
import { Acceptance, type ConnectionOwner, type ServedConnection } from './accept.ts';
import { systemClock } from './clock.ts';
import { ClusterRuntime } from './cluster-runtime.ts';
import { plainIp } from './connection-facts.ts';
import type { ClusterView, DataPlane, DataPlaneOptions, ListenerView } from './data-plane.ts';
import { systemDns } from './dns-lookup.ts';
import type { ChainRuntime } from './filter-chain-runtime.ts';
import { HttpFilterRegistry } from './filters/http-filters.ts';
import { ListenerDrain } from './listener-drain.ts';
import { ListenerRuntime, ListenerState } from './listener-runtime.ts';
import { ListeningSockets, type SocketSource } from './listening-sockets.ts';
import { silentObserver } from './observer.ts';
import { kernelOriginalDestination } from './original-destination.ts';
import { Overload, type OverloadConfig } from './overload.ts';
import { ownAddress } from './own-address.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { RouteTables } from './route-table.ts';
import { SecretStore } from './secrets.ts';
import { ServerFirst } from './server-first.ts';
import { type Count, oneWorker } from './shared-counts.ts';
import { stable } from './stable-text.ts';
import { StatsStore } from './stats-store.ts';
import { TimerWheel } from './timer-wheel.ts';
import { TurnOutput } from './turn-output.ts';

export class DataPlaneRuntime implements DataPlane, ConnectionOwner {
  readonly stats: StatsStore;
  readonly #options: DataPlaneOptions;
  readonly #env: ProxyEnvironment;
  readonly #wheel: TimerWheel;
  readonly #turn = new TurnOutput();
  readonly #secrets = new SecretStore();
  readonly #routes = new RouteTables();
  readonly #clusters = new Map<string, { active: ClusterRuntime | undefined; warming: ClusterRuntime | undefined; text: string }>();
  readonly #assignments = new Map<string, ClusterLoadAssignment>();
  readonly #listeners = new Map<string, ListenerRuntime>();
  /** Virtual and bound listeners by address, for connections with an original destination. */
  #byAddress = new Map<string, ListenerRuntime>();
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
  #bindTimer: NodeJS.Timeout | undefined;
  #bindPauseMs = BIND_RETRY_MS;
  /** Listeners that hand connections to others listen. */
  #begun = false;
  #closed = false;
  #dateSecond = -1;
  #dateText = '';

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
      cluster: (name) => this.#clusters.get(name)?.active,
      ownAddress: ownAddress(),
      get draining() {
        return plane.#draining || plane.#overload.endsConnection;
      },
      overload: this.#overload,
      date: () => {
        const second = Math.floor(clock.wallMs() / 1000);
        if (second !== this.#dateSecond) {
          this.#dateSecond = second;
          this.#dateText = new Date(second * 1000).toUTCString();
        }
        return this.#dateText;
      },
    };
  }

  setCluster(cluster: Cluster): void {
    const name = cluster.name ?? '';
    const entry = this.#clusters.get(name);
    const text = stable(cluster);
    if (entry?.text === text) return;
    const runtime = new ClusterRuntime(cluster, {
      wheel: this.#wheel,
      turn: this.#turn,
      writer: this.#env.requestWriter,
      secrets: this.#secrets,
      stats: this.stats,
      sharing: this.#env.sharing,
      dns: this.#options.dns ?? systemDns,
      random: this.#env.random,
      bindAddress: this.#options.upstreamBindAddress,
      changed: () => this.#warm(),
    });
    entry?.warming?.retire();
    this.#clusters.set(name, { active: entry?.active, warming: runtime, text });
    const endpoints = runtime.endpointsName;
    const assignment = endpoints === undefined ? undefined : this.#assignments.get(endpoints);
    if (assignment !== undefined) runtime.setAssignment(assignment);
    this.#warm();
  }

  removeCluster(name: string): void {
    const entry = this.#clusters.get(name);
    if (entry === undefined) return;
    this.#clusters.delete(name);
    entry.warming?.retire();
    entry.active?.retire();
    this.stats.drop(`cluster.${(entry.active ?? entry.warming)?.statName ?? name}.`);
    const referenced = this.referencedEndpoints();
    for (const key of this.#assignments.keys()) if (!referenced.has(key)) this.#assignments.delete(key);
    this.#changed();
  }

  setEndpoints(assignment: ClusterLoadAssignment): void {
    const name = assignment.cluster_name ?? '';
    for (const { active, warming } of this.#clusters.values())
      for (const cluster of [active, warming])
        if (cluster !== undefined && cluster.endpointsName === name) cluster.setAssignment(assignment);
    this.#assignments.set(name, assignment);
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
      this.#retryBinds();
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
    const waiting = [...this.#listeners.values()].filter((l) => l.bindFailure !== '');
    runtime.unbind((key) => waiting.some((l) => l.key === key));
    for (const listener of waiting) this.#bind(listener);
    runtime.dropStats();
    this.#drains.remove(name);
    runtime.active?.replace();
    runtime.warming?.replace();
    this.#index();
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

  referencedSecrets(): ReadonlyMap<string, ConfigSource> {
    return this.#secrets.referenced();
  }

  referencedRoutes(): ReadonlySet<string> {
    return this.#routes.referenced();
  }

  referencedEndpoints(): ReadonlySet<string> {
    const names = new Set<string>();
    for (const { active, warming } of this.#clusters.values()) {
      const name = (warming ?? active)?.endpointsName;
      if (name !== undefined) names.add(name);
    }
    return names;
  }

  *clusters(): Iterable<ClusterView> {
    for (const { active, warming } of this.#clusters.values()) {
      const cluster = active ?? warming;
      if (cluster !== undefined) yield cluster;
    }
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

  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  get connections(): number {
    return this.#connections.value;
  }

  get ready(): boolean {
    if (this.#unbound.size > 0) return false;
    for (const { warming } of this.#clusters.values()) if (warming !== undefined) return false;
    for (const listener of this.#listeners.values()) {
      if (!listener.warm || listener.binding !== undefined) return false;
      if (listener.active?.config.bind_to_port !== false && !listener.bound && !this.#isStopped(listener)) return false;
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
    clearTimeout(this.#bindTimer);
    this.drain();
    for (const socket of this.#accepting) socket.destroy();
    this.#drains.close();
    this.#overload.close();
    for (const { active, warming } of this.#clusters.values()) {
      active?.destroy();
      warming?.destroy();
    }
    // Sockets report their end on the next turns of the loop.
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#wheel.close();
  }

  // --- ConnectionOwner ---

  opened(connection: ServedConnection, state: ListenerState, chain: ChainRuntime): void {
    this.#drains.opened(connection, state, chain);
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
    for (const entry of this.#clusters.values()) {
      const next = entry.warming;
      if (next === undefined || !next.warm) continue;
      entry.active?.retire();
      entry.active = next;
      entry.warming = undefined;
    }
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
    if (swapped) this.#index();
    this.#changed();
  }

  #bind(listener: ListenerRuntime): void {
    listener.bind(
      (owner, socket) => this.#accept(owner, socket),
      () => {
        if (listener.bindFailure !== '') this.#retryBinds();
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
    for (const other of this.#listeners.values()) if (other !== owner && !key.endsWith(':0') && other.holds(key)) return true;
    return false;
  }

  // What could not be bound is tried again, less and less often.
  #retryBinds(): void {
    if (this.#bindTimer !== undefined) return;
    this.#bindTimer = setTimeout(() => {
      this.#bindTimer = undefined;
      if (this.#draining) return;
      for (const listener of this.#listeners.values()) if (listener.bindFailure !== '') this.#bind(listener);
      for (const listener of [...this.#unbound.values()]) this.#setAgain(listener);
      const waiting = this.#unbound.size > 0 || [...this.#listeners.values()].some((l) => l.bindFailure !== '');
      this.#bindPauseMs = waiting ? Math.min(this.#bindPauseMs * 2, BIND_RETRY_MAX_MS) : BIND_RETRY_MS;
    }, this.#bindPauseMs);
    this.#bindTimer.unref();
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

  #index(): void {
    const index = new Map<string, ListenerRuntime>();
    for (const listener of this.#listeners.values()) if (listener.active !== undefined) index.set(listener.key, listener);
    this.#byAddress = index;
  }

  #accept(listener: ListenerRuntime, socket: Socket): void {
    socket.on('error', () => {});
    const state = listener.active;
    if (state === undefined || this.#closed) {
      socket.destroy();
      return;
    }
    if (!listener.admits(this.#overload, this.#connections)) {
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
      let target = state;
      // As Envoy: a destination that is our own listening address was not redirected.
      const direct =
        destination === undefined || (destination.ip === plainIp(socket.localAddress) && destination.port === socket.localPort);
      if (state.config.use_original_dst === true && destination !== undefined && !direct)
        target = this.#virtual(destination.ip, destination.port)?.active ?? state;
      new Acceptance(this.#env, this, target, socket, ++this.#connectionIds, destination).start();
    } catch (problem) {
      // One connection must not stop the rest.
      this.#env.log.error('connection given up', {
        listener: listener.name,
        problem: problem instanceof Error ? (problem.stack ?? problem.message) : 'unknown',
      });
      socket.destroy();
    }
  }

  #virtual(ip: string, port: number): ListenerRuntime | undefined {
    const exact = this.#byAddress.get(ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);
    if (exact !== undefined) return exact;
    return ip.includes(':')
      ? this.#byAddress.get(`[::]:${port}`)
      : (this.#byAddress.get(`0.0.0.0:${port}`) ?? this.#byAddress.get(`[::]:${port}`));
  }
}

const UNLIMITED: OverloadConfig = { refreshMs: 1_000, memory: new Map(), maxConnections: Infinity, actions: new Map() };
const BIND_RETRY_MS = 500;
const BIND_RETRY_MAX_MS = 10_000;
/** Envoy's `--drain-time-s`. */
const DRAIN_TIME_MS = 600_000;
