// What the router does to a request once it is known where it goes: header mutations, path and host rewrites, the headers that
// tell the upstream of them. Changes the exchange it is given and nothing else.

import { applyHeaderOps } from '../../plan/header-ops.ts';
import type { RequestView } from '../../plan/request-view.ts';
import { rewrittenHost, rewrittenPath } from '../../plan/rewrite.ts';
import type { RouteMatch } from '../../plan/route.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';

export interface RewrittenExchange extends RequestView {
  path: string;
  authority: string;
  readonly requestHeaders: HeaderBlock;
  readonly info: StreamInfo;
}

export const finalizeRequest = (exchange: RewrittenExchange, match: RouteMatch, expectedMs: number, suppressed: boolean): void => {
  const headers = exchange.requestHeaders;
  headers.removeById(H.X_ENVOY_UPSTREAM_ALT_STAT_NAME);
  if (expectedMs > 0 && !suppressed) headers.setById(H.X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, String(expectedMs));
  if (match.requestHeaderOps.length > 0) {
    headers.setById(H.HOST, exchange.authority);
    // They are made once, for what may be the first of several attempts.
    exchange.info.upstreamRequestAttemptCount = 1;
    applyHeaderOps(match.requestHeaderOps, headers, exchange.info, headers);
    // A mutation of host is a rewrite of the authority.
    exchange.authority = headers.getById(H.HOST) ?? exchange.authority;
  }
  if (match.route.pathRewrite !== undefined) {
    const path = rewrittenPath(match, exchange);
    if (!suppressed) headers.setById(H.X_ENVOY_ORIGINAL_PATH, exchange.path);
    exchange.path = path;
  }
  exchange.info.path = exchange.path;
  // The weight's host takes the place of the request's without a word of it.
  if (match.hostRewriteLiteral !== undefined) {
    exchange.authority = match.hostRewriteLiteral;
    exchange.info.authority = exchange.authority;
  }
  rewriteHost(exchange, match, undefined, suppressed);
};

export const rewriteHost = (exchange: RewrittenExchange, match: RouteMatch, hostname: string | undefined, suppressed: boolean): void => {
  const host = rewrittenHost(match, exchange, hostname);
  if (host !== undefined) setHost(exchange, match, host, suppressed);
};

const setHost = (exchange: RewrittenExchange, match: RouteMatch, host: string, suppressed: boolean): void => {
  const headers = exchange.requestHeaders;
  if (match.route.appendXForwardedHost) appendForwardedHost(headers, exchange.authority);
  if (!suppressed && !headers.hasId(H.X_ENVOY_ORIGINAL_HOST)) headers.setById(H.X_ENVOY_ORIGINAL_HOST, exchange.authority);
  exchange.authority = host;
  exchange.info.authority = host;
};

const appendForwardedHost = (headers: HeaderBlock, host: string): void => {
  const before = headers.getById(H.X_FORWARDED_HOST) ?? '';
  headers.setById(H.X_FORWARDED_HOST, before === '' ? host : `${before},${host}`);
};
