// The upstream side of an exchange, Envoy's router: pick a host, get a connection, forward, try again, give up in time. It is the
// UpstreamClient of the connection an attempt runs on. One object per downstream connection, used again for each request;
// it answers the client only through its exchange.

import type { InternalRedirectPlan } from '../../plan/internal-redirect.ts';
import { FLAG, FLAG_NAMES } from '../../plan/response-flag.ts';
import type { ResetKind } from '../../plan/retry.ts';
import type { RouteMatch } from '../../plan/route.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import type { Host } from '../cluster/host.ts';
import { RetryBudget } from '../cluster/retry-budget.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { ResetCause, ResponseHead, UpstreamClient, UpstreamPool, UpstreamStream } from '../upstream/upstream-stream.ts';
import { type HedgingAttempts, SlowAttempts } from './attempt-hedges.ts';
import { attemptPool } from './attempt-pool.ts';
import { AttemptRequest } from './attempt-request.ts';
import { AttemptResponse } from './attempt-response.ts';
import { AttemptTimeouts, type TimedAttempts, WEBSOCKET } from './attempt-timeouts.ts';
import { AttemptWish } from './attempt-wish.ts';
import type { DownstreamStream } from './downstream-stream.ts';
import type { Exchange } from './exchange.ts';
import type { HcmPlan } from './hcm-plan.ts';
import { chooseHost, describeConnected, describeHost } from './host-choice.ts';
import { InternalRedirects } from './internal-redirects.ts';
import type { KeptRequest } from './kept-request.ts';
import * as replies from './local-reply.ts';
import { finalizeRequest, rewriteHost } from './request-rewrite.ts';
import { changesProtocol, keepsToProtocol } from './response-head.ts';
import { UpgradeTunnel } from './upgrade-tunnel.ts';

export class Attempts implements UpstreamClient, TimedAttempts, HedgingAttempts {
  readonly info: StreamInfo;
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #down: DownstreamStream;
  readonly #facts: DownstreamFacts;
  readonly #exchange: Exchange;
  readonly #suppressed: boolean;
  readonly #times: AttemptTimeouts;
  readonly #response: AttemptResponse;
  readonly #request: AttemptRequest;
  /** Of the request's body. */
  readonly kept: KeptRequest;
  // The attempt.
  #cluster: ClusterRuntime | undefined;
  #limits: ResourceLimits | undefined;
  #pool: UpstreamPool | undefined;
  #host: Host | undefined;
  #connection: UpstreamStream | undefined;
  #attempts = 0;
  readonly #budget = new RetryBudget();
  #attemptStart = 0;
  /** Where a route hedges: those that are waited for beside the newest. */
  #slow: SlowAttempts | undefined;
  /** A 1xx has come: to Envoy's details the response has started. */
  #informed = false;
  readonly #wish: AttemptWish;
  readonly tunnel: UpgradeTunnel;

  constructor(env: ProxyEnvironment, plan: HcmPlan, down: DownstreamStream, facts: DownstreamFacts, exchange: Exchange) {
    this.#env = env;
    this.#plan = plan;
    this.#down = down;
    this.#facts = facts;
    this.#exchange = exchange;
    this.info = exchange.info;
    this.#suppressed = plan.suppressEnvoyHeaders;
    this.#times = new AttemptTimeouts(env.wheel, this, plan.respectsExpectedTimeout);
    this.#request = new AttemptRequest(env, down, exchange, facts);
    this.kept = this.#request.kept;
    this.#response = new AttemptResponse(env, down, exchange);
    this.#wish = new AttemptWish(facts);
    this.tunnel = new UpgradeTunnel(down, exchange);
  }

  /** Ready for the next request. */
  reset(): void {
    this.kept.reset();
    this.#cluster = undefined;
    this.#pool = undefined;
    this.#host = undefined;
    this.#connection = undefined;
    this.#attempts = 0;
    this.#budget.reset();
    this.#informed = false;
    this.#wish.reset();
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
    this.#request.release();
  }

  /** The route names a cluster: the first attempt begins. */
  start(match: RouteMatch, cluster: ClusterRuntime | undefined): void {
    const exchange = this.#exchange;
    const route = match.route;
    if (this.#plan.strictCheck !== undefined && this.#response.refuse(this.#plan.strictCheck)) return;
    this.#cluster = cluster;
    this.info.upstreamClusterRaw = match.clusterName;
    if (cluster === undefined) {
      exchange.reply(replies.clusterNotFound(route.clusterNotFoundStatus));
      return;
    }
    this.info.upstreamCluster = cluster.statName;
    this.#limits = route.priority === 'high' ? cluster.breakers.high : cluster.breakers.default;
    // Its time-outs hold whether or not the request may be tried again.
    const expectedMs = this.#times.begin(route, exchange, route.retry);
    this.#wish.begin(match, cluster, exchange);
    finalizeRequest(exchange, match, expectedMs, this.#suppressed);
    // As Envoy: what the route says of headers may ask for attempts as a client's do.
    this.#budget.begin(route.retry, exchange);
    this.#request.begin(this.#budget, cluster.stats, route.mirrors.length > 0 || route.internalRedirect !== undefined);
    if (exchange.requestEnded || exchange.upgrade === WEBSOCKET) this.#times.armRoute();
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
    info.upstreamRequestAttemptCount = ++this.#attempts;
    const host = chooseHost(cluster, this.#budget.plan, this.#wish, this.#budget.tried);
    if (host === undefined) {
      this.#answer(replies.NO_HEALTHY_UPSTREAM);
      return;
    }
    this.#host = host;
    describeHost(info, host);
    if (match.route.autoHostRewrite) rewriteHost(exchange, match, host.hostname !== '' ? host.hostname : undefined, this.#suppressed);
    if (this.#attempts > 1 && !this.#suppressed) this.#times.tellLeft(exchange.requestHeaders);
    exchange.trace?.attempt(exchange.requestHeaders, info);
    if (match.virtualHost.includeRequestAttemptCount) exchange.requestHeaders.setById(H.X_ENVOY_ATTEMPT_COUNT, String(this.#attempts));
    this.#attemptStart = this.#env.clock.monotonicMs();
    if (this.#attempts === 1 && match.route.mirrors.length > 0) this.#request.mirror(match.route.mirrors, this.#times.routeMs);
    const pool = attemptPool(this.#env, cluster, host, exchange, this.#facts);
    this.#pool = pool;
    const outcome = pool.acquire(this, limits);
    if (outcome === 'overflow') {
      this.#pool = undefined;
      this.#upstreamLost('overflow', '', 'overflow');
    }
  }

  // --- connect, forward (UpstreamClient) ---

  onReady(connection: UpstreamStream): void {
    const exchange = this.#exchange;
    this.#pool = undefined;
    this.#connection = connection;
    this.#times.armStream(this.#cluster?.protocol.maxStreamDurationMs ?? 0);
    if (exchange.requestEnded || exchange.upgrade === WEBSOCKET) this.#times.armTry();
    describeConnected(this.info, connection);
    this.#request.forward(connection);
  }

  onRequestBody(buf: Buffer, start: number, end: number): void {
    this.info.bytesReceived += end - start;
    this.info.grpc?.request.feed(buf, start, end);
    this.#exchange.touch();
    if (!this.#exchange.active || this.#exchange.responseEnded) return;
    const waits = this.#pool === undefined && this.#attempts > 0;
    if (!this.#request.body(this.#connection, waits, this.#budget, this.#cluster?.stats, buf, start, end))
      this.#answer(replies.RETRY_BUFFER_EXCEEDED);
  }

  onRequestTrailers(trailers: HeaderBlock): void {
    this.kept.trailers = trailers;
  }

  /** Called while the exchange is active. */
  onRequestEnd(): void {
    if (this.#cluster !== undefined && this.#attempts > 0) {
      this.#times.armRoute();
      if (this.#connection !== undefined) this.#times.armTry();
    }
    this.#request.end(this.#connection);
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
    const reason = replies.RESET_REASONS[cause];
    if (this.tunnel.open) {
      this.tunnel.broke(reason);
      return;
    }
    if (this.#exchange.responseStarted) {
      this.#exchange.cutResponse(replies.RESET_FLAGS[reason], `upstream_reset_after_response_started{${reason}}`);
      return;
    }
    this.#upstreamLost(reason, '', cause === 'refused' ? 'refused-stream' : 'reset');
  }

  #upstreamLost(reason: replies.ResetReason, transport: string, kind: ResetKind): void {
    this.#times.disarmTry();
    this.#exchange.trace?.attemptLost(
      this.#exchange.requestHeaders,
      this.info,
      FLAG_NAMES[replies.RESET_FLAGS[reason]]?.[0] ?? '',
      reason.replaceAll('_', ' '),
    );
    if (kind !== 'overflow' && this.#budget.wantsReset(kind, this.info) && this.#retry(undefined, false)) return;
    if (this.#slow?.any === true) return;
    this.#answer(replies.upstreamReset(reason, transport, this.#attempts > 1, this.#informed), reason === 'overflow');
  }

  #answer(reply: replies.LocalReply, overloaded = false): void {
    this.#response.reply(reply, this.#attempts, overloaded && !this.#suppressed);
  }

  /** True when another attempt is waiting for its time. `response`: what is answered if it is not. `late`: its time was over. */
  #retry(response: HeaderBlock | undefined, late: boolean, status = 0): boolean {
    const cluster = this.#cluster;
    const limits = this.#limits;
    if (cluster === undefined || limits === undefined) return false;
    if (!this.#budget.take(limits, cluster.stats, this.info, this.#host)) return false;
    this.info.upstreamHeaderBytesSent = 0;
    this.#exchange.trace?.attemptOver(this.#exchange.requestHeaders, this.info, status);
    if (this.#exchange.route?.virtualHost.includeTimeoutRetryHeader === true)
      this.#exchange.requestHeaders.setById(H.X_ENVOY_IS_TIMEOUT_RETRY, String(late));
    this.#times.armBackOff(this.#budget.waitMs(response, this.#attempts, this.#env, this.#cluster?.stats));
    return true;
  }

  // --- response ---

  onInformational(head: ResponseHead): void {
    if (!this.#exchange.active || this.#exchange.responseStarted) return;
    this.#informed = true;
    this.#budget.forgo();
    this.#times.touchTry();
    if (!this.#response.informational(head, this.#plan.proxy100Continue)) this.#connection?.pause();
  }

  onHead(head: ResponseHead): void {
    const exchange = this.#exchange;
    if (!exchange.active) return;
    const host = this.#host;
    const cluster = this.#cluster;
    const match = exchange.route;
    if (host === undefined || cluster === undefined || match === undefined) return;
    this.#headCame(head);
    this.#times.disarmTryTotal();
    this.#times.touchTry();
    const status = head.statusCode;
    const switching = changesProtocol(exchange.upgrade, status);
    if (status === 101 && !(switching && keepsToProtocol(exchange.upgrade, head.headers))) {
      // Nobody asked, or for something else: the two sides do not agree on what comes next.
      this.#connection?.abandon();
      this.onReset('protocol');
      return;
    }
    const grpcStatus = exchange.isGrpc ? head.headers.getById(H.GRPC_STATUS) : undefined;
    cluster.responded(host, status, grpcStatus === undefined ? status : replies.httpStatusOf(grpcStatus), head.headers, this.#attemptStart);
    if (this.#budget.wantsStatus(status, head.headers)) {
      if (this.#retry(head.headers, false, status) || this.#slow?.any === true) {
        this.#response.discard(this.#connection, head);
        this.#connection = undefined;
        return;
      }
    } else if (this.#attempts > 1) cluster.stats.rqRetrySuccess.value++;
    this.#accept(head, match, switching);
  }

  #headCame(head: ResponseHead): void {
    this.info.firstUpstreamRxByte = this.#env.clock.wallMs();
    this.info.upstreamHeaderBytesReceived = head.headBytes;
    this.info.upstreamFields = head.headers.count;
    this.#exchange.touch();
  }

  /** What comes back now is the answer. */
  #accept(head: ResponseHead, match: RouteMatch, switching: boolean): void {
    const exchange = this.#exchange;
    const redirects = match.route.internalRedirect;
    if (redirects?.statuses.has(head.statusCode) === true && this.#redirect(head, redirects)) return;
    this.#slow?.release();
    this.#budget.release();
    // Refused: what the client sends behind its head goes nowhere.
    if (exchange.upgrade !== '' && !switching) this.#connection?.endRequest(undefined);
    this.#response.accept(head, match, switching, this.#suppressed ? undefined : this.#times.elapsedMs, this.#attempts, this.#wish.cookies);
    if (switching && this.#connection !== undefined) {
      this.#times.tunnelBegins();
      this.kept.drop();
      this.tunnel.begin(this.#connection);
    }
  }

  /** False: it is the client's to follow. */
  #redirect(head: ResponseHead, plan: InternalRedirectPlan): boolean {
    const exchange = this.#exchange;
    exchange.redirects ??= new InternalRedirects();
    const next = exchange.redirects.follow(exchange, this.#env, plan, this.#cluster?.statName ?? '', head, this.kept);
    if (next === undefined) return false;
    exchange.redirected(head.statusCode, head.headers);
    this.#response.discard(this.#connection, head);
    this.#connection = undefined;
    this.giveUp();
    exchange.beginAgain(next);
    return true;
  }

  onBody(buf: Buffer, start: number, end: number): void {
    if (!this.#exchange.active) return;
    this.#times.touchTry();
    if (!this.#response.body(buf, start, end)) this.#connection?.pause();
  }

  /** The client takes more. */
  onDownstreamDrain(): void {
    if (this.#response.drained()) this.#connection?.resume();
  }

  onTrailers(trailers: HeaderBlock): void {
    if (!this.#exchange.active) return;
    this.#exchange.responseTrailers = trailers;
  }

  onEnd(): void {
    if (!this.#exchange.active) return;
    this.#times.disarmAll();
    this.#response.end();
  }

  onFlush(): void {
    if (!this.#exchange.active || this.#response.flush()) return;
    this.#connection?.abandon();
    this.#connection = undefined;
    this.#down.closeAfterResponse();
    this.#down.next();
  }

  onSettled(): void {
    this.#connection = undefined;
    this.#response.settled();
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
    this.#slow?.release();
  }

  // --- hedging (HedgingAttempts) ---

  get newestRuns(): boolean {
    return this.#connection !== undefined || this.#pool !== undefined || this.#times.backingOff;
  }

  isRetriable(head: ResponseHead): boolean {
    return this.#budget.wantsStatus(head.statusCode, head.headers);
  }

  hedgeWon(host: Host, connection: UpstreamStream, head: ResponseHead): void {
    const match = this.#exchange.route;
    if (match === undefined) return;
    this.#times.disarmAttempt();
    this.giveUp();
    this.#host = host;
    this.#connection = connection;
    connection.handOver(this);
    describeHost(this.info, host);
    describeConnected(this.info, connection);
    this.#headCame(head);
    this.#accept(head, match, false);
  }

  hedgesLost(): void {
    this.#answer(replies.upstreamReset('connection_termination', '', true, this.#informed));
  }

  // --- time (TimedAttempts) ---

  backOffOver(): void {
    if (this.#exchange.active) this.#pick();
  }

  routeTimedOut(): void {
    if (!this.#exchange.active) return;
    if (this.#cluster !== undefined) this.#cluster.stats.rqTimeout.value++;
    if (this.#host !== undefined && this.#connection !== undefined) this.#cluster?.failed(this.#host, 'timeout');
    this.#answer(this.#times.timedOut(replies.RESPONSE_TIMEOUT));
  }

  tryTimedOut(idle: boolean): void {
    const exchange = this.#exchange;
    if (!exchange.active || (exchange.responseStarted && !idle)) return;
    const host = this.#host;
    const reply = this.#times.timedOut(idle ? replies.PER_TRY_IDLE_TIMEOUT : replies.PER_TRY_TIMEOUT);
    if (exchange.responseStarted) {
      exchange.cutResponse(reply.flag, reply.details);
      return;
    }
    if (host !== undefined) this.#cluster?.failed(host, 'timeout');
    if (this.#times.hedging) {
      this.#hedge(host);
      return;
    }
    if (this.#cluster !== undefined) this.#cluster.stats.rqPerTryTimeout.value++;
    this.#times.disarmTry();
    this.giveUp();
    if (!(this.#budget.wantsReset('per-try-timeout', this.info) && this.#retry(undefined, true))) this.#answer(reply);
  }

  /** The attempt goes on, and another one beside it when there may be one. */
  #hedge(host: Host | undefined): void {
    const connection = this.#connection;
    this.#times.disarmTry();
    if (connection === undefined || host === undefined || this.#budget.plan === undefined || !this.#retry(undefined, true)) return;
    this.#connection = undefined;
    this.#slow ??= new SlowAttempts(this);
    this.#slow.add(host, connection, this.#cluster);
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
      if (this.#budget.wantsReset('reset', this.info) && this.#retry(undefined, false)) return;
    }
    this.#answer(replies.UPSTREAM_MAX_DURATION);
  }
}
