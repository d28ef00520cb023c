// `skein top`: what is busy, what fails and what is slow, now: a table that refreshes on a terminal, once where the output is piped.
import { AdminClient } from './admin-client.ts';
import { newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { type Look, live } from './live-screen.ts';
import { print, structured } from './output.ts';
import {
  askSummary,
  DESTINATION,
  GOLDEN,
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
import { type Column, painted, tableText } from './terminal-text.ts';

interface Options {
  readonly by: string;
  readonly sort: string;
  readonly window: string;
  readonly interval: string;
  readonly limit: string;
  readonly once?: boolean;
  readonly namespace?: string;
  readonly workload?: string;
  readonly host?: string;
  readonly output: string;
  readonly state?: string;
}

const BY = ['route', 'workload', 'edge', 'service', 'version'] as const;
type By = (typeof BY)[number];

const SORTS: Readonly<Record<string, (row: SignalRow) => number>> = {
  rps: (r) => r.rps + (r.tcp?.opened ?? 0) / 1e6,
  success: (r) => -(r.successRate ?? 2),
  p50: (r) => r.p50 ?? -1,
  p95: (r) => r.p95 ?? -1,
  p99: (r) => r.p99 ?? -1,
};

const program = () =>
  withOutputOption(withStateOption(newCommand('top', 'Show what is busy, what fails and what is slow, now.')))
    .option('--by <what>', BY.join(', '), 'route')
    .option('--sort <column>', `${Object.keys(SORTS).join(', ')}; success: the worst first`, 'rps')
    .option('--window <time>', 'what came in this time counts', '30s')
    .option('--interval <time>', 'so often anew', '2s')
    .option('--limit <n>', 'so many rows at most', '100')
    .option('--once', 'print once, on a terminal too')
    .option('-n, --namespace <name>', 'only what concerns this namespace')
    .option('--workload <name>', 'only what concerns this workload')
    .option('--host <name>', 'only calls to this service')
    .addHelpText(
      'after',
      `
Examples:
  skein top
  skein top --by edge --sort p99 --window 5m
  skein top --by workload -n production -o json

A table that refreshes on a terminal (Ctrl-C ends it), printed once where the output is piped. Success is the share of answers that are no
5xx, and for gRPC of calls whose status is no error. Where the numbers come from: docs/live-views.md.
Exit codes: 0 printed, 1 the control plane keeps no such numbers, 2 wrong usage, 3 no control plane is running.`,
    );

export const command = {
  name: 'top',
  summary: 'show what is busy, what fails and what is slow, now',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async (_operands, options: Options) => {
      const format = outputFormat(options.output);
      const by = BY.find((b) => b === options.by);
      if (by === undefined) throw new UsageError(`--by ${options.by}: one of ${BY.join(', ')}`);
      const sort = Object.hasOwn(SORTS, options.sort) ? SORTS[options.sort] : undefined;
      if (sort === undefined) throw new UsageError(`--sort ${options.sort}: one of ${Object.keys(SORTS).join(', ')}`);
      const limit = Number(options.limit);
      if (!Number.isInteger(limit) || limit < 1) throw new UsageError(`--limit ${options.limit}: a number from 1`);
      const windowS = windowSeconds('--window', options.window);
      const intervalMs = windowSeconds('--interval', options.interval) * 1000;
      const admin = new AdminClient(options.state);
      const { namespace, workload, host } = options;
      const ask = async (): Promise<Summary> => {
        const summary = await askSummary(admin, { by, windowS, namespace, workload, host });
        return { ...summary, rows: summary.rows.toSorted((a, b) => sort(b) - sort(a)).slice(0, limit) };
      };
      if (format !== 'table') print(structured(await ask(), format));
      else
        await live({
          intervalMs,
          once: options.once === true,
          // Once is no live view: it needs no head that says so.
          draw: async (screen) => topText(await ask(), by, windowS, options.once === true ? { ...screen, height: undefined } : screen),
        });
    }),
};

const WORKLOAD: Column<SignalRow> = { ...DESTINATION, head: 'WORKLOAD' };
const SERVICE: Column<SignalRow> = { head: 'SERVICE', cell: serviceName, least: 20 };
const VERSION: Column<SignalRow> = { head: 'VERSION', cell: (r) => r.destination?.version || '-', least: 4 };

const NAMED: Readonly<Record<By, readonly Column<SignalRow>[]>> = {
  route: [SERVICE, ROUTE],
  workload: [WORKLOAD],
  edge: [SOURCE, DESTINATION],
  service: [SERVICE],
  version: [WORKLOAD, VERSION],
};

export const topText = (summary: Summary, by: By, windowS: number, { width, colours, height }: Look): string => {
  const at = new Date(summary.to).toISOString().slice(11, 19);
  const head = height === undefined ? '' : `${painted(`skein top by ${by}, last ${windowS} s, ${at} UTC, Ctrl-C ends`, 'dim', colours)}\n`;
  const notes = notesOf(summary)
    .map((n) => `${painted(`note: ${n}`, 'dim', colours)}\n`)
    .join('');
  if (summary.rows.length === 0) return `${head}No requests in the last ${windowS} s.\n${notes}`;
  const columns = withTcp([...NAMED[by], ...GOLDEN, REQUESTS], summary.rows);
  return `${head}${tableText(columns, summary.rows, { width, colours })}${notes}`;
};
