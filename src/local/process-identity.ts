// A process by pid and start time, so that a number given again to another process is never taken for ours. Reads /proc; kills only
// what it verified.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks after boot, from /proc/PID/stat. */
  readonly startTime: number;
}

interface Stat {
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly startTime: number;
}

const statOf = (pid: number): Stat | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything, spaces and parentheses too.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', parent: Number(fields[1]), group: Number(fields[2]), startTime: Number(fields[19]) };
  } catch {
    return undefined;
  }
};

/** undefined when there is no such process, or only its zombie. */
export const identify = (pid: number): ProcessIdentity | undefined => {
  const stat = statOf(pid);
  return stat === undefined || stat.state === 'Z' ? undefined : { pid, startTime: stat.startTime };
};

export const isAlive = (process: ProcessIdentity): boolean => identify(process.pid)?.startTime === process.startTime;

/** Signals the process and, if it leads one, its group. False when it is gone. */
export const signal = (target: ProcessIdentity, name: NodeJS.Signals): boolean => {
  if (!isAlive(target)) return false;
  try {
    process.kill(statOf(target.pid)?.group === target.pid ? -target.pid : target.pid, name);
    return true;
  } catch {
    return false;
  }
};

/** What stops a network namespace's processes from outliving their mesh: everything that runs in it. */
export const processesInNamespaces = (namespaces: ReadonlySet<string>): ProcessIdentity[] => {
  const own = linkOf(process.pid);
  return pids().flatMap((pid) => {
    const link = linkOf(pid);
    const identity = link !== undefined && link !== own && namespaces.has(link) ? identify(pid) : undefined;
    return identity === undefined ? [] : [identity];
  });
};

/** `net:[4026531840]`; undefined when the process is gone or not ours to look at. */
export const networkNamespaceOf = (pid: number): string | undefined => linkOf(pid);

/** Processes whose environment holds `entry` (NAME=value): ours even when nobody wrote them down. */
export const processesWithEnvironment = (entry: string): ProcessIdentity[] =>
  pids().flatMap((pid) => {
    if (pid === process.pid) return [];
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(entry)) return [];
    } catch {
      return [];
    }
    const identity = identify(pid);
    return identity === undefined ? [] : [identity];
  });

const linkOf = (pid: number): string | undefined => {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
};

const pids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
