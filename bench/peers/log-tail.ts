// The end of a process's log, without the lines of an access log.
import { readFileSync } from 'node:fs';

const LINES = 6;
/** Access logs make logs long: only the end is read. */
const BYTES = 1 << 20;

export const logTail = (file: string): string => {
  try {
    const text = readFileSync(file).subarray(-BYTES).toString('utf8');
    const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('{'));
    return lines.slice(-LINES).join('\n');
  } catch {
    return '';
  }
};
