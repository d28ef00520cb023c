// `skein edges`: who calls whom, over mutual TLS or not, and with which identities.
import { AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, withOutputOption, withStateOption } from './command-line.ts';
import { type Look, look } from './live-screen.ts';
import { print, structured } from './output.ts';
import { askSummary, DESTINATION, isNamed, notesOf, RPS, type SignalRow, SOURCE, SUCCESS, type Summary, windowSeconds } from './signals.ts';
import { type Column, painted, tableText } from './terminal-text.ts';

interface Options {
  readonly namespace?: string;
  readonly from?: string;
  readonly to?: string;
  readonly window: string;
  readonly exitCode?: boolean;
  readonly output: string;
  readonly state?: string;
}

const program = () =>
  withOutputOption(withStateOption(newCommand('edges', 'Show who calls whom, over mutual TLS or not, and with which identities.')))
    .option('-n, --namespace <name>', 'only calls from or to this namespace')
    .option('--from <name>', 'only calls of this workload')
    .option('--to <name>', 'only calls to this workload or service')
    .option('--window <time>', 'calls of this time', '10m')
    .option('--exit-code', 'exit with 1 when a call was in plain text, or it is not known')
    .addHelpText(
      'after',
      `
Examples:
  skein edges
  skein edges --to payment-service --window 24h
  skein edges -n production -o json --exit-code

MTLS is what the called side saw; "unknown" where only the caller has told (a destination without a sidecar, or one that is not heard).
What STRICT would change is told by \`skein mtls\`.
Exit codes: 0 printed, 1 with --exit-code when a call was not over mutual TLS; 2 wrong usage; 3 no control plane is running.`,
    );

export const command = {
  name: 'edges',
  summary: 'show who calls whom, over mutual TLS or not',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async (_operands, options: Options) => {
      const format = outputFormat(options.output);
      const windowS = windowSeconds('--window', options.window);
      const { namespace, from, to } = options;
      const summary = await askSummary(new AdminClient(options.state), { by: 'edge', windowS, namespace });
      const rows = summary.rows.filter(
        (r) => (from === undefined || isNamed(r.source, from)) && (to === undefined || isNamed(r.destination, to)),
      );
      const shown = { ...summary, rows };
      print(format === 'table' ? edgesText(shown, windowS, look()) : structured(shown, format));
      if (options.exitCode === true && rows.some((r) => r.mtls !== 'mutual_tls')) process.exitCode = EXIT_FAILED;
    }),
};

const MTLS: Readonly<Record<SignalRow['mtls'], string>> = { mutual_tls: 'yes', none: 'NO', unknown: 'unknown' };

/** Every identity is one of SPIFFE's: that much is known. */
const identity = (party: { readonly principal: string } | null): string => party?.principal.replace('spiffe://', '') || '-';

const COLUMNS: readonly Column<SignalRow>[] = [
  SOURCE,
  DESTINATION,
  { head: 'SERVICE', cell: (r) => r.destination?.service || '-', least: 20, spare: 5 },
  {
    head: 'MTLS',
    cell: (r) => MTLS[r.mtls],
    paint: (r) => (r.mtls === 'mutual_tls' ? 'green' : r.mtls === 'none' ? 'red' : 'yellow'),
  },
  RPS,
  { ...SUCCESS, spare: 2 },
  { head: 'TCP', cell: (r) => (r.tcp === null ? '-' : String(r.tcp.opened)), right: true, spare: 3 },
  { head: 'SOURCE ID', cell: (r) => identity(r.source), least: 20, spare: 4, keepEnd: true },
  { head: 'DESTINATION ID', cell: (r) => identity(r.destination), least: 20, spare: 4, keepEnd: true },
];

const unknownNote = ({ rows }: Summary): readonly string[] =>
  rows.some((r) => r.mtls === 'unknown')
    ? ['mtls is unknown where the called side was not heard of: it has no sidecar, or the calls reached nobody']
    : [];

export const edgesText = (summary: Summary, windowS: number, { width, colours }: Look): string => {
  const notes = [...notesOf(summary), ...unknownNote(summary)].map((n) => `${painted(`note: ${n}`, 'dim', colours)}\n`).join('');
  if (summary.rows.length === 0) return `No calls between workloads in the last ${windowS} s.\n${notes}`;
  const key = (r: SignalRow): string => `${r.source?.namespace ?? ''}/${r.source?.workload ?? ''}/${r.destination?.workload ?? ''}`;
  const rows = summary.rows.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
  return `${tableText(COLUMNS, rows, { width, colours })}${notes}`;
};
