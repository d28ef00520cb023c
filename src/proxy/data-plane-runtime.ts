// The data plane: what configuration is there, what of it is warm, and who serves whom. See data-plane.ts for the contract.

import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { Http1Writer } from '../wire/http1-writer.ts';
import type { Cluster, ClusterLoadAssignment, ConfigSource, Listener, RouteConfiguration, Secret } from '../xds/gen/types.ts';
import { Acceptance, type ConnectionOwner, type ServedConnection } from './accept.ts';
import { systemClock } from './clock.ts';
import { ClusterRuntime } from './cluster-runtime.ts';
import { plainIp } from './connection-facts.ts';
import type { ClusterView, DataPlane, DataPlaneOptions, ListenerView } from './data-plane.ts';
import { systemDns } from './dns-lookup.ts';
import { HttpFilterRegistry } from './http-filters.ts';
import { ListenerRuntime, ListenerState } from './listener-runtime.ts';
import { silentObserver } from './observer.ts';
import { kernelOriginalDestination } from './original-destination.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { isLoopback } from './request-headers.ts';
import { RouteTables } from './route-table.ts';
import { SecretStore } from './secrets.ts';
import { StatsStore } from './stats-store.ts';
import { TimerWheel } from './timer-wheel.ts';

export class DataPlaneRuntime implements DataPlane, ConnectionOwner {
  readonly stats: StatsStore;
  readonly #options: DataPlaneOptions;
  readonly #env: ProxyEnvironment;
  readonly #wheel: TimerWheel;
  readonly #secrets = new SecretStore();
  readonly #routes = new RouteTables();
  readonly #clusters = new Map<string, { active: ClusterRuntime | undefined; warming: ClusterRuntime | undefined; text: string }>();
  readonly #assignments = new Map<string, ClusterLoadAssignment>();
  readonly #listeners = new Map<string, ListenerRuntime>();
  /** Virtual and bound listeners by address, for connections with an original destination. */
  #byAddress = new Map<string, ListenerRuntime>();
  readonly #connections = new Map<ServedConnection, ListenerState>();
  readonly #accepting = new Set<Socket>();
  #changed: () => void = () => {};
  #connectionIds = 0;
  #draining = false;
  /** Listeners that hand connections to others listen. */
  #begun = false;
  #closed = false;
  #dateSecond = -1;
  #dateText = '';

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    this.stats = options.stats ?? new StatsStore();
    const clock = options.clock ?? systemClock;
    this.#wheel = new TimerWheel(clock, (problem) => {
      options.log.error('timer failed', { problem: problem instanceof Error ? (problem.stack ?? problem.message) : 'unknown' });
    });
    const plane = this;
    this.#env = {
      log: options.log,
      clock,
      wheel: this.#wheel,
      random: options.random ?? Math.random,
      observer: options.observer ?? silentObserver,
      requestWriter: new Http1Writer(),
      responseWriter: new Http1Writer(),
      secrets: this.#secrets,
      filters: new HttpFilterRegistry(options.httpFilters),
      cluster: (name) => this.#clusters.get(name)?.active,
      ownAddress: ownAddress(),
      get draining() {
        return plane.#draining;
      },
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
      writer: this.#env.requestWriter,
      secrets: this.#secrets,
      stats: this.stats,
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
    const runtime = this.#listeners.get(name);
    if (runtime !== undefined && stable(runtime.warming?.config ?? runtime.active?.config ?? {}) === stable(listener)) return;
    const state = new ListenerState(listener, this.#env, this.#routes, () => this.#warm());
    const owner = runtime ?? new ListenerRuntime(name);
    owner.warming?.replace();
    owner.warming = state;
    this.#listeners.set(name, owner);
    this.#warm();
  }

  removeListener(name: string): void {
    const runtime = this.#listeners.get(name);
    if (runtime === undefined) return;
    this.#listeners.delete(name);
    runtime.unbind();
    this.#drainState(runtime.active);
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

  get ready(): boolean {
    for (const { warming } of this.#clusters.values()) if (warming !== undefined) return false;
    for (const listener of this.#listeners.values()) {
      if (!listener.warm || listener.binding !== undefined) return false;
      if (listener.active?.config.bind_to_port !== false && !listener.bound && !this.#draining) return false;
    }
    return true;
  }

  bindFailures(): ReadonlyMap<string, string> {
    return new Map([...this.#listeners.values()].filter((l) => l.bindFailure !== '').map((l) => [l.name, l.bindFailure]));
  }

  async settled(): Promise<void> {
    await Promise.resolve(); // what is set now begins to listen a moment later
    for (const listener of this.#listeners.values()) await listener.binding;
  }

  drain(): void {
    this.#draining = true;
    for (const listener of this.#listeners.values()) listener.unbind();
    for (const connection of this.#connections.keys()) connection.drain?.();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.drain();
    for (const socket of this.#accepting) socket.destroy();
    for (const connection of [...this.#connections.keys()]) connection.destroy();
    for (const { active, warming } of this.#clusters.values()) {
      active?.destroy();
      warming?.destroy();
    }
    // Sockets report their end on the next turns of the loop.
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#wheel.close();
  }

  // --- ConnectionOwner ---

  opened(connection: ServedConnection, state: ListenerState): void {
    this.#connections.set(connection, state);
    state.opened();
  }

  closed(connection: ServedConnection): void {
    const state = this.#connections.get(connection);
    this.#connections.delete(connection);
    state?.closed();
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
      this.#drainState(before);
      before?.replace();
      swapped = true;
      if (this.#draining) continue;
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
      () => this.#changed(),
    );
  }

  // What hands connections to other listeners first listens when all of them are warm, as Envoy's workers do: before, a connection to a
  // service whose listener still waits for its routes would be passed on to the service's virtual address, where nobody answers.
  #begin(): void {
    const listeners = [...this.#listeners.values()];
    if (this.#begun || this.#draining || listeners.some((l) => l.active === undefined)) return;
    const handing = listeners.filter((l) => l.active?.config.use_original_dst === true);
    if (handing.length === 0) return;
    this.#begun = true;
    for (const listener of handing) this.#bind(listener);
  }

  // Connections of a replaced listener go on under what they began with and are asked to come back when they are idle.
  #drainState(state: ListenerState | undefined): void {
    if (state === undefined) return;
    for (const [connection, of] of this.#connections) if (of === state) connection.drain?.();
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
    this.#accepting.add(socket);
    socket.once('close', () => this.#accepting.delete(socket));
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

// Two resources are the same when their fields are.
const stable = (value: object): string =>
  JSON.stringify(value, (_key, inner) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner) && !(inner instanceof Uint8Array)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );

const ownAddress = (): string => {
  for (const addresses of Object.values(networkInterfaces()))
    for (const address of addresses ?? []) if (address.family === 'IPv4' && !isLoopback(address.address)) return address.address;
  return routedAddress() ?? '127.0.0.1';
};

// An interface without carrier still has its address, but only the kernel's table of local routes lists it.
const routedAddress = (): string | undefined => {
  try {
    const found = readFileSync('/proc/net/fib_trie', 'utf8').matchAll(/\|-- (\d+\.\d+\.\d+\.\d+)\n\s*\/32 host LOCAL/g);
    for (const [, ip] of found) if (ip !== undefined && !isLoopback(ip)) return ip;
  } catch {
    // not on Linux
  }
  return undefined;
};
