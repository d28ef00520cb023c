// The number of the last generation, kept in the state folder so that a restarted control plane counts on: who has seen
// generation 41 never meets another 41. Losing it to a power failure costs only that.
import { readFileSync } from 'node:fs';
import type { Log } from '../base/log.ts';
import type { Numbering } from './model.ts';
import { writeStateFile } from './state-file.ts';

export const generationNumber = (path: string, log: Log): Numbering => ({
  last: read(path),
  save: (number) => {
    try {
      writeStateFile(path, `${number}\n`, { durable: false });
    } catch (error) {
      log.warning('the generation number is not kept', { problem: (error as NodeJS.ErrnoException).code ?? String(error) });
    }
  },
});

const read = (path: string): number => {
  try {
    const number = Number(readFileSync(path, 'utf8'));
    return Number.isSafeInteger(number) && number > 0 ? number : 0;
  } catch {
    return 0;
  }
};
