// What the kernel has accounted: CPU seconds of processes and of whole process trees, resident and private memory, and the machine.
import { readdirSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100;
/** The parent of the kernel's own threads: what they do under load is done for the load. */
export const KERNEL_THREADS = 2;

const statFields = (pid: number): readonly string[] => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
};

/** CPU seconds, user and system, of a process and its threads so far. */
const cpuSeconds = (pid: number): number => {
  const fields = statFields(pid);
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
};

export const cpuSecondsOf = (pids: readonly number[]): number => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);

interface Listed {
  readonly parent: number;
  /** With the children it has waited for. */
  readonly seconds: number;
}

const listProcesses = (): ReadonlyMap<number, Listed> => {
  const out = new Map<number, Listed>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!(pid > 0)) continue;
    try {
      const f = statFields(pid);
      const ticks = Number(f[11]) + Number(f[12]) + Number(f[13]) + Number(f[14]);
      out.set(pid, { parent: Number(f[1]), seconds: ticks / TICKS_PER_SECOND });
    } catch {
      // ended while we looked
    }
  }
  return out;
};

const below = (all: ReadonlyMap<number, Listed>, roots: readonly number[]): ReadonlySet<number> => {
  const found = new Set(roots.filter((pid) => all.has(pid)));
  for (let grown = true; grown; ) {
    grown = false;
    for (const [pid, { parent }] of all) {
      if (found.has(pid) || !found.has(parent)) continue;
      found.add(pid);
      grown = true;
    }
  }
  return found;
};

/** The processes and everything below them. */
export const withDescendants = (roots: readonly number[]): number[] => [...below(listProcesses(), roots)];

/** CPU seconds of whole trees so far; what ended meanwhile counts through the parent that waited for it. */
export const treeSeconds = (roots: readonly number[]): number => {
  const all = listProcesses();
  let sum = 0;
  for (const pid of below(all, roots)) sum += all.get(pid)?.seconds ?? 0;
  return sum;
};

export interface Memory {
  readonly rssKb: number;
  readonly privateKb: number;
}

/** Together; a page that two of them share counts twice in `rssKb` and in neither `privateKb`. */
export const memoryOf = (pids: readonly number[]): Memory => {
  let rssKb = 0;
  let privateKb = 0;
  for (const pid of pids) {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const kb = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(rollup)?.[1] ?? 0);
    rssKb += kb('Rss');
    privateKb += kb('Private_Clean') + kb('Private_Dirty');
  }
  return { rssKb, privateKb };
};

/** Busy and stolen CPU seconds of the machine so far. */
export const machineSeconds = (): { readonly busy: number; readonly stolen: number } => {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '')
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return { busy: (user + nice + system + irq + softirq) / TICKS_PER_SECOND, stolen: steal / TICKS_PER_SECOND };
};
