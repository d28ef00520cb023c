// Of when requests ran and when retries did: how many retries ran at one time, and whether that was within a budget. Pure. Retries are
// seen where they arrive and requests where they are sent, so it never finds more retries, nor a smaller budget, than there were.

export type Ran = readonly (readonly [from: number, to: number])[];

export interface RetryBudget {
  readonly percent: number;
  readonly minRetryConcurrency: number;
}

export interface AtOnce {
  readonly most: number;
  /** What was allowed then. */
  readonly allowed: number;
  /** Moments in which more ran than were allowed. */
  readonly beyond: number;
}

const runningAt = (ran: Ran, at: number): number => ran.reduce((n, [from, to]) => n + (from <= at && at < to ? 1 : 0), 0);

export const retriesAtOnce = (requests: Ran, retries: Ran, { percent, minRetryConcurrency }: RetryBudget): AtOnce => {
  let [most, allowed, beyond] = [0, minRetryConcurrency, 0];
  for (const [at] of retries) {
    const running = runningAt(retries, at);
    // A request that ended within the same millisecond was in hand as well.
    const inHand = requests.reduce((n, [from, to]) => n + (from <= at && at <= to ? 1 : 0), 0);
    const budget = Math.max(minRetryConcurrency, Math.floor((inHand * percent) / 100));
    if (running > budget) beyond++;
    if (running > most) [most, allowed] = [running, budget];
  }
  return { most, allowed, beyond };
};
