// Envoy's outlier detection of one cluster: consecutive 5xx, gateway failures and local-origin failures, ejection for
// base_ejection_time times the number of ejections, bounded by max_ejection_percent. Shares of good answers over an interval
// are judged in outlier-rates.ts.

import { PlanError } from '../plan/plan-error.ts';
import type { OutlierDetection } from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import type { Host } from './host.ts';
import { ANSWERS, type Ejections, LocalEjections, ROW } from './host-state.ts';
import { compileRates, rateOutliers } from './outlier-rates.ts';
import { type TimerWheel, WheelTimer } from './timer-wheel.ts';

const ms = (text: string | undefined, otherwise: number): number => (text === undefined ? otherwise : durationMs(text));

export interface OutlierPolicy {
  readonly consecutive5xx: number;
  readonly enforce5xx: number;
  readonly consecutiveGateway: number;
  readonly enforceGateway: number;
  readonly split: boolean;
  readonly consecutiveLocal: number;
  readonly enforceLocal: number;
  readonly intervalMs: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly jitterMs: number;
  readonly maxPercent: number;
  readonly alwaysOne: boolean;
  readonly rates: ReturnType<typeof compileRates>;
}

export const compileOutlier = (config: OutlierDetection): OutlierPolicy => {
  if (config.monitors !== undefined && config.monitors.length > 0) throw new PlanError('outlier_detection.monitors', 'not supported');
  const baseMs = ms(config.base_ejection_time, 30_000);
  return {
    consecutive5xx: config.consecutive_5xx ?? 5,
    enforce5xx: config.enforcing_consecutive_5xx ?? 100,
    consecutiveGateway: config.consecutive_gateway_failure ?? 5,
    enforceGateway: config.enforcing_consecutive_gateway_failure ?? 0,
    split: config.split_external_local_origin_errors ?? false,
    consecutiveLocal: config.consecutive_local_origin_failure ?? 5,
    enforceLocal: config.enforcing_consecutive_local_origin_failure ?? 100,
    intervalMs: ms(config.interval, 10_000),
    baseMs,
    maxMs: Math.max(baseMs, ms(config.max_ejection_time, 300_000)),
    jitterMs: ms(config.max_ejection_time_jitter, 0),
    maxPercent: Math.min(100, config.max_ejection_percent ?? 10),
    alwaysOne: config.always_eject_one_host ?? false,
    rates: compileRates(config),
  };
};

export class OutlierDetector {
  readonly #policy: OutlierPolicy;
  readonly #wheel: TimerWheel;
  readonly #random: () => number;
  readonly #hosts: () => readonly Host[];
  readonly #changed: () => void;
  readonly #ejections: Ejections;
  readonly #timer: WheelTimer;

  /** `changed` is called after hosts were ejected or taken back. */
  constructor(
    policy: OutlierPolicy,
    wheel: TimerWheel,
    random: () => number,
    hosts: () => readonly Host[],
    changed: () => void,
    ejections: Ejections = new LocalEjections(),
  ) {
    this.#policy = policy;
    this.#wheel = wheel;
    this.#random = random;
    this.#hosts = hosts;
    this.#changed = changed;
    this.#ejections = ejections;
    this.#timer = new WheelTimer(this, 0);
    if (ejections.judges) wheel.arm(this.#timer, policy.intervalMs);
  }

  close(): void {
    this.#wheel.disarm(this.#timer);
    this.#ejections.close();
  }

  /** An answer of the upstream itself. */
  response(host: Host, status: number): void {
    const { state } = host;
    if (this.#policy.split) {
      state.endRow(ROW.local);
      state.answered(ANSWERS.local, true);
    }
    state.answered(ANSWERS.external, status < 500);
    if (status < 500) {
      state.endRow(ROW.any5xx);
      state.endRow(ROW.gateway);
      return;
    }
    if (status === 502 || status === 503 || status === 504) {
      const row = state.next(ROW.gateway);
      if (row >= this.#policy.consecutiveGateway && !state.ejected) {
        this.#enforce(host, this.#policy.enforceGateway);
        state.endRow(ROW.gateway);
      }
    } else state.endRow(ROW.gateway);
    const row = state.next(ROW.any5xx);
    if (row >= this.#policy.consecutive5xx && !state.ejected) {
      this.#enforce(host, this.#policy.enforce5xx);
      state.endRow(ROW.any5xx);
    }
  }

  /** A failure seen from here: refused, reset, timed out. Without split it counts as the status Envoy maps it to. */
  localFailure(host: Host, kind: 'connect' | 'timeout' | 'reset'): void {
    if (!this.#policy.split) {
      this.response(host, kind === 'timeout' ? 504 : 503);
      return;
    }
    const { state } = host;
    state.answered(ANSWERS.local, false);
    if (state.next(ROW.local) >= this.#policy.consecutiveLocal && !state.ejected) {
      this.#enforce(host, this.#policy.enforceLocal);
      state.endRow(ROW.local);
    }
  }

  onTimer(): void {
    const now = this.#wheel.now();
    let changed = false;
    for (const { state } of this.#hosts()) {
      if (!state.ejected) {
        if (state.ejections > 0 && now - state.ejectedAtMs > this.#policy.intervalMs) state.forgive();
        continue;
      }
      const ejectedForMs = Math.min(this.#policy.baseMs * state.ejections, this.#policy.maxMs) + this.#random() * this.#policy.jitterMs;
      if (now - state.ejectedAtMs < ejectedForMs) continue;
      state.takeBack(now);
      changed = true;
    }
    if (changed) this.#tell();
    this.#judgeRates();
    this.#wheel.arm(this.#timer, this.#policy.intervalMs);
  }

  #judgeRates(): void {
    const hosts = this.#hosts().filter((h) => !h.ejected);
    const { external, local } = this.#policy.rates;
    const found = rateOutliers(
      external,
      hosts.map((h) => h.state.answers(ANSWERS.external)),
    );
    if (this.#policy.split)
      found.push(
        ...rateOutliers(
          local,
          hosts.map((h) => h.state.answers(ANSWERS.local)),
        ),
      );
    for (const { index, percent } of found) {
      const host = hosts[index];
      if (host !== undefined && !host.ejected) this.#enforce(host, percent);
    }
    for (const host of this.#hosts()) host.state.forgetAnswers();
  }

  #enforce(host: Host, percent: number): void {
    if (percent < 100 && this.#random() * 100 >= percent) return;
    if (!this.#ejections.exclusively(() => this.#eject(host))) return;
    this.#tell();
  }

  #eject({ state }: Host): boolean {
    const hosts = this.#hosts();
    const ejected = hosts.reduce((n, h) => n + (h.ejected ? 1 : 0), 0);
    const share = (100 * (ejected + 1)) / Math.max(1, hosts.length);
    if (!(ejected === 0 && this.#policy.alwaysOne) && share > this.#policy.maxPercent) return false;
    return state.eject(this.#wheel.now());
  }

  #tell(): void {
    this.#changed();
    this.#ejections.tell();
  }
}
