// The endpoints of a cluster as an immutable membership, and the part of it that may be chosen now: Envoy's priority levels
// with overprovisioning, degraded hosts, panic, and locality weights. `HealthView` is rebuilt whenever health changes, never per
// request; its groups are made at their first use.

import type { Locality } from '../../xds/gen/types.ts';
import type { Host } from '../cluster/host.ts';
import { type PriorityLoad, priorityLoads } from './priority-load.ts';
import { newestOf } from './slow-start.ts';
import type { ZoneRouting } from './zone-aware.ts';

export interface LocalityHosts {
  /** endpoints[].load_balancing_weight; 0 when absent: takes no traffic under locality weighting, as in Envoy. */
  readonly weight: number;
  readonly hosts: readonly Host[];
  readonly locality?: Locality | undefined;
}

export interface PriorityHosts {
  readonly localities: readonly LocalityHosts[];
  readonly hosts: readonly Host[];
}

export interface Membership {
  readonly priorities: readonly PriorityHosts[];
  readonly overprovisioning: number; // percent, Envoy's 140
  /** A level's health is the share of its weights, not of its hosts. */
  readonly weightedHealth?: boolean;
}

/** Where a hash leads among the hosts of one group. */
export type HashTable = (hash: bigint, attempt: number) => Host | undefined;

/** One list a balancer picks from, with its own place in the rotation. */
export class HostGroup {
  readonly hosts: readonly Host[];
  readonly equalWeights: boolean;
  cursor: number;
  /** EDF's current time. */
  edfNow = 0;
  deadlines: Float64Array;
  /** When its newest host came. */
  readonly newestMs: number;
  /** Of each host, where localities have weights and hashing takes them all together. */
  readonly shares: readonly number[] | undefined;
  /** The consistent-hash balancers'. */
  table: HashTable | undefined;

  constructor(hosts: readonly Host[], random: () => number, shares?: readonly number[]) {
    this.hosts = hosts;
    this.shares = shares;
    this.newestMs = newestOf(hosts);
    const first = hosts[0]?.weight ?? 1;
    this.equalWeights = hosts.every((h) => h.weight === first);
    this.cursor = Math.floor(random() * Math.max(1, hosts.length));
    this.deadlines = new Float64Array(this.equalWeights ? 0 : hosts.length);
    if (!this.equalWeights) for (let i = 0; i < hosts.length; i++) this.deadlines[i] = (random() * 1) / (hosts[i]?.weight ?? 1);
  }
}

export interface ViewRules {
  readonly panicThreshold: number;
  /** In panic there is no host. */
  readonly failOnPanic?: boolean;
  readonly byLocality: boolean;
  /** A level is one group, whose hosts have shares by locality, so that a hash alone decides. */
  readonly hashed?: boolean;
}

/** Which hosts of a level are meant. */
type Wanted = 'healthy' | 'degraded' | 'all';

export class HealthView {
  readonly #levels: readonly LevelView[];
  readonly #failOnPanic: boolean;
  readonly #zones: ZoneRouting | undefined;
  readonly #panicked: { value: number };
  readonly hostCount: number;

  /** `zones`: routing by zone, where it is in force. `panicked` counts the groups that were given in panic. */
  constructor(
    membership: Membership,
    rules: ViewRules,
    random: () => number,
    panicked: { value: number } = { value: 0 },
    zones: ZoneRouting | undefined = undefined,
  ) {
    const loads = priorityLoads(membership, rules.panicThreshold);
    this.hostCount = membership.priorities.reduce((sum, p) => sum + p.hosts.length, 0);
    this.#failOnPanic = rules.failOnPanic === true;
    this.#panicked = panicked;
    this.#zones = zones;
    this.#levels = membership.priorities.map(
      (level, i) => new LevelView(level, loads[i] ?? NO_LOAD, rules, membership.overprovisioning, random),
    );
  }

  /** The group to pick from, or undefined when no level has a host to offer. */
  group(random: () => number, hash?: bigint): HostGroup | undefined {
    const levels = this.#levels;
    const first = levels[0];
    if (first === undefined) return undefined;
    if (first.load.load === 100) return this.#of(first, 'healthy', random);
    const at = hash === undefined ? random() * 100 : Number(hash % 100n);
    let left = at;
    for (const level of levels) {
      left -= level.load.load;
      if (left < 0) return this.#of(level, 'healthy', random);
    }
    for (const level of levels) {
      left -= level.load.degraded;
      if (left < 0) return this.#of(level, 'degraded', random);
    }
    return this.#of(levels.findLast((l) => l.load.load > 0) ?? first, 'healthy', random);
  }

  #of(level: LevelView, wanted: Wanted, random: () => number): HostGroup | undefined {
    if (level.load.panic) {
      this.#panicked.value++;
      return this.#failOnPanic ? undefined : level.group('all', random);
    }
    const zone = this.#zones !== undefined && level === this.#levels[0] && wanted === 'healthy' ? this.#zones.group(random) : undefined;
    return zone ?? level.group(wanted, random);
  }
}

const NO_LOAD: PriorityLoad = { load: 0, degraded: 0, panic: false };

interface GroupSet {
  /** One, or one per locality with its weight. */
  readonly groups: readonly HostGroup[];
  readonly weights: readonly number[];
  readonly total: number;
}

class LevelView {
  readonly load: PriorityLoad;
  readonly #level: PriorityHosts;
  readonly #rules: ViewRules;
  readonly #overprovisioning: number;
  readonly #random: () => number;
  #healthy: GroupSet | undefined;
  #degraded: GroupSet | undefined;
  #all: GroupSet | undefined;

  constructor(level: PriorityHosts, load: PriorityLoad, rules: ViewRules, overprovisioning: number, random: () => number) {
    this.#level = level;
    this.load = load;
    this.#rules = rules;
    this.#overprovisioning = overprovisioning;
    this.#random = random;
  }

  group(wanted: Wanted, random: () => number): HostGroup | undefined {
    const set = this.#set(wanted);
    if (set.groups.length === 1) return set.groups[0];
    let at = random() * set.total;
    for (let i = 0; i < set.groups.length; i++) {
      at -= set.weights[i] ?? 0;
      if (at < 0) return set.groups[i];
    }
    return set.groups[set.groups.length - 1];
  }

  #set(wanted: Wanted): GroupSet {
    if (wanted === 'all') {
      this.#all ??= this.#make(all);
      return this.#all;
    }
    // A table knows no degraded hosts, as Envoy's.
    if (wanted === 'healthy' || this.#rules.hashed === true) {
      this.#healthy ??= this.#make(isHealthy);
      return this.#healthy;
    }
    this.#degraded ??= this.#make(isDegraded);
    return this.#degraded;
  }

  #make(usable: (host: Host) => boolean): GroupSet {
    const { byLocality, hashed } = this.#rules;
    if (byLocality && hashed === true) return single(sharedGroup(this.#level, usable, this.#random));
    // In panic localities do not count.
    if (byLocality && usable !== all) {
      const set = this.#byLocality(usable);
      if (set.groups.length > 0) return set;
    }
    return single(new HostGroup(usable === all ? this.#level.hosts : this.#level.hosts.filter(usable), this.#random));
  }

  #byLocality(usable: (host: Host) => boolean): GroupSet {
    const groups: HostGroup[] = [];
    const weights: number[] = [];
    for (const locality of this.#level.localities) {
      const hosts = locality.hosts.filter(usable);
      if (hosts.length === 0 || locality.weight === 0) continue;
      const counted = locality.hosts.reduce((n, h) => n + (h.excluded ? 0 : 1), 0);
      const available = counted === 0 ? 0 : Math.min(1, ((this.#overprovisioning / 100) * hosts.length) / counted);
      if (available === 0) continue;
      groups.push(new HostGroup(hosts, this.#random));
      weights.push(locality.weight * available);
    }
    return { groups, weights, total: weights.reduce((a, b) => a + b, 0) };
  }
}

const all = (): boolean => true;
const isHealthy = (host: Host): boolean => host.health === 'healthy';
const isDegraded = (host: Host): boolean => host.health === 'degraded';
const single = (group: HostGroup): GroupSet => ({ groups: [group], weights: [1], total: 1 });

const sharedGroup = (priority: PriorityHosts, usable: (host: Host) => boolean, random: () => number): HostGroup => {
  const total = priority.localities.reduce((sum, l) => sum + l.weight, 0);
  const hosts: Host[] = [];
  const shares: number[] = [];
  for (const locality of priority.localities) {
    if (locality.weight === 0) continue;
    const chosen = locality.hosts.filter(usable);
    const sum = chosen.reduce((n, h) => n + h.weight, 0);
    for (const host of chosen) {
      hosts.push(host);
      shares.push(((locality.weight / total) * host.weight) / sum);
    }
  }
  return new HostGroup(hosts, random, shares);
};
