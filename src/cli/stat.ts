// `skein stat`: golden signals of workloads, services or routes over a time; with --from or --to of the calls between two of them.
import { AdminClient } from './admin-client.ts';
import { newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { type Look, look } from './live-screen.ts';
import { print, structured } from './output.ts';
import {
  askSummary,
  DESTINATION,
  GOLDEN,
  type Grouping,
  isNamed,
  notesOf,
  REQUESTS,
  ROUTE,
  type SignalRow,
  SOURCE,
  type Summary,
  serviceName,
  windowSeconds,
  withTcp,
} from './signals.ts';
import { bytes, type Column, painted, tableText } from './terminal-text.ts';

interface Options {
  readonly namespace?: string;
  readonly from?: string;
  readonly to?: string;
  readonly window: string;
  readonly output: string;
  readonly state?: string;
}

type Kind = 'workload' | 'service' | 'route' | 'version';

/** As people used to other meshes write them. */
const KINDS: Readonly<Record<string, Kind>> = {
  workload: 'workload',
  workloads: 'workload',
  deploy: 'workload',
  deployment: 'workload',
  deployments: 'workload',
  service: 'service',
  services: 'service',
  svc: 'service',
  route: 'route',
  routes: 'route',
  version: 'version',
  versions: 'version',
};

const program = () =>
  withOutputOption(withStateOption(newCommand('stat', 'Show golden signals: success, rate and latency, over a time.')))
    .argument('[what]', 'workload, service, route or version, or KIND/NAME', 'workload')
    .argument('[name]', 'only this one')
    .option('-n, --namespace <name>', 'only what concerns this namespace')
    .option('--from <name>', 'only calls of this workload, by caller and callee')
    .option('--to <name>', 'only calls to this workload or service, by caller and callee')
    .option('--window <time>', 'what came in this time counts', '1m')
    .addHelpText(
      'after',
      `
Examples:
  skein stat                                     all workloads, the last minute
  skein stat service payment-service --window 24h
  skein stat workload/order-v1 --to payment-service
  skein stat route -n production -o json

With --from or --to a row is a caller and a callee. Percentiles are of buckets: within one bucket of the truth.
Exit codes: 0 printed, 1 nothing is known of that name, 2 wrong usage, 3 no control plane is running.`,
    );

export const command = {
  name: 'stat',
  summary: 'show golden signals of workloads, services and routes',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([what = 'workload', second], options: Options) => {
      const format = outputFormat(options.output);
      const [kindName = '', inline] = what.split('/');
      const kind = Object.hasOwn(KINDS, kindName) ? KINDS[kindName] : undefined;
      if (kind === undefined) throw new UsageError(`there is no ${JSON.stringify(kindName)}: workload, service, route or version`);
      const name = inline ?? second;
      const windowS = windowSeconds('--window', options.window);
      const { namespace, from, to } = options;
      const between = from !== undefined || to !== undefined;
      const by: Grouping = between ? 'edge' : kind;
      const summary = await askSummary(new AdminClient(options.state), { by, windowS, namespace });
      const rows = summary.rows.filter(
        (r) =>
          (name === undefined || isOf(kind, r, name, between)) &&
          (from === undefined || isNamed(r.source, from)) &&
          (to === undefined || isNamed(r.destination, to)),
      );
      const shown = { ...summary, rows };
      print(format === 'table' ? statText(shown, between ? 'edge' : kind, windowS, look()) : structured(shown, format));
      if (name !== undefined && rows.length === 0) {
        process.stderr.write(`skein: no requests of ${kind} ${name} in the last ${windowS} s\n`);
        process.exitCode = 1;
      }
    }),
};

const isOf = (kind: Kind, row: SignalRow, name: string, between: boolean): boolean => {
  if (between) return isNamed(row.source, name) || isNamed(row.destination, name);
  return isNamed(row.destination, name) || (kind === 'route' && row.route === name);
};

const NAMED: Readonly<Record<Kind | 'edge', readonly Column<SignalRow>[]>> = {
  workload: [{ ...DESTINATION, head: 'WORKLOAD' }],
  service: [{ head: 'SERVICE', cell: serviceName, least: 20 }],
  route: [{ head: 'SERVICE', cell: serviceName, least: 20 }, ROUTE],
  version: [
    { ...DESTINATION, head: 'WORKLOAD' },
    { head: 'VERSION', cell: (r) => r.destination?.version || '-', least: 4 },
  ],
  edge: [SOURCE, DESTINATION],
};

const BYTES: readonly Column<SignalRow>[] = [
  { head: 'IN', cell: (r) => bytes(r.bytesIn), right: true, spare: 8 },
  { head: 'OUT', cell: (r) => bytes(r.bytesOut), right: true, spare: 8 },
];

export const statText = (summary: Summary, kind: Kind | 'edge', windowS: number, { width, colours }: Look): string => {
  const notes = notesOf(summary)
    .map((n) => `${painted(`note: ${n}`, 'dim', colours)}\n`)
    .join('');
  if (summary.rows.length === 0) return `No requests in the last ${windowS} s.\n${notes}`;
  const columns = withTcp([...NAMED[kind], ...GOLDEN, REQUESTS, ...BYTES], summary.rows);
  const key = (r: SignalRow): string =>
    columns
      .slice(0, 2)
      .map((c) => c.cell(r))
      .join('\n');
  const rows = summary.rows.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
  return `${tableText(columns, rows, { width, colours })}${notes}`;
};
