// Counts that hold for the whole sidecar: plain numbers while one worker serves, shared memory with several
// (workers/shared-sharing.ts). Whoever counts asks a Sharing for its counts when configuration is compiled.

import { type BucketSize, NEVER_EMPTY, takeTokens, tokensIn } from '../plan/rate-limit/token-bucket.ts';
import { type LimitBounds, LocalLimits, type ResourceLimits } from './cluster/circuit-breaker.ts';
import { type Ejections, type HostState, LocalEjections, LocalHostState } from './cluster/host-state.ts';

/** How many there are of something that has a limit. */
export interface Count {
  readonly value: number;
  /** Counts one more, if that is at most `most`. */
  tryTake(most: number): boolean;
  /** One of those that were counted here is over. */
  release(): void;
  /** No more are taken; those that are counted still end. */
  close(): void;
}

/** Tokens that whoever holds it takes from. Full when it is new; lives as long as somebody holds it. */
export interface Bucket {
  readonly size: BucketSize;
  take(tokens: number, nowMs: number): boolean;
  tokens(nowMs: number): number;
  /** It goes on by itself, as it is now: what all workers share is not held any longer. */
  close?(): void;
}

/** `key`: the same for all workers, and another for whatever is to be counted apart. */
export interface Sharing {
  /** Short for a resource as it is now: the same for all workers, another when it changes. */
  version(name: string, config: object): string;
  count(key: string): Count;
  /** Times told to it are env.clock's. */
  bucket(key: string, size: BucketSize): Bucket;
  /** `wanted`: another worker waits for one of our connections. */
  limits(key: string, bounds: LimitBounds, wanted: () => void): ResourceLimits;
  /** Of one host of one cluster. */
  host(key: string): HostState;
  /** `changed`: another worker has ejected a host of this cluster, or taken one back. */
  ejections(key: string, changed: () => void): Ejections;
}

class LocalCount implements Count {
  value = 0;
  tryTake(most: number): boolean {
    if (this.value >= most) return false;
    this.value++;
    return true;
  }
  release(): void {
    this.value--;
  }
  close(): void {}
}

/** Of one worker, or of one connection. */
export class LocalBucket implements Bucket {
  readonly size: BucketSize;
  #emptyAtMs = NEVER_EMPTY;

  constructor(size: BucketSize) {
    this.size = size;
  }
  take(tokens: number, nowMs: number): boolean {
    const left = takeTokens(this.size, this.#emptyAtMs, nowMs, tokens);
    if (Number.isNaN(left)) return false;
    this.#emptyAtMs = left;
    return true;
  }
  tokens(nowMs: number): number {
    return tokensIn(this.size, this.#emptyAtMs, nowMs);
  }
}

export const oneWorker: Sharing = {
  version: (name) => name,
  count: () => new LocalCount(),
  bucket: (_key, size) => new LocalBucket(size),
  limits: (_key, bounds) => new LocalLimits(bounds),
  host: () => new LocalHostState(),
  ejections: () => new LocalEjections(),
};
