// One HTTP exchange after another on one downstream connection: admit → route → request filters → (its Attempts: pick → connect →
// forward) → response filters → done. The object and everything it holds are reused; every exit passes through done().
// It speaks to the client through the DownstreamStream that owns it and knows nothing of upstream connections.

import { GrpcMessages } from '../../plan/grpc-messages.ts';
import { streamDurationMs } from '../../plan/grpc-timeout.ts';
import type { RequestView } from '../../plan/request-view.ts';
import { FLAG, type ResponseFlag } from '../../plan/response-flag.ts';
import { redirectLocation } from '../../plan/rewrite.ts';
import { type HashPolicyPlan, matchRoute, type RouteMatch } from '../../plan/route.ts';
import { isGrpcType } from '../../plan/route-criteria.ts';
import { StreamInfo } from '../../plan/stream-info.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { JsonObject } from '../../xds/gen/types.ts';
import { upstreamProtocol } from '../cluster/cluster-protocol.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import { connectionKey, type DownstreamFacts, describeConnection } from '../connection-facts.ts';
import { type FilteredExchange, FilterRun } from '../filters/filter-run.ts';
import type { FilterExchange, FilterTask, FilterVerdict, HttpFilter, RequestBody } from '../filters/http-filter.ts';
import { PROCESS_FACTS } from '../process-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { TimerSet } from '../timer-set.ts';
import { RequestTrace } from '../tracing/request-trace.ts';
import { Attempts } from './attempts.ts';
import type { DownstreamStream, RequestHead } from './downstream-stream.ts';
import type { HcmPlan } from './hcm-plan.ts';
import type { InternalRedirects } from './internal-redirects.ts';
import { LocalAnswers } from './local-answers.ts';
import * as replies from './local-reply.ts';
import type { ListenerContext } from './observer.ts';
import { Admission } from './request-admission.ts';
import { requestHash } from './request-hash.ts';
import { changesProtocol } from './response-head.ts';
import type { BodyPath } from './response-pace.ts';
import { forgetRoute, tellRoute } from './route-facts.ts';
import type { RouteTable } from './route-table.ts';

const STREAM_IDLE = 0;
const DELAY = 1; // a filter's
const MAX_DURATION = 2;
const REQUEST_TIMEOUT = 3;
const GRPC_REPORT = 4;
/** How often a long call tells the observer of its messages. */
const GRPC_REPORT_MS = 5000;

export class Exchange implements FilteredExchange, RequestView {
  readonly info = new StreamInfo(PROCESS_FACTS);
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #down: DownstreamStream;
  readonly #facts: DownstreamFacts;
  readonly #attempts: Attempts;
  readonly #timers: TimerSet;
  readonly #answers: LocalAnswers;
  /** undefined: the listener traces nothing. */
  readonly trace: RequestTrace | undefined;
  // Request.
  method = '';
  path = '';
  authority = '';
  scheme = '';
  requestHeaders: HeaderBlock = NO_HEADERS;
  route: RouteMatch | undefined;
  upstreamAlpn: readonly string[] | undefined;
  sourceIp = '';
  internal = false;
  active = false;
  requestChunked = false;
  requestEnded = false;
  upgrade = '';
  isGrpc = false;
  readonly #admission: Admission;
  readonly #filters: FilterRun;
  /** The redirects of this request that were followed here; undefined: none. */
  redirects: InternalRedirects | undefined;
  #cluster: ClusterRuntime | undefined;
  #idleTimeoutMs = 0;
  // Response.
  #responseHeaders: HeaderBlock | undefined;
  responseTrailers: HeaderBlock | undefined;
  responseStarted = false;
  responseEnded = false;
  responseChunked = false;
  responsePace: BodyPath | undefined;
  ownAnswer: FilterExchange['ownAnswer'];
  #start = 0;

  constructor(env: ProxyEnvironment, plan: HcmPlan, down: DownstreamStream, facts: DownstreamFacts) {
    this.#env = env;
    this.#plan = plan;
    this.#down = down;
    this.#facts = facts;
    this.#timers = new TimerSet(env.wheel, this);
    this.#filters = new FilterRun(plan, env.filters, this);
    this.#attempts = new Attempts(env, plan, down, facts, this);
    this.#answers = new LocalAnswers(plan, down, this);
    this.#admission = new Admission(env, plan, down);
    this.trace = plan.tracing === undefined ? undefined : new RequestTrace(env, plan.tracing);
  }

  get headers(): HeaderBlock {
    return this.requestHeaders;
  }
  get facts(): DownstreamFacts {
    return this.#facts;
  }
  get dynamicMetadata(): JsonObject {
    return this.info.dynamicMetadata;
  }
  get routes(): RouteTable {
    return this.#plan.routes;
  }
  get context(): ListenerContext {
    return this.#plan.context;
  }
  get tls(): { readonly presented: boolean; readonly validated: boolean } | undefined {
    const facts = this.#facts.tls;
    return facts === undefined ? undefined : { presented: facts.peer !== undefined, validated: facts.validated };
  }
  get upstreamHttp2(): boolean {
    return this.#cluster !== undefined && upstreamProtocol(this.#cluster.protocol, this.info.protocol === 'HTTP/2') !== 'http1';
  }
  hash(policies: readonly HashPolicyPlan[]): bigint | undefined {
    return requestHash(policies, this, connectionKey(this.#facts), NO_COOKIE);
  }
  random(): number {
    return this.#env.random();
  }

  // --- admit ---

  begin(head: RequestHead): void {
    this.redirects = undefined;
    this.#reset(head);
    if (head.method === 'CONNECT' || head.upgrade)
      this.upgrade = head.method === 'CONNECT' ? 'connect' : this.requestHeaders.values('upgrade').join().toLowerCase();
    this.#admit(true);
  }

  #admit(fresh: boolean): void {
    const refused = this.#admission.refuses(this, fresh);
    if (refused !== undefined) {
      if ('status' in refused) this.reply(refused);
      else this.#answers.redirect(307, refused.path, 'path_normalization_failed');
      return;
    }
    this.isGrpc = isGrpcType(this.requestHeaders.getById(H.CONTENT_TYPE));
    if (this.isGrpc) {
      this.info.grpc = new GrpcMessages();
      this.#timers.arm(GRPC_REPORT, this.#plan.context.reportMs ?? GRPC_REPORT_MS);
    }
    if (fresh && this.#plan.requestTimeoutMs > 0) this.#timers.arm(REQUEST_TIMEOUT, this.#plan.requestTimeoutMs);
    this.#route();
  }

  /** The upstream redirects, and its route lets that be followed here: the request is over and told as answered. */
  redirected(status: number, responseHeaders: HeaderBlock): void {
    this.info.responseCode = status;
    this.info.responseCodeDetails = 'internal_redirect';
    this.#responseHeaders = responseHeaders;
    this.done();
  }

  /** Behind redirected(): it begins anew, with the body it had. */
  beginAgain(head: RequestHead): void {
    const { kept } = this.#attempts;
    const { pieces, bytes } = kept;
    this.#reset(head);
    // As Envoy: its trailers stay behind.
    kept.takeOver(pieces, bytes);
    this.info.bytesReceived = bytes;
    this.requestEnded = true;
    this.#admit(false);
  }

  // --- route ---

  // As Envoy: a request that no route takes still passes the filters; they may answer it otherwise.
  #route(): void {
    this.#choose();
    if (this.upgrade !== '' && this.route !== undefined && !this.#upgradeAllowed(this.route)) this.reply(replies.UPGRADE_FAILED);
    else this.#filters.begin();
  }

  reroute(): void {
    const hadDuration = this.#timers.armed(MAX_DURATION);
    this.#choose();
    if (this.#idleTimeoutMs === 0) this.#timers.disarm(STREAM_IDLE);
    // What is allowed counts from the request's begin.
    const duration = this.#longestMs();
    if (duration > 0) this.#timers.arm(MAX_DURATION, this.#start + duration - this.#now());
    else if (hadDuration) this.#timers.disarm(MAX_DURATION);
  }

  #choose(): void {
    const table = this.#plan.routes.plan;
    const match = table === undefined ? undefined : matchRoute(table, this, this.#env.random);
    if (match === undefined || match.kind !== 'route') {
      if (this.route !== undefined) this.#forgetRoute();
    } else {
      this.route = match;
      this.#cluster = match.clusterName === '' ? undefined : this.#env.cluster(match.clusterName);
      tellRoute(this.info, match, this.#cluster);
    }
    this.trace?.routed(this.route, this.requestHeaders, this.info);
    this.#idleTimeoutMs = this.route?.route.idleTimeoutMs ?? this.#plan.streamIdleTimeoutMs;
    if (this.#idleTimeoutMs > 0) this.#timers.arm(STREAM_IDLE, this.#idleTimeoutMs);
    const duration = this.#longestMs();
    if (duration > 0 && !this.#timers.armed(MAX_DURATION)) this.#timers.arm(MAX_DURATION, duration);
  }

  #longestMs(): number {
    const own = this.route === undefined ? undefined : streamDurationMs(this.route.route, this.requestHeaders, this.isGrpc);
    return own ?? this.#plan.maxStreamDurationMs;
  }

  #forgetRoute(): void {
    this.route = undefined;
    this.#cluster = undefined;
    forgetRoute(this.info);
  }

  clearRoute(): void {
    this.#filters.clearRoute();
  }
  note(filter: HttpFilter, value: unknown): void {
    this.#filters.note(filter, value);
  }
  noteOf(filter: HttpFilter): unknown {
    return this.#filters.noteOf(filter);
  }

  #upgradeAllowed(match: RouteMatch): boolean {
    return match.route.upgrades.get(this.upgrade) ?? this.#plan.upgrades.get(this.upgrade) ?? false;
  }

  // --- act ---

  act(): void {
    const match = this.route;
    // A filter may have had it chosen anew.
    if (match === undefined || (this.upgrade !== '' && !this.#upgradeAllowed(match))) {
      this.reply(match === undefined ? replies.NO_ROUTE : replies.UPGRADE_FAILED);
      return;
    }
    const route = match.route;
    if (this.#filters.waited && match.clusterName !== '') this.#cluster = this.#env.cluster(match.clusterName);
    if (route.action === 'redirect') {
      this.#answers.redirect(route.redirect?.status ?? 301, redirectLocation(match, this), 'direct_response', match);
      return;
    }
    if (route.action === 'direct' || route.action === 'non-forwarding') {
      this.#answers.direct(match);
      return;
    }
    const { virtualClusterOf } = match.virtualHost;
    if (virtualClusterOf !== undefined) this.info.virtualClusterName = virtualClusterOf(this);
    this.#attempts.start(match, this.#cluster);
  }

  // --- the request as it is read ---

  onRequestBody(buf: Buffer, start: number, end: number): void {
    this.#attempts.onRequestBody(buf, start, end);
    if (this.#filters.bodyWanted >= 0) this.#filters.onBody();
  }

  onRequestTrailers(trailers: HeaderBlock): void {
    this.#attempts.onRequestTrailers(trailers);
  }

  onRequestEnd(): void {
    if (!this.active) return;
    // What comes behind an upgrade's head belongs to the request until the upstream has said what it is.
    if (this.upgrade !== '') {
      this.#timers.disarm(REQUEST_TIMEOUT);
      return;
    }
    this.requestEnded = true;
    this.info.lastDownstreamRxByte = this.#now();
    this.#timers.disarm(REQUEST_TIMEOUT);
    this.#attempts.onRequestEnd();
    if (this.#filters.bodyWanted >= 0) this.#filters.onBody();
  }

  get keptBody(): RequestBody {
    const { pieces, bytes } = this.#attempts.kept;
    return { pieces, bytes, whole: this.requestEnded };
  }
  replaceBody(bytes: Buffer): void {
    this.#attempts.kept.takeOver(bytes.length === 0 ? [] : [bytes], bytes.length);
  }
  /** The client speaks gRPC itself. */
  get answersGrpc(): boolean {
    return this.info.grpc !== undefined;
  }
  get keptBytes(): number {
    return this.#attempts.kept.bytes;
  }
  /** What may be kept of the body before reading stops; a filter that wants it may want more. */
  get bodyBytesMax(): number {
    return Math.max(this.#filters.bodyWanted, this.route?.route.bufferLimitBytes ?? this.#down.bufferBytes);
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
    this.#attempts.tunnel.fromDownstream(buf);
  }

  onResponsePaced(): void {
    this.#attempts.onFlush();
  }

  downstreamTunnelEnd(): void {
    this.#attempts.tunnel.downstreamEnded();
  }

  // --- response ---

  /** Response filters, then the head to the client. */
  respond(headers: HeaderBlock, status: number, reason: string, streamed: boolean, hasBody: boolean): void {
    this.#filters.respond(headers, hasBody);
    this.trace?.respond(headers, this.route);
    if (this.#plan.alwaysSetRequestIdInResponse || this.requestHeaders.hasId(H.X_ENVOY_FORCE_TRACE)) {
      const id = this.requestHeaders.getById(H.X_REQUEST_ID);
      if (id !== undefined) headers.setById(H.X_REQUEST_ID, id);
    }
    this.#responseHeaders = headers;
    this.responseStarted = true;
    this.info.firstDownstreamTxByte = this.#now();
    this.responseChunked = this.#down.writeHead(
      status,
      reason,
      headers,
      streamed || this.responsePace?.resizes === true,
      hasBody,
      this.requestEnded || changesProtocol(this.upgrade, status),
    );
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
    this.#filters.stop();
    this.#attempts.giveUp();
    this.#answers.reply(reply, extra);
  }

  /** The response had begun: all that is left is to cut it short. */
  cutResponse(flag: ResponseFlag | undefined, details: string): void {
    if (flag !== undefined) this.info.setFlag(flag);
    this.info.responseCodeDetails = details;
    this.#down.flush();
    // Before what carries them is let go: the log shows the headers of both sides.
    this.done();
    this.#attempts.giveUp();
    this.#down.closeNow();
  }

  /** The client went away, took its request back, or broke the protocol. */
  downstreamGone(how: 'disconnect' | 'reset' | 'protocol' = 'disconnect', why?: string): void {
    if (!this.active) return;
    const [flag, details] = GONE[how];
    // Behind a tunnel's answer nobody is missed.
    if (!this.#attempts.tunnel.answered) {
      this.info.setFlag(flag);
      if (!this.responseStarted) this.info.responseCode = 0;
      this.info.responseCodeDetails = why ?? details;
    }
    this.done();
    this.#attempts.giveUp();
  }

  // --- done ---

  /** There will be no next request. */
  close(): void {
    this.#timers.drop();
    this.#attempts.close();
  }

  done(): void {
    if (!this.active) return;
    this.active = false;
    this.#timers.disarmAll();
    this.#filters.reset();
    this.#attempts.end();
    const info = this.info;
    const end = this.#now();
    info.endTime = end;
    info.lastDownstreamTxByte = end;
    this.trace?.done(info, this.requestHeaders, this.#responseHeaders, this.responseTrailers);
    this.#env.observer.httpDone(info, this.requestHeaders, this.#responseHeaders, this.responseTrailers, this.#plan.context);
  }

  #reset(head: RequestHead): void {
    const info = this.info;
    info.reset();
    describeConnection(info, this.#facts);
    this.active = true;
    this.method = head.method;
    this.path = head.path;
    this.authority = head.authority;
    this.scheme = head.scheme;
    this.requestHeaders = head.headers;
    this.route = undefined;
    this.upstreamAlpn = undefined;
    this.requestChunked = head.bodyKind === 'chunked';
    this.requestEnded = head.bodyKind === 'none' && !head.upgrade && head.method !== 'CONNECT';
    this.upgrade = '';
    this.isGrpc = false;
    this.#cluster = undefined;
    this.#attempts.reset();
    this.#responseHeaders = undefined;
    this.responseTrailers = undefined;
    this.responseStarted = false;
    this.responseEnded = false;
    this.responsePace = undefined;
    this.ownAnswer = undefined;
    this.trace?.reset();
    this.#start = this.#now();
    info.startTime = this.#start;
    info.protocol = this.#down.protocol;
    info.requestHeadersBytes = head.headBytes;
    info.requestFields = head.headers.count;
    if (this.requestEnded) info.lastDownstreamRxByte = this.#start;
  }

  // --- time ---

  proceed(task: FilterTask, verdict: FilterVerdict): void {
    this.#filters.proceed(task, verdict);
  }

  delay(delayMs: number): void {
    this.#timers.arm(DELAY, delayMs);
  }

  onTimer(kind: number): void {
    if (!this.active) return;
    switch (kind) {
      case DELAY:
        this.#filters.afterDelay();
        return;
      case REQUEST_TIMEOUT:
        this.#down.closeAfterResponse();
        this.reply(replies.REQUEST_TIMEOUT);
        return;
      case STREAM_IDLE:
        this.reply(this.requestEnded ? replies.STREAM_IDLE_RESPONSE : replies.STREAM_IDLE_REQUEST);
        return;
      case GRPC_REPORT:
        this.#env.observer.httpProgress?.(this.info, this.#plan.context);
        this.#timers.arm(GRPC_REPORT, this.#plan.context.reportMs ?? GRPC_REPORT_MS);
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

const NO_COOKIE = (): void => {};
/** Before the first request. */
const NO_HEADERS = new HeaderBlock();
const GONE = {
  disconnect: [FLAG.DC, 'downstream_remote_disconnect'],
  reset: [FLAG.DR, 'http2.remote_reset'],
  protocol: [FLAG.DPE, ''],
} as const;
