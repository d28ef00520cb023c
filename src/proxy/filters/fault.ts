// envoy.filters.http.fault: a delay, then an abort, each by its own dice. The listener's own settings apply where a route has none.

import { compileHeaderMatcher, type RequestMatch } from '../../plan/header-matcher.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { FLAG } from '../../plan/response-flag.ts';
import type { AnyMessage, FractionalPercent, HTTPFault } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import type { FilterExchange, FilterVerdict, HttpFilter, HttpFilterFactory } from './http-filter.ts';

interface Fault {
  readonly headers: readonly RequestMatch[];
  readonly cluster: string;
  readonly delayMs: number;
  readonly delayChance: number;
  readonly abortStatus: number;
  readonly abortGrpc: number | undefined;
  readonly abortChance: number;
}

const chance = (percent: FractionalPercent | undefined): number => {
  const whole = percent?.denominator === 'TEN_THOUSAND' ? 10_000 : percent?.denominator === 'MILLION' ? 1_000_000 : 100;
  return (percent?.numerator ?? 0) / whole;
};

const compileFault = (typed: AnyMessage | undefined): Fault => {
  const config = (typed ?? {}) as unknown as HTTPFault;
  for (const field of ['response_rate_limit', 'max_active_faults'] as const)
    if (config[field] !== undefined) throw new PlanError(field, 'not supported');
  if (config.delay?.header_delay !== undefined) throw new PlanError('delay.header_delay', 'not supported');
  if (config.abort?.header_abort !== undefined) throw new PlanError('abort.header_abort', 'not supported');
  if ((config.downstream_nodes?.length ?? 0) > 0) throw new PlanError('downstream_nodes', 'not supported');
  return {
    headers: (config.headers ?? []).map((matcher, i) => compileHeaderMatcher(matcher, `headers[${i}]`)),
    cluster: config.upstream_cluster ?? '',
    delayMs: config.delay?.fixed_delay === undefined ? 0 : durationMs(config.delay.fixed_delay),
    delayChance: chance(config.delay?.percentage),
    abortStatus: config.abort?.http_status ?? 200,
    abortGrpc: config.abort?.grpc_status,
    abortChance: config.abort === undefined ? 0 : chance(config.abort.percentage),
  };
};

const applies = (fault: Fault, exchange: FilterExchange): boolean =>
  (fault.cluster === '' || fault.cluster === exchange.route?.clusterName) &&
  (fault.headers.length === 0 ||
    fault.headers.every((match) =>
      match({
        method: exchange.method,
        path: exchange.path,
        authority: exchange.authority,
        scheme: exchange.info.scheme,
        headers: exchange.requestHeaders,
      }),
    ));

const abort = (fault: Fault, exchange: FilterExchange): FilterVerdict => {
  if (fault.abortChance === 0 || exchange.random() >= fault.abortChance) return undefined;
  return {
    kind: 'reply',
    status: fault.abortStatus,
    body: 'fault filter abort',
    details: 'fault_filter_abort',
    headers: [],
    flag: FLAG.FI,
    ...(fault.abortGrpc !== undefined ? { grpcStatus: fault.abortGrpc } : {}),
  };
};

const NONE: Fault = { headers: [], cluster: '', delayMs: 0, delayChance: 0, abortStatus: 0, abortGrpc: undefined, abortChance: 0 };

class FaultFilter implements HttpFilter {
  readonly #own: Fault;

  constructor(own: Fault) {
    this.#own = own;
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    const fault = (perRoute as Fault | undefined) ?? this.#own;
    if ((fault.delayChance === 0 && fault.abortChance === 0) || !applies(fault, exchange)) return undefined;
    if (fault.delayMs > 0 && fault.delayChance > 0 && exchange.random() < fault.delayChance)
      return { kind: 'delay', delayMs: fault.delayMs, flag: FLAG.DI };
    return abort(fault, exchange);
  }

  afterDelay(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    return abort((perRoute as Fault | undefined) ?? this.#own, exchange);
  }
}

export const faultFilter: HttpFilterFactory = {
  compile: (typed) => new FaultFilter(typed === undefined ? NONE : compileFault(typed)),
  compilePerRoute: compileFault,
};
