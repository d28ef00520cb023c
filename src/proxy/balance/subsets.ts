// The subsets of a cluster at work: hosts divided by their metadata, a view of its own for each, and which of them answers a request's
// criteria, with Envoy's fallbacks. Divided anew when the membership changes; views are made at their first use.

import type { JsonObject } from '../../xds/gen/types.ts';
import type { Host } from '../cluster/host.ts';
import { stable } from '../stable-text.ts';
import type { Membership, PriorityHosts } from './host-set.ts';
import type { SubsetPlan, SubsetSelector } from './subset-plan.ts';

/** Some hosts to choose from; `View` is whatever chooses. */
interface Chooser {
  choose(): Host | undefined;
  /** Health has changed. */
  renew(): void;
}

export interface SubsetCounters {
  readonly active: { value: number };
  readonly created: { value: number };
  readonly removed: { value: number };
  readonly selected: { value: number };
  readonly fallback: { value: number };
  readonly fallbackPanic: { value: number };
  readonly duplicate: { value: number };
}

/** With FALLBACK_LIST: criteria to try one after the other. */
const FALLBACK_LIST = 'fallback_list';

export class Subsets {
  readonly #plan: SubsetPlan;
  readonly #stats: SubsetCounters;
  readonly #make: (membership: Membership) => Chooser;
  readonly #bySelector: ReadonlyMap<string, { readonly selector: SubsetSelector; subsets: Map<string, Chooser> }>;
  #any: Chooser | undefined;
  #default: Chooser | undefined;
  /** By the route's own object: a route's criteria are looked up once. */
  #known = new WeakMap<JsonObject, Lookup>();

  constructor(plan: SubsetPlan, stats: SubsetCounters, make: (membership: Membership) => Chooser) {
    this.#plan = plan;
    this.#stats = stats;
    this.#make = make;
    this.#bySelector = new Map(plan.selectors.map((selector) => [keysName(selector.keys), { selector, subsets: new Map() }]));
  }

  update(membership: Membership): void {
    const { fallback, selectors, panicAny, defaultSubset } = this.#plan;
    this.#known = new WeakMap();
    const wants = (kind: 'any' | 'default'): boolean => fallback === kind || selectors.some((s) => s.fallback === kind);
    this.#any = wants('any') || panicAny ? this.#make(membership) : undefined;
    this.#default = wants('default') ? this.#part(membership, (host) => this.#matches(host, defaultSubset)) : undefined;
    for (const entry of this.#bySelector.values()) {
      const before = entry.subsets;
      entry.subsets = entry.selector.single ? this.#singles(membership, entry.selector) : this.#divide(membership, entry.selector);
      const created = [...entry.subsets.keys()].filter((key) => !before.has(key)).length;
      const removed = before.size + created - entry.subsets.size;
      this.#stats.created.value += created;
      this.#stats.removed.value += removed;
      this.#stats.active.value += created - removed;
    }
  }

  renew(): void {
    this.#any?.renew();
    this.#default?.renew();
    for (const { subsets } of this.#bySelector.values()) for (const subset of subsets.values()) subset.renew();
  }

  pick(criteria: JsonObject | undefined): Host | undefined {
    if (!this.#plan.fallbackList || criteria === undefined) return this.#pick(criteria);
    const list = criteria[FALLBACK_LIST];
    if (!Array.isArray(list)) return this.#pick(criteria);
    const { [FALLBACK_LIST]: _list, ...own } = criteria;
    for (const more of list) {
      const host = this.#pick({ ...own, ...(more as JsonObject) });
      if (host !== undefined) return host;
    }
    return undefined;
  }

  #pick(criteria: JsonObject | undefined): Host | undefined {
    if (criteria !== undefined) {
      const { subset, selector } = this.#look(criteria);
      if (subset !== undefined) {
        this.#stats.selected.value++;
        return subset.choose();
      }
      switch (selector?.fallback) {
        case 'keys':
          return this.#pick(Object.fromEntries(selector.fallbackKeys.map((key) => [key, criteria[key] ?? null])));
        case 'any':
          return this.#any?.choose();
        case 'default':
          return this.#default?.choose();
        case 'none':
          return undefined;
        default:
      }
    }
    const { fallback, panicAny } = this.#plan;
    if (fallback === 'none') return undefined;
    const host = (fallback === 'any' ? this.#any : this.#default)?.choose();
    if (host !== undefined) {
      this.#stats.fallback.value++;
      return host;
    }
    const last = panicAny ? this.#any?.choose() : undefined;
    if (last !== undefined) this.#stats.fallbackPanic.value++;
    return last;
  }

  #look(criteria: JsonObject): Lookup {
    let found = this.#known.get(criteria);
    if (found === undefined) {
      const keys = Object.keys(criteria).sort();
      const entry = this.#bySelector.get(keysName(keys));
      found = { selector: entry?.selector, subset: entry?.subsets.get(valuesName(keys.map((key) => criteria[key]))) };
      this.#known.set(criteria, found);
    }
    return found;
  }

  #divide(membership: Membership, { keys }: SubsetSelector): Map<string, Chooser> {
    const members = new Map<string, Set<Host>>();
    for (const { hosts } of membership.priorities)
      for (const host of hosts)
        for (const name of this.#names(host, keys)) {
          const those = members.get(name) ?? new Set();
          members.set(name, those.add(host));
        }
    return new Map([...members].map(([name, hosts]) => [name, this.#part(membership, (host) => hosts.has(host)) ?? NOBODY]));
  }

  /** The first host of each value, whatever its health. */
  #singles(membership: Membership, { keys }: SubsetSelector): Map<string, Chooser> {
    const found = new Map<string, Chooser>();
    this.#stats.duplicate.value = 0;
    for (const { hosts } of membership.priorities)
      for (const host of hosts)
        for (const name of this.#names(host, keys))
          if (found.has(name)) this.#stats.duplicate.value++;
          else found.set(name, { choose: () => host, renew: () => {} });
    return found;
  }

  /** The values' names under which a host is found; with list_as_any one for each way to choose from lists. */
  #names(host: Host, keys: readonly string[]): string[] {
    const facts = lbMetadata(host);
    let ways: unknown[][] = [[]];
    for (const key of keys) {
      const value = facts?.[key];
      if (value === undefined) return [];
      const values = this.#plan.listAsAny && Array.isArray(value) ? value : [value];
      ways = ways.flatMap((way) => values.map((v) => [...way, v])).slice(0, WAYS_MAX);
    }
    return ways.map(valuesName);
  }

  #matches(host: Host, wanted: JsonObject): boolean {
    const facts = lbMetadata(host);
    return Object.entries(wanted).every(([key, value]) => {
      const own = facts?.[key];
      const text = stable(value as object);
      return this.#plan.listAsAny && Array.isArray(own)
        ? own.some((v) => stable(v as object) === text)
        : own !== undefined && stable(own as object) === text;
    });
  }

  /** undefined when no host is among them. */
  #part(membership: Membership, has: (host: Host) => boolean): Chooser | undefined {
    let count = 0;
    const priorities = membership.priorities.map((level): PriorityHosts => {
      const hosts = level.hosts.filter(has);
      count += hosts.length;
      const localities = level.localities.map((l) => {
        const those = l.hosts.filter(has);
        return { ...l, hosts: those, weight: this.#localityWeight(l.weight, those.length, l.hosts.length) };
      });
      return { hosts, localities };
    });
    return count === 0 ? undefined : this.#make({ ...membership, priorities });
  }

  #localityWeight(weight: number, part: number, whole: number): number {
    if (!this.#plan.localityAware || part === 0) return 0;
    return this.#plan.scaleLocality && weight > 0 ? Math.max(1, Math.round((weight * part) / whole)) : weight;
  }
}

interface Lookup {
  readonly selector: SubsetSelector | undefined;
  readonly subset: Chooser | undefined;
}

/** Of one host, from lists in its metadata. */
const WAYS_MAX = 1024;

const NOBODY: Chooser = { choose: () => undefined, renew: () => {} };
const keysName = (keys: readonly string[]): string => JSON.stringify(keys);
const valuesName = (values: readonly unknown[]): string => stable(values);
const lbMetadata = (host: Host): JsonObject | undefined =>
  (host.metadata as { readonly filter_metadata?: { readonly [filter: string]: JsonObject } } | undefined)?.filter_metadata?.['envoy.lb'];
