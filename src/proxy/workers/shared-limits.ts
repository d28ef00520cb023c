// The circuit breakers of one priority of one cluster, counted over all workers: never above the limit, and every place of it
// usable by any of them. A worker whose pool has no connection while others have them all asks for one; the next that falls
// idle is closed, and its place is granted to who asked instead of being free for all.

import { type ConnectionWaiter, type LimitBounds, type ResourceLimits, retriesAllowed } from '../circuit-breaker.ts';
import type { HostState } from '../host-state.ts';
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

export class SharedLimits implements ResourceLimits {
  readonly bounds: LimitBounds;
  readonly #slots: SharedSlots;
  readonly #slot: Slot;
  readonly #signals: Signals;
  readonly #key: string;
  readonly #deafen: () => void;
  readonly #waiters = new Set<ConnectionWaiter>();
  /** Asked for here, granted or not. */
  #asked = 0;
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
      if (this.#asked > 0) this.#useGrants();
    });
  }

  get connectionsFull(): boolean {
    return this.#slot.get(CONNECTIONS) >= this.bounds.connectionsMax;
  }
  get connectionsWanted(): boolean {
    return this.#slot.get(WANTED) > 0;
  }

  tryConnection(host: HostState | undefined, none: boolean): boolean {
    const state = host instanceof SharedHostState ? host : undefined;
    if (this.#slot.addUpTo(CONNECTIONS, this.bounds.connectionsMax)) state?.connectionOpened();
    else if (none && state?.firstConnection() === true) this.#slot.add(CONNECTIONS, 1);
    else return false;
    this.#held++;
    return true;
  }
  takeConnection(host: HostState | undefined): void {
    if (host instanceof SharedHostState) host.connectionOpened();
    this.#slot.add(CONNECTIONS, 1);
    this.#held++;
  }
  releaseConnection(host: HostState | undefined): void {
    if (host instanceof SharedHostState) host.connectionOver();
    this.#freeConnection();
    this.#letGo();
  }

  waitForConnection(waiter: ConnectionWaiter): void {
    if (this.#waiters.has(waiter)) return;
    this.#waiters.add(waiter);
    this.#asked++;
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
    return this.#try(REQUESTS, this.bounds.requestsMax);
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
      this.#slot.add(GRANTED, 1);
      this.#signals.tell(this.#key);
    } else this.#slot.add(CONNECTIONS, -1);
  }

  #useGrants(): void {
    while (this.#asked > 0 && this.#slot.takeOne(GRANTED)) {
      this.#asked--;
      const [waiter] = this.#waiters;
      if (waiter !== undefined) this.#waiters.delete(waiter);
      // What was held for asking is held for the connection now.
      if (waiter?.granted() === true) continue;
      this.#freeConnection();
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
