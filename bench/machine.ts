// What the figures were measured on: the machine and the versions of all that takes part.

import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';
import type { Machine } from './report.ts';
import { runCommand } from './run-command.ts';

const PROGRAMS: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['nginx', ['nginx', '-v'], /nginx\/([\d.]+)/],
  ['haproxy', ['haproxy', '-v'], /version ([\d.]+)/],
  ['wrk', ['wrk', '-v'], /wrk (?:debian\/)?([\d.]+)/],
  ['h2load', ['h2load', '--version'], /nghttp2\/([\d.]+)/],
];

export const describeMachine = async (envoy: string | undefined): Promise<Machine> => {
  const versions: Record<string, string> = {};
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
  versions['Skein'] = version;
  versions['Bun'] = process.versions['bun'] ?? 'not used';
  const programs = envoy === undefined ? PROGRAMS : [...PROGRAMS, ['Envoy', [envoy, '--version'], /\/(\d+\.\d+\.\d+)\//] as const];
  for (const [name, command, pattern] of programs) {
    const ran = await runCommand(command).catch(() => undefined);
    const found = pattern.exec(`${ran?.stdout ?? ''}${ran?.stderr ?? ''}`)?.[1];
    if (found !== undefined) versions[name] = found;
  }
  return {
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    versions,
  };
};
