// What one process holds now, from /proc: resident and private memory, descriptors.
import { readdirSync, readFileSync } from 'node:fs';

export interface Holding {
  readonly rssMb: number;
  readonly privateMb: number;
  readonly descriptors: number;
}

/** Undefined when there is no such process. */
export const holdingOf = (pid: number): Holding | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const kb = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
    return {
      rssMb: kb('Rss') / 1024,
      privateMb: (kb('Private_Clean') + kb('Private_Dirty')) / 1024,
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
    };
  } catch {
    return undefined;
  }
};
