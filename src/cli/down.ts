// `skein down`: stops everything that runs from a state folder and checks that nothing is left.

import { rmSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { sweepLeftovers } from '../local/leftovers.ts';
import { isAlive, signal } from '../local/process-identity.ts';
import { lockHolder, readRun, stateFolder, statePaths } from '../local/state.ts';

const HELP = `
Examples:
  skein down
  skein down --state /tmp/shop

Logs, applied objects and the certificate authority stay in the state folder.
Exit codes: 0 nothing runs any more, 1 something could not be stopped, 2 wrong usage.`;

const ORDERLY_MS = 15_000;

const run = async (argv: readonly string[]): Promise<void> => {
  const program = new Command('skein down')
    .description('Stop a running mesh and leave nothing behind.')
    .option('--state <DIR>', 'state folder (default: SKEIN_STATE or ~/.local/state/skein)')
    .addHelpText('after', HELP)
    .allowExcessArguments(false)
    .exitOverride();
  try {
    program.parse([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  const paths = statePaths(stateFolder(program.opts<{ state?: string }>().state, process.env));
  // The lock is there before the record: a mesh that is only just starting is stopped as well.
  const recorded = readRun(paths)?.supervisor;
  const supervisor = recorded !== undefined && isAlive(recorded) ? recorded : lockHolder(paths);
  const ran = supervisor !== undefined;
  if (ran) {
    signal(supervisor, 'SIGTERM');
    const until = Date.now() + ORDERLY_MS;
    while (isAlive(supervisor) && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
    signal(supervisor, 'SIGKILL');
  }
  const { found, left } = await sweepLeftovers(paths);
  // Another `up` may have taken the folder meanwhile.
  if (lockHolder(paths) === undefined) rmSync(paths.lockFile, { force: true });
  if (left.length > 0) throw new Error(`these processes do not end: ${left.map((p) => p.pid).join(' ')}`);
  process.stdout.write(
    ran || found > 0 ? `stopped${found > 0 ? ` (${found} processes had to be killed)` : ''}\n` : 'nothing was running\n',
  );
};

export const command = { name: 'down', summary: 'stop a running mesh and leave nothing behind', run };
