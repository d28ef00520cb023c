// `skein status`: the mesh at a glance, and an exit code that says whether it is well.
import type { Command } from 'commander';
import { formatProblem, type Problem } from '../api/problem.ts';
import { isAlive } from '../local/process-identity.ts';
import { type RunRecord, readRun, stateFolder, statePaths } from '../local/state.ts';
import { AdminClient } from './admin-client.ts';
import { type CaDocument, left } from './ca-document.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, withOutputOption, withStateOption } from './command-line.ts';
import { age, print, structured, table } from './output.ts';

interface Options {
  readonly namespace?: string;
  readonly output: string;
  readonly state?: string;
}

interface Workload {
  readonly name: string;
  readonly namespace: string;
  readonly workload: string;
  readonly address: string;
  readonly ready: boolean;
  readonly meshed: boolean;
  readonly connected: boolean;
  readonly proxy: string;
}

interface Status {
  readonly generation: number;
  readonly controlPlane: {
    readonly pid: number;
    readonly version: string;
    readonly startedAt: string;
    readonly trustDomain: string;
    readonly xds: readonly string[];
  };
  readonly workloads: readonly Workload[];
  readonly problems: readonly Problem[];
  readonly files: readonly { readonly path: string; readonly state: string; readonly objects: number }[];
}

const program = (): Command =>
  withOutputOption(withStateOption(newCommand('status', 'Show the control plane, the workloads and every problem of the configuration.')))
    .option('-n, --namespace <name>', 'only workloads of this namespace')
    .addHelpText(
      'after',
      `
Examples:
  skein status
  skein status -o json | jq '.workloads[] | select(.ready | not) | .name'

Exit codes: 0 every workload is ready, every sidecar is connected and the configuration has no error (warnings are printed);
1 something is not ready, not connected or has an error; 2 wrong usage; 3 no control plane is running.`,
    );

export const command = {
  name: 'status',
  summary: 'show the control plane, the workloads and every problem',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async (_operands, options: Options) => {
      const format = outputFormat(options.output);
      const client = new AdminClient(options.state);
      const all = (await client.json('GET', '/v1/status')) as Status;
      const ca = (await client.json('GET', '/v1/ca')) as CaDocument;
      const { namespace } = options;
      const status = namespace === undefined ? all : { ...all, workloads: all.workloads.filter((w) => w.namespace === namespace) };
      const local = localRun(options.state);
      print(
        format === 'table'
          ? `${statusText(status, ca)}${localText(local)}`
          : structured({ ...status, ...local, certificateAuthority: ca }, format),
      );
      if (!isWell(status)) process.exitCode = EXIT_FAILED;
    }),
};

/** What `skein up` says about this machine; nothing where the control plane was started without it. */
const localRun = (state: string | undefined): Partial<Pick<RunRecord, 'addresses' | 'notes'>> => {
  const record = readRun(statePaths(stateFolder(state, process.env)));
  return record === undefined || !isAlive(record.supervisor) ? {} : { addresses: record.addresses, notes: record.notes };
};

const localText = ({ addresses = [], notes = [] }: ReturnType<typeof localRun>): string =>
  [
    ...(addresses.length === 0 ? [] : ['', 'Open:', ...addresses.map(({ url, target }) => `  ${url}  →  ${target}`)]),
    ...(notes.length === 0 ? [] : ['', ...notes.map((note) => `Note: ${note}`)]),
  ]
    .map((line) => `${line}\n`)
    .join('');

const isWell = (status: Status): boolean =>
  status.workloads.every((w) => w.ready && (w.connected || !w.meshed)) && !status.problems.some((p) => p.severity === 'error');

const statusText = (status: Status, ca: CaDocument): string => {
  const { pid, version, startedAt, trustDomain, xds } = status.controlPlane;
  const head = [
    `Control plane ${version}, pid ${pid}, running for ${age(startedAt, Date.now())}, trust domain ${trustDomain}`,
    `Serving xDS on ${xds.join(', ')}`,
    `Generation ${status.generation}`,
    certificatesText(ca),
  ];
  const refused = status.files
    .filter((f) => f.state === 'refused')
    .map((f) => `${f.path}: refused, its last good content (${f.objects} objects) is in force`);
  const workloads =
    status.workloads.length === 0
      ? 'No workload is registered.\n'
      : table(
          ['NAMESPACE', 'NAME', 'READY', 'ADDRESS', 'PROXY', 'CERTIFICATE'],
          status.workloads.map((w) => row(w, ca)),
        );
  const problems =
    status.problems.length === 0
      ? ''
      : `\nProblems:\n${[...refused, ...status.problems.map(formatProblem)].map((p) => `  ${p}\n`).join('')}`;
  return `${head.join('\n')}\n\n${workloads}${problems}`;
};

const row = (w: Workload, ca: CaDocument): readonly string[] => {
  const leaf = ca.leaves.find((l) => l.holder === `${w.namespace}/${w.name}`);
  const life = leaf === undefined ? '' : left(leaf.notAfter, Date.parse(ca.now));
  return [w.namespace, w.name, w.ready ? 'yes' : 'no', w.address, proxyState(w), life];
};

/** Remaining life, the longest first. */
const certificatesText = ({ roots, intermediate, rotation, now }: CaDocument): string => {
  const of = (iso: string): string => left(iso, Date.parse(now));
  const names = roots.map((r) => `root ${r.id} ${r.signs ? '' : '(trusted) '}${of(r.notAfter)}`);
  const phase = rotation === undefined || rotation.phase === 'steady' ? '' : `; rotation ${rotation.phase}`;
  return `Certificates end in: ${[...names, ...(intermediate ? [`intermediate ${of(intermediate.notAfter)}`] : [])].join(', ')}${phase}`;
};

const proxyState = (w: Workload): string => {
  if (w.connected) return w.proxy;
  return w.meshed ? 'not connected' : 'none';
};
