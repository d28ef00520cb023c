// When to renew a certificate: at half of its life, spread so that workloads started together do not come together.

/** Istio's SECRET_GRACE_PERIOD_RATIO. */
const RENEW_AT = 0.5;
/** Up to this share of the life earlier or later. */
const JITTER = 0.05;
/** After a failed renewal: doubled from the first to the last, then steady. */
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 60_000;

export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** The moment to renew. `random` is in [0, 1). */
export const renewAtMs = (validity: Validity, random: number): number => {
  const life = Math.max(0, validity.notAfterMs - validity.notBeforeMs);
  return validity.notBeforeMs + life * (RENEW_AT + (random * 2 - 1) * JITTER);
};

/** Milliseconds from now until the renewal; 0 when it is due. */
export const renewInMs = (validity: Validity, nowMs: number, random: number): number => Math.max(0, renewAtMs(validity, random) - nowMs);

/** The wait before attempt `failures + 1`, between half and all of the doubled step. */
export const retryInMs = (failures: number, random: number): number =>
  Math.min(RETRY_FIRST_MS * 2 ** Math.min(failures, 20), RETRY_LAST_MS) * (0.5 + random / 2);
