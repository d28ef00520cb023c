// envoy.filters.http.cors: answers preflights and marks responses for the origins a route allows.

import { compileStringMatcher, type TextMatch } from '../../plan/string-matcher.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { AnyMessage, Route_CorsPolicy } from '../../xds/gen/types.ts';
import type { FilterExchange, FilterVerdict, HttpFilter, HttpFilterFactory } from './http-filter.ts';

interface CorsPlan {
  readonly origins: readonly TextMatch[];
  readonly methods: string;
  readonly headers: string;
  readonly expose: string;
  readonly maxAge: string;
  readonly credentials: boolean;
  readonly enabled: boolean;
  readonly forwardPreflights: boolean;
}

const compilePolicy = (typed: AnyMessage): CorsPlan => {
  const policy = typed as unknown as Route_CorsPolicy;
  const enabled = policy.filter_enabled?.default_value;
  return {
    origins: (policy.allow_origin_string_match ?? []).map((m, i) => compileStringMatcher(m, `allow_origin_string_match[${i}]`)),
    methods: policy.allow_methods ?? '',
    headers: policy.allow_headers ?? '',
    expose: policy.expose_headers ?? '',
    maxAge: policy.max_age ?? '',
    credentials: policy.allow_credentials ?? false,
    enabled: enabled === undefined || (enabled.numerator ?? 0) > 0,
    forwardPreflights: policy.forward_not_matching_preflights ?? true,
  };
};

const allowed = (plan: CorsPlan, origin: string): boolean => plan.origins.some((match) => match(origin));

class CorsFilter implements HttpFilter {
  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    const plan = perRoute as CorsPlan | undefined;
    if (plan === undefined || !plan.enabled) return undefined;
    const origin = exchange.requestHeaders.getById(H.ORIGIN);
    if (origin === undefined || exchange.method !== 'OPTIONS' || !exchange.requestHeaders.hasId(H.ACCESS_CONTROL_REQUEST_METHOD))
      return undefined;
    const matched = allowed(plan, origin);
    if (!matched && plan.forwardPreflights) return undefined;
    const headers: [string, string][] = [];
    if (matched) {
      if (plan.credentials) headers.push(['access-control-allow-credentials', 'true']);
      if (plan.methods !== '') headers.push(['access-control-allow-methods', plan.methods]);
      if (plan.headers !== '') headers.push(['access-control-allow-headers', plan.headers]);
      if (plan.maxAge !== '') headers.push(['access-control-max-age', plan.maxAge]);
    }
    return { kind: 'reply', status: 200, body: '', details: 'cors_response', headers };
  }

  onResponse(exchange: FilterExchange, response: HeaderBlock, perRoute: unknown): void {
    const plan = perRoute as CorsPlan | undefined;
    if (plan === undefined || !plan.enabled) return;
    const origin = exchange.requestHeaders.getById(H.ORIGIN);
    if (origin === undefined || !allowed(plan, origin)) return;
    response.setById(H.ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if (plan.credentials) response.setById(H.ACCESS_CONTROL_ALLOW_CREDENTIALS, 'true');
    if (plan.expose !== '') response.setById(H.ACCESS_CONTROL_EXPOSE_HEADERS, plan.expose);
  }
}

export const corsFilter: HttpFilterFactory = { compile: () => new CorsFilter(), compilePerRoute: compilePolicy };
