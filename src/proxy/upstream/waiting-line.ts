// Requests that wait in a pool for a connection, first in, first out. Each holds its place in its priority's limit on pending
// requests, and is counted, until it is called, leaves or is sent away with all others. Nothing here grows with how many wait but room.

import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import type { ClusterStats } from '../cluster/cluster-stats.ts';
import type { UpstreamClient } from './upstream-stream.ts';

interface Waiting {
  readonly client: UpstreamClient;
  readonly limits: ResourceLimits;
}

/** Places of those who left or were called that the line keeps at most, beside as many as are taken. */
const EMPTY_MAX = 64;

export class WaitingLine {
  readonly #stats: ClusterStats;
  #line: (Waiting | undefined)[] = [];
  /** The place whose turn it is. */
  #first = 0;
  /** Where each stands in the line. */
  readonly #places = new Map<UpstreamClient, number>();

  constructor(stats: ClusterStats) {
    this.#stats = stats;
  }

  get length(): number {
    return this.#places.size;
  }

  /** False: too many wait. */
  enter(client: UpstreamClient, limits: ResourceLimits): boolean {
    if (!limits.tryPending()) {
      this.#stats.rqPendingOverflow.value++;
      return false;
    }
    this.#stats.rqPendingActive.value++;
    this.#stats.rqPendingTotal.value++;
    this.#places.set(client, this.#line.push({ client, limits }) - 1);
    return true;
  }

  /** Calls whoever has waited longest. */
  next(): Waiting | undefined {
    if (this.#places.size === 0) return undefined;
    let waiting: Waiting | undefined;
    while (waiting === undefined) waiting = this.#line[this.#first++];
    this.#places.delete(waiting.client);
    this.#over(waiting);
    this.#tidy();
    return waiting;
  }

  /** It waits no longer. False: it did not. */
  leave(client: UpstreamClient): boolean {
    const place = this.#places.get(client);
    if (place === undefined) return false;
    this.#places.delete(client);
    const waiting = this.#line[place];
    this.#line[place] = undefined;
    if (waiting !== undefined) this.#over(waiting);
    this.#tidy();
    return true;
  }

  /** Sends all away, and says who they were. */
  clear(): readonly Waiting[] {
    const all: Waiting[] = [];
    for (let i = this.#first; i < this.#line.length; i++) {
      const waiting = this.#line[i];
      if (waiting !== undefined) all.push(waiting);
    }
    this.#line = [];
    this.#first = 0;
    this.#places.clear();
    for (const waiting of all) this.#over(waiting);
    return all;
  }

  #over(waiting: Waiting): void {
    waiting.limits.releasePending();
    this.#stats.rqPendingActive.value--;
  }

  // Those who gave up in the middle leave holes; the line is drawn together when most of it are.
  #tidy(): void {
    const left = this.#places.size;
    if (left === 0) {
      this.#line.length = 0;
      this.#first = 0;
      return;
    }
    if (this.#line.length - left <= Math.max(EMPTY_MAX, left)) return;
    const line: Waiting[] = [];
    for (let i = this.#first; i < this.#line.length; i++) {
      const waiting = this.#line[i];
      if (waiting !== undefined) line.push(waiting);
    }
    this.#first = 0;
    this.#line = line;
    for (let i = 0; i < line.length; i++) this.#places.set((line[i] as Waiting).client, i);
  }
}
