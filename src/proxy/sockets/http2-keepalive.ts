// Asks the peer of one HTTP/2 connection by PING whether it still lives, as the configuration says. Its connection sends the ping
// and ends when it is told that no answer came.

import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';
import type { KeepalivePlan } from './http2-options.ts';

export interface PingedConnection {
  ping(): void;
  /** No answer in time. */
  pingLost(): void;
}

const INTERVAL = 0;
const TIMEOUT = 1;

export class Http2Keepalive {
  readonly #plan: KeepalivePlan;
  readonly #wheel: TimerWheel;
  readonly #random: () => number;
  readonly #connection: PingedConnection;
  readonly #interval: WheelTimer;
  readonly #timeout: WheelTimer;
  #idleSince: number;

  constructor(plan: KeepalivePlan, wheel: TimerWheel, random: () => number, connection: PingedConnection) {
    this.#plan = plan;
    this.#wheel = wheel;
    this.#random = random;
    this.#connection = connection;
    this.#interval = new WheelTimer(this, INTERVAL);
    this.#timeout = new WheelTimer(this, TIMEOUT);
    this.#idleSince = wheel.now();
    this.#armInterval();
  }

  /** The answer to a ping, or any other sign of the peer. */
  acked(): void {
    if (!this.#timeout.armed) return;
    this.#wheel.disarm(this.#timeout);
    this.#armInterval();
  }

  /** A first stream after none. */
  busy(): void {
    if (this.#plan.idleMs > 0 && this.#wheel.now() - this.#idleSince >= this.#plan.idleMs) this.#ask();
  }

  /** The last stream ended. */
  idle(): void {
    this.#idleSince = this.#wheel.now();
  }

  stop(): void {
    this.#wheel.drop(this.#interval);
    this.#wheel.drop(this.#timeout);
  }

  onTimer(kind: number): void {
    if (kind === INTERVAL) this.#ask();
    else this.#connection.pingLost();
  }

  #ask(): void {
    if (this.#timeout.armed) return;
    this.#wheel.disarm(this.#interval);
    this.#wheel.arm(this.#timeout, this.#plan.timeoutMs);
    this.#connection.ping();
  }

  #armInterval(): void {
    const { intervalMs, jitterPercent } = this.#plan;
    if (intervalMs > 0) this.#wheel.arm(this.#interval, intervalMs * (1 + (this.#random() * jitterPercent) / 100));
  }
}
