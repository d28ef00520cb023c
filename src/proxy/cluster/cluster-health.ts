// What one cluster knows of its hosts' health: outlier detection, active checks and what both agree on. Made only for a cluster that
// asks for one of them. With several workers one of them asks the hosts and judges shares of good answers; all of them see the same
// flags (host-state.ts) and are told when to look anew.

import type { HeaderBlock } from '../../wire/header-block.ts';
import type { Cluster } from '../../xds/gen/types.ts';
import { HealthChecker } from '../health/health-checker.ts';
import type { HealthPlan } from '../health/health-plan.ts';
import { HttpProbe } from '../health/http-probe.ts';
import type { Probe } from '../health/probe.ts';
import { TcpProbe } from '../health/tcp-probe.ts';
import { StatsStore } from '../stats-store.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import type { ClusterTransports } from '../transport/cluster-transports.ts';
import { PLAIN_VARIANT } from '../transport/upstream-transport.ts';
import { Http2Pool } from '../upstream/upstream-http2-pool.ts';
import { Http1Pool, type PoolSettings } from '../upstream/upstream-pool.ts';
import { LocalLimits, NO_BOUNDS } from './circuit-breaker.ts';
import { createClusterStats } from './cluster-stats.ts';
import { Host, type HostCheck } from './host.ts';
import { type Ejections, FLAG_BIT, LocalHostState } from './host-state.ts';
import { OutlierDetector, type OutlierPolicy } from './outlier.ts';
import type { AnswerTest } from './outlier-answers.ts';
import { OutlierStats } from './outlier-stats.ts';

export interface HealthRules {
  readonly outlier: OutlierPolicy | undefined;
  readonly checks: HealthPlan | undefined;
  readonly errorAnswers: AnswerTest | undefined;
}

export interface HealthParts {
  readonly config: Cluster;
  readonly statName: string;
  readonly stats: StatsStore;
  readonly wheel: TimerWheel;
  readonly random: () => number;
  readonly transports: ClusterTransports;
  readonly settings: PoolSettings;
  readonly ejections: Ejections;
  readonly hosts: () => readonly Host[];
  /** Health has changed. */
  readonly changed: () => void;
}

const IMMEDIATE_FAILURE = 'x-envoy-immediate-health-check-fail';
const DEGRADED = 'x-envoy-degraded';

export class ClusterHealth {
  readonly #rules: HealthRules;
  readonly #parts: HealthParts;
  readonly #outlier: OutlierDetector | undefined;
  /** Where this worker is the one that asks. */
  readonly #checker: HealthChecker | undefined;
  #warm: boolean;
  #told = false;

  constructor(rules: HealthRules, parts: HealthParts) {
    this.#rules = rules;
    this.#parts = parts;
    const { wheel, random, stats, statName, ejections } = parts;
    this.#outlier =
      rules.outlier === undefined
        ? undefined
        : new OutlierDetector(rules.outlier, wheel, random, parts.hosts, parts.changed, ejections, new OutlierStats(stats, statName));
    this.#warm = rules.checks === undefined;
    this.#checker = rules.checks !== undefined && ejections.judges ? this.#makeChecker(rules.checks) : undefined;
  }

  /** Every host of the beginning has been asked once. */
  get warm(): boolean {
    this.#warm ||= this.#parts.hosts().every((h) => !h.checked || (h.state.flags & FLAG_BIT.checked) !== 0);
    return this.#warm;
  }

  /** Before they are chosen from: who is to be asked, and until when it takes no requests. */
  admit(host: Host): void {
    const { checks } = this.#rules;
    const asked = checks !== undefined && host.healthCheck?.ip !== '';
    // A host that workers cannot watch together would never be known to have answered.
    host.checked = asked && (this.#parts.ejections.judges || !(host.state instanceof LocalHostState));
    host.waitsForCheck = host.checked && this.#parts.config.common_lb_config?.ignore_new_hosts_until_first_hc === true;
  }

  setHosts(hosts: readonly Host[]): void {
    this.#checker?.setHosts(hosts.filter((h) => h.checked));
  }

  /** `meant`: the status that is judged. */
  answered(host: Host, meant: number, headers: HeaderBlock | undefined): void {
    const { errorAnswers, outlier } = this.#rules;
    const error = errorAnswers === undefined || headers === undefined ? meant >= 500 : errorAnswers(meant, headers);
    this.#outlier?.response(host, error ? Math.max(meant, 500) : Math.min(meant, 499));
    if (headers === undefined) return;
    if (!error && outlier?.degrades === true && headers.has(DEGRADED)) this.#outlier?.degraded(host);
    if (host.checked && headers.has(IMMEDIATE_FAILURE)) this.#failAtOnce(host);
  }

  failed(host: Host, kind: 'connect' | 'timeout' | 'reset'): void {
    this.#outlier?.localFailure(host, kind);
  }

  /** It has a connection: checks are no longer made at the pace of a cluster without traffic. */
  used(host: Host): void {
    if (this.#told || this.#rules.checks === undefined) return;
    this.#told = true;
    host.state.setFlags(FLAG_BIT.used, 0);
  }

  close(): void {
    this.#outlier?.close();
    this.#checker?.close();
    this.#parts.ejections.close();
  }

  #failAtOnce(host: Host): void {
    if ((host.state.flags & FLAG_BIT.failed) !== 0 && (host.state.flags & FLAG_BIT.excluded) !== 0) return;
    if (this.#checker !== undefined) {
      this.#checker.passiveFailure(host);
      return;
    }
    if (!host.state.setFlags(FLAG_BIT.failed | FLAG_BIT.excluded, 0)) return;
    this.#parts.changed();
    this.#parts.ejections.tell();
  }

  #makeChecker(plan: HealthPlan): HealthChecker {
    const { wheel, random, stats, statName, transports, changed, ejections } = this.#parts;
    const settings: PoolSettings = { ...this.#parts.settings, stats: createClusterStats(new StatsStore(), 'health'), preconnectRatio: 1 };
    const limits = new LocalLimits(NO_BOUNDS);
    return new HealthChecker(
      plan,
      {
        wheel,
        random,
        ready: () => transports.warm,
        probe: (host, at) => this.#probe(plan, host, at, settings, limits),
        checked: (host, passed) => {
          if (passed) this.#outlier?.passedCheck(host);
          changed();
          ejections.tell();
        },
      },
      stats,
      statName,
    );
  }

  #probe(plan: HealthPlan, host: Host, at: HostCheck, settings: PoolSettings, limits: LocalLimits): Probe {
    const { question } = plan;
    const { transports, config } = this.#parts;
    const transport =
      plan.transportCriteria === undefined ? transports.forMetadata(host.metadata) : transports.matching(plan.transportCriteria);
    const target = new Host(at.ip, at.port, host.hostname);
    const named = host.hostname === '' ? {} : { hostname: host.hostname };
    if (question.kind === 'tcp') {
      const variant = { ...PLAIN_VARIANT, ...named, key: 'health', protocol: 'tcp' as const, alpn: plan.alpn };
      return new TcpProbe(question, transport.kind === 'tls', plan.reuse, () =>
        transport.connect(at.ip, at.port, settings.bindAddress, variant),
      );
    }
    const http2 = question.kind === 'grpc' || question.http2;
    const variant = {
      ...PLAIN_VARIANT,
      ...named,
      key: 'health',
      protocol: http2 ? ('http2' as const) : ('http1' as const),
      alpn: plan.alpn,
    };
    const authority = at.hostname || question.host || (config.name ?? '');
    const scheme = transport.kind === 'tls' ? 'https' : 'http';
    return new HttpProbe(question, authority, scheme, plan.reuse, limits, () =>
      http2 ? new Http2Pool(target, transport, variant, settings, limits) : new Http1Pool(target, transport, variant, settings, limits),
    );
  }
}
