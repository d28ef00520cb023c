// envoy.filters.http.csrf: requests that change something must come from where they go to, by their `origin` or else their `referer`, or
// from an origin that is named. The policy of a route stands instead of the listener's. Counts in `http.<prefix>.csrf.*`.

import { hostAndPort } from '../../plan/absolute-address.ts';
import { probabilityOf } from '../../plan/fraction.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { compileStringMatcher, type TextMatch } from '../../plan/string-matcher.ts';
import type { CsrfPolicy } from '../../xds/gen/types.ts';
import { configAs } from '../extension-config.ts';
import type { FilterExchange, FilterVerdict, HttpFilterFactory } from './http-filter.ts';

interface CsrfPlan {
  /** In [0,1]. */
  readonly enforced: number;
  readonly watched: number;
  readonly origins: readonly TextMatch[];
}

const compilePolicy = ({ filter_enabled: enabled, shadow_enabled: shadow, additional_origins: origins = [] }: CsrfPolicy): CsrfPlan => {
  if (enabled === undefined) throw new PlanError('filter_enabled', 'is required');
  return {
    enforced: fraction(enabled, 'filter_enabled'),
    watched: shadow === undefined ? 0 : fraction(shadow, 'shadow_enabled'),
    origins: origins.map((matcher, i) => compileStringMatcher(matcher, `additional_origins[${i}]`)),
  };
};

const fraction = ({ default_value: value }: NonNullable<CsrfPolicy['filter_enabled']>, path: string): number => {
  if (value === undefined) throw new PlanError(`${path}.default_value`, 'is required');
  return probabilityOf(value, `${path}.default_value`);
};

const CHANGING: ReadonlySet<string> = new Set(['POST', 'PUT', 'DELETE', 'PATCH']);
const REFUSED: FilterVerdict = { kind: 'reply', status: 403, body: 'Invalid origin', details: 'csrf_origin_mismatch', headers: [] };

export const csrfFilter: HttpFilterFactory = {
  compile: (typed, context, { env }) => {
    const own = compilePolicy(configAs<CsrfPolicy>(typed, 'typed_config'));
    const counter = (name: string) => env.stats.counter(`http.${context.statPrefix}.csrf.${name}`);
    const [missing, invalid, valid] = [counter('missing_source_origin'), counter('request_invalid'), counter('request_valid')];
    return {
      onRequest: (exchange: FilterExchange, perRoute: unknown): FilterVerdict => {
        const plan = (perRoute as CsrfPlan | undefined) ?? own;
        const enforced = happens(plan.enforced, exchange);
        if ((!enforced && !happens(plan.watched, exchange)) || !CHANGING.has(exchange.method)) return undefined;
        const source = sourceOf(exchange);
        const accepted = source !== '' && (source === targetOf(exchange) || plan.origins.some((match) => match(source)));
        (accepted ? valid : source === '' ? missing : invalid).value++;
        return enforced && !accepted ? REFUSED : undefined;
      },
    };
  },
  compilePerRoute: (typed) => compilePolicy(configAs<CsrfPolicy>(typed, '')),
};

const happens = (probability: number, exchange: FilterExchange): boolean =>
  probability === 1 || (probability > 0 && exchange.random() < probability);

/** As Envoy: an origin that a browser keeps to itself tells as little as none. */
const sourceOf = ({ requestHeaders: headers }: FilterExchange): string => {
  const origin = headers.values('origin').join(',');
  if (origin === 'null') return '';
  return hostAndPort(origin === '' ? headers.values('referer').join(',') : origin);
};

const targetOf = ({ authority, scheme }: FilterExchange): string => (authority === '' ? '' : hostAndPort(`${scheme}://${authority}`));
