// Zone-aware routing of a cluster's first priority, Envoy's arithmetic: as much of this proxy's traffic stays in its own locality as
// the locality's share of the upstream's hosts allows, measured against the share of callers (the local cluster) that live there;
// the rest goes to localities with room to spare. Decided when health or membership changes; a request draws at most twice.

import type { Locality } from '../../xds/gen/types.ts';
import type { Host } from '../cluster/host.ts';
import { HostGroup, type LocalityHosts, type Membership } from './host-set.ts';
import type { ZonePlan } from './lb-plan.ts';
import { priorityLoads } from './priority-load.ts';

/** The callers: the cluster this proxy belongs to, and where in it this proxy is. */
export interface LocalCluster {
  readonly membership: Membership;
  readonly panicThreshold: number;
  readonly locality: Locality;
}

export interface ZoneCounters {
  readonly tooSmall: { value: number };
  readonly allDirectly: { value: number };
  readonly sampled: { value: number };
  readonly crossZone: { value: number };
  readonly noCapacityLeft: { value: number };
  readonly localNotOk: { value: number };
}

/** Shares are counted in ten-thousandths. */
const WHOLE = 10_000;

export class ZoneRouting {
  readonly #share: number;
  readonly #stats: ZoneCounters;
  /** The own locality first. */
  readonly #groups: readonly HostGroup[];
  readonly #direct: boolean;
  /** Of WHOLE, what stays. */
  readonly #stays: number;
  /** Room of each locality and all before it. */
  readonly #room: readonly number[];

  private constructor(
    share: number,
    stats: ZoneCounters,
    groups: readonly HostGroup[],
    stays: number,
    direct: boolean,
    room: readonly number[],
  ) {
    this.#share = share;
    this.#stats = stats;
    this.#groups = groups;
    this.#stays = stays;
    this.#direct = direct;
    this.#room = room;
  }

  /** undefined where it cannot be done: then localities do not count. */
  static make(
    plan: ZonePlan,
    upstream: Membership,
    local: LocalCluster | undefined,
    random: () => number,
    stats: ZoneCounters,
  ): ZoneRouting | undefined {
    const level = upstream.priorities[0];
    const callers = local?.membership.priorities[0];
    if (level === undefined || local === undefined || callers === undefined) return undefined;
    const own = nameOf(local.locality);
    const theirs = ordered(level.localities, own);
    const ours = ordered(callers.localities, own);
    if (theirs.length < 2 || ours.length < 2) return undefined;
    if (nameOf(ours[0]?.locality) !== own) {
      stats.localNotOk.value++;
      return undefined;
    }
    const healthy = theirs.map((l) => l.hosts.filter(isHealthy));
    const total = healthy.reduce((n, hosts) => n + hosts.length, 0);
    if (total < plan.hostsMin) {
      stats.tooSmall.value++;
      return undefined;
    }
    if (priorityLoads(local.membership, local.panicThreshold)[0]?.panic === true) {
      stats.localNotOk.value++;
      return undefined;
    }
    const ourTotal = ours.reduce((n, l) => n + l.hosts.filter(isHealthy).length, 0);
    const shares = theirs.map((l, i) => {
      const same = ours.find((o) => nameOf(o.locality) === nameOf(l.locality));
      return {
        upstream: total === 0 ? 0 : Math.floor((WHOLE * (healthy[i]?.length ?? 0)) / total),
        local: ourTotal === 0 ? 0 : Math.floor((WHOLE * (same?.hosts.filter(isHealthy).length ?? 0)) / ourTotal),
      };
    });
    const hasOwn = nameOf(theirs[0]?.locality) === own;
    const first = shares[0] ?? { upstream: 0, local: 0 };
    const direct = hasOwn && first.upstream > 0 && first.upstream >= first.local;
    const stays = hasOwn && first.local > 0 ? Math.floor((WHOLE * first.upstream) / first.local) : 0;
    let sum = 0;
    const room = shares.map((s, i) => {
      if (i > 0 || !hasOwn) sum += Math.max(0, s.upstream - s.local);
      return sum;
    });
    const groups = healthy.map((hosts) => new HostGroup(hosts, random));
    return new ZoneRouting(plan.share, stats, groups, stays, direct, room);
  }

  /** undefined: this request is not routed by zone. */
  group(random: () => number): HostGroup | undefined {
    if (this.#share < 1 && random() >= this.#share) return undefined;
    if (this.#direct) {
      this.#stats.allDirectly.value++;
      return this.#groups[0];
    }
    if (this.#stays > 0 && random() * WHOLE < this.#stays) {
      this.#stats.sampled.value++;
      return this.#groups[0];
    }
    this.#stats.crossZone.value++;
    const all = this.#room.at(-1) ?? 0;
    if (all === 0) {
      this.#stats.noCapacityLeft.value++;
      return this.#groups[Math.floor(random() * this.#groups.length)];
    }
    const at = random() * all;
    return this.#groups[this.#room.findIndex((upTo) => at < upTo)];
  }
}

const isHealthy = (host: Host): boolean => host.health === 'healthy';
const nameOf = (locality: Locality | undefined): string => `${locality?.region ?? ''}/${locality?.zone ?? ''}/${locality?.sub_zone ?? ''}`;

/** Localities with hosts, the own one first. */
const ordered = (localities: readonly LocalityHosts[], own: string): LocalityHosts[] => {
  const filled = localities.filter((l) => l.hosts.length > 0);
  return [...filled.filter((l) => nameOf(l.locality) === own), ...filled.filter((l) => nameOf(l.locality) !== own)];
};
