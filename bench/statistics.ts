// The arithmetic of the benchmark: medians, percentiles, latency added over direct, and which rounds count. Pure.

/** Share of the machine's capacity that others may have used in a round that counts. */
const FOREIGN_MAX = 0.05;
/** Share that the hypervisor may have taken away. */
const STOLEN_MAX = 0.02;
/** An open-loop generator that sends later than this was itself short of CPU. */
const LATE_MAX_MS = 5;
/** A round measured again and again on a busy machine ends somewhere: so many extra for each that is owed. */
const EXTRA_PER_ROUND = 0.6;

/** What one measurement gave; `undefined` where a scenario has no such figure. */
export interface Round {
  /** Requests, connections or GiB: what the CPU seconds are divided by, see the scenario. */
  readonly units: number;
  readonly perSecond: number;
  readonly cpuSeconds: number;
  readonly errors: number;
  readonly p50Ms?: number;
  readonly p90Ms?: number;
  readonly p99Ms?: number;
  /** How late the open-loop generator itself was, 99th percentile. */
  readonly lateMs?: number;
  readonly rssMb: number;
  readonly privateMb: number;
  readonly kibPerConnection?: number;
  /** Shares of the machine's capacity during the round. */
  readonly foreign: number;
  readonly stolen: number;
}

export const median = (list: readonly number[]): number | undefined => {
  if (list.length === 0) return undefined;
  const sorted = [...list].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? 0;
  return (upper + lower) / 2;
};

/** Nearest rank; `sorted` ascending. */
export const percentile = (sorted: ArrayLike<number>, share: number): number => {
  const rank = Math.max(1, Math.ceil(share * sorted.length));
  return sorted[rank - 1] ?? 0;
};

/** Capacity that neither we nor the idle loop used. Never negative: clocks of processes and machine tick apart. */
export const foreignShare = (busy: number, own: number, wall: number, cores: number): number =>
  wall <= 0 ? 0 : Math.max(0, (busy - own) / (wall * cores));

type Conditions = Pick<Round, 'foreign' | 'stolen' | 'lateMs'>;

export const isClean = (round: Conditions): boolean =>
  round.foreign <= FOREIGN_MAX && round.stolen <= STOLEN_MAX && (round.lateMs ?? 0) <= LATE_MAX_MS;

/** Whether to measure once more: until enough rounds are clean, or the extra attempts are used up. */
export const wantsAnother = (rounds: readonly Conditions[], wanted: number): boolean =>
  rounds.filter(isClean).length < wanted && rounds.length < wanted + Math.ceil(wanted * EXTRA_PER_ROUND);

type Figure = 'perSecond' | 'errors' | 'p50Ms' | 'p90Ms' | 'p99Ms' | 'lateMs' | 'rssMb' | 'privateMb' | 'kibPerConnection';

/** Medians of the rounds that count. `cpu` is for 10,000 units, or for one where `perUnit` says so. */
export type Medians = { readonly [F in Figure]?: number } & {
  readonly cpu?: number;
  readonly counted: number;
  readonly measured: number;
};

export const summarize = (rounds: readonly Round[], unitsOfCpu: number, countAll: boolean): Medians => {
  const counted = countAll ? rounds : rounds.filter(isClean);
  const out: { -readonly [K in keyof Medians]: Medians[K] } = { counted: counted.length, measured: rounds.length };
  const set = (name: Figure | 'cpu', of: (r: Round) => number | undefined): void => {
    const value = median(counted.map(of).filter((v) => v !== undefined));
    if (value !== undefined) out[name] = value;
  };
  set('cpu', (r) => (r.units > 0 && r.cpuSeconds > 0 ? (r.cpuSeconds / r.units) * unitsOfCpu : undefined));
  for (const name of ['perSecond', 'errors', 'p50Ms', 'p90Ms', 'p99Ms', 'lateMs', 'rssMb', 'privateMb', 'kibPerConnection'] as const) {
    set(name, (r) => r[name]);
  }
  return out;
};

/** What a proxy adds to the latency of the same network without it. */
export const added = (own: number | undefined, direct: number | undefined): number | undefined =>
  own === undefined || direct === undefined ? undefined : own - direct;
