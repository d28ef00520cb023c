// Virtual hosts that came one by one (VHDS), by the names of their resources `route/…`: which names they were asked for under, and whether
// requests have used them.

import type { KeptHosts, VirtualHostPlan } from '../../plan/route.ts';
import type { VirtualHost } from '../../xds/gen/types.ts';

/** One virtual host as it came. */
export interface DiscoveredHost {
  /** Of its resource. */
  readonly name: string;
  readonly aliases: readonly string[];
  readonly host: VirtualHost;
}

interface Entry {
  readonly host: VirtualHost;
  readonly aliases: Set<string>;
  used: boolean;
}

export class DiscoveredHosts {
  readonly #byName = new Map<string, Entry>();
  #byPlan = new WeakMap<VirtualHostPlan, Entry>();

  get hosts(): VirtualHost[] {
    return [...this.#byName.values()].map((e) => e.host);
  }

  get size(): number {
    return this.#byName.size;
  }

  set({ name, aliases, host }: DiscoveredHost): void {
    const before = this.#byName.get(name);
    const entry = { host, aliases: new Set([name, ...aliases, ...(before?.aliases ?? [])]), used: true };
    this.#byName.set(name, entry);
  }

  /** What requests know of them, when they are compiled. */
  compiled(plans: KeptHosts): void {
    this.#byPlan = new WeakMap();
    for (const entry of this.#byName.values()) {
      const plan = plans.get(entry.host)?.plan;
      if (plan !== undefined) this.#byPlan.set(plan, entry);
    }
  }

  /** By the name of its resource, or by the last name that it was asked for under. Answers all names that now lead nowhere. */
  remove(name: string): readonly string[] {
    const found = this.#byName.get(name);
    if (found !== undefined) {
      this.#byName.delete(name);
      return [...found.aliases];
    }
    for (const [own, entry] of this.#byName) {
      if (!entry.aliases.delete(name)) continue;
      if ([...entry.aliases].some((alias) => alias !== own)) return [];
      this.#byName.delete(own);
      return [own];
    }
    return [];
  }

  use(plan: VirtualHostPlan): void {
    const entry = this.#byPlan.get(plan);
    if (entry !== undefined) entry.used = true;
  }

  /** Names under which what was used since the last call was asked for. */
  *takeUsed(): Iterable<string> {
    for (const entry of this.#byName.values()) {
      if (!entry.used) continue;
      entry.used = false;
      yield* entry.aliases;
    }
  }

  /** To come back to what is there now. */
  saved(): () => void {
    const before = [...this.#byName];
    return () => {
      this.#byName.clear();
      for (const [name, entry] of before) this.#byName.set(name, entry);
    };
  }
}
