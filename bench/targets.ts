// What the project promises, judged by the medians: holds, or misses by how much. Pure.
import { added, type Medians } from './statistics.ts';
import { NONE, TELEMETRY_ROWS } from './telemetry/rows.ts';
import type { TelemetryFacts } from './telemetry/tallies.ts';

export interface Results {
  /** Scenario → contender → medians. */
  readonly scenarios: ReadonlyMap<string, ReadonlyMap<string, Medians>>;
  /** Resident MB of one sidecar, agent included. */
  readonly readyMb?: number | undefined;
  readonly afterTwoHopsMb?: number | undefined;
  /** Where scenario (i) was run to its end. */
  readonly telemetry?: TelemetryFacts | undefined;
}

export interface Verdict {
  readonly name: string;
  /** At most (or at least) this. */
  readonly limit: number;
  readonly atLeast?: true;
  /** `undefined`: not measured, and `why` says what is missing. */
  readonly value: number | undefined;
  readonly why?: string;
}

interface Target {
  readonly name: string;
  readonly scenario: string;
  readonly ours: string;
  readonly peer: string;
  readonly limit: number;
  readonly atLeast?: true;
  readonly figure: 'cpu' | 'perSecond' | 'p50' | 'p99';
}

const FULL = 'envoy-full';
/** Skein as its mesh runs it pays for interception and the mesh's network, which this Envoy does not: beside each such row stand
 * those of like with like, both in the mesh and both alone. */
const RATIOS: readonly Target[] = [
  { name: '(b) CPU per request against Envoy full', scenario: 'b', ours: 'skein', peer: FULL, limit: 0.6, figure: 'cpu' },
  {
    name: '(b) in the mesh: CPU per request against Envoy there',
    scenario: 'b',
    ours: 'skein',
    peer: 'envoy-mesh',
    limit: 0.6,
    figure: 'cpu',
  },
  ...(
    [
      ['b', 0.6],
      ['c', 0.5],
      ['d', 0.5],
    ] as const
  ).map(([scenario, limit]): Target => {
    const name = `(${scenario}) alone, same configuration: CPU per request against Envoy full`;
    return { name, scenario, ours: 'skein-full', peer: FULL, limit, figure: 'cpu' };
  }),
  { name: '(b) bare CPU per request against nginx', scenario: 'b', ours: 'skein-bare', peer: 'nginx', limit: 1.4, figure: 'cpu' },
  { name: '(c) CPU per request against Envoy full', scenario: 'c', ours: 'skein', peer: FULL, limit: 0.5, figure: 'cpu' },
  { name: '(d) CPU per request against Envoy full', scenario: 'd', ours: 'skein', peer: FULL, limit: 0.5, figure: 'cpu' },
  ...['b', 'c', 'd', 'f'].flatMap((scenario): Target[] => [
    { name: `(${scenario}) added p50 against Envoy full`, scenario, ours: 'skein', peer: FULL, limit: 0.6, figure: 'p50' },
    { name: `(${scenario}) added p99 against Envoy full`, scenario, ours: 'skein', peer: FULL, limit: 1, figure: 'p99' },
  ]),
  { name: '(e) CPU per GiB against Envoy', scenario: 'e', ours: 'skein', peer: 'envoy', limit: 1.2, figure: 'cpu' },
  { name: '(g) connections/s against Envoy', scenario: 'g', ours: 'skein', peer: 'envoy', limit: 1, atLeast: true, figure: 'perSecond' },
];
/** A tap that nobody has open is to cost nothing: what two sidecars of the same kind differ by on a quiet machine. */
const TAP_NOISE = 1.05;
const FULL_DISK: ReadonlySet<string> = new Set(TELEMETRY_ROWS.filter((r) => r.tells?.log === 'full-disk').map((r) => r.name));
const OVER_NONE: readonly Target[] = (
  [
    ['telemetry', 1.15],
    ['collector-down', 1.15],
    ['collector-refuses', 1.15],
    ['collector-silent', 1.15],
    ['collector-late', 1.15],
    ['log-disk-full', 1.15],
    ['tap-ended', TAP_NOISE],
  ] as const
).map(([ours, limit]) => ({ name: `(i) ${ours}: CPU per request over none`, scenario: 'i', ours, peer: NONE, limit, figure: 'cpu' }));
const READY_MB = 45;
const AFTER_MB = 70;
const IDLE_KIB = 26;

/** The direct row of the network that a contender stands in. */
export const directOf = (contender: string): string =>
  contender === 'skein' || contender === 'envoy-mesh' || contender === 'direct-mesh' ? 'direct-mesh' : 'direct';

const figureOf = (rows: ReadonlyMap<string, Medians>, contender: string, figure: Target['figure']): number | undefined => {
  const row = rows.get(contender);
  const direct = rows.get(directOf(contender));
  if (figure === 'p50') return added(row?.p50Ms, direct?.p50Ms);
  if (figure === 'p99') return added(row?.p99Ms, direct?.p99Ms);
  return row?.[figure];
};

const judgeRatio = (t: Target, results: Results): Verdict => {
  const rows = results.scenarios.get(t.scenario) ?? new Map<string, Medians>();
  const own = figureOf(rows, t.ours, t.figure);
  const peer = figureOf(rows, t.peer, t.figure);
  const base = { name: t.name, limit: t.limit, ...(t.atLeast ? { atLeast: t.atLeast } : {}) };
  if (own === undefined || peer === undefined) {
    return { ...base, value: undefined, why: `no clean figure of ${own === undefined ? t.ours : t.peer}` };
  }
  // A peer that adds nothing measurable cannot be a divisor; adding no more than it holds every such target.
  if (peer <= 0) return own <= peer ? { ...base, value: 0 } : { ...base, value: undefined, why: `${t.peer} adds nothing measurable` };
  return { ...base, value: Math.max(0, own) / peer };
};

const judgeLimit = (name: string, limit: number, value: number | undefined): Verdict => ({
  name,
  limit,
  value,
  ...(value === undefined ? { why: 'not measured' } : {}),
});

const judgeTelemetry = ({ failedRequests, recoveries, tallies }: TelemetryFacts): Verdict[] => [
  judgeLimit('(i) failed requests', 0, failedRequests),
  ...[...tallies]
    .filter(([name]) => FULL_DISK.has(name))
    .map(([name, t]): Verdict => ({ name: `(i) ${name}: log lines lost and counted`, limit: 1, atLeast: true, value: t.logLinesDropped })),
  ...[...recoveries].map(
    ([name, r]): Verdict => ({ name: `(i) ${name}: spans sent after it came back`, limit: 1, atLeast: true, value: r.after - r.before }),
  ),
];

/** Targets of scenarios that were not asked for are left out. */
export const judge = (results: Results): Verdict[] => [
  ...RATIOS.filter((t) => results.scenarios.has(t.scenario)).map((t) => judgeRatio(t, results)),
  ...OVER_NONE.filter((t) => results.scenarios.get(t.scenario)?.has(t.ours) === true).map((t) => judgeRatio(t, results)),
  ...(results.telemetry === undefined ? [] : judgeTelemetry(results.telemetry)),
  judgeLimit('resident MB of a sidecar 5 s after ready', READY_MB, results.readyMb),
  judgeLimit('resident MB of a sidecar after (b)', AFTER_MB, results.afterTwoHopsMb),
  ...(results.scenarios.has('h')
    ? [judgeLimit('(h) KiB per idle mTLS connection', IDLE_KIB, results.scenarios.get('h')?.get('skein')?.kibPerConnection)]
    : []),
];

export const holds = (v: Verdict): boolean => v.value !== undefined && (v.atLeast ? v.value >= v.limit : v.value <= v.limit);

export const verdictText = (v: Verdict): string => {
  if (v.value === undefined) return `not measured: ${v.why}`;
  if (holds(v)) return 'holds';
  return v.limit === 0
    ? `misses by ${v.value}`
    : `misses by ${Math.abs(v.value - v.limit).toFixed(2)} (${Math.round((Math.abs(v.value - v.limit) / v.limit) * 100)} %)`;
};
