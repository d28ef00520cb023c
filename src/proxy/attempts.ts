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
import { attemptPool } from './attempt-pool.ts';
import { AttemptTimeouts, type TimedAttempts } from './attempt-timeouts.ts';
import type { ResourceLimits } from './circuit-breaker.ts';
import type { ClusterRuntime } from './cluster-runtime.ts';
import { connectionKey, type DownstreamFacts } from './connection-facts.ts';
import type { DownstreamStream } from './downstream-stream.ts';
import type { Exchange } from './exchange.ts';
import type { HcmPlan } from './hcm-plan.ts';
import type { Host } from './host.ts';
import { chooseHost, describeConnected, describeHost, wantedDestination } from './host-choice.ts';
import { KeptRequest } from './kept-request.ts';
import * as replies from './local-reply.ts';
import { type MirrorRequest, startMirrors } from './mirror.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { requestHash } from './request-hash.ts';
import { finalizeRequest, rewriteHost } from './request-rewrite.ts';
import { changesProtocol, finishResponseHead } from './response-head.ts';
import { RetryBudget } from './retry-budget.ts';
import { UpgradeTunnel } from './upgrade-tunnel.ts';
import type { ResetCause, ResponseHead, UpstreamClient, UpstreamPool, UpstreamStream } from './upstream-stream.ts';

export class Attempts implements UpstreamClient, TimedAttempts {
  readonly info: StreamInfo;
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #down: DownstreamStream;
  readonly #facts: DownstreamFacts;
  readonly #exchange: Exchange;
  readonly #suppressed: boolean;
  readonly #times: AttemptTimeouts;
  /** What has come of the body and is not sent, or may be sent again. */
  readonly kept = new KeptRequest();
  #mirrors: readonly MirrorRequest[] = NO_MIRRORS;
  // The attempt.
  #cluster: ClusterRuntime | undefined;
  #limits: ResourceLimits | undefined;
  #pool: UpstreamPool | undefined;
  #host: Host | undefined;
  #connection: UpstreamStream | undefined;
  #attempts = 0;
  readonly #budget = new RetryBudget();
  #tried: Host[] = [];
  #attemptStart = 0;
  /** A 1xx has come: to Envoy's details the response has started. */
  #informed = false;
  readonly #wanted: { originalDestination: DownstreamFacts['originalDestination']; hash: bigint | undefined };
  #cookies: string[] = [];
  readonly tunnel: UpgradeTunnel;

  constructor(env: ProxyEnvironment, plan: HcmPlan, down: DownstreamStream, facts: DownstreamFacts, exchange: Exchange) {
    this.#env = env;
    this.#plan = plan;
    this.#down = down;
    this.#facts = facts;
    this.#exchange = exchange;
    this.info = exchange.info;
    this.#suppressed = plan.suppressEnvoyHeaders;
    this.#times = new AttemptTimeouts(env.wheel, this);
    this.#wanted = { originalDestination: facts.originalDestination, hash: undefined };
    this.tunnel = new UpgradeTunnel(down, exchange);
  }

  /** Ready for the next request. */
  reset(): void {
    this.kept.reset();
    this.#mirrors = NO_MIRRORS;
    this.#cluster = undefined;
    this.#pool = undefined;
    this.#host = undefined;
    this.#connection = undefined;
    this.#attempts = 0;
    this.#budget.left = 0;
    this.#informed = false;
    this.#wanted.hash = undefined;
    if (this.#cookies.length > 0) this.#cookies = [];
    if (this.#tried.length > 0) this.#tried = [];
    this.tunnel.reset();
  }

  /** There will be no next request. */
  close(): void {
    this.#times.drop();
  }

  /** The exchange is over. */
  end(): void {
    this.#times.disarmAll();
    this.#budget.release();
    for (const mirror of this.#mirrors) mirror.release();
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
    const expectedMs = this.#times.begin(route, exchange.requestHeaders, exchange.isGrpc, exchange.upgrade !== '');
    this.#budget.begin(route.retry, exchange, exchange.upgrade === '');
    this.kept.keep = this.#budget.left > 0 || route.mirrors.length > 0;
    this.#wanted.originalDestination = wantedDestination(cluster, exchange.requestHeaders, this.#facts.originalDestination);
    // What is hashed is the request as it came.
    if (route.hashPolicy.length > 0)
      this.#wanted.hash = requestHash(route.hashPolicy, exchange, connectionKey(this.#facts), (line) => this.#cookies.push(line));
    finalizeRequest(exchange, match, expectedMs, this.#suppressed);
    if (exchange.requestEnded) this.#times.armRoute();
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
    const host = chooseHost(cluster, this.#budget.plan, this.#wanted, this.#tried);
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
    const pool = attemptPool(this.#env, cluster, host, exchange, this.#facts);
    this.#pool = pool;
    if (exchange.requestEnded) this.#times.armTry();
    const outcome = pool.acquire(this, limits);
    if (outcome === 'overflow') {
      this.#pool = undefined;
      this.#upstreamLost('overflow', '', 'overflow');
    }
  }

  /** A later attempt is told no more than is left of the route's timeout. */
  #tellTimeLeft(): void {
    if (this.#suppressed) return;
    const left = this.#times.left();
    if (left > 0) this.#exchange.requestHeaders.setById(H.X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, String(left));
  }

  #mirror(mirrors: RouteMatch['route']['mirrors']): void {
    const exchange = this.#exchange;
    this.#mirrors = startMirrors(
      this.#env,
      mirrors,
      exchange,
      this.#facts,
      exchange.requestChunked,
      this.#times.routeMs,
      this.info.protocol === 'HTTP/2',
    );
    for (const copy of this.#mirrors) {
      for (const piece of this.kept.pieces) copy.body(piece);
      if (exchange.requestEnded) copy.end();
    }
  }

  // --- connect, forward (UpstreamClient) ---

  onReady(connection: UpstreamStream): void {
    const exchange = this.#exchange;
    this.#pool = undefined;
    this.#connection = connection;
    const info = this.info;
    this.#times.armStream(this.#cluster?.protocol.maxStreamDurationMs ?? 0);
    describeConnected(info, connection);
    info.firstUpstreamTxByte = this.#env.clock.wallMs();
    const ended = exchange.requestEnded && this.kept.empty;
    info.upstreamHeaderBytesSent = connection.writeRequest(exchange, exchange.upgrade, exchange.requestChunked, ended);
    const kept = this.kept;
    for (const piece of kept.pieces) if (!connection.writeBody(piece, 0, piece.length)) this.#down.pauseReading();
    if (!kept.keep) kept.drop();
    if (exchange.requestEnded) {
      connection.endRequest(this.kept.trailers);
      info.lastUpstreamTxByte = this.#env.clock.wallMs();
    } else {
      this.#down.resumeReading();
      if (!this.#down.reading) connection.flush();
    }
  }

  onRequestBody(buf: Buffer, start: number, end: number): void {
    this.info.bytesReceived += end - start;
    this.info.grpc?.request.feed(buf, start, end);
    this.#exchange.touch();
    if (!this.#exchange.active || this.#exchange.responseEnded) return;
    for (const mirror of this.#mirrors) mirror.body(buf.subarray(start, end));
    const kept = this.kept;
    const connection = this.#connection;
    if (connection !== undefined) {
      if (!connection.writeBody(buf, start, end)) this.#down.pauseReading();
      if (!kept.keep) return;
    }
    kept.bytes += end - start;
    const fits = kept.bytes <= (this.#exchange.route?.route.bufferLimitBytes ?? this.#down.bufferBytes);
    if (!fits && kept.keep) this.#budget.abandon(this.#cluster?.stats);
    if (!fits && connection !== undefined) kept.drop();
    else if (!fits && kept.keep && this.#pool === undefined && this.#attempts > 0) this.#exchange.reply(replies.RETRY_BUFFER_EXCEEDED);
    else {
      if (!fits) {
        kept.keep = false;
        this.#down.pauseReading();
      }
      kept.add(buf, start, end);
    }
  }

  onRequestTrailers(trailers: HeaderBlock): void {
    this.kept.trailers = trailers;
  }

  /** Called while the exchange is active. */
  onRequestEnd(): void {
    if (this.#cluster !== undefined && this.#attempts > 0) {
      this.#times.armRoute();
      this.#times.armTry();
    }
    for (const mirror of this.#mirrors) mirror.end();
    const connection = this.#connection;
    if (connection !== undefined) {
      connection.endRequest(this.kept.trailers);
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

  onReset(cause: ResetCause): void {
    this.#connection = undefined;
    if (!this.#exchange.active) return;
    const host = this.#host;
    if (host !== undefined) this.#cluster?.failed(host, 'reset');
    if (this.tunnel.open) {
      this.tunnel.broke();
      return;
    }
    const reason = replies.RESET_REASONS[cause];
    if (this.#exchange.responseStarted) {
      this.#exchange.cutResponse(replies.RESET_FLAGS[reason], `upstream_reset_after_response_started{${reason}}`);
      return;
    }
    this.#upstreamLost(reason, '', cause === 'refused' ? 'refused-stream' : 'reset');
  }

  #upstreamLost(reason: replies.ResetReason, transport: string, kind: ResetKind): void {
    this.#times.disarmTry();
    if (kind !== 'overflow' && this.#retry(this.#wouldRetryReset(kind))) return;
    const headers: [string, string][] = reason === 'overflow' && !this.#suppressed ? [['x-envoy-overloaded', 'true']] : [];
    this.#exchange.reply(replies.upstreamReset(reason, transport, this.#attempts > 1, this.#informed), headers);
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
    this.#times.armBackOff(retryBackOffMs(retry, this.#attempts, this.#env.random));
    return true;
  }

  // --- response ---

  onInformational(head: ResponseHead): void {
    if (!this.#exchange.active || this.#exchange.responseStarted) return;
    this.#informed = true;
    if (this.info.protocol === 'HTTP/1.0') return;
    // 100 was answered here unless the client's Expect went upstream.
    if (head.statusCode === 100 && !this.#plan.proxy100Continue) return;
    removeHopByHop(head.headers, false);
    if (!this.#down.writeInformational(head.statusCode, head.reason, head.headers)) this.#connection?.pause();
  }

  onHead(head: ResponseHead): void {
    const exchange = this.#exchange;
    if (!exchange.active) return;
    const info = this.info;
    const host = this.#host;
    const cluster = this.#cluster;
    const match = exchange.route;
    if (host === undefined || cluster === undefined || match === undefined) return;
    info.firstUpstreamRxByte = this.#env.clock.wallMs();
    info.upstreamHeaderBytesReceived = head.headBytes;
    this.#times.disarmTry();
    exchange.touch();
    const status = head.statusCode;
    const switching = changesProtocol(exchange.upgrade, status);
    if (status === 101 && !switching) {
      // Nobody asked: the two sides do not agree on what comes next.
      this.#connection?.abandon();
      this.onReset('protocol');
      return;
    }
    const grpcStatus = exchange.isGrpc && head.bodyKind === 'none' ? head.headers.getById(H.GRPC_STATUS) : undefined;
    cluster.responded(host, status, grpcStatus === undefined ? status : replies.httpStatusOf(grpcStatus));
    const retry = this.#budget.plan;
    if (retry !== undefined && shouldRetryStatus(retry, status, head.headers) && this.#retry(true)) {
      this.#discard(head);
      return;
    }
    if (this.#attempts > 1 && status < 500) cluster.stats.rqRetrySuccess.value++;
    // Refused: what the client sends behind its head goes nowhere.
    if (exchange.upgrade !== '' && !switching) this.#connection?.endRequest(undefined);
    const headers = head.headers;
    info.responseCode = status;
    info.responseCodeDetails = 'via_upstream';
    const serviceMs =
      this.#suppressed || !exchange.requestEnded ? undefined : Math.floor(this.#env.clock.monotonicMs() - this.#attemptStart);
    finishResponseHead(headers, status, match, info, exchange.requestHeaders, serviceMs, this.#attempts, this.#cookies);
    exchange.respond(
      headers,
      status,
      head.reason,
      head.bodyKind === 'chunked' || head.bodyKind === 'eof',
      head.bodyKind !== 'none' || switching,
    );
    if (switching && this.#connection !== undefined) {
      this.#times.disarmRoute();
      this.tunnel.begin(this.#connection);
    }
  }

  // The response of an attempt that is retried is read to nowhere when that costs nothing.
  #discard(head: ResponseHead): void {
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) return;
    if (head.bodyKind === 'none' && this.#exchange.requestEnded) connection.discard();
    else connection.abandon();
  }

  onBody(buf: Buffer, start: number, end: number): void {
    if (!this.#exchange.active) return;
    this.info.bytesSent += end - start;
    this.info.grpc?.response.feed(buf, start, end);
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
    this.#down.endBody(this.#exchange.responseChunked, this.#exchange.responseTrailers);
  }

  onFlush(): void {
    const exchange = this.#exchange;
    if (!exchange.active) return;
    this.#down.flush();
    if (!exchange.responseEnded) return;
    // An answer before the end of the request: the rest of the request has nowhere to go.
    if (!exchange.requestEnded) {
      exchange.done();
      this.#connection?.abandon();
      this.#connection = undefined;
      this.#down.closeAfterResponse();
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
    this.tunnel.fromUpstream(buf);
  }
  onTunnelEnd(): void {
    this.tunnel.upstreamEnded();
  }

  /** Whatever runs or waits upstream for this request ends. */
  giveUp(): void {
    this.#pool?.cancel(this);
    this.#pool = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.abandon();
  }

  // --- time (TimedAttempts) ---

  backOffOver(): void {
    if (this.#exchange.active) this.#pick();
  }

  routeTimedOut(): void {
    if (!this.#exchange.active) return;
    if (this.#cluster !== undefined) this.#cluster.stats.rqTimeout.value++;
    if (this.#host !== undefined && this.#connection !== undefined) this.#cluster?.failed(this.#host, 'timeout');
    this.#exchange.reply(replies.RESPONSE_TIMEOUT);
  }

  tryTimedOut(): void {
    if (!this.#exchange.active || this.#exchange.responseStarted) return;
    if (this.#cluster !== undefined) this.#cluster.stats.rqPerTryTimeout.value++;
    if (this.#host !== undefined) this.#cluster?.failed(this.#host, 'timeout');
    this.giveUp();
    if (!this.#retry(this.#wouldRetryReset('per-try-timeout'))) this.#exchange.reply(replies.PER_TRY_TIMEOUT);
  }

  // Envoy's max_stream_duration of a cluster.
  streamTooLong(): void {
    const exchange = this.#exchange;
    if (!exchange.active) return;
    if (this.tunnel.open) {
      this.info.setFlag(FLAG.UMSDR);
      this.info.responseCodeDetails = replies.UPSTREAM_MAX_DURATION.details;
      this.tunnel.gone();
      return;
    }
    if (!exchange.responseStarted) {
      this.giveUp();
      if (this.#retry(this.#wouldRetryReset('reset'))) return;
    }
    exchange.reply(replies.UPSTREAM_MAX_DURATION);
  }
}

const NO_MIRRORS: readonly MirrorRequest[] = [];
