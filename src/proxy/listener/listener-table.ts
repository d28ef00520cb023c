// The listeners of a data plane: which configuration is warming, which is in force, who listens where, and to which of them an accepted
// connection goes. An address that cannot be had is tried again. Never reads a byte of a connection: that is Acceptance's.

import type { Socket } from 'node:net';
import { PlanError } from '../../plan/plan-error.ts';
import type { CertificateFacts } from '../../plan/stream-info.ts';
import type { Listener } from '../../xds/gen/types.ts';
import { plainIp } from '../connection-facts.ts';
import type { RouteTables } from '../exchange/route-table.ts';
import { waitForListener } from '../on-demand/plane-demand.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Count } from '../shared-counts.ts';
import { stable } from '../stable-text.ts';
import { Acceptance, type ConnectionOwner, type ServedConnection } from './accept.ts';
import { AddressIndex } from './address-index.ts';
import { BindRetry } from './bind-retry.ts';
import type { ChainRuntime } from './filter-chain-runtime.ts';
import { ListenerDrain } from './listener-drain.ts';
import { ListenerRuntime, ListenerState } from './listener-runtime.ts';
import type { SocketSource } from './listening-sockets.ts';
import type { OriginalDestination } from './original-destination.ts';

export interface ListenerTableOptions {
  readonly env: ProxyEnvironment;
  readonly routes: RouteTables;
  readonly sockets: SocketSource;
  readonly originalDestination: OriginalDestination;
  /** Downstream connections, of all workers. */
  readonly connections: Count;
  /** How many a listener may have. */
  readonly connectionLimit: (name: string) => number;
  readonly drainTimeMs: number;
  readonly drainGradually: boolean;
  /** Something is complete that may let others take their place. */
  readonly warm: () => void;
  readonly changed: () => void;
}

export class ListenerTable implements ConnectionOwner {
  draining = false;
  readonly #o: ListenerTableOptions;
  readonly #env: ProxyEnvironment;
  readonly #listeners = new Map<string, ListenerRuntime>();
  /** Virtual and bound listeners by address, for connections with an original destination. */
  readonly #byAddress = new AddressIndex();
  readonly #drains: ListenerDrain;
  readonly #accepting = new Set<Socket>();
  #connectionIds = 0;
  #stopped: 'none' | 'inbound' | 'all' = 'none';
  /** Refused because their address could not be had: tried again. */
  readonly #unbound = new Map<string, Listener>();
  readonly #bindRetry = new BindRetry(() => this.#bindAgain());
  /** Listeners that hand connections to others listen. */
  #begun = false;
  #closed = false;

  constructor(options: ListenerTableOptions) {
    this.#o = options;
    this.#env = options.env;
    this.#drains = new ListenerDrain(options.drainTimeMs, options.drainGradually, options.env.random);
    options.env.overload.onChange(() => this.#pauseListening());
  }

  /** Throws PlanError: what is wrong with it, or that its address cannot be had, which is then tried again. */
  set(listener: Listener): void {
    const { stats, sharing } = this.#env;
    const name = listener.name ?? '';
    this.#unbound.delete(name);
    const runtime = this.#listeners.get(name);
    if (runtime !== undefined && stable(runtime.warming?.config ?? runtime.active?.config ?? {}) === stable(listener)) return;
    const state = new ListenerState(listener, this.#env, this.#o.routes, this.#o.warm);
    const owner = runtime ?? new ListenerRuntime(name, this.#o.sockets, stats, this.#o.connectionLimit(name), sharing);
    try {
      if (!this.draining) owner.reserve(listener, (key) => this.#heldElsewhere(owner, key));
    } catch (problem) {
      state.replace();
      this.#unbound.set(name, listener);
      stats.counter('listener_manager.listener_create_failure').value++;
      this.#bindRetry.begin();
      throw problem;
    }
    stats.counter(`listener_manager.listener_${runtime === undefined ? 'added' : 'modified'}`).value++;
    owner.warming?.replace();
    owner.warming = state;
    this.#listeners.set(name, owner);
    this.#o.warm();
  }

  remove(name: string): void {
    this.#unbound.delete(name);
    const runtime = this.#listeners.get(name);
    if (runtime === undefined) return;
    this.#listeners.delete(name);
    this.#env.stats.counter('listener_manager.listener_removed').value++;
    this.#env.demand.settle('listener', name, false);
    const waiting = [...this.#listeners.values()].filter((l) => l.bindFailure !== '');
    runtime.unbind((key) => waiting.some((l) => l.key === key));
    for (const listener of waiting) this.#bind(listener);
    runtime.dropStats();
    this.#drains.remove(name);
    runtime.active?.replace();
    runtime.warming?.replace();
    this.#byAddress.rebuild(this.#listeners.values());
    if (!this.#begun) queueMicrotask(() => this.#begin());
    this.#o.changed();
  }

  /** What is complete now takes its place. */
  warm(): void {
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
      this.#env.stats.counter('listener_manager.listener_create_success').value++;
      if (this.#isStopped(listener)) continue;
      if (this.#begun || next.config.use_original_dst !== true) this.#bind(listener);
    }
    // Not at once: the listeners of one answer are set one after the other.
    if (!this.#begun) queueMicrotask(() => this.#begin());
    if (swapped) this.#byAddress.rebuild(this.#listeners.values());
  }

  all(): Iterable<ListenerRuntime> {
    return this.#listeners.values();
  }

  isActive(name: string): boolean {
    return this.#listeners.get(name)?.active !== undefined;
  }

  get ready(): boolean {
    if (this.#unbound.size > 0) return false;
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
    this.draining = true;
    this.stop(false);
    this.#drains.everybody();
  }

  drainGracefully(inboundOnly: boolean): void {
    this.#drains.all(inboundOnly);
  }

  keepServing(): void {
    this.#drains.none();
  }

  /** No more connections are accepted. */
  stop(inboundOnly: boolean): void {
    if (this.#stopped !== 'all') this.#stopped = inboundOnly ? 'inbound' : 'all';
    for (const listener of this.#listeners.values()) if (this.#isStopped(listener)) listener.unbind();
    this.#o.changed();
  }

  /** Nothing is accepted or tried again; connections that drain are told. */
  retire(): void {
    this.#closed = true;
    this.#bindRetry.close();
    this.drain();
  }

  /** Ends what is left. */
  destroy(): void {
    for (const socket of this.#accepting) socket.destroy();
    this.#drains.close();
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

  #bind(listener: ListenerRuntime): void {
    listener.bind(
      (owner, socket) => this.#accept(owner, socket),
      () => {
        if (listener.bindFailure !== '') this.#bindRetry.begin();
        if (this.#env.overload.stopConnections) this.#pauseListening();
        this.#o.changed();
      },
    );
  }

  // `stop_accepting_connections`: clients wait in the kernel's queue.
  #pauseListening(): void {
    for (const listener of this.#listeners.values()) {
      if (this.#env.overload.stopConnections && listener.config.bypass_overload_manager !== true) listener.pause();
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
    if (this.draining) return false;
    for (const listener of this.#listeners.values()) if (listener.bindFailure !== '') this.#bind(listener);
    for (const listener of [...this.#unbound.values()]) this.#setAgain(listener);
    return this.#unbound.size > 0 || [...this.#listeners.values()].some((l) => l.bindFailure !== '');
  }

  #setAgain(listener: Listener): void {
    try {
      this.set(listener);
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
    if (!state.mayBegin() || !listener.admits(this.#env.overload, this.#o.connections)) {
      socket.destroy();
      return;
    }
    this.#accepting.add(socket);
    listener.accepted();
    socket.once('close', () => {
      this.#accepting.delete(socket);
      this.#o.connections.release();
      listener.over();
    });
    try {
      this.#handOn(state, socket);
    } catch (problem) {
      // One connection must not stop the rest.
      this.#env.log.error('connection given up', {
        listener: listener.name,
        problem: problem instanceof Error ? (problem.stack ?? problem.message) : 'unknown',
      });
      socket.destroy();
    }
  }

  /** To the listener of its original destination, where this one hands on. */
  #handOn(state: ListenerState, socket: Socket): void {
    const destination = state.usesOriginalDestination ? this.#o.originalDestination.of(socket) : undefined;
    const begin = (to: ListenerState): void => {
      if (to === state || to.mayBegin()) new Acceptance(this.#env, this, to, socket, ++this.#connectionIds, destination).start();
      else socket.destroy();
    };
    // As Envoy: a destination that is our own listening address was not redirected.
    const direct = destination === undefined || (destination.ip === plainIp(socket.localAddress) && destination.port === socket.localPort);
    if (state.config.use_original_dst !== true || destination === undefined || direct) {
      begin(state);
      return;
    }
    const { demand } = this.#env;
    const known = this.#byAddress.find(destination.ip, destination.port);
    const wait = state.listenerWaitMs;
    const arrived = (): void => begin(this.#byAddress.find(destination.ip, destination.port)?.active ?? state);
    if (known === undefined && wait !== undefined && waitForListener(demand, socket, destination, wait, arrived)) return;
    if (known !== undefined && wait !== undefined) demand.use('listener', known.name);
    begin(known?.active ?? state);
  }
}
