// The upstream side of an exchange, Envoy's router: pick a host, get a connection, forward, try again, give up in time. It is the
// UpstreamClient of the connection an attempt runs on. One object per downstream connection, used again for each request;
// it answers the client only through its exchange.

import { FLAG } from '../plan/response-flag.ts';
import { type ResetKind, retryBackOffMs, shouldRetryReset, shouldRetryStatus } from '../plan/retry.ts';
import type { RouteMatch } from '../plan/route.ts';
import type { StreamInfo } from '../plan/stream-info.ts';
import type { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import { removeHopByHop } from '../wire/hop-by-hop.ts';
import type { Http1Parser } from '../wire/http1-parser.ts';
import type { ResourceLimits } from './circuit-breaker.ts';
import type { ClusterRuntime } from './cluster-runtime.ts';
import { connectionKey, type DownstreamFacts } from './connection-facts.ts';
import type { DownstreamHttp1 } from './downstream-http1.ts';
import type { Exchange } from './exchange.ts';
import { expectedTimeoutMs, requestTimeouts, upstreamHead } from './forward-request.ts';
import type { HcmPlan } from './hcm-plan.ts';
import type { Host } from './host.ts';
import { chooseHost, describeConnected, describeHost } from './host-choice.ts';
import { BUFFER_BYTES } from './limits.ts';
import * as replies from './local-reply.ts';
import { type MirrorRequest, startMirrors } from './mirror.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { requestHash } from './request-hash.ts';
import { finalizeRequest, rewriteHost } from './request-rewrite.ts';
import { changesProtocol, finishResponseHead } from './response-head.ts';
import { RetryBudget } from './retry-budget.ts';
import { TimerSet } from './timer-set.ts';
import { transportVariant } from './transport-variant.ts';
import { UpgradeTunnel } from './upgrade-tunnel.ts';
import { DISCARD, type UpstreamClient, type UpstreamHttp1 } from './upstream-http1.ts';
import type { Http1Pool } from './upstream-pool.ts';

const ROUTE_TIMEOUT = 0;
const TRY_TIMEOUT = 1;
const BACK_OFF = 2;

export class Attempts implements UpstreamClient {
  readonly info: StreamInfo;
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #down: DownstreamHttp1;
  readonly #facts: DownstreamFacts;
  readonly #exchange: Exchange;
  readonly #suppressed: boolean;
  readonly #timers: TimerSet;
  // Request body, kept while it may be sent again or has no connection yet.
  #body: Buffer[] = [];
  #bodyBytes = 0;
  #keepBody = false;
  #trailers: HeaderBlock | undefined;
  #mirrors: readonly MirrorRequest[] = NO_MIRRORS;
  // The attempt.
  #cluster: ClusterRuntime | undefined;
  #limits: ResourceLimits | undefined;
  #pool: Http1Pool | undefined;
  #host: Host | undefined;
  #connection: UpstreamHttp1 | undefined;
  #attempts = 0;
  readonly #budget = new RetryBudget();
  #tried: Host[] = [];
  #attemptStart = 0;
  #tryTimeoutMs = 0;
  #routeTimeoutMs = 0;
  /** When the whole request was here, which is when the route's timeout begins; 0 before. */
  #completeAt = 0;
  #hash: bigint | undefined;
  #cookies: string[] = [];
  readonly #tunnel: UpgradeTunnel;

  constructor(env: ProxyEnvironment, plan: HcmPlan, down: DownstreamHttp1, facts: DownstreamFacts, exchange: Exchange) {
    this.#env = env;
    this.#plan = plan;
    this.#down = down;
    this.#facts = facts;
    this.#exchange = exchange;
    this.info = exchange.info;
    this.#suppressed = plan.suppressEnvoyHeaders;
    this.#timers = new TimerSet(env.wheel, this);
    this.#tunnel = new UpgradeTunnel(down, exchange);
  }

  /** Ready for the next request. */
  reset(): void {
    if (this.#body.length > 0) this.#body = [];
    this.#bodyBytes = 0;
    this.#keepBody = false;
    this.#trailers = undefined;
    this.#mirrors = NO_MIRRORS;
    this.#cluster = undefined;
    this.#pool = undefined;
    this.#host = undefined;
    this.#connection = undefined;
    this.#attempts = 0;
    this.#budget.left = 0;
    this.#completeAt = 0;
    this.#hash = undefined;
    if (this.#cookies.length > 0) this.#cookies = [];
    if (this.#tried.length > 0) this.#tried = [];
    this.#tunnel.reset();
  }

  /** The exchange is over. */
  end(): void {
    this.#timers.disarmAll();
    this.#budget.release();
    for (const mirror of this.#mirrors) mirror.release();
  }

  onTimer(kind: number): void {
    if (!this.#exchange.active) return;
    if (kind === BACK_OFF) this.#pick();
    else if (kind === ROUTE_TIMEOUT) this.#timedOut();
    else this.#tryTimedOut();
  }

  /** The route names a cluster: the first attempt begins. */
  start(match: RouteMatch, cluster: ClusterRuntime | undefined): void {
    const exchange = this.#exchange;
    const route = match.route;
    this.#cluster = cluster;
    this.info.upstreamClusterRaw = match.clusterName;
    if (cluster === undefined) {
      exchange.reply(replies.clusterNotFound(route.clusterNotFoundStatus));
      return;
    }
    this.info.upstreamCluster = cluster.statName;
    this.#limits = route.priority === 'high' ? cluster.breakers.high : cluster.breakers.default;
    const timeouts = requestTimeouts(route, exchange.requestHeaders, exchange.isGrpc);
    this.#routeTimeoutMs = exchange.upgrade !== '' ? 0 : timeouts.routeMs;
    this.#tryTimeoutMs = timeouts.tryMs;
    this.#budget.begin(route.retry, exchange, exchange.upgrade === '');
    this.#keepBody = this.#budget.left > 0 || route.mirrors.length > 0;
    // What is hashed is the request as it came.
    if (route.hashPolicy.length > 0)
      this.#hash = requestHash(route.hashPolicy, exchange, connectionKey(this.#facts), (line) => this.#cookies.push(line));
    finalizeRequest(exchange, match, timeouts.expectedMs, this.#suppressed);
    if (exchange.requestEnded) this.#armRouteTimeout();
    this.#pick();
  }

  // --- pick ---

  #pick(): void {
    const exchange = this.#exchange;
    const cluster = this.#cluster;
    const match = exchange.route;
    const limits = this.#limits;
    if (cluster === undefined || match === undefined || limits === undefined) {
      exchange.reply(replies.INTERNAL_ERROR);
      return;
    }
    const info = this.info;
    this.#attempts++;
    info.upstreamRequestAttemptCount = this.#attempts;
    const host = chooseHost(cluster, this.#budget.plan, this.#facts, this.#hash, this.#tried);
    if (host === undefined) {
      exchange.reply(replies.NO_HEALTHY_UPSTREAM);
      return;
    }
    this.#host = host;
    describeHost(info, host);
    if (match.route.autoHostRewrite) rewriteHost(exchange, match, host.hostname !== '' ? host.hostname : undefined, this.#suppressed);
    if (this.#attempts > 1) this.#tellTimeLeft();
    if (match.virtualHost.includeRequestAttemptCount) exchange.requestHeaders.setById(H.X_ENVOY_ATTEMPT_COUNT, String(this.#attempts));
    this.#attemptStart = this.#env.clock.monotonicMs();
    if (this.#attempts === 1 && match.route.mirrors.length > 0) this.#mirror(match.route.mirrors);
    const pool = cluster.pool(host, transportVariant(cluster, exchange));
    this.#pool = pool;
    if (exchange.requestEnded) this.#armTryTimeout();
    const outcome = pool.acquire(this, limits);
    if (outcome === 'overflow') {
      this.#pool = undefined;
      this.#upstreamLost('overflow', '', 'overflow');
    }
  }

  /** A later attempt is told no more than is left of the route's timeout. */
  #tellTimeLeft(): void {
    if (this.#suppressed) return;
    const elapsedMs = this.#completeAt === 0 ? 0 : this.#env.clock.monotonicMs() - this.#completeAt;
    const left = expectedTimeoutMs(this.#routeTimeoutMs, this.#tryTimeoutMs, Math.floor(elapsedMs));
    if (left > 0) this.#exchange.requestHeaders.setById(H.X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, String(left));
  }

  #mirror(mirrors: RouteMatch['route']['mirrors']): void {
    const exchange = this.#exchange;
    this.#mirrors = startMirrors(this.#env, mirrors, exchange, this.#facts, exchange.requestChunked, this.#routeTimeoutMs);
    for (const copy of this.#mirrors) {
      for (const piece of this.#body) copy.body(piece);
      if (exchange.requestEnded) copy.end();
    }
  }

  // --- connect, forward (UpstreamClient) ---

  onReady(connection: UpstreamHttp1): void {
    const exchange = this.#exchange;
    this.#pool = undefined;
    this.#connection = connection;
    const info = this.info;
    describeConnected(info, connection);
    info.firstUpstreamTxByte = this.#env.clock.wallMs();
    const head = upstreamHead(this.#env.requestWriter, exchange, exchange.upgrade, exchange.requestChunked);
    info.upstreamHeaderBytesSent = head.length;
    connection.writeHead(exchange.method, head, exchange.requestChunked);
    for (const piece of this.#body) {
      if (!connection.writeBody(piece, 0, piece.length)) this.#down.pauseReading();
    }
    if (!this.#keepBody) this.#body.length = 0;
    if (exchange.requestEnded) {
      connection.endRequest(this.#trailers);
      info.lastUpstreamTxByte = this.#env.clock.wallMs();
    } else {
      this.#down.resumeReading();
      if (!this.#down.reading) connection.flush();
    }
  }

  onRequestBody(buf: Buffer, start: number, end: number): void {
    this.info.bytesReceived += end - start;
    this.#exchange.touch();
    if (!this.#exchange.active || this.#exchange.responseEnded) return;
    for (const mirror of this.#mirrors) mirror.body(buf.subarray(start, end));
    const connection = this.#connection;
    if (connection !== undefined) {
      if (!connection.writeBody(buf, start, end)) this.#down.pauseReading();
      if (!this.#keepBody) return;
    }
    this.#bodyBytes += end - start;
    const limit = this.#exchange.route?.route.bufferLimitBytes ?? BUFFER_BYTES;
    if (this.#bodyBytes > limit && connection !== undefined) {
      // Too much to send a second time.
      this.#keepBody = false;
      this.#budget.left = 0;
      this.#body.length = 0;
      return;
    }
    this.#body.push(buf.subarray(start, end));
    if (connection === undefined && this.#bodyBytes > limit) this.#down.pauseReading();
  }

  onRequestTrailers(trailers: HeaderBlock): void {
    if (this.#plan.enableTrailers) this.#trailers = trailers;
  }

  /** Called while the exchange is active. */
  onRequestEnd(): void {
    if (this.#cluster !== undefined && this.#attempts > 0) {
      this.#armRouteTimeout();
      this.#armTryTimeout();
    }
    for (const mirror of this.#mirrors) mirror.end();
    const connection = this.#connection;
    if (connection !== undefined) {
      connection.endRequest(this.#trailers);
      this.info.lastUpstreamTxByte = this.#env.clock.wallMs();
    }
  }

  /** The downstream connection has handed on all it read. */
  flushRequest(): void {
    this.#connection?.flush();
  }

  onDrain(): void {
    this.#down.resumeReading();
  }

  onConnectFailure(kind: 'remote' | 'timeout' | 'overflow', reason: string): void {
    this.#pool = undefined;
    const host = this.#host;
    if (kind === 'overflow') {
      this.#upstreamLost('overflow', '', 'overflow');
      return;
    }
    if (host !== undefined) this.#cluster?.failed(host, 'connect');
    this.info.upstreamTransportFailureReason = reason;
    this.#upstreamLost(kind === 'timeout' ? 'connection_timeout' : 'remote_connection_failure', reason, 'connect-failure');
  }

  onHostGone(): void {
    this.#pool = undefined;
    this.#attempts--;
    this.#pick();
  }

  onReset(kind: 'termination' | 'protocol'): void {
    this.#connection = undefined;
    if (!this.#exchange.active) return;
    const host = this.#host;
    if (host !== undefined) this.#cluster?.failed(host, 'reset');
    if (this.#tunnel.open) {
      this.#tunnel.gone();
      return;
    }
    if (this.#exchange.responseStarted) {
      this.#exchange.cutResponse(
        kind === 'protocol' ? FLAG.UPE : FLAG.UC,
        `upstream_reset_after_response_started{${kind === 'protocol' ? 'protocol_error' : 'connection_termination'}}`,
      );
      return;
    }
    this.#upstreamLost(kind === 'protocol' ? 'protocol_error' : 'connection_termination', '', 'reset');
  }

  #upstreamLost(reason: replies.ResetReason, transport: string, kind: ResetKind): void {
    this.#timers.disarm(TRY_TIMEOUT);
    if (kind !== 'overflow' && this.#retry(this.#wouldRetryReset(kind))) return;
    const headers: [string, string][] = reason === 'overflow' && !this.#suppressed ? [['x-envoy-overloaded', 'true']] : [];
    this.#exchange.reply(replies.upstreamReset(reason, transport, this.#attempts > 1), headers);
  }

  #wouldRetryReset(kind: ResetKind): boolean {
    const retry = this.#budget.plan;
    return retry !== undefined && shouldRetryReset(retry, kind, this.info.upstreamHeaderBytesSent > 0);
  }

  /** True when another attempt is waiting for its time. */
  #retry(wanted: boolean): boolean {
    const retry = this.#budget.plan;
    const cluster = this.#cluster;
    const limits = this.#limits;
    if (!wanted || retry === undefined || cluster === undefined || limits === undefined) return false;
    if (!this.#budget.take(limits, cluster.stats, this.info)) return false;
    if (this.#host !== undefined) this.#tried.push(this.#host);
    this.info.upstreamHeaderBytesSent = 0;
    this.#timers.arm(BACK_OFF, retryBackOffMs(retry, this.#attempts, this.#env.random));
    return true;
  }

  // --- response ---

  onInformational(parser: Http1Parser): void {
    if (!this.#exchange.active || this.#exchange.responseStarted || this.info.protocol === 'HTTP/1.0') return;
    // 100 was answered here unless the client's Expect went upstream.
    if (parser.statusCode === 100 && !this.#plan.proxy100Continue) return;
    removeHopByHop(parser.headers, false);
    if (!this.#down.writeInformational(parser.statusCode, parser.reason, parser.headers)) this.#connection?.pause();
  }

  onHead(parser: Http1Parser): void {
    const exchange = this.#exchange;
    if (!exchange.active) return;
    const info = this.info;
    const host = this.#host;
    const cluster = this.#cluster;
    const match = exchange.route;
    if (host === undefined || cluster === undefined || match === undefined) return;
    info.firstUpstreamRxByte = this.#env.clock.wallMs();
    info.upstreamHeaderBytesReceived = parser.headBytes;
    this.#timers.disarm(TRY_TIMEOUT);
    exchange.touch();
    const status = parser.statusCode;
    const switching = changesProtocol(exchange.upgrade, status);
    if (status === 101 && !switching) {
      // Nobody asked: the two sides do not agree on what comes next.
      this.#connection?.abandon();
      this.onReset('protocol');
      return;
    }
    cluster.responded(host, status);
    const retry = this.#budget.plan;
    if (retry !== undefined && shouldRetryStatus(retry, status, parser.headers) && this.#retry(true)) {
      this.#discard(parser);
      return;
    }
    if (this.#attempts > 1 && status < 500) cluster.stats.rqRetrySuccess.value++;
    const headers = parser.headers;
    info.responseCode = status;
    info.responseCodeDetails = 'via_upstream';
    const serviceMs = this.#suppressed ? undefined : Math.floor(this.#env.clock.monotonicMs() - this.#attemptStart);
    finishResponseHead(headers, status, match, info, exchange.requestHeaders, serviceMs, this.#attempts, this.#cookies);
    exchange.respond(
      headers,
      status,
      parser.reason,
      parser.bodyKind === 'chunked' || parser.bodyKind === 'eof',
      parser.bodyKind !== 'none' || switching,
    );
    if (switching && this.#connection !== undefined) {
      this.#timers.disarm(ROUTE_TIMEOUT);
      this.#tunnel.begin(this.#connection);
    }
  }

  // The response of an attempt that is retried is read to nowhere when that costs nothing.
  #discard(parser: Http1Parser): void {
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) return;
    if (parser.bodyKind === 'none' && this.#exchange.requestEnded) connection.client = DISCARD;
    else connection.abandon();
  }

  onBody(buf: Buffer, start: number, end: number): void {
    if (!this.#exchange.active) return;
    this.info.bytesSent += end - start;
    this.#exchange.touch();
    if (!this.#down.writeBody(buf, start, end, this.#exchange.responseChunked)) this.#connection?.pause();
  }

  /** The client takes more. */
  onDownstreamDrain(): void {
    this.#connection?.resume();
  }

  onTrailers(trailers: HeaderBlock): void {
    if (!this.#exchange.active) return;
    this.#exchange.responseTrailers = trailers;
  }

  onEnd(): void {
    if (!this.#exchange.active) return;
    this.#exchange.responseEnded = true;
    this.info.lastUpstreamRxByte = this.#env.clock.wallMs();
    this.#down.endBody(this.#exchange.responseChunked, this.#plan.enableTrailers ? this.#exchange.responseTrailers : undefined);
  }

  onFlush(): void {
    const exchange = this.#exchange;
    if (!exchange.active) return;
    this.#down.flush();
    if (!exchange.responseEnded) return;
    // An answer before the end of the request: the rest of the request has nowhere to go.
    if (!exchange.requestEnded) {
      this.#connection?.abandon();
      this.#connection = undefined;
      this.#down.closeAfterResponse();
      exchange.done();
      this.#down.next();
      return;
    }
    exchange.done();
  }

  onSettled(): void {
    this.#connection = undefined;
    this.#down.next();
  }

  // --- tunnels ---

  onTunnelData(buf: Buffer): void {
    this.#tunnel.fromUpstream(buf);
  }
  onTunnelEnd(): void {
    this.#tunnel.upstreamEnded();
  }
  fromDownstreamTunnel(buf: Buffer): void {
    this.#tunnel.fromDownstream(buf);
  }
  downstreamTunnelEnd(): void {
    this.#tunnel.downstreamEnded();
  }

  /** Whatever runs or waits upstream for this request ends. */
  giveUp(): void {
    this.#pool?.cancel(this);
    this.#pool = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.abandon();
  }

  #timedOut(): void {
    if (this.#cluster !== undefined) this.#cluster.stats.rqTimeout.value++;
    if (this.#host !== undefined && this.#connection !== undefined) this.#cluster?.failed(this.#host, 'timeout');
    if (this.#exchange.responseStarted) {
      this.#exchange.cutResponse(FLAG.UT, 'response_timeout');
      return;
    }
    this.#exchange.reply(replies.RESPONSE_TIMEOUT);
  }

  #tryTimedOut(): void {
    if (this.#exchange.responseStarted) return;
    if (this.#cluster !== undefined) this.#cluster.stats.rqPerTryTimeout.value++;
    if (this.#host !== undefined) this.#cluster?.failed(this.#host, 'timeout');
    this.giveUp();
    if (this.#retry(this.#wouldRetryReset('per-try-timeout'))) return;
    this.#exchange.reply(replies.PER_TRY_TIMEOUT);
  }

  #armRouteTimeout(): void {
    if (this.#completeAt === 0) this.#completeAt = this.#env.clock.monotonicMs();
    if (this.#routeTimeoutMs > 0 && !this.#timers.armed(ROUTE_TIMEOUT)) this.#timers.arm(ROUTE_TIMEOUT, this.#routeTimeoutMs);
  }

  #armTryTimeout(): void {
    if (this.#tryTimeoutMs > 0) this.#timers.arm(TRY_TIMEOUT, this.#tryTimeoutMs);
  }
}

const NO_MIRRORS: readonly MirrorRequest[] = [];
