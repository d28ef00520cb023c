// When to renew a certificate: at half of its life, spread so that workloads started together do not come together.

/** Istio's SECRET_GRACE_PERIOD_RATIO. */
const RENEW_AT = 0.5;
/** Up to this share of the life earlier or later. */
const JITTER = 0.05;

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
