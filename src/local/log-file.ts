// Log files of processes: opened for appending and handed to the process as its output; kept below a size by copying the old part away
// and emptying the file in place, because the writer keeps its descriptor.

import { chownSync, closeSync, copyFileSync, openSync, readSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

export const LOG_BYTES_MAX = 50 * 1024 * 1024;

export const logPath = (folder: string, name: string): string => join(folder, `${name}.log`);

/** The caller closes the descriptor when the process has it. */
export const openLog = (folder: string, name: string): number => openSync(logPath(folder, name), 'a', 0o644);

/** Keeps one old part, `NAME.log.1`. */
export const rotateLog = (folder: string, name: string, maxBytes = LOG_BYTES_MAX): boolean => {
  const path = logPath(folder, name);
  try {
    const { size, uid, gid } = statSync(path);
    if (size <= maxBytes) return false;
    copyFileSync(path, `${path}.1`);
    truncateSync(path, 0);
    chownSync(`${path}.1`, uid, gid);
    return true;
  } catch {
    return false; // no such log, or no room: the next round tries again
  }
};

const LAST_BYTES = 2_000;
const LINE_CHARACTERS_MAX = 200;

/** What a process said last, for the message that it ended; empty when it said nothing. */
export const lastLine = (folder: string, name: string): string => {
  try {
    const fd = openSync(logPath(folder, name), 'r');
    try {
      const { size } = statSync(logPath(folder, name));
      const bytes = Buffer.alloc(Math.min(size, LAST_BYTES));
      readSync(fd, bytes, 0, bytes.length, size - bytes.length);
      return (bytes.toString('utf8').trimEnd().split('\n').at(-1) ?? '').slice(0, LINE_CHARACTERS_MAX);
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
};
