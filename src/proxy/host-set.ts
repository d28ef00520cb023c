// The endpoints of a cluster as an immutable membership, and the part of it that may be chosen now: Envoy's priority levels
// with overprovisioning, panic, and locality weights. `HealthView` is rebuilt whenever health changes, never per request.

import type { Host } from './host.ts';
import { newestOf } from './slow-start.ts';

export interface LocalityHosts {
  /** endpoints[].load_balancing_weight; 0 when absent: takes no traffic under locality weighting, as in Envoy. */
  readonly weight: number;
  readonly hosts: readonly Host[];
}

export interface PriorityHosts {
  readonly localities: readonly LocalityHosts[];
  readonly hosts: readonly Host[];
}

export interface Membership {
  readonly priorities: readonly PriorityHosts[];
  readonly overprovisioning: number; // percent, Envoy's 140
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

interface PriorityView {
  /** Share of traffic, 0-100. */
  readonly load: number;
  /** Exactly one group, or one per locality with its weight. */
  readonly groups: readonly HostGroup[];
  readonly weights: readonly number[] | undefined;
  readonly weightTotal: number;
}

export class HealthView {
  readonly #priorities: readonly PriorityView[];
  readonly hostCount: number;

  /** `hashed`: a level is one group, whose hosts have shares by locality, so that a hash alone decides. */
  constructor(membership: Membership, panicThreshold: number, byLocality: boolean, random: () => number, hashed = false) {
    const loads = priorityLoads(membership, panicThreshold);
    this.hostCount = membership.priorities.reduce((sum, p) => sum + p.hosts.length, 0);
    this.#priorities = membership.priorities.map((priority, index) => {
      const load = loads[index] ?? { load: 0, panic: false };
      const usable = (hosts: readonly Host[]) => (load.panic ? hosts : hosts.filter((h) => h.healthy));
      if (byLocality && hashed)
        return { load: load.load, groups: [sharedGroup(priority, usable, random)], weights: undefined, weightTotal: 0 };
      if (!byLocality)
        return { load: load.load, groups: [new HostGroup(usable(priority.hosts), random)], weights: undefined, weightTotal: 0 };
      const groups: HostGroup[] = [];
      const weights: number[] = [];
      for (const locality of priority.localities) {
        const hosts = usable(locality.hosts);
        if (hosts.length === 0 || locality.weight === 0) continue;
        const available = load.panic ? 1 : Math.min(1, (membership.overprovisioning / 100) * (hosts.length / locality.hosts.length));
        groups.push(new HostGroup(hosts, random));
        weights.push(locality.weight * available);
      }
      return { load: load.load, groups, weights, weightTotal: weights.reduce((a, b) => a + b, 0) };
    });
  }

  /** The group to pick from, or undefined when no level has a host to offer. */
  group(random: () => number, hash?: bigint): HostGroup | undefined {
    const priority = this.#priority(random, hash);
    if (priority === undefined) return undefined;
    if (priority.weights === undefined || priority.groups.length === 1) return priority.groups[0];
    let at = random() * priority.weightTotal;
    for (let i = 0; i < priority.groups.length; i++) {
      at -= priority.weights[i] ?? 0;
      if (at < 0) return priority.groups[i];
    }
    return priority.groups[priority.groups.length - 1];
  }

  #priority(random: () => number, hash: bigint | undefined): PriorityView | undefined {
    const first = this.#priorities[0];
    if (first === undefined || first.load === 100) return first;
    let at = hash === undefined ? random() * 100 : Number(hash % 100n);
    for (const priority of this.#priorities) {
      at -= priority.load;
      if (at < 0) return priority;
    }
    return this.#priorities.findLast((p) => p.load > 0) ?? first;
  }
}

const sharedGroup = (priority: PriorityHosts, usable: (hosts: readonly Host[]) => readonly Host[], random: () => number): HostGroup => {
  const total = priority.localities.reduce((sum, l) => sum + l.weight, 0);
  const hosts: Host[] = [];
  const shares: number[] = [];
  for (const locality of priority.localities) {
    if (locality.weight === 0) continue;
    const chosen = usable(locality.hosts);
    const sum = chosen.reduce((n, h) => n + h.weight, 0);
    for (const host of chosen) {
      hosts.push(host);
      shares.push(((locality.weight / total) * host.weight) / sum);
    }
  }
  return new HostGroup(hosts, random, shares);
};

interface Load {
  load: number;
  panic: boolean;
}

/** Envoy's LoadBalancerBase::recalculatePerPriorityState, without degraded hosts. */
export const priorityLoads = (membership: Membership, panicThreshold: number): readonly Load[] => {
  const levels = membership.priorities;
  const health = levels.map((p) => {
    if (p.hosts.length === 0) return 0;
    const healthy = p.hosts.reduce((n, h) => n + (h.healthy ? 1 : 0), 0);
    return Math.min(100, Math.floor((membership.overprovisioning * healthy) / p.hosts.length));
  });
  const total = Math.min(
    100,
    health.reduce((a, b) => a + b, 0),
  );
  const panic = levels.map((p) => {
    if (total === 100 || p.hosts.length === 0) return false;
    const healthy = p.hosts.reduce((n, h) => n + (h.healthy ? 1 : 0), 0);
    return (100 * healthy) / p.hosts.length < panicThreshold;
  });
  if (levels.length > 0 && levels.every((p, i) => p.hosts.length === 0 || panic[i] === true) && panic.includes(true)) {
    const hosts = levels.reduce((n, p) => n + p.hosts.length, 0);
    return spread(
      levels.map((p) => Math.floor((100 * p.hosts.length) / hosts)),
      panic,
    );
  }
  if (total === 0) return levels.map((_, i) => ({ load: i === 0 ? 100 : 0, panic: panic[i] ?? false }));
  let left = 100;
  const loads = health.map((h) => {
    const load = Math.min(left, Math.floor((h * 100) / total));
    left -= load;
    return load;
  });
  return spread(loads, panic);
};

// Rounding must not lose traffic: what is left goes to the first level that has any.
const spread = (loads: number[], panic: readonly boolean[]): readonly Load[] => {
  const left = 100 - loads.reduce((a, b) => a + b, 0);
  const first = loads.findIndex((l) => l > 0);
  if (first >= 0) loads[first] = (loads[first] ?? 0) + left;
  return loads.map((load, i) => ({ load, panic: panic[i] ?? false }));
};
