// The report as Markdown: a table for each scenario, the targets, who took part and on what machine. Pure.
import type { Scenario } from './scenarios.ts';
import { added, type Medians } from './statistics.ts';
import { directOf, judge, type Results, verdictText } from './targets.ts';
import { telemetryTables } from './telemetry/tables.ts';

export interface Machine {
  readonly date: string;
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
  readonly versions: Readonly<Record<string, string>>;
}

export interface Report {
  readonly machine: Machine;
  readonly rounds: number;
  readonly seconds: number;
  readonly quick: boolean;
  readonly dirty: boolean;
  readonly scenarios: readonly Scenario[];
  readonly results: Results;
  readonly notes: ReadonlyMap<string, string>;
  /** Scenario → contender or '' → why it has no row. */
  readonly notRun: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

const cell = (value: number | undefined, digits: number): string => (value === undefined ? '–' : value.toFixed(digits));
const ratio = (own: number | undefined, peer: number | undefined): string => (own && peer ? (own / peer).toFixed(2) : '–');

const scenarioTable = (scenario: Scenario, rows: ReadonlyMap<string, Medians>): string[] => {
  const latency = [...rows.values()].some((m) => m.p50Ms !== undefined);
  const idle = scenario.load === 'idle';
  const open = scenario.load === 'open-loop';
  const head = [
    '',
    ...(idle ? ['KiB per connection'] : []),
    ...(idle ? [] : [scenario.cpuLabel, 'against Envoy', 'against Envoy full', scenario.rateLabel]),
    ...(latency ? ['p50 ms', 'p90 ms', 'p99 ms', 'added p50', 'added p90', 'added p99'] : []),
    ...(open ? ['late p99'] : []),
    'RSS MB a hop',
    'private MB a hop',
    'errors',
    'rounds that count',
  ];
  const lines = [
    `| ${head.join(' | ')} |`,
    `|---|${head
      .slice(1)
      .map(() => '---:|')
      .join('')}`,
  ];
  for (const [name, m] of rows) {
    const direct = name.startsWith('direct') ? undefined : rows.get(directOf(name));
    const cells = [
      name,
      ...(idle ? [cell(m.kibPerConnection, 1)] : []),
      ...(idle
        ? []
        : [cell(m.cpu, 2), ratio(m.cpu, rows.get('envoy')?.cpu), ratio(m.cpu, rows.get('envoy-full')?.cpu), cell(m.perSecond, 0)]),
      ...(latency ? [cell(m.p50Ms, 2), cell(m.p90Ms, 2), cell(m.p99Ms, 2)] : []),
      ...(latency
        ? [added(m.p50Ms, direct?.p50Ms), added(m.p90Ms, direct?.p90Ms), added(m.p99Ms, direct?.p99Ms)].map((v) => cell(v, 2))
        : []),
      ...(open ? [cell(m.lateMs, 2)] : []),
      cell(name.startsWith('direct') ? undefined : m.rssMb, 0),
      cell(name.startsWith('direct') ? undefined : m.privateMb, 0),
      cell(m.errors, 0),
      `${m.counted} of ${m.measured}`,
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return lines;
};

const targetTable = (results: Results): string[] => [
  '| target | limit | measured | |',
  '|---|---:|---:|---|',
  ...judge(results).map(
    (v) => `| ${v.name} | ${v.atLeast ? 'at least' : 'at most'} ${v.limit} | ${cell(v.value, 2)} | ${verdictText(v)} |`,
  ),
];

export const renderReport = (r: Report): string => {
  const lines = [
    '# Benchmark',
    '',
    `${r.machine.date}; ${r.machine.cores} cores, ${r.machine.cpu}, Linux ${r.machine.kernel}; ${Object.entries(r.machine.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}.`,
    `Medians of up to ${r.rounds} clean rounds of ${r.seconds} s, interleaved. CPU: both hops together, user and system, agents included.`,
    ...(r.dirty && !r.quick ? ['', '**Rounds count here although others used the machine: a look, not a result.**'] : []),
    ...(r.quick ? ['', '**A smoke run: it shows that everything works; its figures mean nothing.**'] : []),
  ];
  for (const scenario of r.scenarios) {
    lines.push('', `## (${scenario.id}) ${scenario.title}`, '');
    const rows = r.results.scenarios.get(scenario.id);
    if (rows !== undefined && rows.size > 0)
      lines.push(...(scenario.own === true ? telemetryTables(rows, r.results.telemetry) : scenarioTable(scenario, rows)));
    const missing = r.notRun.get(scenario.id);
    if (missing !== undefined && missing.size > 0) {
      lines.push('', ...[...missing].map(([name, why]) => (name === '' ? `Not run: ${why}` : `- ${name}: ${why}`)));
    }
  }
  lines.push('', '## Targets', '', ...targetTable(r.results), '', '## Who took part', '');
  for (const [name, note] of r.notes) lines.push(`- **${name}**: ${note}.`);
  return `${lines.join('\n')}\n`;
};
