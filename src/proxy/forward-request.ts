// Small decisions on the way of a request upstream: its head, its timeouts, the port in its authority. Pure functions.

import type { CompiledRoute } from '../plan/route.ts';
import type { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import { skipRule } from '../wire/hop-by-hop.ts';
import type { Http1Writer } from '../wire/http1-writer.ts';
import type { HcmPlan } from './hcm-plan.ts';

const SKIP = skipRule([H.HOST, H.CONNECTION, H.TRANSFER_ENCODING]);
const UPGRADE_LINE = Buffer.from('connection: upgrade\r\n');
const CHUNKED_LINE = Buffer.from('transfer-encoding: chunked\r\n');

export interface OutgoingRequest {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly requestHeaders: HeaderBlock;
}

/** The head as it goes upstream; the view is the caller's. */
export const upstreamHead = (writer: Http1Writer, request: OutgoingRequest, upgrade: string, chunked: boolean): Buffer => {
  if (request.method === 'CONNECT') writer.requestLine('CONNECT', request.authority, request.authority);
  else writer.requestLine(request.method, request.path, request.authority);
  writer.fields(request.requestHeaders, SKIP);
  if (upgrade !== '' && upgrade !== 'connect') writer.append(UPGRADE_LINE);
  if (chunked) writer.append(CHUNKED_LINE);
  writer.endHead();
  return writer.take();
};

export interface RequestTimeouts {
  readonly routeMs: number;
  readonly tryMs: number;
  /** What the upstream is told (x-envoy-expected-rq-timeout-ms); 0: nothing. */
  readonly expectedMs: number;
}

/** Route settings, overridden by grpc-timeout and by the x-envoy-… headers that only internal clients get through. */
export const requestTimeouts = (route: CompiledRoute, headers: HeaderBlock, grpc: boolean): RequestTimeouts => {
  let routeMs = route.timeoutMs;
  if (grpc && route.maxGrpcTimeoutMs !== undefined) {
    const asked = grpcTimeoutMs(headers.getById(H.GRPC_TIMEOUT) ?? '');
    routeMs = asked ?? 0;
    if (route.grpcTimeoutOffsetMs > 0 && routeMs > route.grpcTimeoutOffsetMs) routeMs -= route.grpcTimeoutOffsetMs;
    if (route.maxGrpcTimeoutMs > 0 && (routeMs === 0 || routeMs > route.maxGrpcTimeoutMs)) routeMs = route.maxGrpcTimeoutMs;
  }
  let tryMs = route.retry?.perTryTimeoutMs ?? 0;
  const asked = headers.getById(H.X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS);
  if (asked !== undefined) {
    headers.removeById(H.X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS);
    if (/^\d+$/.test(asked)) routeMs = Number(asked);
  }
  const askedTry = headers.getById(H.X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS);
  if (askedTry !== undefined) {
    headers.removeById(H.X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS);
    if (/^\d+$/.test(askedTry)) tryMs = Number(askedTry);
  }
  if (routeMs > 0 && tryMs >= routeMs) tryMs = 0;
  return { routeMs, tryMs, expectedMs: expectedTimeoutMs(routeMs, tryMs, 0) };
};

/** What an attempt may take, `elapsedMs` after the whole request was here; 0: no bound. Out of time is 1: 0 would mean for ever. */
export const expectedTimeoutMs = (routeMs: number, tryMs: number, elapsedMs: number): number => {
  const wanted = tryMs > 0 ? tryMs : routeMs;
  return routeMs > 0 ? Math.min(wanted, Math.max(1, routeMs - elapsedMs)) : wanted;
};

const UNITS: { readonly [unit: string]: number } = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000001 };
const grpcTimeoutMs = (text: string): number | undefined => {
  const parts = /^(\d{1,8})([HMSmun])$/.exec(text);
  return parts === null ? undefined : Math.ceil(Number(parts[1]) * (UNITS[parts[2] ?? ''] ?? 0));
};

export const stripPort = (plan: HcmPlan, authority: string, localPort: number): string => {
  let host = authority;
  if (plan.stripPort !== 'none') {
    const port = /:(\d+)$/.exec(host)?.[1];
    if (port !== undefined && (plan.stripPort === 'any' || Number(port) === localPort)) host = host.slice(0, -port.length - 1);
  }
  if (plan.stripTrailingDot) {
    const colon = /\.:\d+$/.exec(host);
    if (colon !== null) host = host.slice(0, colon.index) + host.slice(colon.index + 1);
    else if (host.endsWith('.')) host = host.slice(0, -1);
  }
  return host;
};
