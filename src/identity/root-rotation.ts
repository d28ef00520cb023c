// The roots of a mesh over time: one signs, and while it is replaced there are two that everybody trusts. A pure machine: states are
// values, time is an argument, every step refuses when it would leave a workload with a certificate that a peer does not trust.
//
//   steady --prepare--> prepared --switch--> switched --finish--> steady
//            the new root       leaves are issued       the old root
//            is in the bundle   by the new root         leaves the bundle
//
// A leaf travels with the bundle, so whoever holds a leaf that was made after a step knows the bundle of that step. Both later steps
// therefore wait until the last leaf from before has ended. `revoke` waits for nothing.
import { err, ok, type Result } from '../base/result.ts';
import { overlapMs, successorDueMs } from './lives.ts';

export interface RootRecord {
  readonly id: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export type RotationPhase = 'steady' | 'prepared' | 'switched';
export type RotationStep = 'prepare' | 'switch' | 'finish';
export const ROTATION_STEPS: readonly RotationStep[] = ['prepare', 'switch', 'finish'];

export interface Roots {
  /** All that is trusted, oldest first: one, or two while one replaces the other. */
  readonly trusted: readonly [RootRecord] | readonly [RootRecord, RootRecord];
  /** Signs. */
  readonly active: string;
  /** Of the last step. */
  readonly sinceMs: number;
  /** How long leaves live that are made now. */
  readonly leafMs: number;
  /** When the last of those has ended that were made while they lived longer; 0: they never did. */
  readonly longerEndMs: number;
  /** Roots that were replaced so far. */
  readonly replaced: number;
}

export const firstRoot = (root: RootRecord, leafMs: number, nowMs: number): Roots => ({
  trusted: [root],
  active: root.id,
  sinceMs: nowMs,
  leafMs,
  longerEndMs: 0,
  replaced: 0,
});

export const phaseOf = ({ trusted, active }: Roots): RotationPhase => {
  if (trusted.length === 1) return 'steady';
  return trusted[0].id === active ? 'prepared' : 'switched';
};

export const activeRoot = ({ trusted, active }: Roots): RootRecord => trusted.find((r) => r.id === active) ?? trusted[0];

/** The step that comes next, and the first moment at which it breaks nothing. */
export const nextStep = (roots: Roots): { readonly step: RotationStep; readonly fromMs: number } => {
  const soundMs = Math.max(roots.sinceMs + overlapMs(roots.leafMs), roots.longerEndMs);
  switch (phaseOf(roots)) {
    case 'steady':
      return { step: 'prepare', fromMs: roots.sinceMs };
    case 'prepared':
      return { step: 'switch', fromMs: soundMs };
    default:
      return { step: 'finish', fromMs: soundMs };
  }
};

/** Nothing below the older root is of use any more: nobody can be broken. */
const hasEnded = ({ trusted }: Roots, nowMs: number): boolean => trusted[0].notAfterMs <= nowMs;

/** The step that a rotation without an operator takes now; undefined when there is none. */
export const dueStep = (roots: Roots, nowMs: number): RotationStep | undefined => {
  const { step, fromMs } = nextStep(roots);
  if (nowMs < fromMs && !hasEnded(roots, nowMs)) return undefined;
  return step === 'prepare' && nowMs < successorDueMs(activeRoot(roots), roots.leafMs) ? undefined : step;
};

/** A step that is not the next one is refused. `force` skips the wait, and only that. `fresh` is what `prepare` adds. */
export const takeStep = (
  roots: Roots,
  step: RotationStep,
  nowMs: number,
  options: { readonly fresh?: RootRecord; readonly force?: boolean } = {},
): Result<Roots, string> => {
  const next = nextStep(roots);
  if (step !== next.step) return err(`the next step is ${next.step}, not ${step}: the rotation is ${phaseOf(roots)}`);
  if (nowMs < next.fromMs && !hasEnded(roots, nowMs) && options.force !== true) {
    const from = new Date(next.fromMs).toISOString();
    return err(
      `${step} would break connections before ${from}: workloads still use certificates from before the last step (force takes it all the same)`,
    );
  }
  const [old, young] = roots.trusted;
  if (step === 'prepare') {
    const { fresh } = options;
    return fresh === undefined ? err('prepare needs a new root') : ok({ ...roots, trusted: [old, fresh], sinceMs: nowMs });
  }
  if (young === undefined) return err('there is no second root');
  if (step === 'switch') return ok({ ...roots, active: young.id, sinceMs: nowMs });
  return ok({ ...roots, trusted: [young], sinceMs: nowMs, replaced: roots.replaced + 1 });
};

/** Trust in a root ends now. `fresh` takes its place when it was the only one. */
export const revokeRoot = (roots: Roots, id: string, nowMs: number, fresh: RootRecord): Result<Roots, string> => {
  if (!roots.trusted.some((r) => r.id === id))
    return err(`no root ${id} is trusted; trusted: ${roots.trusted.map((r) => r.id).join(', ')}`);
  const left = roots.trusted.find((r) => r.id !== id) ?? fresh;
  return ok({ ...roots, trusted: [left], active: left.id, sinceMs: nowMs, replaced: roots.replaced + 1 });
};

/** Leaves live so long from now on. */
export const withLeafLife = (roots: Roots, leafMs: number, nowMs: number): Roots => {
  if (leafMs === roots.leafMs) return roots;
  const longerEndMs = leafMs < roots.leafMs ? Math.max(roots.longerEndMs, nowMs + overlapMs(roots.leafMs)) : roots.longerEndMs;
  return { ...roots, leafMs, longerEndMs };
};
