// Envoy's outlier detection of one cluster: consecutive 5xx, gateway failures and local-origin failures, ejection for
// base_ejection_time times the number of ejections, bounded by max_ejection_percent. Shares of good answers over an interval
// are judged in outlier-rates.ts.

import { PlanError } from '../../plan/plan-error.ts';
import type { OutlierDetection } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';
import type { Host } from './host.ts';
import { ANSWERS, type Ejections, FLAG_BIT, LocalEjections, ROW } from './host-state.ts';
import { compileRates, rateOutliers } from './outlier-rates.ts';
import type { OutlierReason, OutlierStats } from './outlier-stats.ts';

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
  /** Hosts whose answers say that they are degraded are chosen last for a while. */
  readonly degrades: boolean;
  /** A host that answers a health check well is taken back at once. */
  readonly takesBackChecked: boolean;
  readonly rates: ReturnType<typeof compileRates>;
}

const PERCENTAGES = [
  'max_ejection_percent',
  'enforcing_consecutive_5xx',
  'enforcing_success_rate',
  'enforcing_consecutive_gateway_failure',
  'enforcing_consecutive_local_origin_failure',
  'enforcing_local_origin_success_rate',
  'enforcing_failure_percentage',
  'enforcing_failure_percentage_local_origin',
] as const;
const DURATIONS = ['interval', 'base_ejection_time', 'max_ejection_time'] as const;

export const compileOutlier = (config: OutlierDetection): OutlierPolicy => {
  if (config.monitors !== undefined && config.monitors.length > 0) throw new PlanError('outlier_detection.monitors', 'not supported');
  for (const name of PERCENTAGES) if ((config[name] ?? 0) > 100) throw new PlanError(`outlier_detection.${name}`, 'must not be above 100');
  for (const name of DURATIONS) if (ms(config[name], 1) <= 0) throw new PlanError(`outlier_detection.${name}`, 'must be above 0s');
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
    degrades: config.detect_degraded_hosts ?? false,
    takesBackChecked: config.successful_active_health_check_uneject_host ?? true,
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
  readonly #stats: OutlierStats | undefined;
  /** How much longer than its time a host stays out; known to who judges. */
  readonly #jitters = new WeakMap<Host, number>();
  /** Since when answers say so, and how often they have. */
  readonly #degraded = new Map<Host, { sinceMs: number; times: number }>();
  readonly #timer: WheelTimer;

  /** `changed` is called after hosts were ejected or taken back. */
  constructor(
    policy: OutlierPolicy,
    wheel: TimerWheel,
    random: () => number,
    hosts: () => readonly Host[],
    changed: () => void,
    ejections: Ejections = new LocalEjections(),
    stats?: OutlierStats,
  ) {
    this.#stats = stats;
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
    this.#wheel.drop(this.#timer);
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
      if (this.#policy.consecutiveGateway > 0 && row >= this.#policy.consecutiveGateway && !state.ejected) {
        this.#enforce(host, 'consecutive_gateway_failure', this.#policy.enforceGateway);
        state.endRow(ROW.gateway);
      }
    } else state.endRow(ROW.gateway);
    const row = state.next(ROW.any5xx);
    if (this.#policy.consecutive5xx > 0 && row >= this.#policy.consecutive5xx && !state.ejected) {
      this.#enforce(host, 'consecutive_5xx', this.#policy.enforce5xx);
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
    const row = state.next(ROW.local);
    if (this.#policy.consecutiveLocal > 0 && row >= this.#policy.consecutiveLocal && !state.ejected) {
      this.#enforce(host, 'consecutive_local_origin_failure', this.#policy.enforceLocal);
      state.endRow(ROW.local);
    }
  }

  /** A good answer that says its host is degraded. */
  degraded(host: Host): void {
    if (!this.#policy.degrades || !host.state.setFlags(FLAG_BIT.degradedByAnswer, 0)) return;
    this.#stats?.degraded();
    this.#noteDegraded(host);
    this.#tell();
  }

  /** It has answered a health check well. */
  passedCheck(host: Host): void {
    if (!this.#policy.takesBackChecked || !host.ejected) return;
    host.state.takeBack(this.#wheel.now());
    this.#jitters.delete(host);
    this.#tell();
  }

  onTimer(): void {
    const now = this.#wheel.now();
    let changed = false;
    for (const host of this.#hosts()) {
      const { state } = host;
      if (this.#policy.degrades && this.#recovered(host, now)) changed = true;
      if (!state.ejected) {
        if (state.ejections > 0 && now - state.ejectedAtMs > this.#policy.intervalMs) state.forgive();
        continue;
      }
      const ejectedForMs = Math.min(this.#policy.baseMs * state.ejections, this.#policy.maxMs) + this.#jitterOf(host);
      if (now - state.ejectedAtMs < ejectedForMs) continue;
      state.takeBack(now);
      this.#jitters.delete(host);
      changed = true;
    }
    if (changed) this.#tell();
    this.#judgeRates();
    this.#wheel.arm(this.#timer, this.#policy.intervalMs);
  }

  #jitterOf(host: Host): number {
    let jitter = this.#jitters.get(host);
    if (jitter === undefined) {
      jitter = this.#random() * this.#policy.jitterMs;
      this.#jitters.set(host, jitter);
    }
    return jitter;
  }

  #noteDegraded(host: Host): void {
    const before = this.#degraded.get(host);
    this.#degraded.set(host, { sinceMs: this.#wheel.now(), times: (before?.times ?? 0) + 1 });
  }

  /** Degraded for its time, as an ejected host is; each next time for longer. */
  #recovered(host: Host, now: number): boolean {
    const known = this.#degraded.get(host);
    if ((host.state.flags & FLAG_BIT.degradedByAnswer) === 0) {
      if (known !== undefined && --known.times <= 0) this.#degraded.delete(host);
      return false;
    }
    // Another worker's answer: it counts from now.
    if (known === undefined) {
      this.#noteDegraded(host);
      return false;
    }
    if (now - known.sinceMs < Math.min(this.#policy.baseMs * known.times, this.#policy.maxMs)) return false;
    host.state.setFlags(0, FLAG_BIT.degradedByAnswer);
    return true;
  }

  #judgeRates(): void {
    const hosts = this.#hosts().filter((h) => !h.ejected);
    const { external, local } = this.#policy.rates;
    const judge = (policy: typeof external, answers: (typeof ANSWERS)[keyof typeof ANSWERS], prefix: '' | 'local_origin_'): void => {
      const counts = hosts.map((h) => h.state.answers(answers));
      for (const { index, kind, percent } of rateOutliers(policy, counts)) {
        const host = hosts[index];
        if (host !== undefined && !host.ejected) this.#enforce(host, `${prefix}${kind}`, percent);
      }
    };
    judge(external, ANSWERS.external, '');
    if (this.#policy.split) judge(local, ANSWERS.local, 'local_origin_');
    for (const host of this.#hosts()) host.state.forgetAnswers();
  }

  #enforce(host: Host, reason: OutlierReason, percent: number): void {
    this.#stats?.detected(reason);
    let full = false;
    const ejected = this.#ejections.exclusively(() => {
      full = this.#isFull();
      return !full && (percent >= 100 || this.#random() * 100 < percent) && this.#eject(host);
    });
    if (full) this.#stats?.overflowed();
    else this.#stats?.allowed(reason);
    if (!ejected) return;
    this.#stats?.ejected(reason);
    this.#tell();
  }

  #isFull(): boolean {
    const hosts = this.#hosts();
    const ejected = hosts.reduce((n, h) => n + (h.ejected ? 1 : 0), 0);
    const share = (100 * (ejected + 1)) / Math.max(1, hosts.length);
    return !(ejected === 0 && this.#policy.alwaysOne) && share > this.#policy.maxPercent;
  }

  #eject({ state }: Host): boolean {
    const { baseMs, maxMs } = this.#policy;
    return state.eject(this.#wheel.now(), baseMs * state.ejections < maxMs + baseMs);
  }

  #tell(): void {
    this.#changed();
    this.#ejections.tell();
  }
}
