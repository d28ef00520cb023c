// `skein exec`: a command inside a running replica's network and mount namespaces, as `kubectl exec`.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { Command, CommanderError } from 'commander';
import { findReplica } from '../local/find-replica.ts';
import { enterAsRoot, enterBeside, inDirectory, type Privilege } from '../local/namespaces.ts';
import { isAlive } from '../local/process-identity.ts';
import { applicationPath } from '../local/runtime-paths.ts';
import { readRun, stateFolder, statePaths } from '../local/state.ts';

const HELP = `
WORKLOAD is a name from \`skein status\` (payment-v1-0), a Workload (its first replica), either with .NAMESPACE.

Examples:
  skein exec order-service-0 -- curl -s http://payment-service:8080/version
  skein exec order-service -- bun -e 'console.log(await (await fetch("http://payment-service:8080/version")).text())'
  skein exec -c proxy web-0.production -- ip address

Exit codes: the command's own, 128 + N when signal N ended it; 126 it cannot be run, 127 it does not exist; 1 no such workload; 2 wrong usage; 3 no mesh is running.`;

const run = async (argv: readonly string[]): Promise<void> => {
  const split = argv.indexOf('--');
  const own = split < 0 ? argv : argv.slice(0, split);
  const wanted = split < 0 ? [] : argv.slice(split + 1);
  const program = new Command('skein exec')
    .description("Run a command inside a workload's network, as its application's user.")
    .usage('[OPTIONS] WORKLOAD -- COMMAND [ARGUMENTS]')
    .argument('<WORKLOAD>')
    .option('-c, --container <NAME>', 'app, or proxy: with the sidecar’s rights', 'app')
    .option('-i, --stdin', 'accepted for kubectl’s sake: standard input is always passed on')
    .option('-t, --tty', 'accepted for kubectl’s sake')
    .option('--state <DIR>', 'state folder (default: SKEIN_STATE or ~/.local/state/skein)')
    .addHelpText('after', HELP)
    .exitOverride();
  try {
    program.parse([...own], { from: 'user' });
    const container = program.opts<{ container: string }>().container;
    if (wanted.length === 0) program.error('error: the command is missing: skein exec WORKLOAD -- COMMAND');
    if (container !== 'app' && container !== 'proxy') program.error('error: -c is app or proxy');
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  const { state, container } = program.opts<{ state?: string; container: string }>();
  process.exitCode = await execute({ root: stateFolder(state, process.env), replica: program.args[0] ?? '', container, command: wanted });
};

export const command = { name: 'exec', summary: "run a command inside a workload's network", run };

interface Request {
  readonly root: string;
  readonly replica: string;
  readonly container: string;
  readonly command: readonly string[];
}

const execute = async ({ root, replica, container, command: wanted }: Request): Promise<number> => {
  const record = readRun(statePaths(root));
  if (record === undefined || !isAlive(record.supervisor)) {
    process.stderr.write(`skein exec: no mesh is running from ${root} (skein up starts one)\n`);
    return 3;
  }
  const found = findReplica(record, replica);
  if (!found.ok) throw new Error(found.error);
  const holder = found.value.processes.find((p) => p.kind === 'namespace');
  if (holder === undefined || !isAlive(holder)) throw new Error(`${replica} is starting again: try once more`);
  const privilege = record.privilege as Privilege;
  const enter = container === 'proxy' ? enterAsRoot(privilege, holder.pid) : enterBeside(privilege, holder.pid);
  const application = found.value.processes.find((p) => p.kind === 'application' && isAlive(p));
  const env = { ...process.env, PATH: applicationPath(record.directory, process.env['PATH']), ...environmentOf(application?.pid) };
  const [program = '', ...args] = [...enter, ...inDirectory(record.directory, wanted)];
  return await new Promise((resolve, reject) => {
    let child: ChildProcess | undefined;
    // Before the start: a signal right after it is for the command. A terminal signals both, and the command decides what a Ctrl-C
    // means; from elsewhere only we hear it.
    for (const name of ['SIGINT', 'SIGQUIT'] as const) process.on(name, () => process.stdin.isTTY || child?.kill(name));
    for (const name of ['SIGTERM', 'SIGHUP'] as const) process.on(name, () => child?.kill(name));
    child = spawn(program, args, { stdio: 'inherit', env });
    child.once('error', reject);
    child.once('exit', (code, killer) => resolve(code ?? 128 + (killer === null ? 0 : constants.signals[killer])));
  });
};

// The application's own environment, so that the command sees what it sees.
const environmentOf = (pid: number | undefined): Record<string, string> => {
  if (pid === undefined) return {};
  try {
    const entries = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .filter((e) => e.includes('='));
    return Object.fromEntries(entries.map((e) => [e.slice(0, e.indexOf('=')), e.slice(e.indexOf('=') + 1)]));
  } catch {
    return {};
  }
};
