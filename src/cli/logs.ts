// `skein logs`: what replicas' applications and sidecars print, as it is in their files, or only what matches.

import { existsSync, readdirSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { readAccessLine } from '../explain/access-line.ts';
import { findReplica } from '../local/find-replica.ts';
import { logPath } from '../local/log-file.ts';
import { readRun, stateFolder, statePaths } from '../local/state.ts';
import { look, sleep, untilInterrupted } from './live-screen.ts';
import { LogTail } from './log-tail.ts';
import { painted, visible } from './terminal-text.ts';

const HELP = `
WORKLOAD is a name from \`skein status\` (payment-v1-0), a Workload (its first replica; all with --all-replicas), either with .NAMESPACE;
or control-plane, relay-hub, relay-host, up. Lines of several logs are marked with whose they are.

Filters keep lines of the access log: with one of --status, --path-prefix and --method nothing else is shown. On a terminal control
characters of requests are shown and not sent.

Examples:
  skein logs payment-v1-0
  skein logs -f -c proxy order-service        follow the sidecar's access log
  skein logs -f -c all --all-replicas payment-v2
  skein logs -f -c proxy --status 5xx --path-prefix /api web-v1
  skein logs --tail 20 control-plane
  skein logs -c proxy -o json web-v1 | jq .record.response_code

Exit codes: 0 printed, or ended by Ctrl-C; 1 no such workload or log, 2 wrong usage.`;

const FOLLOW_MS = 200;

interface Options {
  readonly follow?: boolean;
  readonly container: string;
  readonly tail: string;
  readonly allReplicas?: boolean;
  readonly grep?: string;
  readonly status: readonly string[];
  readonly pathPrefix?: string;
  readonly method?: string;
  readonly output: string;
  readonly state?: string;
}

const CONTAINERS: Readonly<Record<string, readonly ('app' | 'proxy')[]>> = { app: ['app'], proxy: ['proxy'], all: ['app', 'proxy'] };
const STATUS = /^(?:\d{3}|0|[1-5]xx)$/;

const run = async (argv: readonly string[]): Promise<void> => {
  const program = new Command('skein logs')
    .description("Print a workload's application or sidecar log.")
    .argument('<WORKLOAD...>')
    .option('-f, --follow', 'keep printing what is added')
    .option('-c, --container <NAME>', 'app, proxy or all', 'app')
    .option('--tail <N>', 'only the last N lines of each log', 'all')
    .option('--all-replicas', 'of a Workload all replicas')
    .option('--grep <TEXT>', 'only lines that hold this text')
    .option(
      '--status <CODES>',
      'only requests that ended so: 503, 4xx,5xx',
      (v: string, all: readonly string[]) => [...all, ...v.split(',')],
      [],
    )
    .option('--path-prefix <TEXT>', 'only requests whose path begins so')
    .option('--method <METHOD>', 'only such requests')
    .option('-o, --output <FORMAT>', 'text or json (lines: replica, container, line, and record where the line is JSON)', 'text')
    .option('--state <DIR>', 'state folder (default: SKEIN_STATE or ~/.local/state/skein)')
    .addHelpText('after', HELP)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'skein: ')) })
    .exitOverride();
  try {
    program.parse([...argv], { from: 'user' });
    const { container, tail, status, output } = program.opts<Options>();
    if (output !== 'text' && output !== 'json') program.error(`error: --output ${output}: text or json`);
    if (!Object.hasOwn(CONTAINERS, container)) program.error('error: -c is app, proxy or all');
    if (tail !== 'all' && !/^\d+$/.test(tail)) program.error('error: --tail is a number');
    if (!status.every((s) => STATUS.test(s))) program.error('error: --status is a code or a class, as 503 or 5xx');
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  const options = program.opts<Options>();
  const root = stateFolder(options.state, process.env);
  const files = program.args.flatMap((name) => filesOf(root, name, options));
  await print(root, files, options);
};

export const command = { name: 'logs', summary: "print a workload's application or sidecar log", run };

interface LogFile {
  readonly label: string;
  readonly replica: string;
  readonly container: string;
  readonly path: string;
}

const filesOf = (root: string, name: string, options: Options): readonly LogFile[] => {
  const containers = CONTAINERS[options.container] ?? [];
  const names = options.allReplicas === true ? replicasOf(root, name) : [name];
  return names.flatMap((n) =>
    containers.map((container) => {
      const path = findLog(root, n, container);
      const replica = path.slice(path.lastIndexOf('/') + 1).replace(/(?:\.proxy)?\.log$/, '');
      return { label: `${replica} ${container}`, replica, container, path };
    }),
  );
};

const replicasOf = (root: string, name: string): readonly string[] => {
  const record = readRun(statePaths(root));
  const found = record === undefined ? undefined : findReplica(record, name);
  if (record === undefined || found?.ok !== true) return [name];
  const { workload, namespace } = found.value;
  const own = record.processes.filter((p) => p.workload === workload && p.namespace === namespace);
  return [...new Set(own.map((p) => `${p.name}.${p.namespace}`))];
};

const findLog = (root: string, name: string, container: string): string => {
  const paths = statePaths(root);
  const record = readRun(paths);
  const found = record === undefined ? undefined : findReplica(record, name);
  const suffix = container === 'proxy' ? '.proxy' : '';
  const base = found?.ok === true ? `${found.value.name}.${found.value.namespace}` : name;
  // Logs outlive the run: what is not running any more is found by its file.
  const files = existsSync(paths.logs) ? readdirSync(paths.logs).filter((f) => f.endsWith('.log')) : [];
  const direct = `${base}${suffix}.log`;
  const older = files
    .filter((f) => f.startsWith(`${name}.`) || f.startsWith(`${name}-0.`))
    .filter((f) => f.endsWith('.proxy.log') === (suffix !== '') && !f.endsWith('.namespace.log'));
  const file = files.includes(direct) ? direct : older[0];
  if (file !== undefined) return logPath(paths.logs, file.slice(0, -'.log'.length));
  throw new Error(found?.ok === false ? found.error : `there is no log of "${name}" in ${paths.logs}`);
};

const isStopped = (root: string): boolean => !existsSync(statePaths(root).runFile);

/** Logs outlive the mesh: whoever follows one hears that nothing more will come. True: the mesh has stopped. */
const toldOfStop = (root: string, before: boolean): boolean => {
  const stopped = isStopped(root);
  if (stopped && !before)
    process.stderr.write('skein: the mesh has stopped; what comes after its next start is followed too, Ctrl-C ends\n');
  return stopped;
};

const print = async (root: string, files: readonly LogFile[], options: Options): Promise<void> => {
  // `skein logs … | head`: whoever reads has had enough.
  process.stdout.on('error', () => process.exit(0));
  const wants = filterOf(options);
  const { colours } = look();
  const tty = process.stdout.isTTY === true;
  let waiting = '';
  const tails = files.map(({ label, path, replica, container }) => {
    const mark = files.length === 1 ? '' : `${painted(label, 'dim', colours)}  `;
    const clean = tty ? (label.endsWith(' app') ? withoutControl : visible) : (text: string) => text;
    return new LogTail(path, options.tail === 'all' ? undefined : Number(options.tail), (line) => {
      if (!wants(line)) return;
      waiting += options.output === 'json' ? `${jsonLine(replica, container, line)}\n` : `${mark}${clean(line)}\n`;
    });
  });
  const signal = options.follow === true ? untilInterrupted() : undefined;
  let stopped = isStopped(root);
  for (;;) {
    for (const tail of tails) {
      tail.read();
      if (signal === undefined) tail.flush();
      const text = waiting;
      waiting = '';
      if (text !== '') await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
    }
    if (signal === undefined || signal.aborted) return;
    stopped = toldOfStop(root, stopped);
    await sleep(FOLLOW_MS, signal);
    if (signal.aborted) return;
  }
};

/** A line that is an object of JSON is read, so that nobody has to read it twice. */
const jsonLine = (replica: string, container: string, line: string): string => {
  const record = line.startsWith('{') ? objectOf(line) : undefined;
  return JSON.stringify({ replica, container, line, ...(record === undefined ? {} : { record }) });
};

const objectOf = (line: string): unknown => {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
};

const filterOf = ({ grep, status, pathPrefix, method }: Options): ((line: string) => boolean) => {
  const ofRequests = status.length > 0 || pathPrefix !== undefined || method !== undefined;
  return (line) => {
    if (grep !== undefined && !line.includes(grep)) return false;
    if (!ofRequests) return true;
    const request = readAccessLine(line, '');
    if (request === undefined) return false;
    const { code } = request;
    if (status.length > 0 && !status.some((s) => (s.endsWith('xx') ? Math.floor(code / 100) === Number(s[0]) : code === Number(s))))
      return false;
    return (
      (pathPrefix === undefined || request.path.startsWith(pathPrefix)) && (method === undefined || request.method === method.toUpperCase())
    );
  };
};

/** An application may colour its log; whatever else would drive the terminal is shown. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the beginning of a colour
const COLOUR = /(\u001b\[[\d;]*m)/;
const withoutControl = (line: string): string =>
  line
    .split(COLOUR)
    .map((part, i) => (i % 2 === 1 ? part : part.split('\t').map(visible).join('\t')))
    .join('');
