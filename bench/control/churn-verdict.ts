// Does the control plane's memory grow while everything changes? Asked of the time after the warm-up, in which the runtime compiles, its
// heap finds its size and services come that stay. A garbage-collected heap goes up and down by a quarter, so medians are compared: those
// of the first, the second and the last third. It has grown when the last lies above the first by more than the allowance and was still
// on its way up from the second. Pure.
import { median } from '../statistics.ts';

/** One look at the control plane while everything changes. */
export interface Sample {
  readonly seconds: number;
  readonly edits: number;
  /** Since the start of the process. */
  readonly cpuSeconds: number;
  readonly rssMb: number;
  readonly peakMb: number;
}

export interface ChurnVerdict {
  readonly verdict: 'flat' | 'grew' | 'too short';
  /** Medians of thirds after the warm-up; empty when it was too short. */
  readonly thirdsMb: readonly number[];
  readonly allowanceMb: number;
  readonly warmUpSeconds: number;
}

/** So long the runtime warms up at least. */
const WARM_UP_SECONDS = 120;
/** After the warm-up; in less nothing can be told from noise. */
const JUDGED_SECONDS = 120;
const ALLOWANCE_SHARE = 0.1;
const ALLOWANCE_MB_MIN = 16;
/** Of the allowance: less of a rise from the second third to the last is no rise. */
const STILL_RISING = 0.25;

/** `steadyAt`: edits after which as many objects go as come. */
export const churnVerdict = (samples: readonly Sample[], steadyAt: number): ChurnVerdict => {
  const judged = samples.filter((s) => s.seconds >= WARM_UP_SECONDS && s.edits >= steadyAt);
  const [start] = judged;
  const spanSeconds = (judged.at(-1)?.seconds ?? 0) - (start?.seconds ?? 0);
  if (!start || spanSeconds < JUDGED_SECONDS) return { verdict: 'too short', thirdsMb: [], allowanceMb: 0, warmUpSeconds: WARM_UP_SECONDS };
  const third = (n: number): number => {
    const from = start.seconds + (spanSeconds * n) / 3;
    const inside = judged.filter((s) => s.seconds >= from && s.seconds <= from + spanSeconds / 3);
    return median(inside.map((s) => s.rssMb)) ?? 0;
  };
  const [first, second, last] = [third(0), third(1), third(2)];
  const allowanceMb = Math.max(ALLOWANCE_MB_MIN, first * ALLOWANCE_SHARE);
  const grew = last - first > allowanceMb && last - second > allowanceMb * STILL_RISING;
  return { verdict: grew ? 'grew' : 'flat', thirdsMb: [first, second, last], allowanceMb, warmUpSeconds: start.seconds };
};

const mb = (value: number): string => value.toFixed(0);

export const verdictLine = ({ verdict, thirdsMb, allowanceMb, warmUpSeconds }: ChurnVerdict): string => {
  if (verdict === 'too short') return `no verdict: it takes ${(warmUpSeconds + JUDGED_SECONDS) / 60} minutes at least (--churn 10)`;
  const medians = thirdsMb.map(mb).join(', ');
  return `memory ${verdict === 'flat' ? 'is flat' : 'GROWS'}: medians of the thirds after ${warmUpSeconds} s of warm-up ${medians} MB, allowance ${mb(allowanceMb)} MB`;
};

export const EXIT_CODES = { flat: 0, grew: 1, 'too short': 2 } as const;
