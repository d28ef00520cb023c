// Which host of a cluster a request gets: the balancing plan at work over the cluster's membership. Told of changes of membership and
// health; a pick looks up and draws.

import type { JsonObject } from '../../xds/gen/types.ts';
import type { Host } from '../cluster/host.ts';
import { type Balancer, compileBalancer } from './balancer.ts';
import { HealthView, type Membership } from './host-set.ts';
import { isHashed, type LbPlan } from './lb-plan.ts';
import { type SubsetCounters, Subsets } from './subsets.ts';
import { type LocalCluster, type ZoneCounters, ZoneRouting } from './zone-aware.ts';

/** What a request knows that choosing a host may need. */
export interface HostWish {
  readonly hash: bigint | undefined;
  /** How many hosts were turned down before. */
  readonly attempt?: number;
  /** Priorities that were tried before and that a retry policy wants to leave out. */
  readonly without?: readonly number[] | undefined;
  /** The route's criteria for subsets (`envoy.lb` of metadata_match). */
  readonly metadata?: JsonObject | undefined;
}

export interface PickerCounters {
  readonly panic: { value: number };
  /** Asked for when there are subsets. */
  subsets(): SubsetCounters;
  /** Asked for when routing is by zone. */
  zones(): ZoneCounters;
}

export interface PickerEnvironment {
  readonly random: () => number;
  /** The clock hosts are dated by. */
  readonly now: () => number;
  /** Requests the cluster has in hand. */
  readonly active: () => number;
  /** The cluster this proxy belongs to, where one is named. */
  readonly local: () => LocalCluster | undefined;
}

const NOTHING: Membership = { priorities: [], overprovisioning: 140 };

export class HostPicker {
  readonly #plan: LbPlan;
  readonly #environment: PickerEnvironment;
  readonly #stats: PickerCounters;
  readonly #zoneStats: ZoneCounters | undefined;
  readonly #balancer: Balancer;
  readonly #hashed: boolean;
  readonly #subsets: Subsets | undefined;
  #whole: Part;
  #membership: Membership = NOTHING;
  /** The whole without some priorities, by their numbers. */
  readonly #partial = new Map<string, HealthView>();
  /** Of the pick that runs. */
  #wish: HostWish = { hash: undefined };

  constructor(plan: LbPlan, environment: PickerEnvironment, stats: PickerCounters) {
    this.#plan = plan;
    this.#environment = environment;
    this.#stats = stats;
    this.#balancer = compileBalancer(plan.policy, environment.now, environment.active);
    this.#hashed = isHashed(plan.policy);
    this.#zoneStats = plan.zones === undefined ? undefined : stats.zones();
    this.#subsets = plan.subsets === undefined ? undefined : new Subsets(plan.subsets, stats.subsets(), (m) => this.#part(m, true));
    this.#whole = this.#part(NOTHING, false);
  }

  setMembership(membership: Membership): void {
    this.#membership = membership;
    this.#partial.clear();
    this.#whole = this.#part(membership, false);
    this.#subsets?.update(membership);
  }

  healthChanged(): void {
    this.#partial.clear();
    this.#whole.renew();
    this.#subsets?.renew();
  }

  /** Undefined when none may be used. */
  pick(wish: HostWish): Host | undefined {
    if (this.#subsets === undefined) {
      const found = wish.without === undefined ? undefined : this.#from(this.#without(wish.without), wish);
      return found ?? this.#from(this.#whole.view, wish);
    }
    this.#wish = wish;
    return this.#subsets.pick(wish.metadata);
  }

  #from(view: HealthView, wish: HostWish): Host | undefined {
    const { random } = this.#environment;
    const hash = this.#hashed ? wish.hash : undefined;
    const group = view.group(random, hash);
    return group === undefined ? undefined : this.#balancer(group, random, hash, wish.attempt ?? 0);
  }

  #without(priorities: readonly number[]): HealthView {
    const key = priorities.join(',');
    let view = this.#partial.get(key);
    if (view === undefined) {
      const left = this.#membership.priorities.map((p, i) => (priorities.includes(i) ? { ...p, hosts: [], localities: [] } : p));
      view = this.#view({ ...this.#membership, priorities: left }, this.#plan.byLocality);
      this.#partial.set(key, view);
    }
    return view;
  }

  #part(membership: Membership, ofSubset: boolean): Part {
    const byLocality = this.#plan.byLocality && (!ofSubset || this.#plan.subsets?.localityAware === true);
    return new Part(
      () => this.#view(membership, byLocality),
      (view) => this.#from(view, this.#wish),
    );
  }

  #view(membership: Membership, byLocality: boolean): HealthView {
    const { zones, panicThreshold, failOnPanic } = this.#plan;
    const { random, local } = this.#environment;
    const zoneStats = this.#zoneStats;
    return new HealthView(
      membership,
      { panicThreshold, failOnPanic, byLocality, hashed: this.#hashed },
      random,
      this.#stats.panic,
      zones === undefined || zoneStats === undefined || this.#hashed
        ? undefined
        : ZoneRouting.make(zones, membership, local(), random, zoneStats),
    );
  }
}

class Part {
  readonly #make: () => HealthView;
  readonly #choose: (view: HealthView) => Host | undefined;
  #view: HealthView | undefined;

  constructor(make: () => HealthView, choose: (view: HealthView) => Host | undefined) {
    this.#make = make;
    this.#choose = choose;
  }

  get view(): HealthView {
    this.#view ??= this.#make();
    return this.#view;
  }
  choose(): Host | undefined {
    return this.#choose(this.view);
  }
  renew(): void {
    this.#view = undefined;
  }
}
