// How long certificates live, and what follows from it: when the next one is made, and when a root must have a successor.
// Every certificate is valid from a little before it is made, because the clocks of two machines differ. Pure.
import { err, ok, type Result } from '../base/result.ts';

export interface Lives {
  readonly leafMs: number;
  readonly intermediateMs: number;
  readonly rootMs: number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

export const LIVES_DEFAULT: Lives = { leafMs: DAY_MS, intermediateMs: 30 * DAY_MS, rootMs: 3_650 * DAY_MS };
/** A workload needs a moment to ask for the next one. */
export const LEAF_MS_MIN = 1_000;
/** Istio's MAX_WORKLOAD_CERT_TTL. */
export const LEAF_MS_MAX = 90 * DAY_MS;
/** Validity begins so much before the certificate is made. */
export const BACKDATE_MS = 60_000;
/** A clock may be so much ahead or behind before certificates of different age are told apart wrongly. */
const SKEW_MS_MAX = 60_000;

/** Undefined when they fit together; else what to change. */
export const checkLives = ({ leafMs, intermediateMs, rootMs }: Lives): Result<Lives, string> => {
  if (leafMs < LEAF_MS_MIN) return err('a leaf lives at least 1 s');
  if (leafMs > LEAF_MS_MAX) return err('a leaf lives at most 90 days');
  if (intermediateMs < 2 * leafMs) return err('an intermediate lives at least twice as long as a leaf');
  if (rootMs < 2 * intermediateMs) return err('a root lives at least twice as long as an intermediate');
  if (rootMs < rotationMs(leafMs) * 2) return err('a root lives at least twice as long as its replacement takes: four leaves and more');
  return ok({ leafMs, intermediateMs, rootMs });
};

/** What a step of a rotation waits for: no leaf that was made before it is in use, by anybody's clock. */
export const overlapMs = (leafMs: number): number => leafMs + Math.min(SKEW_MS_MAX, leafMs);

/** Both steps. */
const rotationMs = (leafMs: number): number => 2 * overlapMs(leafMs);

/** When a root that ends then must have a successor prepared: a quarter of its life before, or what the steps take. */
export const successorDueMs = (root: { readonly notBeforeMs: number; readonly notAfterMs: number }, leafMs: number): number =>
  root.notAfterMs - Math.max((root.notAfterMs - root.notBeforeMs) / 4, rotationMs(leafMs) + leafMs);
