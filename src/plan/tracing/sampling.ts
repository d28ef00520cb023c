// Whether a request is traced, as Envoy decides it: what its id already says, else what the client asks for, else its share of all
// requests. The share is taken from the id, so that all proxies on the way would choose the same.

import type { FractionalPercent, HttpConnectionManager_Tracing, Route_Tracing } from '../../xds/gen/types.ts';
import { PlanError } from '../plan-error.ts';
import { numberOf, reasonOf, type TraceReason } from './request-id.ts';

interface Share {
  readonly numerator: number;
  readonly denominator: number;
}

export interface SamplingPlan {
  readonly client: Share;
  readonly random: Share;
  readonly overall: Share;
}

export interface TraceWish {
  /** x-client-trace-id is there. */
  readonly client: boolean;
  /** x-envoy-force-trace is there. */
  readonly forced: boolean;
}

const ALL: Share = { numerator: 100, denominator: 100 };
const HUNDREDTHS = 10_000;
const DENOMINATORS: Readonly<Record<string, number>> = { HUNDRED: 100, TEN_THOUSAND: 10_000, MILLION: 1_000_000 };

export const compileSampling = (tracing: HttpConnectionManager_Tracing): SamplingPlan => ({
  client: { numerator: Math.round(tracing.client_sampling?.value ?? 100), denominator: 100 },
  random: { numerator: Math.round((tracing.random_sampling?.value ?? 100) * 100), denominator: HUNDREDTHS },
  overall: { numerator: Math.round(tracing.overall_sampling?.value ?? 100), denominator: 100 },
});

/** Of a route: it stands for the listener's as a whole. */
export const compileRouteSampling = (tracing: Route_Tracing, path: string): SamplingPlan => ({
  client: fraction(tracing.client_sampling, `${path}.client_sampling`),
  random: fraction(tracing.random_sampling, `${path}.random_sampling`),
  overall: fraction(tracing.overall_sampling, `${path}.overall_sampling`),
});

const fraction = (percent: FractionalPercent | undefined, path: string): Share => {
  if (percent === undefined) return ALL;
  const denominator = DENOMINATORS[percent.denominator ?? 'HUNDRED'];
  if (denominator === undefined) throw new PlanError(`${path}.denominator`, `${percent.denominator} is not known`);
  return { numerator: percent.numerator ?? 0, denominator };
};

/** Keys of a bootstrap's runtime that stand over every listener's and every route's word. */
export const SAMPLING_KEYS: Readonly<Record<keyof SamplingPlan, string>> = {
  client: 'tracing.client_enabled',
  random: 'tracing.random_sampling',
  overall: 'tracing.global_enabled',
};

/** What the runtime says: whole percents, or fractions as Envoy writes them (`{numerator, denominator}`). Undefined: nothing. */
export const runtimeSampling = (values: ReadonlyMap<string, unknown>): Partial<SamplingPlan> | undefined => {
  const said: { -readonly [K in keyof SamplingPlan]?: Share } = {};
  for (const what of ['client', 'random', 'overall'] as const) {
    const key = SAMPLING_KEYS[what];
    const share = runtimeShare(values.get(key), values.get(`${key}.numerator`), values.get(`${key}.denominator`));
    if (share !== undefined) said[what] = share;
  }
  return Object.keys(said).length === 0 ? undefined : said;
};

const runtimeShare = (percent: unknown, numerator: unknown, denominator: unknown): Share | undefined => {
  if (percent === undefined && numerator === undefined) return undefined;
  const of = percent !== undefined ? 100 : DENOMINATORS[typeof denominator === 'string' ? denominator : 'HUNDRED'];
  const value = Number(percent ?? numerator);
  return of !== undefined && Number.isInteger(value) && value >= 0 ? { numerator: value, denominator: of } : undefined;
};

const hits = (share: Share, draw: number): boolean => draw % share.denominator < share.numerator;

/** `id` is the request's x-request-id, `random` a draw in [0,1). */
export const traceReason = (plan: SamplingPlan, id: string, wish: TraceWish, random: () => number): TraceReason => {
  const number = numberOf(id);
  if (number < 0) return 'none';
  const draw = number % HUNDREDTHS;
  let reason = reasonOf(id);
  if (reason === 'none') {
    if (wish.client && hits(plan.client, Math.floor(random() * HUNDREDTHS))) reason = 'client';
    else if (wish.forced) reason = 'forced';
    else if (hits(plan.random, draw)) reason = 'sampled';
  }
  return reason !== 'none' && hits(plan.overall, draw) ? reason : 'none';
};
