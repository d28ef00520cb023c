// Golden signals as the control plane's admin API tells them, asked and made into rows: what `top`, `stat` and `edges` share.
import type { SummaryRow } from '../control/telemetry/summary.ts';
import type { AdminClient } from './admin-client.ts';
import { UsageError } from './command-line.ts';
import { bytes, type Column, milliseconds, type Paint, percent, rate } from './terminal-text.ts';

export const GROUPINGS = ['route', 'edge', 'workload', 'version', 'service'] as const;
export type Grouping = (typeof GROUPINGS)[number];

export type SignalRow = SummaryRow;
type Party = NonNullable<SummaryRow['source']>;

export interface Summary {
  readonly from: string;
  readonly to: string;
  readonly source: 'embedded' | 'prometheus';
  readonly complete: boolean;
  readonly notes: readonly string[];
  readonly rows: readonly SignalRow[];
}

export interface SummaryQuery {
  readonly by: Grouping;
  readonly windowS: number;
  readonly namespace?: string | undefined;
  readonly workload?: string | undefined;
  readonly host?: string | undefined;
}

/** Throws as AdminClient does. */
export const askSummary = async (admin: AdminClient, q: SummaryQuery): Promise<Summary> => {
  const query = new URLSearchParams({ window: String(q.windowS), by: q.by });
  for (const name of ['namespace', 'workload', 'host'] as const) {
    const value = q[name];
    if (value !== undefined) query.set(name, value);
  }
  return (await admin.json('GET', `/v1/telemetry/summary?${query}`)) as Summary;
};

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };
const DAY_S = 86_400;

/** `30s`, `5m`, `24h`, or seconds. */
export const windowSeconds = (option: string, text: string): number => {
  const [, number = '', unit = 's'] = /^(\d+)([smh]?)$/.exec(text) ?? [];
  const seconds = Number(number) * (UNITS[unit || 's'] ?? 0);
  if (number === '' || seconds < 1 || seconds > DAY_S) throw new UsageError(`${option} ${text}: 10s, 5m, 2h; at most 24h`);
  return seconds;
};

export const partyName = (p: Pick<Party, 'workload' | 'namespace'> | null): string =>
  p === null || p.workload === '' ? 'unknown' : p.namespace === '' ? p.workload : `${p.workload}.${p.namespace}`;

/** A workload where one is known, else the service that was called. */
export const destinationName = (row: SignalRow): string =>
  row.destination !== null && row.destination.workload !== '' ? partyName(row.destination) : serviceName(row);

export const serviceName = ({ destination }: SignalRow): string => destination?.service || 'unknown';

export const isNamed = (party: (Pick<Party, 'workload' | 'namespace'> & { readonly service?: string }) | null, name: string): boolean => {
  if (party === null) return name === 'unknown';
  const { workload, namespace, service = '' } = party;
  return [workload, `${workload}.${namespace}`, service, service.split('.')[0], service.split('.').slice(0, 2).join('.')].includes(name);
};

const successPaint = (row: SignalRow): Paint | undefined =>
  row.successRate === null ? 'dim' : row.successRate < 0.95 ? 'red' : row.successRate < 0.99 ? 'yellow' : 'green';

export const SOURCE: Column<SignalRow> = { head: 'SOURCE', cell: (r) => partyName(r.source), least: 20 };
export const DESTINATION: Column<SignalRow> = { head: 'DESTINATION', cell: destinationName, least: 20 };
export const ROUTE: Column<SignalRow> = { head: 'ROUTE', cell: (r) => r.route || '-', least: 8, spare: 2 };

const number = (head: string, cell: (row: SignalRow) => string, paint?: (row: SignalRow) => Paint | undefined): Column<SignalRow> => ({
  head,
  cell,
  right: true,
  ...(paint === undefined ? {} : { paint }),
});

export const RPS = { ...number('RPS', (r) => rate(r.rps)), spare: 1 };
export const SUCCESS = number('SUCCESS', (r) => percent(r.successRate), successPaint);

export const GOLDEN: readonly Column<SignalRow>[] = [
  RPS,
  SUCCESS,
  { ...number('P50', (r) => milliseconds(r.p50)), spare: 5 },
  { ...number('P95', (r) => milliseconds(r.p95)), spare: 4 },
  { ...number('P99', (r) => milliseconds(r.p99)), spare: 3 },
];

export const REQUESTS: Column<SignalRow> = { ...number('REQUESTS', (r) => String(r.requests)), spare: 6 };

/** Where there is TCP at all. */
const TCP: readonly Column<SignalRow>[] = [
  number('TCP OPENED', (r) => (r.tcp === null ? '-' : String(r.tcp.opened))),
  number('TCP SENT', (r) => (r.tcp === null ? '-' : bytes(r.tcp.sent))),
  number('TCP RECEIVED', (r) => (r.tcp === null ? '-' : bytes(r.tcp.received))),
];

export const withTcp = (columns: readonly Column<SignalRow>[], rows: readonly SignalRow[]): readonly Column<SignalRow>[] =>
  rows.some((r) => r.tcp !== null) ? [...columns, ...TCP.map((c) => ({ ...c, spare: 7 }))] : columns;

/** What the numbers do not say; of mutual TLS tells whoever shows it. */
export const notesOf = ({ complete, notes, source }: Summary): readonly string[] => [
  ...(source === 'prometheus' ? ['counted by Prometheus: the control plane keeps no summaries of its own'] : []),
  ...notes.filter((n) => !n.startsWith('mtls')),
  ...(complete || notes.length > 0 ? [] : ['not all of the time asked for is known']),
];
