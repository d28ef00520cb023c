// The HTTP filters of one exchange: request filters one after the other until one takes over, response filters in the opposite
// order. It keeps only where it stands; what a verdict leads to is the exchange's.

import type { HeaderBlock } from '../wire/header-block.ts';
import type { FilterExchange, FilterVerdict } from './http-filter.ts';
import type { CompiledHttpFilter, HttpFilterRegistry, PerRoute } from './http-filters.ts';
import type { LocalReply } from './local-reply.ts';

export interface FilteredExchange extends FilterExchange {
  readonly active: boolean;
  /** All request filters have let the request pass. */
  act(): void;
  /** The filters go on when afterDelay() is called. */
  delay(delayMs: number): void;
  reply(reply: LocalReply, extra: readonly (readonly [string, string])[]): void;
}

export class FilterRun {
  readonly #filters: readonly CompiledHttpFilter[];
  readonly #registry: HttpFilterRegistry;
  readonly #exchange: FilteredExchange;
  #at = 0;

  constructor(filters: readonly CompiledHttpFilter[], registry: HttpFilterRegistry, exchange: FilteredExchange) {
    this.#filters = filters;
    this.#registry = registry;
    this.#exchange = exchange;
  }

  begin(): void {
    this.#at = 0;
    this.#run();
  }

  afterDelay(): void {
    const filter = this.#filters[this.#at - 1];
    const own = filter === undefined ? undefined : this.#perRoute(filter.name);
    if (filter?.filter.afterDelay !== undefined && !this.#obey(filter.filter.afterDelay(this.#exchange, own?.value))) return;
    this.#run();
  }

  respond(headers: HeaderBlock): void {
    const filters = this.#filters;
    for (let i = filters.length - 1; i >= 0; i--) {
      const filter = filters[i];
      if (filter?.filter.onResponse === undefined) continue;
      const own = this.#perRoute(filter.name);
      if (own?.disabled !== true) filter.filter.onResponse(this.#exchange, headers, own?.value);
    }
  }

  #run(): void {
    const filters = this.#filters;
    while (this.#at < filters.length) {
      const filter = filters[this.#at++];
      if (filter?.filter.onRequest === undefined) continue;
      const own = this.#perRoute(filter.name);
      if (own?.disabled === true || (filter.disabled && own === undefined)) continue;
      if (!this.#obey(filter.filter.onRequest(this.#exchange, own?.value))) return;
      if (!this.#exchange.active) return;
    }
    this.#exchange.act();
  }

  #perRoute(name: string): PerRoute | undefined {
    const overrides = this.#exchange.route?.typedPerFilterConfig;
    if (overrides === undefined || overrides.size === 0) return undefined;
    const config = overrides.get(name);
    return config === undefined ? undefined : this.#registry.perRoute(config);
  }

  /** False: the filter took over. */
  #obey(verdict: FilterVerdict): boolean {
    if (verdict === undefined) return true;
    if (verdict.flag !== undefined) this.#exchange.info.setFlag(verdict.flag);
    if (verdict.kind === 'delay') {
      this.#exchange.delay(verdict.delayMs);
      return false;
    }
    const { status, body, details, grpcStatus } = verdict;
    this.#exchange.reply({ status, body, details, flag: undefined, ...(grpcStatus !== undefined ? { grpcStatus } : {}) }, verdict.headers);
    return false;
  }
}
