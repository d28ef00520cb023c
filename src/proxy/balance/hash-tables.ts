// RING_HASH and MAGLEV as Envoy builds them: the same table from the same hosts and weights, so one key reaches the same host
// through either proxy; but for rings whose size nobody chose. A table belongs to one host group, is built at its first use and gone
// with it.

import type { Host } from '../cluster/host.ts';
import { xxHash64 } from '../xx-hash64.ts';
import type { Balancer } from './balancer.ts';
import { boundedHost } from './bounded-load.ts';
import type { HashTable, HostGroup } from './host-set.ts';
import { type PickPolicy, RING_SIZE_MIN } from './lb-plan.ts';
import { murmurHash2 } from './murmur-hash.ts';

type HashPolicy = Extract<PickPolicy, { readonly kind: 'ring' | 'maglev' }>;

/** `active`: requests the cluster has in hand. */
export const compileHashBalancer = (policy: HashPolicy, active: () => number): Balancer => {
  const keyOf = hashKey(policy.byHostname);
  const build = (group: HostGroup): HashTable =>
    policy.kind === 'maglev' ? buildMaglev(group, policy.size, keyOf) : buildRing(group, policy.least, policy.most, policy.murmur, keyOf);
  const factor = policy.balanceFactor;
  return (group, random, given, attempt) => {
    if (group.hosts.length < 2) return group.hosts[0];
    group.table ??= build(group);
    const hash = given ?? anyHash(random);
    const host = group.table(hash, attempt);
    return factor === 0 || host === undefined ? host : boundedHost(group.hosts, sharesOf(group), host, hash, factor, active());
  };
};

/** Without a hash any host will do. */
const anyHash = (random: () => number): bigint =>
  (BigInt(Math.floor(random() * 0x1_0000_0000)) << 32n) | BigInt(Math.floor(random() * 0x1_0000_0000));

type KeyOf = (host: Host) => string;
const hashKey =
  (byHostname: boolean): KeyOf =>
  (host) => {
    const metadata = host.metadata as { filter_metadata?: { [filter: string]: { hash_key?: unknown } } } | undefined;
    const own = metadata?.filter_metadata?.['envoy.lb']?.hash_key;
    if (typeof own === 'string' && own !== '') return own;
    return byHostname && host.hostname !== '' ? host.hostname : host.address;
  };

/** Share of each host, all together 1. */
const sharesOf = (group: HostGroup): readonly number[] => {
  if (group.shares !== undefined) return group.shares;
  const total = group.hosts.reduce((sum, h) => sum + h.weight, 0);
  return group.hosts.map((h) => h.weight / total);
};

// --- ring ---

const buildRing = (group: HostGroup, leastSize: number, mostSize: number, murmur: boolean, keyOf: KeyOf): HashTable => {
  const hashOf = murmur ? murmurHash2 : xxHash64;
  const shares = sharesOf(group);
  const smallest = shares.reduce((a, b) => (b > 0 ? Math.min(a, b) : a), 1);
  // So many entries that the host with the smallest share has a whole number of them.
  const scale = Math.min(Math.max(Math.ceil(smallest * leastSize), ownEntries(leastSize, smallest)) / smallest, mostSize);
  const hashes: bigint[] = [];
  const owners: number[] = [];
  let wanted = 0;
  group.hosts.forEach((host, index) => {
    wanted += scale * (shares[index] ?? 0);
    const key = keyOf(host);
    for (let i = 0; hashes.length < wanted; i++) {
      hashes.push(hashOf(`${key}_${i}`));
      owners.push(index);
    }
  });
  const order = Uint32Array.from(hashes.keys()).sort((a, b) => compare(hashes[a] ?? 0n, hashes[b] ?? 0n));
  const ring = BigUint64Array.from(order, (i) => hashes[i] ?? 0n);
  const hosts = Uint32Array.from(order, (i) => owners[i] ?? 0);
  return (hash, attempt) => {
    let low = 0;
    let high = ring.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((ring[middle] ?? 0n) < hash) low = middle + 1;
      else high = middle;
    }
    return group.hosts[hosts[(low + attempt) % ring.length] ?? 0];
  };
};

/** Entries of a host while no other size is asked for than Envoy's and Istio's default. */
const OWN_ENTRIES = 256;
const OWN_RING_MAX = 65_536;

// A ring that has 1,024 entries for nine hosts as for ten gives those that stay new ones when a host leaves, and with them keys of each
// other: 19 % of all keys move where 10 % have to. Where the default stands every host has the same number of entries from
// four hosts on, so only the keys of the host that left move. Any other minimum_ring_size gives Envoy's ring, entry by entry.
const ownEntries = (leastSize: number, smallest: number): number =>
  leastSize === RING_SIZE_MIN ? Math.min(OWN_ENTRIES, Math.floor(smallest * OWN_RING_MAX)) : 0;

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

// --- maglev ---

interface Turn {
  readonly host: number;
  readonly skip: number;
  readonly share: number;
  place: number;
  target: number;
}

const buildMaglev = (group: HostGroup, size: number, keyOf: KeyOf): HashTable => {
  const shares = sharesOf(group);
  const largest = Math.max(...shares);
  const keyed = group.hosts.map((host, index) => ({ key: keyOf(host), index }));
  // The order in which hosts take places decides who gets them.
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  const turns: Turn[] = keyed
    .filter(({ index }) => (shares[index] ?? 0) > 0)
    .map(({ key, index }) => ({
      host: index,
      share: shares[index] ?? 0,
      place: Number(xxHash64(key) % BigInt(size)),
      skip: Number(xxHash64(key, 1n) % BigInt(size - 1)) + 1,
      target: 0,
    }));
  const table = new Int32Array(size).fill(-1);
  for (let round = 1, filled = 0; filled < size; round++)
    for (const turn of turns) {
      if (filled >= size) break;
      // A host of a third of the largest share takes a place every third round.
      if (round * turn.share < turn.target) continue;
      turn.target += largest;
      while (table[turn.place] !== -1) turn.place = (turn.place + turn.skip) % size;
      table[turn.place] = turn.host;
      turn.place = (turn.place + turn.skip) % size;
      filled++;
    }
  const modulus = BigInt(size);
  return (hash, attempt) => {
    // Another attempt changes most bits of the hash, and so the place.
    const place = attempt === 0 ? hash : hash ^ (0xffffffffffffffffn - BigInt(attempt) + 1n);
    return group.hosts[table[Number(place % modulus)] ?? 0];
  };
};
