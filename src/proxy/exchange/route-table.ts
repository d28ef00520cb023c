// A route configuration by reference: exchanges read `plan` once and keep it, updates replace it. With `vhds` its virtual hosts come one
// by one, as they are asked for, and join those that it holds itself.

import { PlanError } from '../../plan/plan-error.ts';
import { compileRoutes, type KeptHosts, type RoutePlan, type VirtualHostPlan } from '../../plan/route.ts';
import type { RouteConfiguration } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { type DiscoveredHost, DiscoveredHosts } from '../on-demand/discovered-hosts.ts';

export interface RouteTable {
  readonly name: string;
  plan: RoutePlan | undefined;
  config: RouteConfiguration | undefined;
  /** Headers that only internal clients may send, removed from external requests. */
  internalOnly: readonly string[];
  /** How long a request waits for its virtual host, 0 without end; undefined: none is asked for. */
  readonly discovery: number | undefined;
  /** A request has gone to one of its virtual hosts. */
  use(host: VirtualHostPlan): void;
}

type Check = (config: RouteConfiguration) => void;

/** `check` refuses what the filters could not honour. */
export const inlineRoutes = (config: RouteConfiguration, check: Check): RouteTable => {
  if (config.vhds !== undefined) throw new PlanError('vhds', 'is supported in route configurations that come by RDS only');
  check(config);
  return {
    name: config.name ?? '',
    plan: compileRoutes(config),
    config,
    internalOnly: config.internal_only_headers ?? [],
    discovery: undefined,
    use: () => {},
  };
};

class NamedTable implements RouteTable {
  readonly name: string;
  references = 0;
  plan: RoutePlan | undefined;
  config: RouteConfiguration | undefined;
  internalOnly: readonly string[] = [];
  discovery: number | undefined;
  /** As it came. */
  #own: RouteConfiguration | undefined;
  readonly discovered = new DiscoveredHosts();
  #kept: KeptHosts = new WeakMap();

  constructor(name: string) {
    this.name = name;
  }

  use(host: VirtualHostPlan): void {
    this.discovered.use(host);
  }

  set(config: RouteConfiguration): void {
    const kept: KeptHosts = new WeakMap();
    const hosts = config.vhds === undefined ? [] : this.discovered.hosts;
    const plan = compileRoutes(config, hosts, kept);
    this.#own = config;
    this.#kept = kept;
    this.discovery = config.vhds === undefined ? undefined : waitOf(config);
    this.#take(plan);
  }

  /** Throws PlanError when one of them is refused, or they do not fit together; nothing has changed then. */
  compile(): void {
    if (this.#own?.vhds !== undefined) this.#take(compileRoutes(this.#own, this.discovered.hosts, this.#kept));
  }

  /** Compiles one for `compile` to find. */
  check({ host }: DiscoveredHost): void {
    if (this.#own !== undefined) compileRoutes({ ...this.#own, virtual_hosts: [] }, [host], this.#kept);
  }

  #take(plan: RoutePlan): void {
    const own = this.#own;
    this.plan = plan;
    this.config =
      own && this.discovered.size > 0 ? { ...own, virtual_hosts: [...(own.virtual_hosts ?? []), ...this.discovered.hosts] } : own;
    this.internalOnly = own?.internal_only_headers ?? [];
    this.discovered.compiled(this.#kept);
  }
}

/** As Envoy's clusters on demand. */
const WAIT_MS = 5_000;
const waitOf = (config: RouteConfiguration): number => durationMs(config.vhds?.config_source?.initial_fetch_timeout) ?? WAIT_MS;

/** Virtual hosts that came, and names that are gone or lead nowhere. */
export interface HostUpdate {
  readonly set: readonly DiscoveredHost[];
  readonly removed: readonly string[];
}

export interface HostOutcome {
  readonly problems: readonly (readonly [name: string, problem: string])[];
  readonly gone: readonly string[];
}

/** Route configurations that come under a name (RDS). A table exists as long as someone refers to it or it was given. */
export class RouteTables {
  readonly #tables = new Map<string, NamedTable>();
  readonly #discovers: boolean;

  /** `discovers`: virtual hosts can be asked for. */
  constructor(discovers = false) {
    this.#discovers = discovers;
  }

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

  set(config: RouteConfiguration, check: Check): void {
    if (config.vhds !== undefined && !this.#discovers) throw new PlanError('vhds', 'needs an incremental ADS stream (DELTA_GRPC)');
    if (config.vhds !== undefined && config.vhds.config_source?.ads === undefined)
      throw new PlanError('vhds.config_source', 'only ads is supported');
    check(config);
    this.#table(config.name ?? '').set(config);
  }

  /** Takes what is good and says by name what is not, and which names lead nowhere now. */
  update({ set, removed }: HostUpdate, check: Check): HostOutcome {
    const problems: (readonly [string, string])[] = [];
    const gone: string[] = [];
    const touched = new Map<NamedTable, { readonly back: () => void; readonly names: string[] }>();
    const touch = (table: NamedTable): string[] => {
      const known = touched.get(table) ?? { back: table.discovered.saved(), names: [] };
      touched.set(table, known);
      return known.names;
    };
    for (const name of removed) {
      const table = this.#tableOf(name);
      if (table === undefined) continue;
      touch(table);
      gone.push(name, ...table.discovered.remove(name));
    }
    for (const given of set) {
      const table = this.#tableOf(given.name);
      if (table === undefined) continue; // its route configuration is gone
      try {
        check({ name: given.name, virtual_hosts: [given.host] });
        table.check(given);
        touch(table).push(given.name);
        table.discovered.set(given);
      } catch (problem) {
        problems.push([given.name, textOf(problem)]);
      }
    }
    for (const [table, { back, names }] of touched) {
      try {
        table.compile();
      } catch (problem) {
        back();
        for (const name of names) problems.push([name, textOf(problem)]);
      }
    }
    return { problems, gone };
  }

  /** Names of virtual hosts that requests went to since the last call. */
  *takeUsed(): Iterable<string> {
    for (const { discovered } of this.#tables.values()) yield* discovered.takeUsed();
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

  /** Names of route configurations may have slashes of their own; those of hosts have none. */
  #tableOf(name: string): NamedTable | undefined {
    for (let at = name.lastIndexOf('/'); at > 0; at = name.lastIndexOf('/', at - 1)) {
      const table = this.#tables.get(name.slice(0, at));
      if (table !== undefined) return table;
    }
    return undefined;
  }

  #table(name: string): NamedTable {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = new NamedTable(name);
      this.#tables.set(name, table);
    }
    return table;
  }
}

const textOf = (problem: unknown): string => {
  if (problem instanceof PlanError) return problem.message;
  throw problem;
};
