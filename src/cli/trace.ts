// `skein trace`: one request's way through the mesh as a waterfall; without an id, the newest requests with their traces.
import { AdminClient } from './admin-client.ts';
import { newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { look } from './live-screen.ts';
import { print, structured } from './output.ts';
import { partyName } from './signals.ts';
import { type Column, milliseconds, tableText } from './terminal-text.ts';
import { type Trace, waterfall } from './trace-waterfall.ts';

interface Options {
  readonly status?: string;
  readonly path?: string;
  readonly workload?: string;
  readonly limit: string;
  readonly output: string;
  readonly state?: string;
}

const program = () =>
  withOutputOption(withStateOption(newCommand('trace', "Show one request's way through the mesh, with its times.")))
    .argument('[id]', 'a trace id (of traceparent or x-b3-traceid), or an x-request-id; without, the newest requests are listed')
    .option('--status <code>', 'list: only with this status, as 503 or 5xx')
    .option('--path <text>', 'list: only with this path')
    .option('--workload <name>', 'list: only from or to this workload')
    .option('--limit <n>', 'list: so many at most', '20')
    .addHelpText(
      'after',
      `
Examples:
  skein trace --status 5xx
  skein trace 4bf92f3577b34da6a3ce929d0e0e4736
  skein trace 4bf92f3577b34da6a3ce929d0e0e4736 -o json

→ is a call on its way out of a workload, ← the same call on its way in. PARTIAL: the application does not forward the tracing headers, or a
part was not kept; spans are then joined as far as times and workloads tell, and a note says so. What is kept: docs/live-views.md.
Exit codes: 0 printed, 1 nothing is known of that id, 2 wrong usage, 3 no control plane is running.`,
    );

interface Request {
  readonly at: string;
  readonly reporter: string;
  readonly source: { readonly workload: string; readonly namespace: string } | null;
  readonly destination: { readonly workload: string; readonly namespace: string; readonly service?: string } | null;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly flags: string;
  readonly durationMs: number;
  readonly requestId: string;
  readonly traceId: string;
}

export const command = {
  name: 'trace',
  summary: "show one request's way through the mesh as a waterfall",
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([id], options: Options) => {
      const format = outputFormat(options.output);
      const admin = new AdminClient(options.state);
      if (id === undefined) return await list(admin, options);
      const trace = (await admin.json('GET', `/v1/telemetry/traces/${encodeURIComponent(id)}`)) as Trace;
      print(format === 'table' ? waterfall(trace, look()) : structured(trace, format));
    }),
};

const COLUMNS: readonly Column<Request>[] = [
  { head: 'AT', cell: (r) => r.at.slice(11, 23), spare: 2 },
  { head: 'TRACE OR REQUEST', cell: (r) => r.traceId || r.requestId || '-' },
  { head: 'FROM', cell: (r) => partyName(r.source), least: 8, spare: 5 },
  {
    head: 'TO',
    cell: (r) => (r.destination?.workload ? partyName(r.destination) : (r.destination?.service ?? 'unknown')),
    least: 8,
    spare: 3,
  },
  { head: 'METHOD', cell: (r) => r.method, spare: 6 },
  { head: 'PATH', cell: (r) => r.path, least: 10, spare: 1 },
  {
    head: 'STATUS',
    cell: (r) => `${r.status}${r.flags === '' || r.flags === '-' ? '' : ` ${r.flags}`}`,
    paint: (r) => (r.status >= 500 || r.status === 0 ? 'red' : r.status >= 400 ? 'yellow' : undefined),
  },
  { head: 'TIME', cell: (r) => milliseconds(r.durationMs), right: true, spare: 4 },
];

const LIMIT_MAX = 5000;

const list = async (admin: AdminClient, { limit, status, path, workload, output }: Options): Promise<void> => {
  if (!/^[1-9]\d{0,3}$/.test(limit) || Number(limit) > LIMIT_MAX) throw new UsageError(`--limit ${limit}: a number from 1 to ${LIMIT_MAX}`);
  if (status !== undefined && !/^(?:\d{3}|0|[1-5]xx)$/.test(status))
    throw new UsageError(`--status ${status}: a code or a class, as 503 or 5xx`);
  const query = new URLSearchParams({ limit });
  for (const [name, value] of Object.entries({ status, path, workload })) if (value !== undefined) query.set(name, value);
  const told = (await admin.json('GET', `/v1/telemetry/requests?${query}`)) as { readonly requests: readonly Request[] };
  const requests = told.requests.toSorted((a, b) => (a.at < b.at ? 1 : -1));
  const format = outputFormat(output);
  if (format !== 'table') print(structured(requests, format));
  else print(requests.length === 0 ? 'No requests are kept.\n' : tableText(COLUMNS, requests, look()));
};
