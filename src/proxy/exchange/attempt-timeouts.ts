// The times of one request's attempts: what the route and the client's headers allow, and the timers that hold to it. It tells its
// owner which time is over; what follows is the owner's to decide.

import { grpcTimeoutMs, grpcTimeoutText } from '../../plan/grpc-timeout.ts';
import type { RetryPlan } from '../../plan/retry.ts';
import { requestHedges } from '../../plan/retry-request.ts';
import type { CompiledRoute } from '../../plan/route.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { TimerSet } from '../timer-set.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import type { LocalReply } from './local-reply.ts';

const ROUTE = 0;
const TRY = 1;
const BACK_OFF = 2;
const STREAM = 3;
const TRY_IDLE = 4;

export const WEBSOCKET = 'websocket';

export interface TimedAttempts {
  backOffOver(): void;
  routeTimedOut(): void;
  /** `idle`: nothing moved for too long. */
  tryTimedOut(idle: boolean): void;
  streamTooLong(): void;
}

interface TimedRequest {
  readonly requestHeaders: HeaderBlock;
  readonly isGrpc: boolean;
  readonly upgrade: string;
}

export class AttemptTimeouts {
  readonly #wheel: TimerWheel;
  readonly #owner: TimedAttempts;
  readonly #timers: TimerSet;
  routeMs = 0;
  #tryMs = 0;
  #tryIdleMs = 0;
  /** A later attempt runs beside this one, which may use all of the route's time. */
  hedging = false;
  readonly #respectsExpected: boolean;
  /** Internal clients may ask: how long an attempt may run, and to be told nothing of a time-out. */
  #streamMs: number | undefined;
  #tellNothing = false;
  #upgrades = false;
  /** When the whole request was here, which is when the route's timeout begins; 0 before. */
  #completeAt = 0;

  constructor(wheel: TimerWheel, owner: TimedAttempts, respectsExpected: boolean) {
    this.#respectsExpected = respectsExpected;
    this.#wheel = wheel;
    this.#owner = owner;
    this.#timers = new TimerSet(wheel, this);
  }

  /**
   * Route settings, overridden by grpc-timeout and by the x-envoy-… headers that only internal clients get through. Says what the
   * upstream is told; 0: nothing. With respect_expected_rq_timeout what another proxy told this one counts first.
   */
  begin(route: CompiledRoute, request: TimedRequest, retry: RetryPlan | undefined): number {
    const headers = request.requestHeaders;
    this.hedging = requestHedges(route.hedges, headers);
    let routeMs = route.streamTimes ? 0 : route.timeoutMs;
    const grpc = request.isGrpc && route.maxGrpcTimeoutMs !== undefined && !route.streamTimes;
    if (grpc) routeMs = grpcRouteMs(route, headers);
    const told = this.#respectsExpected ? numberOf(headers, H.X_ENVOY_EXPECTED_RQ_TIMEOUT_MS) : undefined;
    routeMs = told ?? asked(headers, H.X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS) ?? routeMs;
    const tryMs = asked(headers, H.X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS) ?? retry?.perTryTimeoutMs ?? 0;
    this.#tryMs = routeMs > 0 && tryMs >= routeMs ? 0 : tryMs;
    this.#tryIdleMs = retry?.perTryIdleTimeoutMs ?? 0;
    this.#completeAt = 0;
    this.#streamMs = asked(headers, H.X_ENVOY_UPSTREAM_STREAM_DURATION_MS);
    this.#tellNothing = headers.removeById(H.X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE) > 0;
    this.#upgrades = request.upgrade !== '';
    const expectedMs = this.#expected(routeMs, 0);
    if (grpc && expectedMs > 0) headers.setById(H.GRPC_TIMEOUT, grpcTimeoutText(expectedMs));
    // A handshake of WebSocket is to be answered in time; other upgrades may be silent for ever.
    this.routeMs = this.#upgrades && request.upgrade !== WEBSOCKET ? 0 : routeMs;
    return told === undefined ? expectedMs : 0;
  }

  #expected(routeMs: number, elapsedMs: number): number {
    return expectedTimeoutMs(routeMs, this.hedging ? 0 : this.#tryMs, elapsedMs);
  }

  /** Since the whole request was here; undefined: it is not, or will never be. */
  get elapsedMs(): number | undefined {
    return this.#completeAt === 0 || this.#upgrades ? undefined : this.#wheel.now() - this.#completeAt;
  }

  timedOut(reply: LocalReply): LocalReply {
    return this.#tellNothing ? { ...reply, status: 204, body: '' } : reply;
  }

  /** A later attempt is told no more than is left of the route's timeout. */
  tellLeft(headers: HeaderBlock): void {
    const left = this.#expected(this.routeMs, Math.floor(this.elapsedMs ?? 0));
    if (left > 0) headers.setById(H.X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, String(left));
  }

  /** The whole request is here. */
  armRoute(): void {
    if (this.#completeAt === 0) this.#completeAt = this.#wheel.now();
    if (this.routeMs > 0 && !this.#timers.armed(ROUTE)) this.#timers.arm(ROUTE, this.routeMs);
  }

  /** The attempt has a connection and the whole request. */
  armTry(): void {
    if (this.#tryMs > 0) this.#timers.arm(TRY, this.#tryMs);
    if (this.#tryIdleMs > 0) this.#timers.arm(TRY_IDLE, this.#tryIdleMs);
  }

  /** Something moved upstream. */
  touchTry(): void {
    if (this.#tryIdleMs > 0 && this.#timers.armed(TRY_IDLE)) this.#timers.arm(TRY_IDLE, this.#tryIdleMs);
  }

  /** The attempt has a connection; `longestMs` 0: it may run for ever. */
  armStream(longestMs: number): void {
    const most = this.#streamMs ?? longestMs;
    if (most > 0) this.#timers.arm(STREAM, most);
  }

  armBackOff(waitMs: number): void {
    this.#timers.disarm(STREAM);
    this.#timers.arm(BACK_OFF, waitMs);
  }

  /** What comes now is no answer: it may take as long as it likes. */
  tunnelBegins(): void {
    this.#timers.disarm(ROUTE);
    this.disarmTry();
  }
  get backingOff(): boolean {
    return this.#timers.armed(BACK_OFF);
  }
  /** The attempt is over; its response has begun: only silence ends it. */
  disarmTry(): void {
    this.#timers.disarm(TRY);
    this.#timers.disarm(TRY_IDLE);
  }
  /** Another attempt has won. */
  disarmAttempt(): void {
    this.#timers.disarm(BACK_OFF);
    this.disarmTry();
  }
  disarmTryTotal(): void {
    this.#timers.disarm(TRY);
  }
  disarmAll(): void {
    this.#timers.disarmAll();
  }
  drop(): void {
    this.#timers.drop();
  }

  onTimer(kind: number): void {
    if (kind === BACK_OFF) this.#owner.backOffOver();
    else if (kind === ROUTE) this.#owner.routeTimedOut();
    else if (kind === TRY || kind === TRY_IDLE) this.#owner.tryTimedOut(kind === TRY_IDLE);
    else this.#owner.streamTooLong();
  }
}

const numberOf = (headers: HeaderBlock, id: number): number | undefined => {
  const text = headers.getById(id);
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
};

// Taken from the request: it is meant for this hop.
const asked = (headers: HeaderBlock, id: number): number | undefined => {
  const value = numberOf(headers, id);
  headers.removeById(id);
  return value;
};

const grpcRouteMs = (route: CompiledRoute, headers: HeaderBlock): number => {
  const most = route.maxGrpcTimeoutMs ?? 0;
  let ms = grpcTimeoutMs(headers.getById(H.GRPC_TIMEOUT) ?? '') ?? 0;
  if (route.grpcTimeoutOffsetMs > 0 && ms > route.grpcTimeoutOffsetMs) ms -= route.grpcTimeoutOffsetMs;
  return most > 0 && (ms === 0 || ms > most) ? most : ms;
};

// What an attempt may take, `elapsedMs` after the whole request was here; 0: no bound. Out of time is 1: 0 would mean for ever.
export const expectedTimeoutMs = (routeMs: number, tryMs: number, elapsedMs: number): number => {
  const wanted = tryMs > 0 ? tryMs : routeMs;
  return routeMs > 0 ? Math.min(wanted, Math.max(1, routeMs - elapsedMs)) : wanted;
};
