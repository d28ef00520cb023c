// One HTTP exchange after another on one downstream connection: admit → route → request filters → pick → connect → forward →
// response filters → done. The object and everything it holds are reused; every exit passes through #done.
// It speaks to the client through the DownstreamHttp1 that owns it and to the upstream as the UpstreamClient of a pooled connection.

import { applyHeaderOps } from '../plan/header-ops.ts';
import { normalizedPath } from '../plan/path.ts';
import type { RequestView } from '../plan/request-view.ts';
import { FLAG, type ResponseFlag } from '../plan/response-flag.ts';
import { mayRetryRequest, type ResetKind, retryBackOffMs, shouldRetryReset, shouldRetryStatus } from '../plan/retry.ts';
import { redirectLocation, rewrittenHost, rewrittenPath } from '../plan/rewrite.ts';
import { matchRoute, type RouteMatch } from '../plan/route.ts';
import { StreamInfo } from '../plan/stream-info.ts';
import { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import { removeHopByHop } from '../wire/hop-by-hop.ts';
import type { Http1Parser } from '../wire/http1-parser.ts';
import type { ResourceLimits } from './circuit-breaker.ts';
import { mutateClientCertHeader } from './client-cert-header.ts';
import type { ClusterRuntime } from './cluster-runtime.ts';
import { addressText, type DownstreamFacts, describeConnection } from './connection-facts.ts';
import type { DownstreamHttp1 } from './downstream-http1.ts';
import { requestTimeouts, stripPort, upstreamHead } from './forward-request.ts';
import type { HcmPlan } from './hcm-plan.ts';
import type { Host } from './host.ts';
import type { FilterExchange, FilterVerdict } from './http-filter.ts';
import { BUFFER_BYTES } from './limits.ts';
import * as replies from './local-reply.ts';
import { mirrorRequest } from './mirror.ts';
import type { ListenerContext } from './observer.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { requestHash } from './request-hash.ts';
import { mutateRequestHeaders } from './request-headers.ts';
import { WheelTimer } from './timer-wheel.ts';
import type { UpstreamClient, UpstreamHttp1 } from './upstream-http1.ts';
import type { Http1Pool } from './upstream-pool.ts';
import { PLAIN_VARIANT, type TransportVariant } from './upstream-transport.ts';

const ROUTE_TIMEOUT = 0;
const TRY_TIMEOUT = 1;
const STREAM_IDLE = 2;
const WAIT = 3; // fault delay or retry back-off
const MAX_DURATION = 4;
const REQUEST_TIMEOUT = 5;

export class Exchange implements UpstreamClient, FilterExchange, RequestView {
  readonly info = new StreamInfo();
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #down: DownstreamHttp1;
  readonly #facts: DownstreamFacts;
  readonly #timers: WheelTimer[] = [];
  readonly #certCache: { text: string | undefined } = { text: undefined };
  readonly #replyHeaders = new HeaderBlock();
  // Request.
  method = '';
  path = '';
  authority = '';
  scheme = '';
  requestHeaders: HeaderBlock = this.#replyHeaders;
  route: RouteMatch | undefined;
  upstreamAlpn: readonly string[] | undefined;
  sourceIp = '';
  internal = false;
  active = false;
  #requestChunked = false;
  #requestEnded = false;
  #upgrade = '';
  #isGrpc = false;
  #body: Buffer[] = [];
  #bodyBytes = 0;
  #keepBody = false;
  #trailers: HeaderBlock | undefined;
  #filterAt = 0;
  // Upstream.
  #cluster: ClusterRuntime | undefined;
  #limits: ResourceLimits | undefined;
  #pool: Http1Pool | undefined;
  #host: Host | undefined;
  #connection: UpstreamHttp1 | undefined;
  #attempts = 0;
  #retriesLeft = 0;
  #retryHeld = false;
  #tried: Host[] = [];
  #attemptStart = 0;
  #tryTimeoutMs = 0;
  #routeTimeoutMs = 0;
  #idleTimeoutMs = 0;
  #discarding = false;
  // Response.
  #responseHeaders: HeaderBlock | undefined;
  #responseTrailers: HeaderBlock | undefined;
  #responseStarted = false;
  #responseEnded = false;
  #responseChunked = false;
  #tunnel = false;
  #start = 0;

  constructor(env: ProxyEnvironment, plan: HcmPlan, down: DownstreamHttp1, facts: DownstreamFacts) {
    this.#env = env;
    this.#plan = plan;
    this.#down = down;
    this.#facts = facts;
  }

  get headers(): HeaderBlock {
    return this.requestHeaders;
  }
  get context(): ListenerContext {
    return this.#plan.context;
  }
  get tls(): { readonly presented: boolean; readonly validated: boolean } | undefined {
    const facts = this.#facts.tls;
    return facts === undefined ? undefined : { presented: facts.peer !== undefined, validated: facts.validated };
  }
  random(): number {
    return this.#env.random();
  }

  // --- admit ---

  begin(parser: Http1Parser): void {
    this.#reset(parser);
    const headers = this.requestHeaders;
    const plan = this.#plan;
    const info = this.info;
    if (parser.method === 'CONNECT' || parser.upgrade) {
      this.#upgrade = parser.method === 'CONNECT' ? 'connect' : (headers.getById(H.UPGRADE) ?? '').toLowerCase();
    }
    removeHopByHop(headers, this.#upgrade !== '');
    this.authority = stripPort(plan, this.authority, this.#facts.localPort);
    info.authority = this.authority;
    info.method = this.method;
    info.path = this.path;
    if (this.authority === '' && plan.defaultHostForHttp10 !== '') this.authority = plan.defaultHostForHttp10;
    if (this.authority === '') {
      this.reply({ status: 400, body: '', details: 'missing_host_header', flag: undefined });
      return;
    }
    if (this.path !== '' && !this.path.startsWith('/') && this.path !== '*') {
      this.reply({ status: 404, body: '', details: 'absolute_path_rejected', flag: undefined });
      return;
    }
    const path = this.path === '' || this.path === '*' ? this.path : normalizedPath(plan.pathPolicy, this.path);
    if (typeof path !== 'string') {
      if (path.kind === 'reject') {
        this.reply(replies.PATH_REFUSED);
        return;
      }
      this.#redirect(307, path.path, 'path_normalization_failed');
      return;
    }
    this.path = path;
    info.path = path;
    const client = mutateRequestHeaders(
      plan,
      this.#down.internalRanges,
      headers,
      this.#facts.remoteIp,
      this.#facts.tls !== undefined,
      this.#facts.localPort,
      this.#env.ownAddress,
    );
    this.sourceIp = client.ip;
    this.internal = client.internal;
    if (client.fromHeader) info.downstreamRemoteAddress = addressText(client.ip, 0);
    mutateClientCertHeader(plan, headers, this.#facts.tls !== undefined, this.#facts.tls?.peer, this.#facts.localUri, this.#certCache);
    this.scheme = plan.schemeOverwrite !== '' ? plan.schemeOverwrite : (headers.getById(H.X_FORWARDED_PROTO) ?? 'http');
    info.scheme = this.scheme;
    info.streamId = headers.getById(H.X_REQUEST_ID) ?? '';
    this.#isGrpc = (headers.getById(H.CONTENT_TYPE) ?? '').startsWith('application/grpc');
    this.#idleTimeoutMs = plan.streamIdleTimeoutMs;
    if (plan.requestTimeoutMs > 0) this.#arm(REQUEST_TIMEOUT, plan.requestTimeoutMs);
    this.#route();
  }

  // --- route ---

  #route(): void {
    const plan = this.#plan;
    const table = plan.routes.plan;
    const match = table === undefined ? undefined : matchRoute(table, this, this.#env.random);
    if (match === undefined || match.kind !== 'route') {
      this.reply(replies.NO_ROUTE);
      return;
    }
    this.route = match;
    const info = this.info;
    info.routeName = match.route.name;
    info.virtualHostName = match.virtualHost.name;
    info.routeMetadata = match.route.metadata;
    if (match.route.idleTimeoutMs !== undefined) this.#idleTimeoutMs = match.route.idleTimeoutMs;
    if (this.#idleTimeoutMs > 0) this.#arm(STREAM_IDLE, this.#idleTimeoutMs);
    const duration = match.route.maxStreamDurationMs ?? plan.maxStreamDurationMs;
    if (duration > 0) this.#arm(MAX_DURATION, duration);
    this.#decorate(match);
    if (match.clusterName !== '') {
      this.#cluster = this.#env.cluster(match.clusterName);
      info.clusterMetadata = this.#cluster?.config.metadata;
    }
    if (this.#upgrade !== '' && !this.#upgradeAllowed(match)) {
      this.reply(replies.UPGRADE_FAILED);
      return;
    }
    this.#filterAt = 0;
    this.#filters();
  }

  #upgradeAllowed(match: RouteMatch): boolean {
    return match.route.upgrades.get(this.#upgrade) ?? this.#plan.upgrades.get(this.#upgrade) ?? false;
  }

  // The operation name travels to whoever makes the next span.
  #decorate(match: RouteMatch): void {
    if (this.#plan.tracing === 'egress') {
      if (match.route.decorator !== undefined && match.route.decorator !== '')
        this.requestHeaders.setById(H.X_ENVOY_DECORATOR_OPERATION, match.route.decorator);
    } else if (this.#plan.tracing === 'ingress') this.#decorated = this.requestHeaders.removeById(H.X_ENVOY_DECORATOR_OPERATION) > 0;
  }
  #decorated = false;

  // --- request filters ---

  #filters(): void {
    const filters = this.#plan.filters;
    while (this.#filterAt < filters.length) {
      const at = this.#filterAt++;
      const filter = filters[at];
      if (filter?.filter.onRequest === undefined) continue;
      const own = this.#perRoute(filter.name);
      if (own?.disabled === true || (filter.disabled && own === undefined)) continue;
      if (!this.#obey(filter.filter.onRequest(this, own?.value))) return;
      if (!this.active) return;
    }
    this.#forward();
  }

  #perRoute(name: string) {
    const overrides = this.route?.typedPerFilterConfig;
    if (overrides === undefined || overrides.size === 0) return undefined;
    const config = overrides.get(name);
    return config === undefined ? undefined : this.#env.filters.perRoute(config);
  }

  /** False: the filter took over. */
  #obey(verdict: FilterVerdict): boolean {
    if (verdict === undefined) return true;
    if (verdict.flag !== undefined) this.info.setFlag(verdict.flag);
    if (verdict.kind === 'delay') {
      this.#arm(WAIT, verdict.delayMs);
      return false;
    }
    this.reply(
      {
        status: verdict.status,
        body: verdict.body,
        details: verdict.details,
        flag: undefined,
        ...(verdict.grpcStatus !== undefined ? { grpcStatus: verdict.grpcStatus } : {}),
      },
      verdict.headers,
    );
    return false;
  }

  #afterWait(): void {
    if (this.#attempts > 0) {
      this.#pick();
      return;
    }
    const filter = this.#plan.filters[this.#filterAt - 1];
    const own = filter === undefined ? undefined : this.#perRoute(filter.name);
    if (filter?.filter.afterDelay !== undefined && !this.#obey(filter.filter.afterDelay(this, own?.value))) return;
    this.#filters();
  }

  // --- the router ---

  #forward(): void {
    const match = this.route;
    if (match === undefined) {
      this.reply(replies.NO_ROUTE);
      return;
    }
    const route = match.route;
    if (route.action === 'redirect') {
      this.#redirect(route.redirect?.status ?? 301, redirectLocation(match, this), 'direct_response', match);
      return;
    }
    if (route.action === 'direct' || route.action === 'non-forwarding') {
      this.#direct(match);
      return;
    }
    const cluster = this.#cluster;
    this.info.upstreamClusterRaw = match.clusterName;
    if (cluster === undefined) {
      this.reply(replies.clusterNotFound(route.clusterNotFoundStatus));
      return;
    }
    this.info.upstreamCluster = cluster.statName;
    this.#limits = route.priority === 'high' ? cluster.breakers.high : cluster.breakers.default;
    const timeouts = requestTimeouts(route, this.requestHeaders, this.#isGrpc);
    this.#routeTimeoutMs = this.#upgrade !== '' ? 0 : timeouts.routeMs;
    this.#tryTimeoutMs = timeouts.tryMs;
    this.#retriesLeft =
      this.#upgrade !== '' || route.retry === undefined || !mayRetryRequest(route.retry, this) ? 0 : route.retry.numRetries;
    this.#keepBody = this.#retriesLeft > 0 || route.mirrors.length > 0;
    this.#finalizeRequest(match, timeouts.expectedMs);
    if (this.#requestEnded) this.#armRouteTimeout();
    this.#pick();
  }

  #finalizeRequest(match: RouteMatch, expectedMs: number): void {
    const headers = this.requestHeaders;
    if (expectedMs > 0 && !this.#plan.suppressEnvoyHeaders) headers.setById(H.X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, String(expectedMs));
    if (match.requestHeaderOps.length > 0) {
      headers.setById(H.HOST, this.authority);
      applyHeaderOps(match.requestHeaderOps, headers, this.info, headers);
      // A mutation of host is a rewrite of the authority.
      this.authority = headers.getById(H.HOST) ?? this.authority;
    }
    const path = rewrittenPath(match, this);
    if (path !== this.path) {
      if (!this.#plan.suppressEnvoyHeaders) headers.setById(H.X_ENVOY_ORIGINAL_PATH, this.path);
      this.path = path;
    }
    this.info.path = this.path;
    this.#rewriteHost(match, undefined);
  }

  #rewriteHost(match: RouteMatch, hostname: string | undefined): void {
    const host = rewrittenHost(match, this, hostname);
    if (host === undefined || host === this.authority) return;
    if (match.route.appendXForwardedHost) this.requestHeaders.setById(H.X_FORWARDED_HOST, this.authority);
    if (!this.#plan.suppressEnvoyHeaders && !this.requestHeaders.hasId(H.X_ENVOY_ORIGINAL_HOST))
      this.requestHeaders.setById(H.X_ENVOY_ORIGINAL_HOST, this.authority);
    this.authority = host;
    this.info.authority = host;
  }

  // --- pick ---

  #pick(): void {
    const cluster = this.#cluster;
    const match = this.route;
    const limits = this.#limits;
    if (cluster === undefined || match === undefined || limits === undefined) {
      this.reply(replies.INTERNAL_ERROR);
      return;
    }
    const host = this.#chooseHost(cluster, match);
    if (host === undefined) {
      this.reply(replies.NO_HEALTHY_UPSTREAM);
      return;
    }
    this.#attempts++;
    this.#host = host;
    const info = this.info;
    info.upstreamRequestAttemptCount = this.#attempts;
    info.upstreamHost = host.address;
    info.upstreamHostName = host.hostname;
    info.upstreamHostMetadata = host.metadata as typeof info.upstreamHostMetadata;
    info.upstreamHostsAttempted.push(host.address);
    info.upstreamTransportFailureReason = '';
    if (match.route.autoHostRewrite) this.#rewriteHost(match, host.hostname !== '' ? host.hostname : undefined);
    if (match.virtualHost.includeRequestAttemptCount) this.requestHeaders.setById(H.X_ENVOY_ATTEMPT_COUNT, String(this.#attempts));
    this.#attemptStart = this.#env.clock.monotonicMs();
    if (this.#attempts === 1 && match.route.mirrors.length > 0) this.#mirror(match);
    const pool = cluster.pool(host, this.#variant(cluster));
    this.#pool = pool;
    if (this.#requestEnded) this.#armTryTimeout();
    const outcome = pool.acquire(this, limits);
    if (outcome === 'overflow') {
      this.#pool = undefined;
      this.#upstreamLost('overflow', '', 'overflow');
    }
  }

  #chooseHost(cluster: ClusterRuntime, match: RouteMatch): Host | undefined {
    const request = {
      originalDestination: this.#facts.originalDestination,
      hash: match.route.hashPolicy.length === 0 ? undefined : requestHash(match.route.hashPolicy, this),
    };
    let host = cluster.pick(request);
    const retry = match.route.retry;
    if (this.#tried.length > 0 && retry?.avoidPreviousHosts === true)
      for (let draw = 0; draw < retry.hostSelectionMaxAttempts && host !== undefined && this.#tried.includes(host); draw++)
        host = cluster.pick(request);
    return host;
  }

  #variant(cluster: ClusterRuntime): TransportVariant {
    if (!cluster.hasVariants) return PLAIN_VARIANT;
    const { autoSni, autoSanValidation } = cluster.protocol;
    const alpn = this.upstreamAlpn;
    if (alpn === undefined && !autoSni && !autoSanValidation) return PLAIN_VARIANT;
    const name = autoSni || autoSanValidation ? stripAnyPort(this.authority) : '';
    return {
      key: `${alpn?.join() ?? ''}|${name}`,
      alpn,
      sni: autoSni ? name : undefined,
      serverName: autoSanValidation ? name : undefined,
    };
  }

  #mirror(match: RouteMatch): void {
    for (const mirror of match.route.mirrors) {
      if (mirror.probability < 1 && this.#env.random() >= mirror.probability) continue;
      const name = mirror.clusterHeader !== '' ? (this.requestHeaders.get(mirror.clusterHeader.toLowerCase()) ?? '') : mirror.clusterName;
      const cluster = this.#env.cluster(name);
      if (cluster === undefined) continue;
      const copy = mirrorRequest(this.#env, cluster, this, this.#facts, mirror.appendShadowSuffix, this.#requestChunked);
      if (copy === undefined) continue;
      this.#mirrors.push(copy);
      for (const piece of this.#body) copy.body(piece);
      if (this.#requestEnded) copy.end();
    }
  }
  #mirrors: NonNullable<ReturnType<typeof mirrorRequest>>[] = [];

  // --- connect, forward (UpstreamClient) ---

  onReady(connection: UpstreamHttp1): void {
    this.#pool = undefined;
    this.#connection = connection;
    const info = this.info;
    info.upstreamLocalAddress = connection.localAddress;
    info.upstreamConnectionId = connection.id;
    info.upstreamTls = connection.tls;
    info.upstreamProtocol = 'HTTP/1.1';
    info.upstreamConnectStart = connection.connectStartMs;
    info.upstreamConnectComplete = connection.connectedMs;
    info.firstUpstreamTxByte = this.#now();
    const head = upstreamHead(this.#env.requestWriter, this, this.#upgrade, this.#requestChunked);
    info.upstreamHeaderBytesSent = head.length;
    connection.writeHead(this.method, head, this.#requestChunked);
    for (const piece of this.#body) {
      if (!connection.writeBody(piece, 0, piece.length)) this.#down.pauseReading();
    }
    if (!this.#keepBody) this.#body.length = 0;
    if (this.#requestEnded) {
      connection.endRequest(this.#trailers);
      info.lastUpstreamTxByte = this.#now();
    } else {
      this.#down.resumeReading();
      if (!this.#down.reading) connection.flush();
    }
  }

  onRequestBody(buf: Buffer, start: number, end: number): void {
    this.info.bytesReceived += end - start;
    this.#touch();
    if (!this.active || this.#responseEnded) return;
    for (const mirror of this.#mirrors) mirror.body(buf.subarray(start, end));
    const connection = this.#connection;
    if (connection !== undefined) {
      if (!connection.writeBody(buf, start, end)) this.#down.pauseReading();
      if (!this.#keepBody) return;
    }
    this.#bodyBytes += end - start;
    const limit = this.route?.route.bufferLimitBytes ?? BUFFER_BYTES;
    if (this.#bodyBytes > limit && connection !== undefined) {
      // Too much to send a second time.
      this.#keepBody = false;
      this.#retriesLeft = 0;
      this.#body.length = 0;
      return;
    }
    this.#body.push(buf.subarray(start, end));
    if (connection === undefined && this.#bodyBytes > limit) this.#down.pauseReading();
  }

  onRequestTrailers(trailers: HeaderBlock): void {
    if (this.#plan.enableTrailers) this.#trailers = trailers;
  }

  onRequestEnd(): void {
    this.#requestEnded = true;
    if (!this.active) return;
    this.info.lastDownstreamRxByte = this.#now();
    this.#disarm(REQUEST_TIMEOUT);
    if (this.#cluster !== undefined && this.#attempts > 0) {
      this.#armRouteTimeout();
      this.#armTryTimeout();
    }
    for (const mirror of this.#mirrors) mirror.end();
    const connection = this.#connection;
    if (connection !== undefined) {
      connection.endRequest(this.#trailers);
      this.info.lastUpstreamTxByte = this.#now();
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

  onReset(kind: 'termination' | 'protocol', reason: string): void {
    this.#connection = undefined;
    if (this.#discarding || !this.active) return;
    const host = this.#host;
    if (host !== undefined) this.#cluster?.failed(host, 'reset');
    if (this.#tunnel) {
      this.#tunnelGone();
      return;
    }
    if (this.#responseStarted) {
      this.#cutResponse(
        kind === 'protocol' ? FLAG.UPE : FLAG.UC,
        `upstream_reset_after_response_started{${kind === 'protocol' ? 'protocol_error' : 'connection_termination'}}`,
      );
      return;
    }
    this.#upstreamLost(
      kind === 'protocol' ? 'protocol_error' : 'connection_termination',
      kind === 'protocol' ? '' : reason === '' ? '' : '',
      'reset',
    );
  }

  #upstreamLost(reason: replies.ResetReason, transport: string, kind: ResetKind): void {
    this.#disarm(TRY_TIMEOUT);
    if (kind !== 'overflow' && this.#retry(this.#wouldRetryReset(kind))) return;
    const headers: [string, string][] = reason === 'overflow' && !this.#plan.suppressEnvoyHeaders ? [['x-envoy-overloaded', 'true']] : [];
    this.reply(replies.upstreamReset(reason, transport, this.#attempts > 1), headers);
  }

  #wouldRetryReset(kind: ResetKind): boolean {
    const retry = this.route?.route.retry;
    return retry !== undefined && shouldRetryReset(retry, kind, this.#connectionUsed());
  }

  #connectionUsed(): boolean {
    return this.info.upstreamHeaderBytesSent > 0;
  }

  /** True when another attempt was begun or is waiting. Sets URX or UO when one was wanted and may not be. */
  #retry(wanted: boolean, backOffMs?: number): boolean {
    const retry = this.route?.route.retry;
    const cluster = this.#cluster;
    const limits = this.#limits;
    if (!wanted || retry === undefined || cluster === undefined || limits === undefined) return false;
    this.#releaseRetry();
    if (this.#retriesLeft <= 0) {
      this.info.setFlag(FLAG.URX);
      cluster.stats.rqRetryLimitExceeded.value++;
      return false;
    }
    if (!limits.mayRetry()) {
      this.info.setFlag(FLAG.UO);
      cluster.stats.rqRetryOverflow.value++;
      return false;
    }
    this.#retriesLeft--;
    limits.retries++;
    this.#retryHeld = true;
    cluster.stats.rqRetry.value++;
    if (this.#host !== undefined) this.#tried.push(this.#host);
    this.info.upstreamHeaderBytesSent = 0;
    this.#arm(WAIT, backOffMs ?? retryBackOffMs(retry, this.#attempts, this.#env.random));
    return true;
  }

  #releaseRetry(): void {
    if (!this.#retryHeld) return;
    this.#retryHeld = false;
    if (this.#limits !== undefined) this.#limits.retries--;
  }

  // --- response ---

  onInformational(parser: Http1Parser): void {
    if (!this.active || this.#responseStarted || this.info.protocol === 'HTTP/1.0') return;
    // 100 was answered here unless the client's Expect went upstream.
    if (parser.statusCode === 100 && !this.#plan.proxy100Continue) return;
    this.#down.writeInformational(parser.statusCode, parser.reason, parser.headers);
  }

  onHead(parser: Http1Parser): void {
    if (!this.active) return;
    const info = this.info;
    const host = this.#host;
    const cluster = this.#cluster;
    const match = this.route;
    if (host === undefined || cluster === undefined || match === undefined) return;
    info.firstUpstreamRxByte = this.#now();
    info.upstreamHeaderBytesReceived = parser.headBytes;
    this.#disarm(TRY_TIMEOUT);
    this.#touch();
    const status = parser.statusCode;
    cluster.responded(host, status);
    const retry = match.route.retry;
    if (retry !== undefined && shouldRetryStatus(retry, status, parser.headers) && this.#retry(true)) {
      this.#discard(parser);
      return;
    }
    if (this.#attempts > 1 && status < 500) cluster.stats.rqRetrySuccess.value++;
    const headers = parser.headers;
    info.responseCode = status;
    info.responseCodeDetails = 'via_upstream';
    const switching = status === 101 && this.#upgrade !== '';
    removeHopByHop(headers, switching);
    if (!this.#plan.suppressEnvoyHeaders) {
      const since = this.#env.clock.monotonicMs() - this.#attemptStart;
      headers.setById(H.X_ENVOY_UPSTREAM_SERVICE_TIME, String(Math.floor(since)));
    }
    if (match.virtualHost.includeAttemptCountInResponse) headers.setById(H.X_ENVOY_ATTEMPT_COUNT, String(this.#attempts));
    if (match.responseHeaderOps.length > 0) applyHeaderOps(match.responseHeaderOps, headers, info, this.requestHeaders, headers);
    if (switching) headers.set('connection', 'upgrade');
    this.#respond(
      headers,
      status,
      parser.reason,
      parser.bodyKind === 'chunked' || parser.bodyKind === 'eof',
      parser.bodyKind !== 'none' || switching,
    );
    if (switching) this.#beginTunnel();
  }

  // The response of an attempt that is retried is read to nowhere when that costs nothing.
  #discard(parser: Http1Parser): void {
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) return;
    if (parser.bodyKind === 'none' && this.#requestEnded) connection.client = DISCARD;
    else connection.abandon();
  }

  /** Response filters, then the head to the client. */
  #respond(headers: HeaderBlock, status: number, reason: string, streamed: boolean, hasBody: boolean): void {
    const filters = this.#plan.filters;
    for (let i = filters.length - 1; i >= 0; i--) {
      const filter = filters[i];
      if (filter?.filter.onResponse === undefined) continue;
      const own = this.#perRoute(filter.name);
      if (own?.disabled !== true) filter.filter.onResponse(this, headers, own?.value);
    }
    if (this.#plan.tracing === 'egress') headers.removeById(H.X_ENVOY_DECORATOR_OPERATION);
    else if (this.#plan.tracing === 'ingress' && !this.#decorated && (this.route?.route.decorator ?? '') !== '')
      headers.setById(H.X_ENVOY_DECORATOR_OPERATION, this.route?.route.decorator ?? '');
    if (this.#plan.alwaysSetRequestIdInResponse) {
      const id = this.requestHeaders.getById(H.X_REQUEST_ID);
      if (id !== undefined) headers.setById(H.X_REQUEST_ID, id);
    }
    this.#responseHeaders = headers;
    this.#responseStarted = true;
    this.info.firstDownstreamTxByte = this.#now();
    this.#responseChunked = this.#down.writeHead(status, reason, headers, streamed, hasBody, this.#requestEnded || this.#upgrade !== '');
  }

  onBody(buf: Buffer, start: number, end: number): void {
    if (!this.active) return;
    this.info.bytesSent += end - start;
    this.#touch();
    if (!this.#down.writeBody(buf, start, end, this.#responseChunked)) this.#connection?.pause();
  }

  /** The client takes more. */
  onDownstreamDrain(): void {
    this.#connection?.resume();
  }

  onTrailers(trailers: HeaderBlock): void {
    if (!this.active) return;
    this.#responseTrailers = trailers;
  }

  onEnd(): void {
    if (!this.active) return;
    this.#responseEnded = true;
    this.info.lastUpstreamRxByte = this.#now();
    this.#down.endBody(this.#responseChunked, this.#plan.enableTrailers ? this.#responseTrailers : undefined);
  }

  onFlush(): void {
    if (!this.active) return;
    this.#down.flush();
    if (!this.#responseEnded) return;
    // An answer before the end of the request: the rest of the request has nowhere to go.
    if (!this.#requestEnded) {
      this.#connection?.abandon();
      this.#connection = undefined;
      this.#down.closeAfterResponse();
      this.#done();
      this.#down.next();
      return;
    }
    this.#done();
  }

  onSettled(): void {
    this.#connection = undefined;
    this.#down.next();
  }

  // --- tunnels ---

  #beginTunnel(): void {
    this.#tunnel = true;
    this.#disarm(ROUTE_TIMEOUT);
    this.#connection?.beginTunnel();
    this.#down.flush();
    this.#down.beginTunnel();
  }

  onTunnelData(buf: Buffer): void {
    this.info.bytesSent += buf.length;
    this.#touch();
    if (!this.#down.tunnelWrite(buf)) this.#connection?.pause();
  }

  onTunnelEnd(): void {
    this.#down.tunnelEnd();
    this.#tunnelHalf();
  }

  fromDownstreamTunnel(buf: Buffer): void {
    this.info.bytesReceived += buf.length;
    this.#touch();
    if (this.#connection?.tunnelWrite(buf) === false) this.#down.pauseReading();
  }

  downstreamTunnelEnd(): void {
    this.#connection?.tunnelEnd();
    this.#tunnelHalf();
  }
  #tunnelHalves = 0;
  #tunnelHalf(): void {
    if (++this.#tunnelHalves === 2) this.#tunnelGone();
  }

  #tunnelGone(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.abandon();
    this.#down.closeNow();
    this.#done();
  }

  // --- local replies ---

  /** Answers by itself; whatever ran upstream is given up. */
  reply(reply: replies.LocalReply, extra: readonly (readonly [string, string])[] = []): void {
    if (reply.flag !== undefined) this.info.setFlag(reply.flag);
    this.info.responseCodeDetails = reply.details;
    this.#giveUpUpstream();
    const headers = this.#replyHeaders;
    headers.clear();
    let { status, body } = reply;
    if (this.#isGrpc || (reply.grpcStatus !== undefined && this.#isGrpc)) {
      headers.add('content-type', 'application/grpc');
      headers.add('grpc-status', String(reply.grpcStatus ?? replies.grpcStatusOf(status)));
      if (body !== '') headers.add('grpc-message', encodeURI(body));
      status = 200;
      body = '';
    } else {
      if (status >= 200 && status !== 204 && status !== 304) headers.add('content-length', String(Buffer.byteLength(body)));
      if (body !== '') headers.add('content-type', 'text/plain');
    }
    for (const [name, value] of extra) headers.set(name, value);
    this.#sendLocal(headers, status, Buffer.from(body));
  }

  #redirect(status: number, location: string, details: string, match?: RouteMatch): void {
    const headers = this.#replyHeaders;
    headers.clear();
    headers.add('location', location);
    headers.add('content-length', '0');
    this.info.responseCodeDetails = details;
    if (match !== undefined && match.responseHeaderOps.length > 0)
      applyHeaderOps(match.responseHeaderOps, headers, this.info, this.requestHeaders, headers);
    this.#sendLocal(headers, status, EMPTY);
  }

  #direct(match: RouteMatch): void {
    const direct = match.route.direct;
    const status = direct?.status ?? 404;
    const body = direct === undefined ? EMPTY : Buffer.from(direct.body);
    const headers = this.#replyHeaders;
    headers.clear();
    if (status !== 204 && status !== 304 && status >= 200) headers.add('content-length', String(body.length));
    if (body.length > 0) headers.add('content-type', 'text/plain');
    this.info.responseCodeDetails = 'direct_response';
    if (match.requestHeaderOps.length > 0) applyHeaderOps(match.requestHeaderOps, this.requestHeaders, this.info, this.requestHeaders);
    if (match.responseHeaderOps.length > 0) applyHeaderOps(match.responseHeaderOps, headers, this.info, this.requestHeaders, headers);
    this.#sendLocal(headers, status, body);
  }

  #sendLocal(headers: HeaderBlock, status: number, body: Buffer): void {
    const info = this.info;
    info.responseCode = status;
    if (!this.#requestEnded && this.#requestHasBody()) this.#down.closeAfterResponse();
    const hasBody = body.length > 0 && this.method !== 'HEAD';
    this.#respond(headers, status, '', false, hasBody);
    if (hasBody) {
      info.bytesSent += body.length;
      this.#down.writeBody(body, 0, body.length, false);
    }
    this.#responseEnded = true;
    this.#down.endBody(false, undefined);
    this.#down.flush();
    this.#done();
    this.#down.next();
  }

  #requestHasBody(): boolean {
    return this.#requestChunked || this.#down.requestLength > 0;
  }

  /** The response had begun: all that is left is to cut it short. */
  #cutResponse(flag: ResponseFlag, details: string): void {
    this.info.setFlag(flag);
    this.info.responseCodeDetails = details;
    this.#giveUpUpstream();
    this.#down.flush();
    this.#done();
    this.#down.closeNow();
  }

  /** The client went away. */
  downstreamGone(): void {
    if (!this.active) return;
    this.info.setFlag(FLAG.DC);
    if (!this.#responseStarted) this.info.responseCode = 0;
    this.info.responseCodeDetails = 'downstream_remote_disconnect';
    this.#giveUpUpstream();
    this.#done();
  }

  #giveUpUpstream(): void {
    this.#pool?.cancel(this);
    this.#pool = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.abandon();
  }

  // --- done ---

  #done(): void {
    if (!this.active) return;
    this.active = false;
    for (const timer of this.#timers) if (timer !== undefined) this.#env.wheel.disarm(timer);
    this.#releaseRetry();
    for (const mirror of this.#mirrors) mirror.end();
    const info = this.info;
    const end = this.#now();
    info.endTime = end;
    info.lastDownstreamTxByte = end;
    this.#env.observer.httpDone(info, this.requestHeaders, this.#responseHeaders, this.#responseTrailers, this.#plan.context);
  }

  #reset(parser: Http1Parser): void {
    const info = this.info;
    info.reset();
    describeConnection(info, this.#facts);
    this.active = true;
    this.method = parser.method;
    this.path = parser.path;
    this.authority = parser.authority;
    this.requestHeaders = parser.headers;
    this.route = undefined;
    this.upstreamAlpn = undefined;
    this.#requestChunked = parser.bodyKind === 'chunked';
    this.#requestEnded = parser.bodyKind === 'none' && !parser.upgrade && parser.method !== 'CONNECT';
    this.#upgrade = '';
    this.#isGrpc = false;
    this.#body.length = 0;
    this.#bodyBytes = 0;
    this.#trailers = undefined;
    this.#cluster = undefined;
    this.#pool = undefined;
    this.#host = undefined;
    this.#connection = undefined;
    this.#attempts = 0;
    this.#retriesLeft = 0;
    this.#tried.length = 0;
    this.#keepBody = false;
    this.#mirrors.length = 0;
    this.#responseHeaders = undefined;
    this.#responseTrailers = undefined;
    this.#responseStarted = false;
    this.#responseEnded = false;
    this.#tunnel = false;
    this.#tunnelHalves = 0;
    this.#decorated = false;
    this.#start = this.#now();
    info.startTime = this.#start;
    info.protocol = parser.versionMinor === 0 ? 'HTTP/1.0' : 'HTTP/1.1';
    info.requestHeadersBytes = parser.headBytes;
    if (this.#requestEnded) info.lastDownstreamRxByte = this.#start;
  }

  // --- time ---

  onTimer(kind: number): void {
    if (!this.active) return;
    switch (kind) {
      case WAIT:
        this.#afterWait();
        return;
      case ROUTE_TIMEOUT:
        this.#timedOut();
        return;
      case TRY_TIMEOUT:
        this.#tryTimedOut();
        return;
      case REQUEST_TIMEOUT:
        this.#down.closeAfterResponse();
        this.reply(replies.REQUEST_TIMEOUT);
        return;
      case STREAM_IDLE:
        if (this.#responseStarted) {
          this.#cutResponse(FLAG.SI, 'stream_idle_timeout');
          return;
        }
        this.reply(this.#requestEnded ? replies.STREAM_IDLE_RESPONSE : replies.STREAM_IDLE_REQUEST);
        return;
      case MAX_DURATION:
        if (this.#responseStarted) {
          this.#cutResponse(FLAG.DT, 'max_duration_timeout');
          return;
        }
        this.reply(this.#requestEnded ? replies.MAX_DURATION_RESPONSE : replies.MAX_DURATION_REQUEST);
        return;
      default:
    }
  }

  #timedOut(): void {
    if (this.#cluster !== undefined) this.#cluster.stats.rqTimeout.value++;
    if (this.#host !== undefined && this.#connection !== undefined) this.#cluster?.failed(this.#host, 'timeout');
    if (this.#responseStarted) {
      this.#cutResponse(FLAG.UT, 'response_timeout');
      return;
    }
    this.reply(replies.RESPONSE_TIMEOUT);
  }

  #tryTimedOut(): void {
    if (this.#responseStarted) return;
    if (this.#cluster !== undefined) this.#cluster.stats.rqPerTryTimeout.value++;
    if (this.#host !== undefined) this.#cluster?.failed(this.#host, 'timeout');
    this.#giveUpUpstream();
    if (this.#retry(this.#wouldRetryReset('per-try-timeout'))) return;
    this.reply(replies.PER_TRY_TIMEOUT);
  }

  #armRouteTimeout(): void {
    if (this.#routeTimeoutMs > 0 && this.#timers[ROUTE_TIMEOUT]?.armed !== true) this.#arm(ROUTE_TIMEOUT, this.#routeTimeoutMs);
  }

  #armTryTimeout(): void {
    if (this.#tryTimeoutMs > 0) this.#arm(TRY_TIMEOUT, this.#tryTimeoutMs);
  }

  #touch(): void {
    if (this.#idleTimeoutMs > 0) this.#arm(STREAM_IDLE, this.#idleTimeoutMs);
  }

  #arm(kind: number, delayMs: number): void {
    let timer = this.#timers[kind];
    if (timer === undefined) {
      timer = new WheelTimer(this, kind);
      this.#timers[kind] = timer;
    }
    this.#env.wheel.arm(timer, delayMs);
  }

  #disarm(kind: number): void {
    const timer = this.#timers[kind];
    if (timer !== undefined) this.#env.wheel.disarm(timer);
  }

  #now(): number {
    return this.#env.clock.wallMs();
  }
}

const EMPTY = Buffer.alloc(0);
const stripAnyPort = (authority: string): string => authority.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');

/** Reads a response to its end and forgets it. */
const DISCARD: UpstreamClient = {
  onReady: () => {},
  onConnectFailure: () => {},
  onInformational: () => {},
  onHead: () => {},
  onBody: () => {},
  onTrailers: () => {},
  onEnd: () => {},
  onFlush: () => {},
  onSettled: () => {},
  onReset: () => {},
  onDrain: () => {},
  onTunnelData: () => {},
  onTunnelEnd: () => {},
};
