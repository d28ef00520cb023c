// The HTTP filters of one exchange: request filters one after the other until one takes over, response filters in the opposite
// order. It keeps only where it stands; what a verdict leads to is the exchange's.

import type { HeaderBlock } from '../../wire/header-block.ts';
import type { LocalReply } from '../local-reply.ts';
import type { FilterExchange, FilterTask, FilterVerdict, RequestBody } from './http-filter.ts';
import type { CompiledHttpFilter, HttpFilterRegistry, PerRoute } from './http-filters.ts';

export interface FilteredExchange extends FilterExchange {
  readonly active: boolean;
  /** All request filters have let the request pass. */
  act(): void;
  /** The filters go on when afterDelay() is called. */
  delay(delayMs: number): void;
  readonly requestEnded: boolean;
  /** What has come of the body and has not been sent. */
  readonly keptBody: RequestBody;
  /** The route is chosen anew. False: the exchange was answered instead. */
  reroute(): boolean;
  reply(reply: LocalReply, extra: readonly (readonly [string, string])[]): void;
}

export class FilterRun {
  readonly #filters: readonly CompiledHttpFilter[];
  readonly #registry: HttpFilterRegistry;
  readonly #exchange: FilteredExchange;
  #at = 0;
  #task: FilterTask | undefined;
  /** Body bytes that the filter at #at - 1 asked for; -1: it did not. */
  #bodyWanted = -1;
  #routeIsOld = false;

  constructor(filters: readonly CompiledHttpFilter[], registry: HttpFilterRegistry, exchange: FilteredExchange) {
    this.#filters = filters;
    this.#registry = registry;
    this.#exchange = exchange;
  }

  begin(): void {
    this.#at = 0;
    this.#run();
  }

  /** Ready for the next request; what the last one waited for ends. */
  reset(): void {
    this.#bodyWanted = -1;
    this.#routeIsOld = false;
    const task = this.#task;
    if (task === undefined) return;
    this.#task = undefined;
    task.cancel();
  }

  clearRoute(): void {
    this.#routeIsOld = true;
  }

  /** How many body bytes a filter waits for; undefined: none does. */
  get bodyWanted(): number | undefined {
    return this.#bodyWanted < 0 ? undefined : this.#bodyWanted;
  }

  proceed(task: FilterTask, verdict: FilterVerdict): void {
    if (task !== this.#task) return;
    this.#task = undefined;
    if (this.#obey(verdict)) this.#run();
  }

  /** More of the body has come, or its end. */
  onBody(): void {
    if (this.#bodyWanted < 0) return;
    const body = this.#exchange.keptBody;
    if (!body.whole && body.bytes <= this.#bodyWanted) return;
    this.#bodyWanted = -1;
    const filter = this.#filters[this.#at - 1];
    if (filter?.filter.onBody === undefined) return;
    const own = this.#perRoute(filter.name);
    if (this.#obey(filter.filter.onBody(this.#exchange, body, own?.value))) this.#run();
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
      if (this.#routeIsOld && !this.#rerouted()) return;
      const own = this.#perRoute(filter.name);
      if (own?.disabled === true || (filter.disabled && own === undefined)) continue;
      if (!this.#obey(filter.filter.onRequest(this.#exchange, own?.value))) return;
      if (!this.#exchange.active) return;
    }
    if (this.#routeIsOld && !this.#rerouted()) return;
    this.#exchange.act();
  }

  #rerouted(): boolean {
    this.#routeIsOld = false;
    return this.#exchange.reroute();
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
    if (verdict.kind === 'wait') {
      this.#task = verdict.task;
      return false;
    }
    if (verdict.kind === 'body') {
      this.#bodyWanted = verdict.most;
      this.onBody();
      return false;
    }
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
