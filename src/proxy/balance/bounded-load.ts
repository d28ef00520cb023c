// Consistent hashing with bounded load (hash_balance_factor): a host takes at most so many percent of its share of the requests in
// hand; beyond that the key goes to another host, and always to the same one, because the order in which others are asked comes from
// the key alone, by the generator Envoy uses (MT19937). Costs nothing while the key's own host has room.

import type { Host } from '../cluster/host.ts';

/** `own`: where the hash leads; `active`: requests the cluster has in hand. */
export const boundedHost = (
  hosts: readonly Host[],
  shares: readonly number[],
  own: Host,
  hash: bigint,
  factor: number,
  active: number,
): Host => {
  const slots = Math.floor(((active + 1) * factor + 99) / 100);
  const loadOf = (host: Host, index: number): number => host.stats.rqActive / Math.max(Math.ceil(slots * (shares[index] ?? 0)), 1);
  let least = loadOf(own, hosts.indexOf(own));
  if (least <= 1) return own;
  let best = own;
  const order = Uint32Array.from(hosts.keys());
  const random = new MersenneTwister(Number(hash & 0xffffffffn));
  for (let i = 0; i < order.length; i++) {
    const j = i + below(random, order.length - i);
    const index = order[j] ?? 0;
    order[j] = order[i] ?? 0;
    order[i] = index;
    const host = hosts[index];
    if (host === undefined || host === own) continue;
    const load = loadOf(host, index);
    if (load <= 1) return host;
    if (load < least) {
      least = load;
      best = host;
    }
  }
  return best;
};

/** Evenly from 0 to `count - 1`. */
const below = (random: MersenneTwister, count: number): number => {
  const width = Math.floor(0x1_0000_0000 / count);
  for (;;) {
    const drawn = Math.floor(random.next() / width);
    if (drawn < count) return drawn;
  }
};

const WORDS = 624;
const MIDDLE = 397;

class MersenneTwister {
  readonly #state = new Uint32Array(WORDS);
  #at = WORDS;

  constructor(seed: number) {
    const state = this.#state;
    state[0] = seed;
    for (let i = 1; i < WORDS; i++) {
      const before = state[i - 1] as number;
      state[i] = Math.imul(1_812_433_253, before ^ (before >>> 30)) + i;
    }
  }

  next(): number {
    if (this.#at === WORDS) this.#twist();
    let word = this.#state[this.#at++] as number;
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < WORDS; i++) {
      const mixed = ((state[i] as number) & 0x80000000) | ((state[(i + 1) % WORDS] as number) & 0x7fffffff);
      state[i] = (state[(i + MIDDLE) % WORDS] as number) ^ (mixed >>> 1) ^ ((mixed & 1) === 1 ? 0x9908b0df : 0);
    }
    this.#at = 0;
  }
}
