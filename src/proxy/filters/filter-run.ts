// The HTTP filters of one exchange: request filters one after the other until one takes over, response filters in the opposite
// order. It keeps only where it stands; what a verdict leads to is the exchange's.

import type { HeaderBlock } from '../../wire/header-block.ts';
import type { LocalReply } from '../exchange/local-reply.ts';
import type { FilterExchange, FilterTask, FilterVerdict, HttpFilter, RequestBody } from './http-filter.ts';
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
  /** Its bytes. */
  readonly keptBytes: number;
  reroute(): void;
  reply(reply: LocalReply, extra: readonly (readonly [string, string])[]): void;
}

export class FilterRun {
  readonly #chain: { readonly filters: readonly CompiledHttpFilter[] };
  /** Those in force when the request came. */
  #filters: readonly CompiledHttpFilter[];
  readonly #registry: HttpFilterRegistry;
  readonly #exchange: FilteredExchange;
  #at = 0;
  #task: FilterTask | undefined;
  /** Body bytes that the filter at #at - 1 asked for; -1: it did not. */
  #bodyWanted = -1;
  #routeIsOld = false;
  /** A filter took its time: what was looked up before may have changed. */
  waited = false;
  #notes: Map<HttpFilter, unknown> | undefined;

  constructor(chain: { readonly filters: readonly CompiledHttpFilter[] }, registry: HttpFilterRegistry, exchange: FilteredExchange) {
    this.#chain = chain;
    this.#filters = chain.filters;
    this.#registry = registry;
    this.#exchange = exchange;
  }

  begin(): void {
    this.#filters = this.#chain.filters;
    this.#at = 0;
    this.waited = false;
    this.#run();
  }

  /** The request is over. */
  reset(): void {
    this.stop();
    const notes = this.#notes;
    if (notes === undefined) return;
    this.#notes = undefined;
    for (const [filter, noted] of notes) filter.done?.(noted);
  }

  /** An answer was found without the filters: what they wait for ends. */
  stop(): void {
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

  note(filter: HttpFilter, value: unknown): void {
    this.#notes ??= new Map();
    this.#notes.set(filter, value);
  }

  noteOf(filter: HttpFilter): unknown {
    return this.#notes?.get(filter);
  }

  /** How many body bytes a filter waits for; -1: none does. */
  get bodyWanted(): number {
    return this.#bodyWanted;
  }

  proceed(task: FilterTask, verdict: FilterVerdict): void {
    if (task !== this.#task) return;
    this.#task = undefined;
    if (this.#obey(verdict) && this.#exchange.active) this.#run();
  }

  /** More of the body has come, or its end. */
  onBody(): void {
    const wanted = this.#bodyWanted;
    if (wanted < 0) return;
    const { requestEnded, keptBytes, upgrade } = this.#exchange;
    // Nothing behind an upgrade's head is a body: it would never end.
    if (!requestEnded && upgrade === '' && keptBytes <= wanted) return;
    const body = upgrade === '' ? this.#exchange.keptBody : NO_BODY;
    this.#bodyWanted = -1;
    const filter = this.#filters[this.#at - 1];
    if (filter?.filter.onBody === undefined) return;
    const own = this.#perRoute(filter);
    if (this.#obey(filter.filter.onBody(this.#exchange, body, own?.value)) && this.#exchange.active) this.#run();
  }

  afterDelay(): void {
    const filter = this.#filters[this.#at - 1];
    const own = filter === undefined ? undefined : this.#perRoute(filter);
    if (filter?.filter.afterDelay !== undefined && !this.#obey(filter.filter.afterDelay(this.#exchange, own?.value))) return;
    this.#run();
  }

  respond(headers: HeaderBlock, hasBody: boolean): void {
    const filters = this.#filters;
    for (let i = filters.length - 1; i >= 0; i--) {
      const filter = filters[i];
      if (filter?.filter.onResponse === undefined) continue;
      const own = this.#perRoute(filter);
      if (own?.disabled !== true) filter.filter.onResponse(this.#exchange, headers, own?.value, hasBody);
    }
  }

  #run(): void {
    const filters = this.#filters;
    while (this.#at < filters.length) {
      const filter = filters[this.#at++];
      if (filter?.filter.onRequest === undefined) continue;
      if (this.#routeIsOld) this.#reroute();
      const own = this.#perRoute(filter);
      if (own?.disabled === true || (filter.disabled && own === undefined)) continue;
      if (!this.#obey(filter.filter.onRequest(this.#exchange, own?.value))) return;
      if (!this.#exchange.active) return;
    }
    if (this.#routeIsOld) this.#reroute();
    this.#exchange.act();
  }

  #reroute(): void {
    this.#routeIsOld = false;
    this.#exchange.reroute();
  }

  #perRoute({ name, factory }: CompiledHttpFilter): PerRoute | undefined {
    const overrides = this.#exchange.route?.typedPerFilterConfig;
    if (overrides === undefined || overrides.size === 0) return undefined;
    const config = overrides.get(name);
    if (config === undefined) return undefined;
    const own = this.#registry.perRoute(config);
    // As Envoy: what is meant for a filter of another kind under this name is not read, so it opens nothing.
    return own.value === undefined || own.factory === factory ? own : undefined;
  }

  /** False: the filter took over. */
  #obey(verdict: FilterVerdict): boolean {
    if (verdict === undefined) return true;
    this.waited = true;
    if (verdict.kind === 'again') {
      this.#at = 0;
      return true;
    }
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
    const reply = { status, body, details, flag: undefined, asItIs: verdict.asItIs === true };
    this.#exchange.reply(grpcStatus === undefined ? reply : { ...reply, grpcStatus }, verdict.headers);
    return false;
  }
}

const NO_BODY: RequestBody = { pieces: [], bytes: 0, whole: true };
