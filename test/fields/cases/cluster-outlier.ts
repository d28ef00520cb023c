// Outlier detection and circuit breakers of a cluster, over a clock of their own.
import { type Breakers, compileBreakers, LocalLimits } from '../../../src/proxy/cluster/circuit-breaker.ts';
import { Host } from '../../../src/proxy/cluster/host.ts';
import { FLAG_BIT, LocalHostState } from '../../../src/proxy/cluster/host-state.ts';
import { compileOutlier, OutlierDetector } from '../../../src/proxy/cluster/outlier.ts';
import { compileErrorAnswers } from '../../../src/proxy/cluster/outlier-answers.ts';
import { TimerWheel } from '../../../src/proxy/timer-wheel.ts';
import { HeaderBlock } from '../../../src/wire/header-block.ts';
import type { CircuitBreakers, MatchPredicate, OutlierDetection } from '../../../src/xds/gen/types.ts';
import { protocolOptions } from '../../proxy/http2-peers.ts';
import { cluster, type FieldCase, only } from '../case.ts';
import { StepClock } from './cluster-step-clock.ts';

interface Watched {
  readonly clock: StepClock;
  readonly hosts: readonly Host[];
  readonly first: Host;
  readonly detector: OutlierDetector;
}
const SECOND = 1000;
const watching = (
  name: string,
  outlier_detection: OutlierDetection,
  count: number,
  happens: (at: Watched) => unknown,
  expect: unknown,
): FieldCase => ({
  name,
  parts: () => [cluster({ name: 'c', outlier_detection })],
  observe: (parts) => {
    const clock = new StepClock();
    const first = new Host('10.0.0.1', 1);
    const hosts = [first, ...Array.from({ length: count - 1 }, (_, i) => new Host('10.0.0.1', i + 2))];
    const policy = compileOutlier(only(parts, 'envoy.config.cluster.v3.Cluster').outlier_detection ?? {});
    const detector = new OutlierDetector(
      policy,
      new TimerWheel(clock),
      () => 0.5,
      () => hosts,
      () => {},
    );
    return happens({ clock, hosts, first, detector });
  },
  expect,
});
const out = ({ hosts }: Watched): string => hosts.map((h) => (h.ejected ? 'x' : '-')).join('');

/** All hosts answer `of` times; the first fails `failing` of them. The end of the interval is awaited. */
const share = (failing: number, of: number, fail: (at: Watched) => void) => (at: Watched) => {
  for (const host of at.hosts)
    for (let n = 0; n < of; n++) {
      if (host === at.first && n < failing) fail(at);
      else at.detector.response(host, 200);
    }
  at.clock.forward(1.5 * SECOND);
  return out(at);
};
const answers500 = ({ detector, first }: Watched): void => detector.response(first, 500);
const answers503 = ({ detector, first }: Watched): void => detector.response(first, 503);
const isReset = ({ detector, first }: Watched): void => detector.localFailure(first, 'reset');
const times = (count: number, what: (at: Watched) => void) => (at: Watched) => {
  for (let n = 0; n < count; n++) what(at);
  return out(at);
};
const BY_SHARE: OutlierDetection = { interval: '1s', max_ejection_percent: 100, consecutive_5xx: 1000 };

const outlierSuccess = watching(
  'outlier-success-rate',
  { ...BY_SHARE, success_rate_minimum_hosts: 3, success_rate_request_volume: 10, success_rate_stdev_factor: 500 },
  4,
  share(10, 12, answers500),
  'x---',
);
const outlierSuccessOff = watching(
  'outlier-success-rate-not-enforced',
  { ...BY_SHARE, enforcing_success_rate: 0 },
  5,
  share(90, 100, answers500),
  '-----',
);
const outlierPercentage = watching(
  'outlier-failure-percentage',
  {
    ...BY_SHARE,
    enforcing_failure_percentage: 100,
    failure_percentage_threshold: 50,
    failure_percentage_minimum_hosts: 3,
    failure_percentage_request_volume: 10,
  },
  4,
  share(6, 10, answers500),
  'x---',
);
const outlierGateway = watching(
  'outlier-gateway',
  { max_ejection_percent: 100, consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100 },
  4,
  times(2, answers503),
  'x---',
);
const outlierAnswersOff = watching(
  'outlier-5xx-not-enforced',
  { max_ejection_percent: 100, enforcing_consecutive_5xx: 0 },
  4,
  times(9, answers500),
  '----',
);
const outlierLocal = watching(
  'outlier-local',
  { max_ejection_percent: 100, split_external_local_origin_errors: true, consecutive_local_origin_failure: 2 },
  4,
  times(2, isReset),
  'x---',
);
const outlierLocalOff = watching(
  'outlier-local-not-enforced',
  {
    ...BY_SHARE,
    split_external_local_origin_errors: true,
    enforcing_consecutive_local_origin_failure: 0,
    enforcing_local_origin_success_rate: 0,
  },
  5,
  share(90, 100, isReset),
  '-----',
);
const outlierLocalPercentage = watching(
  'outlier-local-percentage',
  {
    ...BY_SHARE,
    split_external_local_origin_errors: true,
    enforcing_consecutive_local_origin_failure: 0,
    enforcing_local_origin_success_rate: 0,
    enforcing_failure_percentage_local_origin: 100,
  },
  5,
  share(90, 100, isReset),
  'x----',
);
/** For how many seconds a host stays out, the first time and the second. */
const outlierTimes = watching(
  'outlier-times',
  {
    max_ejection_percent: 100,
    consecutive_5xx: 1,
    interval: '1s',
    base_ejection_time: '2s',
    max_ejection_time: '2s',
    max_ejection_time_jitter: '20s',
  },
  2,
  (at) => {
    const lasting: number[] = [];
    for (let n = 0; n < 2; n++) {
      answers500(at);
      let seconds = 0;
      for (; at.first.ejected && seconds < 60; seconds++) at.clock.forward(SECOND);
      lasting.push(seconds);
    }
    return lasting;
  },
  [13, 13],
);
const outlierExceptions = watching(
  'outlier-exceptions',
  {
    consecutive_5xx: 1,
    max_ejection_percent: 1,
    always_eject_one_host: true,
    successful_active_health_check_uneject_host: false,
    detect_degraded_hosts: true,
  },
  2,
  (at) => {
    const second = at.hosts[1] ?? at.first;
    answers500(at);
    at.detector.passedCheck(at.first);
    at.detector.degraded(second);
    return [out(at), (second.state.flags & FLAG_BIT.degradedByAnswer) !== 0];
  },
  ['x-', true],
);

const header = (name: string, more: object): MatchPredicate => ({ http_response_headers_match: { headers: [{ name, ...more }] } });
const outlierMatcher: FieldCase = {
  name: 'outlier-matcher',
  parts: () => [
    cluster({
      name: 'c',
      ...protocolOptions({
        explicit_http_config: { http_protocol_options: {} },
        outlier_detection: {
          error_matcher: {
            or_match: {
              rules: [
                header('x-bad', { present_match: true }),
                { and_match: { rules: [{ any_match: true }, { not_match: header(':status', { string_match: { prefix: '2' } }) }] } },
              ],
            },
          },
        },
      }),
    }),
  ],
  observe: (parts) => {
    const test = compileErrorAnswers(only(parts, 'envoy.config.cluster.v3.Cluster'));
    const none = new HeaderBlock();
    const bad = new HeaderBlock();
    bad.add('x-bad', '1');
    return [test?.(200, none), test?.(200, bad), test?.(404, none)];
  },
  expect: [false, true, true],
};

const breaking = (
  name: string,
  circuit_breakers: CircuitBreakers,
  happens: (breakers: Breakers, clock: StepClock) => unknown,
  expect: unknown,
): FieldCase => ({
  name,
  parts: () => [cluster({ name: 'c', circuit_breakers })],
  observe: (parts) => {
    const clock = new StepClock();
    const config = only(parts, 'envoy.config.cluster.v3.Cluster').circuit_breakers;
    return happens(
      compileBreakers(
        config,
        (_, bounds) => new LocalLimits(bounds),
        () => clock.monotonicMs(),
      ),
      clock,
    );
  },
  expect,
});
const breakersConnections = breaking(
  'breakers-connections',
  { thresholds: [{ max_connections: 2 }], per_host_thresholds: [{ max_connections: 1 }] },
  ({ default: limits }) => {
    const [one, two, three] = [new LocalHostState(), new LocalHostState(), new LocalHostState()];
    return [one, one, two, three].map((host) => limits.tryConnection(host, false));
  },
  [true, false, true, false],
);
const breakersBudget = breaking(
  'breakers-budget',
  { thresholds: [{ retry_budget: { budget_percent: { value: 50 }, budget_interval: '10s', min_retry_concurrency: 1 } }] },
  ({ default: limits }, clock) => {
    for (let n = 0; n < 8; n++) {
      limits.tryRequest();
      limits.releaseRequest();
    }
    clock.forward(SECOND);
    return Array.from({ length: 6 }, () => limits.tryRetry());
  },
  [true, true, true, true, false, false],
);

export const OUTLIER_CASES: readonly FieldCase[] = [
  outlierSuccess,
  outlierSuccessOff,
  outlierPercentage,
  outlierGateway,
  outlierAnswersOff,
  outlierLocal,
  outlierLocalOff,
  outlierLocalPercentage,
  outlierTimes,
  outlierExceptions,
  outlierMatcher,
  breakersConnections,
  breakersBudget,
];
