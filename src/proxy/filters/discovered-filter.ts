// HTTP filters whose configuration comes by name (ECDS), and the chain that they stand in. A new configuration makes a new list of
// filters: an exchange goes on with the list that it began with, the next one begins with the new list.

import { PlanError } from '../../plan/plan-error.ts';
import type { ResponseFlag } from '../../plan/response-flag.ts';
import { FLAG } from '../../plan/response-flag.ts';
import type { AnyMessage } from '../../xds/gen/types.ts';
import { typeNameOf } from '../extension-config.ts';
import type { DiscoverySettings } from '../extension-configs.ts';
import type { FilterVerdict, HttpFilter } from './http-filter.ts';
import type { CompiledHttpFilter } from './http-filters.ts';

export class HttpFilterChain {
  /** In force for exchanges that begin now. */
  filters: readonly CompiledHttpFilter[] = [];
  readonly #parts: (CompiledHttpFilter | DiscoveredFilter)[] = [];

  add(part: CompiledHttpFilter | DiscoveredFilter): void {
    this.#parts.push(part);
    this.renew();
  }

  renew(): void {
    this.filters = this.#parts.map((part) => (part instanceof DiscoveredFilter ? part.current : part));
  }

  /** Every filter has a configuration, or has given up waiting for it. */
  get warm(): boolean {
    return this.#parts.every((part) => !(part instanceof DiscoveredFilter) || part.warm);
  }
}

export class DiscoveredFilter {
  readonly #settings: DiscoverySettings;
  readonly #compile: (config: AnyMessage) => CompiledHttpFilter;
  readonly #missing: CompiledHttpFilter;
  readonly #changed: () => void;
  readonly #fallback: CompiledHttpFilter | undefined;
  #current: CompiledHttpFilter | undefined;
  #warm: boolean;

  /** Throws PlanError when the default is refused. */
  constructor(settings: DiscoverySettings, name: string, compile: (config: AnyMessage) => CompiledHttpFilter, changed: () => void) {
    this.#settings = settings;
    this.#compile = compile;
    this.#changed = changed;
    this.#missing = { name, filter: MISSING, factory: undefined, router: undefined, disabled: false };
    this.#fallback = settings.fallback === undefined ? undefined : compile(settings.fallback);
    this.#warm = !settings.waits;
  }

  get current(): CompiledHttpFilter {
    return this.#current ?? this.#fallback ?? this.#missing;
  }

  get warm(): boolean {
    return this.#warm;
  }

  prepare(config: AnyMessage): () => void {
    const type = typeNameOf(config);
    if (!this.#settings.types.has(type)) throw new PlanError('typed_config', `${type} is none of the filter's type_urls`);
    let made: CompiledHttpFilter;
    try {
      made = this.#compile(config);
    } catch (problem) {
      if (problem instanceof PlanError)
        throw new PlanError(problem.path === '' ? 'typed_config' : `typed_config.${problem.path}`, problem.problem);
      throw problem;
    }
    return () => this.#take(made);
  }

  giveUp(): void {
    this.#warm = true;
    this.#changed();
  }

  removed(): void {
    if (this.#fallback !== undefined) this.#take(undefined);
  }

  close(): void {
    this.#current?.filter.close?.();
    this.#fallback?.filter.close?.();
  }

  #take(next: CompiledHttpFilter | undefined): void {
    const before = this.#current;
    this.#current = next;
    this.#warm = true;
    this.#changed();
    before?.filter.close?.();
  }
}

const NO_CONFIG: ResponseFlag = FLAG.NFCF;
const REFUSAL: FilterVerdict = { kind: 'reply', status: 500, body: '', details: '', headers: [], flag: NO_CONFIG };
const MISSING: HttpFilter = { onRequest: () => REFUSAL };
