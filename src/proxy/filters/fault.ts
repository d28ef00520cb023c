// envoy.filters.http.fault: a pace of the response, a delay, then an abort, each by its own dice. The listener's own settings apply where a route has none.
// Inert: the runtime keys (there is no runtime layer here), disable_downstream_cluster_stats (no names of a client's choice are counted)
// and filter_metadata (no filter here reads it). What servers answer may be paced; answers of our own are not.

import { probabilityOf } from '../../plan/fraction.ts';
import { compileHeaderMatcher, type RequestMatch } from '../../plan/header-matcher.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { FLAG } from '../../plan/response-flag.ts';
import type { AnyMessage, FractionalPercent, HTTPFault } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { ResponsePace } from '../exchange/response-pace.ts';
import type { Count } from '../shared-counts.ts';
import type { Stat } from '../stats-store.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import type { FilterExchange, FilterSetting, FilterVerdict, HttpFilter, HttpFilterFactory } from './http-filter.ts';

interface Dice {
  readonly chance: number;
  /** Of one hundred, ten thousand or a million: what a request's own percentage counts in. */
  readonly whole: number;
}
interface DelayPlan extends Dice {
  /** undefined: the request says how long. */
  readonly ms: number | undefined;
}
interface AbortPlan extends Dice {
  /** undefined: the request says what. */
  readonly status: number | undefined;
  readonly grpcStatus: number | undefined;
  readonly body: string;
}
interface PacePlan extends Dice {
  /** Bytes a second; undefined: the request says how many. */
  readonly rate: number | undefined;
}
interface Fault {
  readonly headers: readonly RequestMatch[];
  readonly nodes: readonly string[];
  readonly cluster: string;
  readonly delay: DelayPlan | undefined;
  readonly abort: AbortPlan | undefined;
  readonly pace: PacePlan | undefined;
  readonly activeMax: number;
}

const WHOLE: Readonly<Record<string, number>> = { HUNDRED: 100, TEN_THOUSAND: 10_000, MILLION: 1_000_000 };
const dice = (percent: FractionalPercent | undefined, path: string): Dice => ({
  chance: probabilityOf(percent, path),
  whole: WHOLE[percent?.denominator ?? 'HUNDRED'] ?? 100,
});

const compileDelay = (delay: HTTPFault['delay']): DelayPlan | undefined => {
  if (delay === undefined) return undefined;
  const ms = delay.fixed_delay === undefined ? undefined : durationMs(delay.fixed_delay);
  if (ms === undefined && delay.header_delay === undefined) throw new PlanError('delay', 'one of fixed_delay, header_delay is required');
  if (ms !== undefined && ms <= 0) throw new PlanError('delay.fixed_delay', 'must be longer than 0');
  return { ms, ...dice(delay.percentage, 'delay.percentage') };
};

const compileAbort = (abort: HTTPFault['abort']): AbortPlan | undefined => {
  if (abort === undefined) return undefined;
  const { http_status: status, grpc_status: grpcStatus } = abort;
  if (status === undefined && grpcStatus === undefined && abort.header_abort === undefined)
    throw new PlanError('abort', 'one of http_status, grpc_status, header_abort is required');
  if (status !== undefined && (status < 200 || status >= 600)) throw new PlanError('abort.http_status', 'must be in [200, 600)');
  return { status, grpcStatus, body: abort.response_body || 'fault filter abort', ...dice(abort.percentage, 'abort.percentage') };
};

const compilePace = (limit: HTTPFault['response_rate_limit']): PacePlan | undefined => {
  if (limit === undefined) return undefined;
  const { fixed_limit: fixed, header_limit: asked, percentage } = limit;
  if (fixed === undefined && asked === undefined)
    throw new PlanError('response_rate_limit', 'one of fixed_limit, header_limit is required');
  const kbps = fixed === undefined ? undefined : (fixed.limit_kbps ?? 0);
  if (kbps !== undefined && kbps < 1) throw new PlanError('response_rate_limit.fixed_limit.limit_kbps', 'must be at least 1');
  return { rate: kbps === undefined ? undefined : kbps * 1024, ...dice(percentage, 'response_rate_limit.percentage') };
};

const compileFault = (typed: AnyMessage | undefined): Fault => {
  const config = (typed ?? {}) as unknown as HTTPFault;
  return {
    headers: (config.headers ?? []).map((matcher, i) => compileHeaderMatcher(matcher, `headers[${i}]`)),
    nodes: config.downstream_nodes ?? [],
    cluster: config.upstream_cluster ?? '',
    delay: compileDelay(config.delay),
    abort: compileAbort(config.abort),
    pace: compilePace(config.response_rate_limit),
    activeMax: config.max_active_faults ?? Infinity,
  };
};

const applies = (fault: Fault, exchange: FilterExchange): boolean => {
  if (fault.cluster !== '' && fault.cluster !== exchange.route?.clusterName) return false;
  const { requestHeaders: headers, method, path, authority } = exchange;
  if (fault.nodes.length > 0 && !fault.nodes.includes(headers.get('x-envoy-downstream-service-node') ?? '')) return false;
  if (fault.headers.length === 0) return true;
  const view = { method, path, authority, scheme: exchange.info.scheme, headers };
  return fault.headers.every((match) => match(view));
};

/** A request's own percentage can only make it less likely. */
const drawn = (plan: Dice, own: string, exchange: FilterExchange): boolean => {
  const text = own === '' ? undefined : exchange.requestHeaders.get(own);
  const asked = text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) / plan.whole : plan.chance;
  const chance = Math.min(asked, plan.chance);
  return chance >= 1 || (chance > 0 && exchange.random() < chance);
};

const numberIn = (exchange: FilterExchange, name: string): number | undefined => {
  const text = exchange.requestHeaders.get(name);
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
};

/** Who asks for an abort by header that is none is not aborted. */
const abortOf = (plan: AbortPlan, exchange: FilterExchange): { status: number; grpcStatus?: number } | undefined => {
  if (plan.status !== undefined) return { status: plan.status };
  if (plan.grpcStatus !== undefined) return { status: 200, grpcStatus: plan.grpcStatus };
  const status = numberIn(exchange, 'x-envoy-fault-abort-request');
  if (status !== undefined && status >= 200 && status < 600) return { status };
  const grpcStatus = numberIn(exchange, 'x-envoy-fault-abort-grpc-request');
  return grpcStatus === undefined ? undefined : { status: 200, grpcStatus };
};

class FaultFilter implements HttpFilter {
  readonly #own: Fault;
  readonly #active: Count;
  readonly #delays: Stat;
  readonly #aborts: Stat;
  readonly #paced: Stat;
  readonly #wheel: TimerWheel;
  readonly #overflow: Stat;
  readonly #activeNow: Stat;

  constructor(own: Fault, statPrefix: string, { env, place }: FilterSetting) {
    this.#own = own;
    this.#active = env.sharing.count(`${place}\nactive`);
    const prefix = `http.${statPrefix}.fault.`;
    this.#delays = env.stats.counter(`${prefix}delays_injected`);
    this.#aborts = env.stats.counter(`${prefix}aborts_injected`);
    this.#paced = env.stats.counter(`${prefix}response_rl_injected`);
    this.#wheel = env.wheel;
    this.#overflow = env.stats.counter(`${prefix}faults_overflow`);
    this.#activeNow = env.stats.gauge(`${prefix}active_faults`);
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    const fault = (perRoute as Fault | undefined) ?? this.#own;
    const { delay, pace } = fault;
    if ((delay === undefined && fault.abort === undefined && pace === undefined) || !applies(fault, exchange)) return undefined;
    if (pace !== undefined) this.#pace(pace, fault, exchange);
    const ms = delay === undefined ? 0 : (delay.ms ?? numberIn(exchange, 'x-envoy-fault-delay-request') ?? 0);
    if (delay !== undefined && ms > 0) {
      const own = delay.ms === undefined ? 'x-envoy-fault-delay-request-percentage' : '';
      if (drawn(delay, own, exchange) && this.#begin(fault, exchange)) {
        this.#delays.value++;
        return { kind: 'delay', delayMs: ms, flag: FLAG.DI };
      }
    }
    return this.#abort(fault, exchange);
  }

  afterDelay(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    return this.#abort((perRoute as Fault | undefined) ?? this.#own, exchange);
  }

  #abort(fault: Fault, exchange: FilterExchange): FilterVerdict {
    const { abort } = fault;
    if (abort === undefined) return undefined;
    const what = abortOf(abort, exchange);
    if (what === undefined) return undefined;
    const own = abort.status === undefined && abort.grpcStatus === undefined ? 'x-envoy-fault-abort-request-percentage' : '';
    if (!drawn(abort, own, exchange) || !this.#begin(fault, exchange)) return undefined;
    this.#aborts.value++;
    return { kind: 'reply', ...what, body: abort.body, details: 'fault_filter_abort', headers: [], flag: FLAG.FI };
  }

  #pace(pace: PacePlan, fault: Fault, exchange: FilterExchange): void {
    const rate = pace.rate ?? (numberIn(exchange, 'x-envoy-fault-throughput-response') ?? 0) * 1024;
    const own = pace.rate === undefined ? 'x-envoy-fault-throughput-response-percentage' : '';
    if (rate === 0 || !drawn(pace, own, exchange) || !this.#begin(fault, exchange)) return;
    this.#paced.value++;
    const made = new ResponsePace(this.#wheel, rate);
    exchange.responsePace = made;
    exchange.note(this, made);
  }

  /** False: as many requests suffer as may. */
  #begin(fault: Fault, exchange: FilterExchange): boolean {
    if (exchange.noteOf(this) !== undefined) return true;
    if (!this.#active.tryTake(fault.activeMax)) {
      this.#overflow.value++;
      return false;
    }
    this.#activeNow.value++;
    exchange.note(this, true);
    return true;
  }

  done(noted: unknown): void {
    if (noted instanceof ResponsePace) noted.stop();
    this.#active.release();
    this.#activeNow.value--;
  }

  close(): void {
    this.#active.close();
  }
}

export const faultFilter: HttpFilterFactory = {
  compile: (typed, context, setting) => new FaultFilter(compileFault(typed), context.statPrefix, setting),
  compilePerRoute: compileFault,
};
