// How often a peer may try: a bucket a peer, refilled over time, in a table that is bounded. When the table is full of peers that are at
// their limit, whoever is new shares one bucket with everybody else who is new. No clock and no timer of its own.

export interface AttemptLimit {
  /** At once. */
  readonly burst: number;
  /** Refilled. */
  readonly perSecond: number;
  /** Peers that are told apart. */
  readonly peersMax: number;
}

/** Proofs that fail. A right one is never counted. */
export const LOGIN_LIMIT: AttemptLimit = { burst: 20, perSecond: 1 / 3, peersMax: 4096 };
/** Certificate requests of one workload; a certificate of five seconds is asked for twice in that time. */
export const CSR_LIMIT: AttemptLimit = { burst: 30, perSecond: 2, peersMax: 16_384 };

interface Bucket {
  left: number;
  atMs: number;
}

export class Attempts {
  readonly #limit: AttemptLimit;
  readonly #now: () => number;
  /** In the order of their last use. */
  readonly #buckets = new Map<string, Bucket>();
  readonly #others: Bucket;

  constructor(limit: AttemptLimit, now: () => number) {
    this.#limit = limit;
    this.#now = now;
    this.#others = { left: limit.burst, atMs: now() };
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** There is an attempt left. Takes none. */
  allows(peer: string): boolean {
    const bucket = this.#buckets.get(peer) ?? (this.#hasRoom() ? undefined : this.#others);
    return bucket === undefined || this.#refilled(bucket).left >= 1;
  }

  /** Takes an attempt; false when none is left. */
  take(peer: string): boolean {
    const bucket = this.#refilled(this.#bucketOf(peer));
    if (bucket.left < 1) return false;
    bucket.left -= 1;
    return true;
  }

  #bucketOf(peer: string): Bucket {
    const known = this.#buckets.get(peer);
    if (!known && !this.#hasRoom()) return this.#others;
    const bucket = known ?? { left: this.#limit.burst, atMs: this.#now() };
    this.#buckets.delete(peer);
    this.#buckets.set(peer, bucket);
    return bucket;
  }

  /** Makes room by forgetting the peer that was quiet longest, if it has recovered: to forget that changes nothing. */
  #hasRoom(): boolean {
    if (this.#buckets.size < this.#limit.peersMax) return true;
    const [oldest] = this.#buckets;
    if (!oldest || this.#refilled(oldest[1]).left < this.#limit.burst) return false;
    this.#buckets.delete(oldest[0]);
    return true;
  }

  #refilled(bucket: Bucket): Bucket {
    const nowMs = this.#now();
    const { burst, perSecond } = this.#limit;
    bucket.left = Math.min(burst, bucket.left + (Math.max(0, nowMs - bucket.atMs) / 1000) * perSecond);
    bucket.atMs = nowMs;
    return bucket;
  }
}

/** A peer's address as a key: of IPv6 the network, for a host has as many addresses as it likes. */
export const peerKey = (address: string): string => {
  const plain = address.replace(/^::ffff:(?=\d+\.)/, '');
  if (!plain.includes(':')) return plain === '' ? 'local' : plain;
  const [head = '', tail] = plain.replace(/%.*$/, '').split('::');
  const left = head.split(':').filter((p) => p !== '');
  const right = (tail ?? '').split(':').filter((p) => p !== '');
  const middle = tail === undefined ? [] : new Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  return `${[...left, ...middle, ...right].slice(0, 4).join(':')}::/64`;
};
