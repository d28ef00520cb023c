// The telemetry scenario as Markdown: cost over none, what became of the spans and log lines, recovery. Pure.
import { added, type Medians } from '../statistics.ts';
import { NONE } from './rows.ts';
import { type TelemetryFacts, waitingOf } from './tallies.ts';

const cell = (value: number | undefined, digits: number): string => (value === undefined ? '–' : value.toFixed(digits));

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  `| ${head.join(' | ')} |`,
  `|---|${'---:|'.repeat(head.length - 1)}`,
  ...rows.map((cells) => `| ${cells.join(' | ')} |`),
];

const COST = [
  ...[
    '',
    'CPU s per 10,000',
    'over none',
    'requests/s',
    'p50 ms',
    'p99 ms',
    'added p50',
    'added p99',
    'private MB a hop',
    'failed requests',
  ],
  'rounds that count',
];

const costTable = (rows: ReadonlyMap<string, Medians>): string[] => {
  const none = rows.get(NONE);
  return table(
    COST,
    [...rows].map(([name, m]) => [
      name,
      cell(m.cpu, 3),
      m.cpu !== undefined && none?.cpu ? (m.cpu / none.cpu).toFixed(3) : '–',
      cell(m.perSecond, 0),
      cell(m.p50Ms, 2),
      cell(m.p99Ms, 2),
      name === NONE ? '–' : cell(added(m.p50Ms, none?.p50Ms), 2),
      name === NONE ? '–' : cell(added(m.p99Ms, none?.p99Ms), 2),
      cell(m.privateMb, 0),
      cell(m.errors, 0),
      `${m.counted} of ${m.measured}`,
    ]),
  );
};

const TALLIES = ['', 'requests traced', 'spans sent', 'dropped, queue full', 'given up', 'rejected', 'still waiting', 'log lines dropped'];

export const telemetryTables = (rows: ReadonlyMap<string, Medians>, facts: TelemetryFacts | undefined): string[] => {
  const lines = costTable(rows);
  if (facts === undefined) return lines;
  lines.push('', `Failed requests in all rounds, also those that do not count: ${facts.failedRequests}.`);
  lines.push(
    '',
    'What became of it, both hops together, from `/stats` when the rounds were over (warm-up included):',
    '',
    ...table(
      TALLIES,
      [...facts.tallies].map(([name, t]) => [
        name,
        ...[t.traced, t.sent, t.dropped, t.failed, t.rejected, waitingOf(t), t.logLinesDropped].map(String),
      ]),
    ),
  );
  if (facts.recoveries.size === 0) return lines;
  lines.push(
    '',
    'Then the collector came back:',
    '',
    ...table(
      ['', 'spans sent before', 'after', 'received by the collector', 'seconds until both hops sent'],
      [...facts.recoveries].map(([name, r]) => [name, String(r.before), String(r.after), String(r.received), r.seconds.toFixed(1)]),
    ),
  );
  return lines;
};
