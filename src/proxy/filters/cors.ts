// envoy.filters.http.cors: answers preflights and marks responses for the origins a route allows. Routes that do not forward have no
// CORS, as in Envoy. shadow_enabled only counts in Envoy: it is accepted without effect.

import { probabilityOf } from '../../plan/fraction.ts';
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
  readonly privateNetwork: boolean;
  /** In [0,1]. */
  readonly enabled: number;
  readonly forwardPreflights: boolean;
}

const compilePolicy = (typed: AnyMessage): CorsPlan => {
  const policy = typed as unknown as Route_CorsPolicy;
  const enabled = policy.filter_enabled;
  return {
    origins: (policy.allow_origin_string_match ?? []).map((m, i) => compileStringMatcher(m, `allow_origin_string_match[${i}]`)),
    methods: policy.allow_methods ?? '',
    headers: policy.allow_headers ?? '',
    expose: policy.expose_headers ?? '',
    maxAge: policy.max_age ?? '',
    credentials: policy.allow_credentials ?? false,
    privateNetwork: policy.allow_private_network_access ?? false,
    enabled: enabled === undefined ? 1 : probabilityOf(enabled.default_value, 'filter_enabled.default_value'),
    forwardPreflights: policy.forward_not_matching_preflights ?? true,
  };
};

/** A matcher that takes `*` takes every origin. */
const allowed = (plan: CorsPlan, origin: string): boolean => plan.origins.some((match) => match('*') || match(origin));

class CorsFilter implements HttpFilter {
  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    const plan = perRoute as CorsPlan | undefined;
    if (plan === undefined || plan.enabled === 0 || !forwards(exchange)) return undefined;
    const origin = exchange.requestHeaders.getById(H.ORIGIN) ?? '';
    if (origin === '') return undefined;
    if (plan.enabled < 1 && exchange.random() >= plan.enabled) return undefined;
    const matched = allowed(plan, origin);
    if (matched) exchange.note(this, origin);
    const asked = exchange.requestHeaders.getById(H.ACCESS_CONTROL_REQUEST_METHOD) ?? '';
    if (exchange.method !== 'OPTIONS' || asked === '' || (!matched && plan.forwardPreflights)) return undefined;
    const headers = matched ? preflightHeaders(plan, asked, exchange.requestHeaders) : [];
    return { kind: 'reply', status: 200, body: '', details: 'cors_response', headers, asItIs: true };
  }

  onResponse(exchange: FilterExchange, response: HeaderBlock, perRoute: unknown): void {
    const plan = perRoute as CorsPlan | undefined;
    if (plan === undefined) return;
    const origin = exchange.noteOf(this);
    if (typeof origin !== 'string') return;
    response.setById(H.ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if (plan.credentials) response.setById(H.ACCESS_CONTROL_ALLOW_CREDENTIALS, 'true');
    if (plan.expose !== '') response.setById(H.ACCESS_CONTROL_EXPOSE_HEADERS, plan.expose);
  }
}

const forwards = ({ route }: FilterExchange): boolean => {
  const action = route?.route.action;
  return action === 'cluster' || action === 'weighted';
};

const preflightHeaders = (plan: CorsPlan, asked: string, request: HeaderBlock): [string, string][] => {
  const headers: [string, string][] = [];
  if (plan.credentials) headers.push(['access-control-allow-credentials', 'true']);
  if (plan.methods !== '') headers.push(['access-control-allow-methods', plan.methods === '*' ? asked : plan.methods]);
  const wanted = plan.headers === '*' ? (request.getById(H.ACCESS_CONTROL_REQUEST_HEADERS) ?? '') : plan.headers;
  if (plan.headers !== '') headers.push(['access-control-allow-headers', wanted]);
  if (plan.maxAge !== '') headers.push(['access-control-max-age', plan.maxAge]);
  if (plan.privateNetwork && request.get('access-control-request-private-network') === 'true')
    headers.push(['access-control-allow-private-network', 'true']);
  return headers;
};

export const corsFilter: HttpFilterFactory = { compile: () => new CorsFilter(), compilePerRoute: compilePolicy };
