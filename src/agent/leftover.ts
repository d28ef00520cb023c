// A child that outlived its parent: found again by the pid and start time noted when it was started, so that another
// process with the same number is never touched.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Log } from '../base/log.ts';

const GONE_WITHIN_MS = 2_000;
const POLL_MS = 10;

export const writePid = (path: string, pid: number): void => {
  const started = startTime(pid);
  if (started !== undefined) writeFileSync(path, `${pid} ${started}\n`, { mode: 0o600 });
};

/** Resolves when it is gone, or was never there. */
export const killLeftover = async (path: string, log: Log): Promise<void> => {
  const [, pidText, started] = /^(\d+) (\d+)$/m.exec(readText(path)) ?? [];
  if (pidText === undefined) return;
  const pid = Number(pidText);
  if (startTime(pid) === started) {
    log.warning('stopping the proxy that an earlier agent left behind', { pid });
    process.kill(pid, 'SIGKILL');
    for (let waitedMs = 0; startTime(pid) === started && waitedMs < GONE_WITHIN_MS; waitedMs += POLL_MS) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
  rmSync(path, { force: true });
};

/** Field 22 of /proc/PID/stat, counted after the parenthesised name; undefined for no process or one that is only a zombie. */
const startTime = (pid: number): string | undefined => {
  const stat = readText(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' ? undefined : fields[19];
};

const readText = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};
