// When names are asked for again and hosts are checked again, over a clock of its own.

import { compileClusterProtocol } from '../../../src/proxy/cluster/cluster-protocol.ts';
import type { DnsAnswer, DnsLookup, DnsQuestion } from '../../../src/proxy/cluster/dns-lookup.ts';
import { DnsResolution } from '../../../src/proxy/cluster/dns-resolution.ts';
import { Host } from '../../../src/proxy/cluster/host.ts';
import { FLAG_BIT } from '../../../src/proxy/cluster/host-state.ts';
import { HealthChecker } from '../../../src/proxy/health/health-checker.ts';
import { compileHealth } from '../../../src/proxy/health/health-plan.ts';
import { Http2Keepalive } from '../../../src/proxy/sockets/http2-keepalive.ts';
import { StatsStore } from '../../../src/proxy/stats-store.ts';
import { TimerWheel } from '../../../src/proxy/timer-wheel.ts';
import type { Address, Cluster } from '../../../src/xds/gen/types.ts';
import { cluster, type FieldCase, only } from '../case.ts';
import { StepClock } from './cluster-step-clock.ts';

const STEP_MS = 10;
const TENTH_MS = 100;
/** Between things that happened at these times, in tenths of a second. */
const between = (times: readonly number[]): number[] => times.map((at, i) => Math.floor((at - (times[i - 1] ?? 0)) / TENTH_MS) / 10);

// --- names

type Said = { readonly addresses: readonly string[]; readonly ttlMs?: number } | 'failure';
class Scripted implements DnsLookup {
  readonly questions: DnsQuestion[] = [];
  readonly times: number[] = [];
  readonly #clock: StepClock;
  readonly #script: readonly Said[];

  constructor(clock: StepClock, script: readonly Said[]) {
    this.#clock = clock;
    this.#script = script;
  }

  resolve(question: DnsQuestion, done: DnsAnswer): void {
    const said = this.#script[this.questions.push(question) - 1] ?? { addresses: ['10.0.0.1'] };
    this.times.push(this.#clock.monotonicMs());
    queueMicrotask(() => {
      if (said === 'failure') done(new Error('nobody knows'), [], undefined);
      else done(undefined, said.addresses, question.wantTtl ? said.ttlMs : undefined);
    });
  }
}

const asking = (
  name: string,
  config: Partial<Cluster>,
  script: readonly Said[],
  look: (dns: Scripted, found: readonly string[]) => unknown,
  expect: unknown,
): FieldCase => ({
  name,
  parts: () => [
    cluster({
      name: 'c',
      type: 'STRICT_DNS',
      load_assignment: {
        cluster_name: 'c',
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 'a.test', port_value: 80 } } } }] }],
      },
      ...config,
    }),
  ],
  observe: async (parts) => {
    const clock = new StepClock();
    const dns = new Scripted(clock, script);
    let found: string[] = [];
    const resolution = new DnsResolution(
      only(parts, 'envoy.config.cluster.v3.Cluster'),
      { wheel: new TimerWheel(clock), dns, random: () => 0.5 },
      ({ endpoints = [] }) => {
        const hosts = endpoints.flatMap((l) => l.lb_endpoints ?? []);
        found = hosts.map((h) => h.endpoint?.address?.socket_address?.address ?? '');
      },
    );
    resolution.start();
    for (let n = 0; n < 4000; n++) {
      await Promise.resolve();
      await Promise.resolve();
      clock.forward(STEP_MS);
    }
    resolution.close();
    return look(dns, found);
  },
  expect,
});
const BOTH: readonly Said[] = Array.from({ length: 50 }, () => ({ addresses: ['::1', '10.0.0.2'] }));
const resolvers: readonly Address[] = [{ socket_address: { address: '10.9.9.9', port_value: 54 } }];
const servers = (dns: Scripted): readonly string[] => dns.questions[0]?.servers ?? [];
const dnsServers = asking(
  'dns-servers',
  { dns_lookup_family: 'V4_PREFERRED', dns_resolvers: resolvers },
  BOTH,
  (dns, found) => [servers(dns), found],
  [['10.9.9.9:54'], ['10.0.0.2']],
);
const dnsServersOld = asking('dns-servers-old', { dns_resolution_config: { resolvers } }, BOTH, servers, ['10.9.9.9:54']);
const dnsServersExtension = asking(
  'dns-servers-extension',
  {
    typed_dns_resolver_config: {
      name: 'envoy.network.dns_resolver.cares',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig', resolvers },
    },
  },
  BOTH,
  servers,
  ['10.9.9.9:54'],
);
const dnsTimes = asking(
  'dns-times',
  {
    dns_refresh_rate: '3s',
    dns_jitter: '4s',
    respect_dns_ttl: true,
    dns_failure_refresh_rate: { base_interval: '2s', max_interval: '5s' },
  },
  [{ addresses: ['10.0.0.1'] }, { addresses: ['10.0.0.1'], ttlMs: 10_000 }, 'failure', 'failure', 'failure'],
  (dns) => between(dns.times.slice(0, 6)),
  [0, 5, 12, 1, 2, 2.5],
);

// --- checks

const healthTimes: FieldCase = {
  name: 'health-times',
  parts: () => [
    cluster({
      name: 'c',
      health_checks: [
        {
          timeout: '1s',
          healthy_threshold: 2,
          unhealthy_threshold: 2,
          interval: '10s',
          initial_jitter: '4s',
          interval_jitter: '2s',
          interval_jitter_percent: 10,
          no_traffic_interval: '90s',
          no_traffic_healthy_interval: '50s',
          unhealthy_edge_interval: '20s',
          unhealthy_interval: '30s',
          healthy_edge_interval: '40s',
          http_health_check: { path: '/' },
        },
      ],
    }),
  ],
  observe: (parts) => {
    const clock = new StepClock();
    const script = ['healthy', 'healthy', 'network', 'network', 'healthy', 'healthy', 'healthy'] as const;
    const times: number[] = [];
    const plan = compileHealth(only(parts, 'envoy.config.cluster.v3.Cluster'), false);
    if (plan === undefined) return 'no checks';
    const host = new Host('10.0.0.1', 1);
    const checker = new HealthChecker(
      plan,
      {
        wheel: new TimerWheel(clock),
        random: () => 0.5,
        ready: () => true,
        checked: () => undefined,
        probe: () => ({
          ask: (done) => {
            const kind = script[times.push(clock.monotonicMs()) - 1] ?? 'healthy';
            done({ kind });
          },
          cancel: () => undefined,
          close: () => undefined,
        }),
      },
      new StatsStore(),
      'c',
    );
    checker.setHosts([host]);
    for (let seconds = 0; seconds < 1000 && times.length < script.length; seconds++) {
      clock.forward(1000);
      if (times.length > 0) host.state.setFlags(FLAG_BIT.used, 0);
    }
    checker.close();
    return between(times);
  },
  expect: [2, 53.5, 11.5, 22, 32.5, 43, 11.5],
};

// --- pings

/** When a connection is asked whether it lives: every while, and when it is used again. */
const pingTimes: FieldCase = {
  name: 'ping-times',
  parts: () => [
    cluster({
      name: 'c',
      http2_protocol_options: {
        connection_keepalive: { interval: '10s', timeout: '5s', interval_jitter: { value: 40 }, connection_idle_interval: '3s' },
      },
    }),
  ],
  observe: (parts) => {
    const clock = new StepClock();
    const plan = compileClusterProtocol(only(parts, 'envoy.config.cluster.v3.Cluster')).keepalive;
    if (plan === undefined) return 'no pings';
    const times: number[] = [];
    const keepalive = new Http2Keepalive(plan, new TimerWheel(clock), () => 0.5, {
      ping: () => void times.push(clock.monotonicMs()),
      pingLost: () => void times.push(0),
    });
    keepalive.idle();
    clock.forward(4_000);
    keepalive.busy();
    keepalive.acked();
    clock.forward(15_000);
    keepalive.stop();
    return between(times);
  },
  expect: [4, 12],
};

export const TIME_CASES: readonly FieldCase[] = [dnsServers, dnsServersOld, dnsServersExtension, dnsTimes, healthTimes, pingTimes];
