// `skein logs`: what a replica's application or sidecar printed.

import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { findReplica } from '../local/find-replica.ts';
import { logPath } from '../local/log-file.ts';
import { readRun, stateFolder, statePaths } from '../local/state.ts';

const HELP = `
WORKLOAD is a name from \`skein status\` (payment-v1-0), a Workload (its first replica), either with .NAMESPACE;
or control-plane, relay-hub, relay-host, up.

Examples:
  skein logs payment-v1-0
  skein logs -f -c proxy order-service        follow the sidecar's access log
  skein logs --tail 20 control-plane

Exit codes: 0 printed, 1 no such workload or log, 2 wrong usage.`;

const FOLLOW_MS = 200;
const CHUNK_BYTES = 64 * 1024;

interface Options {
  readonly follow?: boolean;
  readonly container: string;
  readonly tail: string;
  readonly state?: string;
}

const run = async (argv: readonly string[]): Promise<void> => {
  const program = new Command('skein logs')
    .description("Print a workload's application or sidecar log.")
    .argument('<WORKLOAD>')
    .option('-f, --follow', 'keep printing what is added')
    .option('-c, --container <NAME>', 'app or proxy', 'app')
    .option('--tail <N>', 'only the last N lines', 'all')
    .option('--state <DIR>', 'state folder (default: SKEIN_STATE or ~/.local/state/skein)')
    .addHelpText('after', HELP)
    .exitOverride();
  try {
    program.parse([...argv], { from: 'user' });
    const { container, tail } = program.opts<Options>();
    if (container !== 'app' && container !== 'proxy') program.error('error: -c is app or proxy');
    if (tail !== 'all' && !/^\d+$/.test(tail)) program.error('error: --tail is a number');
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  const options = program.opts<Options>();
  const path = findLog(stateFolder(options.state, process.env), program.args[0] ?? '', options.container);
  await print(path, options.tail === 'all' ? undefined : Number(options.tail), options.follow === true);
};

export const command = { name: 'logs', summary: "print a workload's application or sidecar log", run };

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

const print = async (path: string, tail: number | undefined, follow: boolean): Promise<void> => {
  // `skein logs … | head`: whoever reads has had enough.
  process.stdout.on('error', () => process.exit(0));
  let at = tail === undefined ? 0 : tailOffset(path, tail);
  for (;;) {
    const size = statSync(path).size;
    if (size < at) at = 0; // rotated
    at = await copy(path, at, size);
    if (!follow) return;
    await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
  }
};

const copy = async (path: string, from: number, to: number): Promise<number> => {
  const fd = openSync(path, 'r');
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let at = from;
    while (at < to) {
      const count = readSync(fd, chunk, 0, Math.min(chunk.length, to - at), at);
      if (count <= 0) break;
      at += count;
      const bytes = Buffer.from(chunk.subarray(0, count));
      await new Promise<void>((resolve) => process.stdout.write(bytes, () => resolve()));
    }
    return at;
  } finally {
    closeSync(fd);
  }
};

const tailOffset = (path: string, lines: number): number => {
  const fd = openSync(path, 'r');
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    const size = statSync(path).size;
    let at = size;
    let seen = 0;
    while (at > 0) {
      const length = Math.min(chunk.length, at);
      at -= length;
      readSync(fd, chunk, 0, length, at);
      for (let i = length - 1; i >= 0; i--) {
        // The newline that ends the file ends the last line, it does not begin another.
        if (chunk[i] !== 10 || at + i === size - 1) continue;
        seen++;
        if (seen === lines) return at + i + 1;
      }
    }
    return lines === 0 ? size : 0;
  } finally {
    closeSync(fd);
  }
};
