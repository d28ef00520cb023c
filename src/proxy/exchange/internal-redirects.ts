// The redirects of one request that are followed here, as Envoy's router follows them: whether one may be, and the request that it makes.
// Counts what becomes of them; sends nothing.

import { type InternalRedirectPlan, type RedirectTarget, redirectTarget } from '../../plan/internal-redirect.ts';
import { matchRoute } from '../../plan/route.ts';
import { H } from '../../wire/header-name.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { ResponseHead } from '../upstream/upstream-stream.ts';
import type { RequestHead } from './downstream-stream.ts';
import type { Exchange } from './exchange.ts';
import type { KeptRequest } from './kept-request.ts';

export class InternalRedirects {
  #followed = 0;
  readonly #visited = new Map<string, Set<string>>();

  /** The request that is sent instead; undefined: the redirect is the client's to follow. `kept`: what there is of its body. */
  follow(
    exchange: Exchange,
    env: ProxyEnvironment,
    plan: InternalRedirectPlan,
    clusterStat: string,
    response: ResponseHead,
    kept: KeptRequest,
  ): RequestHead | undefined {
    const location = response.headers.getById(H.LOCATION);
    const target = isWhole(exchange, kept) && location !== undefined ? this.#target(exchange, env, plan, location) : undefined;
    const outcome = target === undefined ? 'failed' : 'succeeded';
    env.stats.counter(`cluster.${clusterStat}.upstream_internal_redirect_${outcome}_total`).value++;
    if (target === undefined) return undefined;
    this.#followed++;
    return requestFor(exchange, kept, plan, target, response);
  }

  #target(exchange: Exchange, env: ProxyEnvironment, plan: InternalRedirectPlan, location: string): RedirectTarget | undefined {
    const passes = (why: string): undefined => {
      env.stats.counter(`http.${exchange.context.statPrefix}.passthrough_internal_redirect_${why}`).value++;
      return undefined;
    };
    const target = redirectTarget(location);
    if (target === undefined) return passes('bad_location');
    const fromHttps = isHttps(exchange);
    const toHttps = target.scheme.toLowerCase() !== 'http';
    if (!plan.crossScheme && fromHttps !== toHttps) return passes('unsafe_scheme');
    if (this.#followed >= plan.most) return passes('too_many_redirects');
    const { method, requestHeaders: headers, tls, dynamicMetadata, sourceIp, internal } = exchange;
    const view = { method, headers, tls, dynamicMetadata, sourceIp, internal, ...target, hash: exchange.hash.bind(exchange) };
    const routes = exchange.routes.plan;
    const match = routes === undefined ? undefined : matchRoute(routes, view, env.random);
    if (match?.kind !== 'route') return passes('no_route');
    const step = { route: match.route.name, fromHttps, toHttps, visited: this.#visited };
    return plan.predicates.every((accepts) => accepts(step)) ? target : passes('predicate');
  }
}

/** As Envoy: no header makes https of a connection without TLS. */
const isHttps = ({ scheme, facts }: Exchange): boolean => facts.tls !== undefined && scheme !== 'http';

/** As Envoy: a request that still comes, or is too long to be kept, is not sent elsewhere. */
const isWhole = ({ requestEnded, info }: Exchange, kept: KeptRequest): boolean => requestEnded && (kept.keep || info.bytesReceived === 0);

const requestFor = (
  exchange: Exchange,
  kept: KeptRequest,
  plan: InternalRedirectPlan,
  target: RedirectTarget,
  response: ResponseHead,
): RequestHead => {
  const { requestHeaders: headers, authority, path } = exchange;
  let { method, requestChunked } = exchange;
  // RFC 9110 15.4.4.
  if (response.statusCode === 303 && method !== 'GET' && method !== 'HEAD') {
    method = 'GET';
    headers.removeById(H.CONTENT_LENGTH);
    requestChunked = false;
    kept.reset();
  }
  headers.setById(H.X_ENVOY_ORIGINAL_URL, `${isHttps(exchange) ? 'https' : 'http'}://${authority}${path}`);
  for (const name of plan.copied) {
    headers.remove(name);
    for (const value of response.headers.values(name)) headers.add(name, value);
  }
  return { ...target, method, headers, bodyKind: requestChunked ? 'chunked' : 'none', upgrade: false, headBytes: 0 };
};
