// Active health checking of one cluster: a session for each host, which asks, counts answers in a row and sets the host's flags, with
// Envoy's thresholds and intervals. With several workers one of them runs it; the others read the flags it sets.

import type { Host, HostCheck } from '../cluster/host.ts';
import { FLAG_BIT } from '../cluster/host-state.ts';
import type { Stat, StatsStore } from '../stats-store.ts';
import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';
import type { HealthPlan } from './health-plan.ts';
import type { Finding, Probe } from './probe.ts';

export interface HealthEnvironment {
  readonly wheel: TimerWheel;
  readonly random: () => number;
  /** What connections are made with is there. */
  ready(): boolean;
  probe(host: Host, at: HostCheck): Probe;
  /** A host's flags may have changed; `passed`: it has just answered that it is well. */
  checked(host: Host, passed: boolean): void;
}

interface HealthCounters {
  readonly attempt: Stat;
  readonly success: Stat;
  readonly failure: Stat;
  readonly passiveFailure: Stat;
  readonly networkFailure: Stat;
  readonly verifyCluster: Stat;
  readonly healthy: Stat;
  readonly degraded: Stat;
}

const countersOf = (store: StatsStore, statName: string): HealthCounters => {
  const counter = (name: string) => store.counter(`cluster.${statName}.health_check.${name}`);
  return {
    attempt: counter('attempt'),
    success: counter('success'),
    failure: counter('failure'),
    passiveFailure: counter('passive_failure'),
    networkFailure: counter('network_failure'),
    verifyCluster: counter('verify_cluster'),
    healthy: store.gauge(`cluster.${statName}.health_check.healthy`),
    degraded: store.gauge(`cluster.${statName}.health_check.degraded`),
  };
};

/** How often it is looked whether certificates have come. */
const NOT_READY_MS = 100;

export class HealthChecker {
  readonly plan: HealthPlan;
  readonly environment: HealthEnvironment;
  readonly stats: HealthCounters;
  readonly #sessions = new Map<Host, Session>();
  #used = false;

  constructor(plan: HealthPlan, environment: HealthEnvironment, store: StatsStore, statName: string) {
    this.plan = plan;
    this.environment = environment;
    this.stats = countersOf(store, statName);
  }

  /** Those to be asked from now on. */
  setHosts(hosts: Iterable<Host>): void {
    const wanted = new Set(hosts);
    for (const [host, session] of this.#sessions)
      if (!wanted.has(host) || !sameCheck(session.at, host.healthCheck)) {
        session.close();
        this.#sessions.delete(host);
      }
    for (const host of wanted) if (!this.#sessions.has(host)) this.#sessions.set(host, new Session(this, host));
    this.count();
  }

  close(): void {
    for (const session of this.#sessions.values()) session.close();
    this.#sessions.clear();
  }

  /** An answer to a request said that the host wants no more of them. */
  passiveFailure(host: Host): void {
    this.#sessions.get(host)?.failedByAnswer();
  }

  /** The cluster has had a connection of a request. */
  get used(): boolean {
    if (!this.#used) for (const host of this.#sessions.keys()) if ((host.state.flags & FLAG_BIT.used) !== 0) this.#used = true;
    return this.#used;
  }

  count(): void {
    let [healthy, degraded] = [0, 0];
    for (const { state } of this.#sessions.keys()) {
      if ((state.flags & (FLAG_BIT.checked | FLAG_BIT.failed)) === FLAG_BIT.checked) healthy++;
      if ((state.flags & FLAG_BIT.degraded) !== 0) degraded++;
    }
    this.stats.healthy.value = healthy;
    this.stats.degraded.value = degraded;
  }
}

const sameCheck = (a: HostCheck | undefined, b: HostCheck | undefined): boolean =>
  a === b || (a?.ip === b?.ip && a?.port === b?.port && a?.hostname === b?.hostname);

const ASK = 0;
const TIMEOUT = 1;

/** What follows one answer: how far the host is from changing. */
type Change = 'none' | 'pending' | 'changed';

class Session {
  readonly #checker: HealthChecker;
  readonly #host: Host;
  readonly at: HostCheck | undefined;
  readonly #probe: Probe;
  readonly #next: WheelTimer;
  readonly #timeout: WheelTimer;
  #first: boolean;
  #good = 0;
  #bad = 0;

  constructor(checker: HealthChecker, host: Host) {
    this.#checker = checker;
    this.#host = host;
    this.at = host.healthCheck;
    this.#first = (host.state.flags & FLAG_BIT.checked) === 0;
    const { wheel, random, probe } = checker.environment;
    this.#probe = probe(host, host.healthCheck ?? { ip: host.ip, port: host.port, hostname: '' });
    this.#next = new WheelTimer(this, ASK);
    this.#timeout = new WheelTimer(this, TIMEOUT);
    wheel.arm(this.#next, checker.plan.initialJitterMs === 0 ? 0 : random() * checker.plan.initialJitterMs);
  }

  close(): void {
    const { wheel } = this.#checker.environment;
    wheel.drop(this.#next);
    wheel.drop(this.#timeout);
    this.#probe.close();
  }

  onTimer(kind: number): void {
    const { environment, plan, stats } = this.#checker;
    if (kind === TIMEOUT) {
      this.#probe.cancel();
      this.#failed('network', true, {});
      return;
    }
    if (!environment.ready()) {
      environment.wheel.arm(this.#next, NOT_READY_MS);
      return;
    }
    stats.attempt.value++;
    environment.wheel.arm(this.#timeout, plan.timeoutMs);
    this.#probe.ask((finding) => {
      environment.wheel.disarm(this.#timeout);
      if (finding.wrongService === true && finding.kind === 'failed') stats.verifyCluster.value++;
      if (finding.kind === 'healthy') this.#passed(finding);
      else this.#failed(finding.kind, false, finding);
    });
  }

  failedByAnswer(): void {
    const { stats, environment } = this.#checker;
    stats.failure.value++;
    stats.passiveFailure.value++;
    this.#good = 0;
    this.#host.state.setFlags(FLAG_BIT.failed | FLAG_BIT.excluded | FLAG_BIT.checked, 0);
    this.#checker.count();
    environment.checked(this.#host, false);
  }

  #passed(finding: Finding): void {
    const { plan, stats } = this.#checker;
    const { state } = this.#host;
    const failed = this.#first || (state.flags & FLAG_BIT.failed) !== 0;
    this.#bad = 0;
    stats.success.value++;
    let change: Change = 'none';
    let clear = 0;
    if (failed) {
      if (this.#first || ++this.#good >= plan.healthyThreshold) {
        clear |= FLAG_BIT.failed | FLAG_BIT.timedOut;
        change = 'changed';
      } else change = 'pending';
    }
    if (change !== 'pending') clear |= FLAG_BIT.excluded;
    this.#over(finding, FLAG_BIT.checked, clear, change, true);
  }

  #failed(kind: 'failed' | 'network', timedOut: boolean, finding: Partial<Finding>): void {
    const { plan, stats } = this.#checker;
    const { state } = this.#host;
    this.#good = 0;
    stats.failure.value++;
    if (kind === 'network') stats.networkFailure.value++;
    let change: Change = 'none';
    let set: number = FLAG_BIT.checked;
    if (this.#first) set |= FLAG_BIT.failed;
    else if ((state.flags & FLAG_BIT.failed) === 0) {
      const atOnce = kind === 'failed' && finding.retriable !== true;
      if (atOnce || ++this.#bad >= plan.unhealthyThreshold) {
        set |= FLAG_BIT.failed;
        change = 'changed';
      } else change = 'pending';
    }
    const failed = ((state.flags | set) & FLAG_BIT.failed) !== 0;
    if (timedOut && failed) set |= FLAG_BIT.timedOut;
    if (finding.excluded === true) set |= FLAG_BIT.excluded;
    this.#over(finding, set, timedOut ? 0 : FLAG_BIT.timedOut, change, false);
  }

  #over(finding: Partial<Finding>, toSet: number, toClear: number, change: Change, passed: boolean): void {
    const { environment, plan } = this.#checker;
    let [set, clear] = [toSet, toClear];
    const degraded = passed && finding.degraded === true;
    this.#first = false;
    if (change === 'changed') this.#good = this.#bad = 0;
    if (degraded) set |= FLAG_BIT.degraded;
    else if (passed) clear |= FLAG_BIT.degraded;
    this.#host.state.setFlags(set, clear);
    this.#checker.count();
    environment.wheel.arm(this.#next, jittered(intervalOf(plan, this.#checker.used, passed, change), plan, environment.random));
    environment.checked(this.#host, passed);
  }
}

const intervalOf = (plan: HealthPlan, used: boolean, passed: boolean, change: Change): number => {
  if (!used) return passed && change !== 'pending' ? plan.noTrafficHealthyMs : plan.noTrafficMs;
  if (passed) return change === 'pending' ? plan.healthyEdgeMs : plan.intervalMs;
  return change === 'pending' ? plan.unhealthyEdgeMs : plan.unhealthyMs;
};

const jittered = (ms: number, plan: HealthPlan, random: () => number): number =>
  ms + (plan.jitterPercent > 0 ? (random() * plan.jitterPercent * ms) / 100 : 0) + (plan.jitterMs > 0 ? random() * plan.jitterMs : 0);
