// The times of one request's attempts: what the route and the client's headers allow, and the timers that hold to it. It tells its
// owner which time is over; what follows is the owner's to decide.

import type { CompiledRoute } from '../plan/route.ts';
import type { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import { TimerSet } from './timer-set.ts';
import type { TimerWheel } from './timer-wheel.ts';

const ROUTE = 0;
const TRY = 1;
const BACK_OFF = 2;
const STREAM = 3;

export interface TimedAttempts {
  backOffOver(): void;
  routeTimedOut(): void;
  tryTimedOut(): void;
  streamTooLong(): void;
}

export class AttemptTimeouts {
  readonly #wheel: TimerWheel;
  readonly #owner: TimedAttempts;
  readonly #timers: TimerSet;
  routeMs = 0;
  #tryMs = 0;
  /** When the whole request was here, which is when the route's timeout begins; 0 before. */
  #completeAt = 0;

  constructor(wheel: TimerWheel, owner: TimedAttempts) {
    this.#wheel = wheel;
    this.#owner = owner;
    this.#timers = new TimerSet(wheel, this);
  }

  /** Route settings, overridden by grpc-timeout and by the x-envoy-… headers that only internal clients get through. Says what the upstream is told. */
  begin(route: CompiledRoute, headers: HeaderBlock, grpc: boolean, upgrade: boolean): number {
    let routeMs = route.timeoutMs;
    if (grpc && route.maxGrpcTimeoutMs !== undefined) {
      routeMs = grpcTimeoutMs(headers.getById(H.GRPC_TIMEOUT) ?? '') ?? 0;
      if (route.grpcTimeoutOffsetMs > 0 && routeMs > route.grpcTimeoutOffsetMs) routeMs -= route.grpcTimeoutOffsetMs;
      if (route.maxGrpcTimeoutMs > 0 && (routeMs === 0 || routeMs > route.maxGrpcTimeoutMs)) routeMs = route.maxGrpcTimeoutMs;
    }
    routeMs = asked(headers, H.X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS) ?? routeMs;
    const tryMs = asked(headers, H.X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS) ?? route.retry?.perTryTimeoutMs ?? 0;
    this.#tryMs = routeMs > 0 && tryMs >= routeMs ? 0 : tryMs;
    this.#completeAt = 0;
    const expected = expectedTimeoutMs(routeMs, this.#tryMs, 0);
    this.routeMs = upgrade ? 0 : routeMs;
    return expected;
  }

  /** What another attempt may take; 0: no bound. */
  left(): number {
    const elapsedMs = this.#completeAt === 0 ? 0 : this.#wheel.now() - this.#completeAt;
    return expectedTimeoutMs(this.routeMs, this.#tryMs, Math.floor(elapsedMs));
  }

  /** The whole request is here. */
  armRoute(): void {
    if (this.#completeAt === 0) this.#completeAt = this.#wheel.now();
    if (this.routeMs > 0 && !this.#timers.armed(ROUTE)) this.#timers.arm(ROUTE, this.routeMs);
  }

  armTry(): void {
    if (this.#tryMs > 0) this.#timers.arm(TRY, this.#tryMs);
  }

  /** The attempt has a connection; `longestMs` 0: it may run for ever. */
  armStream(longestMs: number): void {
    if (longestMs > 0) this.#timers.arm(STREAM, longestMs);
  }

  armBackOff(waitMs: number): void {
    this.#timers.disarm(STREAM);
    this.#timers.arm(BACK_OFF, waitMs);
  }

  disarmRoute(): void {
    this.#timers.disarm(ROUTE);
  }
  disarmTry(): void {
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
    else if (kind === TRY) this.#owner.tryTimedOut();
    else this.#owner.streamTooLong();
  }
}

// Taken from the request: it is meant for this hop.
const asked = (headers: HeaderBlock, id: number): number | undefined => {
  const text = headers.getById(id);
  if (text === undefined) return undefined;
  headers.removeById(id);
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
};

// What an attempt may take, `elapsedMs` after the whole request was here; 0: no bound. Out of time is 1: 0 would mean for ever.
export const expectedTimeoutMs = (routeMs: number, tryMs: number, elapsedMs: number): number => {
  const wanted = tryMs > 0 ? tryMs : routeMs;
  return routeMs > 0 ? Math.min(wanted, Math.max(1, routeMs - elapsedMs)) : wanted;
};

const UNITS: { readonly [unit: string]: number } = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000001 };
const grpcTimeoutMs = (text: string): number | undefined => {
  const parts = /^(\d{1,8})([HMSmun])$/.exec(text);
  return parts === null ? undefined : Math.ceil(Number(parts[1]) * (UNITS[parts[2] ?? ''] ?? 0));
};
