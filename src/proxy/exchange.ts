// One HTTP exchange after another on one downstream connection: admit → route → request filters → (its Attempts: pick → connect →
// forward) → response filters → done. The object and everything it holds are reused; every exit passes through done().
// It speaks to the client through the DownstreamHttp1 that owns it and knows nothing of upstream connections.

import { applyHeaderOps } from '../plan/header-ops.ts';
import { normalizedPath } from '../plan/path.ts';
import type { RequestView } from '../plan/request-view.ts';
import { FLAG, type ResponseFlag } from '../plan/response-flag.ts';
import { redirectLocation } from '../plan/rewrite.ts';
import { matchRoute, type RouteMatch } from '../plan/route.ts';
import { StreamInfo } from '../plan/stream-info.ts';
import { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import { removeHopByHop } from '../wire/hop-by-hop.ts';
import type { Http1Parser } from '../wire/http1-parser.ts';
import { Attempts } from './attempts.ts';
import { mutateClientCertHeader } from './client-cert-header.ts';
import type { ClusterRuntime } from './cluster-runtime.ts';
import { addressText, type DownstreamFacts, describeConnection } from './connection-facts.ts';
import type { DownstreamHttp1 } from './downstream-http1.ts';
import { stripPort } from './forward-request.ts';
import type { HcmPlan } from './hcm-plan.ts';
import type { FilterExchange, FilterVerdict } from './http-filter.ts';
import * as replies from './local-reply.ts';
import type { ListenerContext } from './observer.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { mutateRequestHeaders } from './request-headers.ts';
import { TimerSet } from './timer-set.ts';

const STREAM_IDLE = 0;
const DELAY = 1; // a filter's
const MAX_DURATION = 2;
const REQUEST_TIMEOUT = 3;

export class Exchange implements FilterExchange, RequestView {
  readonly info = new StreamInfo();
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #down: DownstreamHttp1;
  readonly #facts: DownstreamFacts;
  readonly #attempts: Attempts;
  readonly #timers: TimerSet;
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
  requestChunked = false;
  requestEnded = false;
  upgrade = '';
  isGrpc = false;
  #filterAt = 0;
  #cluster: ClusterRuntime | undefined;
  #idleTimeoutMs = 0;
  // Response.
  #responseHeaders: HeaderBlock | undefined;
  responseTrailers: HeaderBlock | undefined;
  responseStarted = false;
  responseEnded = false;
  responseChunked = false;
  #start = 0;

  constructor(env: ProxyEnvironment, plan: HcmPlan, down: DownstreamHttp1, facts: DownstreamFacts) {
    this.#env = env;
    this.#plan = plan;
    this.#down = down;
    this.#facts = facts;
    this.#timers = new TimerSet(env.wheel, this);
    this.#attempts = new Attempts(env, plan, down, facts, this);
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
      this.upgrade = parser.method === 'CONNECT' ? 'connect' : (headers.getById(H.UPGRADE) ?? '').toLowerCase();
    }
    removeHopByHop(headers, this.upgrade !== '');
    this.authority = stripPort(plan, this.authority, this.#facts.localPort);
    info.authority = this.authority;
    info.method = this.method;
    info.path = this.path;
    if (this.authority === '' && plan.defaultHostForHttp10 !== '') this.authority = plan.defaultHostForHttp10;
    if (this.authority === '') {
      this.reply({ status: 400, body: '', details: 'missing_host_header', flag: undefined });
      return;
    }
    if (this.path !== '' && !this.path.startsWith('/')) {
      this.reply({ status: 404, body: '', details: 'absolute_path_rejected', flag: undefined });
      return;
    }
    const path = this.path === '' ? '' : normalizedPath(plan.pathPolicy, this.path);
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
    this.isGrpc = (headers.getById(H.CONTENT_TYPE) ?? '').startsWith('application/grpc');
    this.#idleTimeoutMs = plan.streamIdleTimeoutMs;
    if (plan.requestTimeoutMs > 0) this.#timers.arm(REQUEST_TIMEOUT, plan.requestTimeoutMs);
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
    if (this.#idleTimeoutMs > 0) this.#timers.arm(STREAM_IDLE, this.#idleTimeoutMs);
    const duration = match.route.maxStreamDurationMs ?? plan.maxStreamDurationMs;
    if (duration > 0) this.#timers.arm(MAX_DURATION, duration);
    this.#decorate(match);
    if (match.clusterName !== '') {
      this.#cluster = this.#env.cluster(match.clusterName);
      info.clusterMetadata = this.#cluster?.config.metadata;
    }
    if (this.upgrade !== '' && !this.#upgradeAllowed(match)) {
      this.reply(replies.UPGRADE_FAILED);
      return;
    }
    this.#filterAt = 0;
    this.#filters();
  }

  #upgradeAllowed(match: RouteMatch): boolean {
    return match.route.upgrades.get(this.upgrade) ?? this.#plan.upgrades.get(this.upgrade) ?? false;
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
    this.#act();
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
      this.#timers.arm(DELAY, verdict.delayMs);
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

  #afterDelay(): void {
    const filter = this.#plan.filters[this.#filterAt - 1];
    const own = filter === undefined ? undefined : this.#perRoute(filter.name);
    if (filter?.filter.afterDelay !== undefined && !this.#obey(filter.filter.afterDelay(this, own?.value))) return;
    this.#filters();
  }

  // --- act ---

  #act(): void {
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
    this.#attempts.start(match, this.#cluster);
  }

  // --- the request as it is read ---

  onRequestBody(buf: Buffer, start: number, end: number): void {
    this.#attempts.onRequestBody(buf, start, end);
  }

  onRequestTrailers(trailers: HeaderBlock): void {
    this.#attempts.onRequestTrailers(trailers);
  }

  onRequestEnd(): void {
    this.requestEnded = true;
    if (!this.active) return;
    this.info.lastDownstreamRxByte = this.#now();
    this.#timers.disarm(REQUEST_TIMEOUT);
    this.#attempts.onRequestEnd();
  }

  /** The downstream connection has handed on all it read. */
  flushRequest(): void {
    this.#attempts.flushRequest();
  }

  /** The client takes more. */
  onDownstreamDrain(): void {
    this.#attempts.onDownstreamDrain();
  }

  fromDownstreamTunnel(buf: Buffer): void {
    this.#attempts.fromDownstreamTunnel(buf);
  }

  downstreamTunnelEnd(): void {
    this.#attempts.downstreamTunnelEnd();
  }

  // --- response ---

  /** Response filters, then the head to the client. */
  respond(headers: HeaderBlock, status: number, reason: string, streamed: boolean, hasBody: boolean): void {
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
    this.responseStarted = true;
    this.info.firstDownstreamTxByte = this.#now();
    this.responseChunked = this.#down.writeHead(status, reason, headers, streamed, hasBody, this.requestEnded || this.upgrade !== '');
  }

  // --- local replies ---

  /** Answers by itself; whatever ran upstream is given up. A response that has begun is cut instead: a second head would be read as its body. */
  reply(reply: replies.LocalReply, extra: readonly (readonly [string, string])[] = []): void {
    if (this.responseStarted) {
      this.cutResponse(reply.flag, reply.details);
      return;
    }
    if (reply.flag !== undefined) this.info.setFlag(reply.flag);
    this.info.responseCodeDetails = reply.details;
    this.#attempts.giveUp();
    const headers = this.#replyHeaders;
    headers.clear();
    const sent = this.isGrpc ? replies.grpcHead(headers, reply) : replies.plainHead(headers, reply);
    for (const [name, value] of extra) headers.set(name, value);
    this.#sendLocal(headers, sent.status, Buffer.from(sent.body));
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
    // As Envoy: what was created, or where it went, is what was asked for.
    if (status === 201 || (status >= 300 && status < 400)) headers.add('location', `${this.scheme}://${this.authority}${this.path}`);
    this.info.responseCodeDetails = 'direct_response';
    if (match.requestHeaderOps.length > 0) applyHeaderOps(match.requestHeaderOps, this.requestHeaders, this.info, this.requestHeaders);
    if (match.responseHeaderOps.length > 0) applyHeaderOps(match.responseHeaderOps, headers, this.info, this.requestHeaders, headers);
    this.#sendLocal(headers, status, body);
  }

  #sendLocal(headers: HeaderBlock, status: number, body: Buffer): void {
    const info = this.info;
    info.responseCode = status;
    // 400 says that the two sides do not read the stream alike.
    if (status === 400 || (!this.requestEnded && (this.upgrade !== '' || this.#requestHasBody()))) this.#down.closeAfterResponse();
    const hasBody = body.length > 0 && this.method !== 'HEAD';
    this.respond(headers, status, '', false, hasBody);
    if (hasBody) {
      info.bytesSent += body.length;
      this.#down.writeBody(body, 0, body.length, false);
    }
    this.responseEnded = true;
    this.#down.endBody(false, undefined);
    this.#down.flush();
    this.done();
    this.#down.next();
  }

  #requestHasBody(): boolean {
    return this.requestChunked || this.#down.requestLength > 0;
  }

  /** The response had begun: all that is left is to cut it short. */
  cutResponse(flag: ResponseFlag | undefined, details: string): void {
    if (flag !== undefined) this.info.setFlag(flag);
    this.info.responseCodeDetails = details;
    this.#attempts.giveUp();
    this.#down.flush();
    this.done();
    this.#down.closeNow();
  }

  /** The client went away. */
  downstreamGone(): void {
    if (!this.active) return;
    this.info.setFlag(FLAG.DC);
    if (!this.responseStarted) this.info.responseCode = 0;
    this.info.responseCodeDetails = 'downstream_remote_disconnect';
    this.#attempts.giveUp();
    this.done();
  }

  // --- done ---

  done(): void {
    if (!this.active) return;
    this.active = false;
    this.#timers.disarmAll();
    this.#attempts.end();
    const info = this.info;
    const end = this.#now();
    info.endTime = end;
    info.lastDownstreamTxByte = end;
    this.#env.observer.httpDone(info, this.requestHeaders, this.#responseHeaders, this.responseTrailers, this.#plan.context);
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
    this.requestChunked = parser.bodyKind === 'chunked';
    this.requestEnded = parser.bodyKind === 'none' && !parser.upgrade && parser.method !== 'CONNECT';
    this.upgrade = '';
    this.isGrpc = false;
    this.#cluster = undefined;
    this.#attempts.reset();
    this.#responseHeaders = undefined;
    this.responseTrailers = undefined;
    this.responseStarted = false;
    this.responseEnded = false;
    this.#decorated = false;
    this.#start = this.#now();
    info.startTime = this.#start;
    info.protocol = parser.versionMinor === 0 ? 'HTTP/1.0' : 'HTTP/1.1';
    info.requestHeadersBytes = parser.headBytes;
    if (this.requestEnded) info.lastDownstreamRxByte = this.#start;
  }

  // --- time ---

  onTimer(kind: number): void {
    if (!this.active) return;
    switch (kind) {
      case DELAY:
        this.#afterDelay();
        return;
      case REQUEST_TIMEOUT:
        this.#down.closeAfterResponse();
        this.reply(replies.REQUEST_TIMEOUT);
        return;
      case STREAM_IDLE:
        this.reply(this.requestEnded ? replies.STREAM_IDLE_RESPONSE : replies.STREAM_IDLE_REQUEST);
        return;
      case MAX_DURATION:
        this.reply(this.requestEnded ? replies.MAX_DURATION_RESPONSE : replies.MAX_DURATION_REQUEST);
        return;
      default:
    }
  }

  /** Something moved: the idle timeout begins anew. */
  touch(): void {
    if (this.#idleTimeoutMs > 0) this.#timers.arm(STREAM_IDLE, this.#idleTimeoutMs);
  }

  #now(): number {
    return this.#env.clock.wallMs();
  }
}

const EMPTY = Buffer.alloc(0);
