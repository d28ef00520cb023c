// A route configuration by reference: exchanges read `plan` once and keep it, updates replace it.

import { compileRoutes, type RoutePlan } from '../plan/route.ts';
import type { RouteConfiguration } from '../xds/gen/types.ts';

export interface RouteTable {
  readonly name: string;
  plan: RoutePlan | undefined;
  config: RouteConfiguration | undefined;
  /** Headers that only internal clients may send, removed from external requests. */
  internalOnly: readonly string[];
}

/** `check` refuses what the filters could not honour. */
export const inlineRoutes = (config: RouteConfiguration, check: (config: RouteConfiguration) => void): RouteTable => {
  check(config);
  return {
    name: config.name ?? '',
    plan: compileRoutes(config),
    config,
    internalOnly: config.internal_only_headers ?? [],
  };
};

/** Route configurations that come under a name (RDS). A table exists as long as someone refers to it or it was given. */
export class RouteTables {
  readonly #tables = new Map<string, RouteTable & { references: number }>();

  use(name: string): RouteTable {
    const table = this.#table(name);
    table.references++;
    return table;
  }

  release(name: string): void {
    const table = this.#tables.get(name);
    if (table === undefined) return;
    table.references--;
    if (table.references === 0 && table.plan === undefined) this.#tables.delete(name);
  }

  set(config: RouteConfiguration, check: (config: RouteConfiguration) => void): void {
    check(config);
    const plan = compileRoutes(config);
    const table = this.#table(config.name ?? '');
    table.plan = plan;
    table.config = config;
    table.internalOnly = config.internal_only_headers ?? [];
  }

  remove(name: string): void {
    const table = this.#tables.get(name);
    if (table === undefined) return;
    if (table.references === 0) this.#tables.delete(name);
  }

  referenced(): ReadonlySet<string> {
    return new Set([...this.#tables.values()].filter((t) => t.references > 0).map((t) => t.name));
  }

  *configs(): Iterable<RouteConfiguration> {
    for (const table of this.#tables.values()) if (table.config !== undefined) yield table.config;
  }

  #table(name: string): RouteTable & { references: number } {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = { name, plan: undefined, config: undefined, internalOnly: [], references: 0 };
      this.#tables.set(name, table);
    }
    return table;
  }
}
