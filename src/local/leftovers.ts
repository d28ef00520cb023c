// Ends everything that a mesh of this state folder started and nobody else needs: by the record of what ran (pid and start time), by what
// runs in its network namespaces, and by the mark in the environment. Removes sockets and run folders; keeps logs, objects and keys.

import { rmSync } from 'node:fs';
import {
  identify,
  isAlive,
  networkNamespaceOf,
  type ProcessIdentity,
  processesInNamespaces,
  processesWithEnvironment,
  signal,
} from './process-identity.ts';
import { controlPlaneHolder, type RunRecord, readRun, type StatePaths } from './state.ts';

/** In the environment of every process that the supervisor starts. */
export const runMark = (root: string): string => `SKEIN_RUN=${root}`;

export interface Sweep {
  readonly found: number;
  /** Processes that would not die. */
  readonly left: readonly ProcessIdentity[];
}

const KILL_WAIT_MS = 3_000;
const STEP_MS = 20;

/** `spare`: processes that must live on, such as whoever asks. */
export const sweepLeftovers = async (paths: StatePaths, spare: ReadonlySet<number> = new Set()): Promise<Sweep> => {
  const record = readRun(paths);
  // Where a record names namespaces of processes that are gone, others may still be inside; found while one holder lives.
  const namespaces = namespacesOf(record);
  const targets = unique([
    ...(record?.processes ?? []).filter(isAlive),
    ...processesWithEnvironment(runMark(paths.root)),
    ...processesInNamespaces(namespaces),
  ]).filter(({ pid }) => !spare.has(pid) && pid !== process.pid);
  for (const target of targets) signal(target, 'SIGKILL');
  const until = Date.now() + KILL_WAIT_MS;
  while (targets.some(isAlive) && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  // A control plane that somebody started by itself keeps its doors.
  const doors = controlPlaneHolder(paths) === undefined ? [paths.adminSocket, paths.xdsSocket] : [];
  for (const path of [...doors, paths.run, paths.runFile]) rmSync(path, { recursive: true, force: true });
  return { found: targets.length, left: targets.filter(isAlive) };
};

const namespacesOf = (record: RunRecord | undefined): ReadonlySet<string> => {
  const host = networkNamespaceOf(process.pid);
  const found = new Set<string>();
  for (const { pid, startTime, kind } of record?.processes ?? []) {
    if ((kind !== 'namespace' && kind !== 'hub') || identify(pid)?.startTime !== startTime) continue;
    const link = networkNamespaceOf(pid);
    if (link !== undefined && link !== host) found.add(link);
  }
  return found;
};

const unique = (processes: readonly ProcessIdentity[]): ProcessIdentity[] => [...new Map(processes.map((p) => [p.pid, p])).values()];
