// Takes a request's tokens: of every descriptor's bucket it names, the slowest first, and of the bucket for all. The first that
// has not enough refuses it, and what was taken before stays taken, as in Envoy.

import { type Descriptor, descriptorKey } from '../../plan/rate-limit/descriptor.ts';
import { type DescriptorLimit, fits, type LocalLimits } from '../../plan/rate-limit/local-limits.ts';
import type { BucketSize } from '../../plan/rate-limit/token-bucket.ts';
import { type Bucket, LocalBucket } from '../shared-counts.ts';

export interface LimitDecision {
  readonly allowed: boolean;
  /** It was refused by a limit that is only counted: let it pass. */
  readonly shadow: boolean;
  /** What the client is told of; undefined: nothing limits it. */
  readonly bucket: Bucket | undefined;
  /** Whether the client is told; undefined: as the filter says. */
  readonly headers: boolean | undefined;
}

interface Taken {
  readonly descriptor: Descriptor;
  readonly bucket: Bucket;
  readonly shadow: boolean;
}

const FREE: LimitDecision = { allowed: true, shadow: false, bucket: undefined, headers: undefined };
const NONE: readonly Taken[] = [];

export class LocalLimiter {
  readonly #limits: LocalLimits;
  readonly #make: (key: string, size: BucketSize) => Bucket;
  readonly #all: Bucket | undefined;
  readonly #exact = new Map<string, Omit<Taken, 'descriptor'>>();
  readonly #open: readonly { readonly limit: DescriptorLimit; readonly buckets: Map<string, Bucket> }[];
  readonly #allowedByAll: LimitDecision;
  readonly #refusedByAll: LimitDecision;

  constructor(limits: LocalLimits, make: (key: string, size: BucketSize) => Bucket) {
    this.#limits = limits;
    this.#make = make;
    this.#all = limits.all === undefined ? undefined : make('all', limits.all);
    for (const { key, size, shadow } of limits.exact) this.#exact.set(key, { bucket: make(key, size), shadow });
    this.#open = limits.open.map((limit) => ({ limit, buckets: new Map() }));
    this.#allowedByAll = { ...FREE, bucket: this.#all };
    this.#refusedByAll = { ...FREE, allowed: false, bucket: this.#all };
  }

  decide(descriptors: readonly Descriptor[], nowMs: number): LimitDecision {
    const named = descriptors.length === 0 ? NONE : this.#named(descriptors);
    const first = named[0];
    let shadowed = false;
    for (const { descriptor, bucket, shadow } of named) {
      if (bucket.take(descriptor.hits ?? 1, nowMs)) continue;
      if (!shadow) return { allowed: false, shadow: false, bucket, headers: descriptor.headers };
      shadowed = true;
    }
    if (this.#all !== undefined && (first === undefined || this.#limits.alwaysAll) && !this.#all.take(1, nowMs)) return this.#refusedByAll;
    if (first === undefined) return this.#allowedByAll;
    return { allowed: !shadowed, shadow: shadowed, bucket: first.bucket, headers: first.descriptor.headers };
  }

  #named(descriptors: readonly Descriptor[]): readonly Taken[] {
    const named: Taken[] = [];
    for (const descriptor of descriptors) {
      const key = descriptorKey(descriptor.entries);
      const exact = this.#exact.get(key);
      if (exact !== undefined) named.push({ descriptor, ...exact });
      else this.#takeOpen(descriptor, key, named);
    }
    if (named.length > 1) named.sort((a, b) => a.bucket.size.tokensPerMs - b.bucket.size.tokensPerMs);
    return named;
  }

  #takeOpen(descriptor: Descriptor, key: string, named: Taken[]): void {
    for (const { limit, buckets } of this.#open) {
      if (!fits(limit, descriptor.entries)) continue;
      let bucket = buckets.get(key);
      // The last used stands last.
      if (bucket === undefined) bucket = this.#make(`${limit.key}\n${key}`, limit.size);
      else buckets.delete(key);
      buckets.set(key, bucket);
      if (buckets.size > this.#limits.openMax) {
        const [oldest = key] = buckets.keys();
        // Requests bring values faster than garbage is collected: what all workers share must not run out.
        buckets.get(oldest)?.close?.();
        buckets.delete(oldest);
      }
      named.push({ descriptor, bucket, shadow: limit.shadow });
      return;
    }
  }
}

/** Of one connection: nobody else takes from it. */
export const ofOneConnection = (limits: LocalLimits): LocalLimiter => new LocalLimiter(limits, (_key, size) => new LocalBucket(size));
