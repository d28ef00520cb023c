// The circuit breakers of one priority of one cluster, counted over all workers: never above the limit, and every place of it
// usable by any of them. A worker whose pool has no connection while others have them all asks for one; the next that falls
// idle is closed, and its place is granted to who asked instead of being free for all.

import { type ConnectionWaiter, type InHand, type LimitBounds, type ResourceLimits, retriesAllowed } from '../cluster/circuit-breaker.ts';
import type { HostState } from '../cluster/host-state.ts';
import { SharedHostState } from './shared-host-state.ts';
import type { SharedSlots, Slot } from './shared-slots.ts';
import type { Signals } from './signals.ts';

const CONNECTIONS = 0;
const PENDING = 1;
const REQUESTS = 2;
const RETRIES = 3;
/** Askers that no place was granted to yet. */
const WANTED = 4;
/** Places that are counted as taken and belong to askers. */
const GRANTED = 5;
/** How often a place was granted. */
const GRANTS = 6;

const sharedOf = (host: HostState | undefined): SharedHostState | undefined => (host instanceof SharedHostState ? host : undefined);

export class SharedLimits implements ResourceLimits {
  readonly bounds: LimitBounds;
  readonly #slots: SharedSlots;
  readonly #slot: Slot;
  readonly #signals: Signals;
  readonly #key: string;
  readonly #deafen: () => void;
  readonly #waiters = new Map<ConnectionWaiter, SharedHostState | undefined>();
  /** Everything this worker is to release. */
  #held = 0;
  #retired = false;
  #over = false;

  /** `wanted` is called when another worker asks for a connection. */
  constructor(slots: SharedSlots, signals: Signals, key: string, bounds: LimitBounds, wanted: () => void) {
    this.bounds = bounds;
    this.#slots = slots;
    this.#signals = signals;
    this.#key = key;
    this.#slot = slots.take(`limits\n${key}`);
    this.#deafen = signals.on(key, () => {
      if (this.connectionsWanted) wanted();
      if (this.#waiters.size > 0) this.#useGrants();
    });
  }

  get inHand(): InHand {
    return {
      connections: this.#slot.get(CONNECTIONS),
      pending: this.#slot.get(PENDING),
      requests: this.#slot.get(REQUESTS),
      retries: this.#slot.get(RETRIES),
    };
  }
  get connectionsFull(): boolean {
    return this.#slot.get(CONNECTIONS) >= this.bounds.connectionsMax;
  }
  get connectionsWanted(): boolean {
    return this.#slot.get(WANTED) > 0;
  }

  tryConnection(host: HostState | undefined, none: boolean): boolean {
    const state = sharedOf(host);
    // The host has it before the cluster does: whoever finds the cluster full sees that this host has one.
    state?.connectionOpened();
    if (!none && state !== undefined && state.connections > this.bounds.hostConnectionsMax) {
      state.connectionOver();
      return false;
    }
    if (!this.#slot.addUpTo(CONNECTIONS, this.bounds.connectionsMax)) {
      state?.connectionOver();
      if (!none || state === undefined || !this.#isFirst(state)) return false;
      this.#slot.add(CONNECTIONS, 1);
    }
    this.#held++;
    return true;
  }
  takeConnection(host: HostState | undefined): void {
    sharedOf(host)?.connectionOpened();
    this.#slot.add(CONNECTIONS, 1);
    this.#held++;
  }
  releaseConnection(host: HostState | undefined): void {
    this.#freeConnection();
    sharedOf(host)?.connectionOver();
    this.#letGo();
  }

  waitForConnection(waiter: ConnectionWaiter, host: HostState): void {
    if (this.#waiters.has(waiter)) return;
    this.#waiters.set(waiter, sharedOf(host));
    this.#held++;
    this.#slot.add(WANTED, 1);
    // A place that fell free before anybody knew that it is wanted.
    if (this.#slot.addUpTo(CONNECTIONS, this.bounds.connectionsMax)) {
      this.#freeConnection();
      this.#useGrants();
    }
    this.#signals.tell(this.#key);
  }

  tryPending(): boolean {
    return this.#try(PENDING, this.bounds.pendingMax);
  }
  releasePending(): void {
    this.#release(PENDING);
  }
  tryRequest(): boolean {
    if (!this.#try(REQUESTS, this.bounds.requestsMax)) return false;
    this.bounds.lately?.took();
    return true;
  }
  releaseRequest(): void {
    this.#release(REQUESTS);
  }
  tryRetry(): boolean {
    return this.#try(RETRIES, retriesAllowed(this.bounds, this.#slot.get(REQUESTS) + this.#slot.get(PENDING)));
  }
  releaseRetry(): void {
    this.#release(RETRIES);
  }

  retire(): void {
    this.#retired = true;
    this.#letGo(0);
  }

  #try(field: number, most: number): boolean {
    if (!this.#slot.addUpTo(field, most)) return false;
    this.#held++;
    return true;
  }
  #release(field: number): void {
    this.#slot.add(field, -1);
    this.#letGo();
  }

  /** Goes to an asker where there is one, and to nobody in particular otherwise. */
  #freeConnection(): void {
    // Beyond the limit a place is nobody's.
    if (this.#slot.get(CONNECTIONS) <= this.bounds.connectionsMax && this.#slot.takeOne(WANTED)) {
      this.#slot.add(GRANTS, 1);
      this.#slot.add(GRANTED, 1);
      this.#signals.tell(this.#key);
    } else this.#slot.add(CONNECTIONS, -1);
  }

  // A place on its way from one worker to another is in GRANTED before its host has one connection fewer, and until its next host
  // has one more: so a host without connections is told from one that is about to get one.
  #isFirst(state: SharedHostState): boolean {
    const grants = this.#slot.get(GRANTS);
    if (this.#slot.get(GRANTED) !== 0 || !state.firstConnection()) return false;
    if (this.#slot.get(GRANTS) === grants) return true;
    state.connectionOver();
    return false;
  }

  #useGrants(): void {
    for (const [waiter, state] of this.#waiters) {
      state?.connectionOpened();
      if (!this.#slot.takeOne(GRANTED)) {
        state?.connectionOver();
        return;
      }
      this.#waiters.delete(waiter);
      // What was held for asking is held for the connection now.
      if (waiter.granted()) continue;
      this.#freeConnection();
      state?.connectionOver();
      this.#letGo();
    }
  }

  #letGo(count = 1): void {
    this.#held -= count;
    if (!this.#retired || this.#held > 0 || this.#over) return;
    this.#over = true;
    this.#deafen();
    this.#slots.giveUp(this.#slot);
  }
}
