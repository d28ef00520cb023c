// One control plane per state folder. The lock is a file that names its holder by pid and start time, so that a pid used
// anew by another process does not keep a dead control plane's folder locked.
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { err, ok, type Result } from '../base/result.ts';

export interface StateLock {
  release(): void;
}

const ATTEMPTS = 3;

/** The error is the pid of the process that holds the folder. */
export const lockState = (folder: string): Result<StateLock, number> => {
  const path = join(folder, 'control-plane.lock');
  const own = `${process.pid} ${startTicks(process.pid) ?? ''}\n`;
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, own, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (link(temporary, path)) return ok({ release: () => releaseOwn(path, own) });
      const holder = readHolder(path);
      if (holder !== undefined && isAlive(holder)) return err(holder.pid);
      rmSync(path, { force: true });
    }
    return err(readHolder(path)?.pid ?? 0);
  } finally {
    rmSync(temporary, { force: true });
  }
};

/** A hard link is made with its content or not at all. */
const link = (from: string, to: string): boolean => {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
};

interface Holder {
  readonly text: string;
  readonly pid: number;
  readonly ticks: string;
}

const readHolder = (path: string): Holder | undefined => {
  try {
    const text = readFileSync(path, 'utf8');
    const [pid = '', ticks = ''] = text.trim().split(' ');
    return { text, pid: Number(pid), ticks };
  } catch {
    return undefined;
  }
};

const isAlive = ({ pid, ticks }: Holder): boolean => Number.isInteger(pid) && pid > 0 && startTicks(pid) === ticks;

/** Field 22 of /proc/PID/stat; the name in field 2 may hold spaces. */
const startTicks = (pid: number): string | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
};

const releaseOwn = (path: string, own: string): void => {
  if (readHolder(path)?.text === own) rmSync(path, { force: true });
};
