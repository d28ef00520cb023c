// Slow start: a host that has just joined takes a share of its weight that grows over a window, so that cold caches are not flooded.
// Costs nothing once the newest host's window is over.

import { PlanError } from '../../plan/plan-error.ts';
import type { Cluster_SlowStartConfig } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import type { Host } from '../cluster/host.ts';

const MIN_WEIGHT_PERCENT = 10;

export interface SlowStart {
  readonly windowMs: number;
  /** Share of its weight that a host added `elapsedMs` ago takes, above 0 and at most 1. */
  factor(elapsedMs: number): number;
}

/** undefined: no slow start. */
export const compileSlowStart = (config: Cluster_SlowStartConfig | undefined, path: string): SlowStart | undefined => {
  const windowMs = durationMs(config?.slow_start_window ?? '0s');
  if (windowMs <= 0) return undefined;
  const aggression = config?.aggression?.default_value ?? 1;
  if (!(aggression > 0)) throw new PlanError(`${path}.aggression.default_value`, 'must be above 0');
  const least = (config?.min_weight_percent?.value ?? MIN_WEIGHT_PERCENT) / 100;
  if (least < 0 || least > 1) throw new PlanError(`${path}.min_weight_percent.value`, 'is no percentage');
  return {
    windowMs,
    factor: (elapsedMs) => {
      if (elapsedMs >= windowMs) return 1;
      // As Envoy: the first second counts whole.
      const time = Math.min(1, Math.max(elapsedMs, 1000) / windowMs);
      return Math.max(aggression === 1 ? time : time ** (1 / aggression), least, 1e-6);
    },
  };
};

/** The newest of some hosts; -Infinity without any. */
export const newestOf = (hosts: readonly Host[]): number =>
  hosts.reduce((newest, host) => Math.max(newest, host.addedAtMs), Number.NEGATIVE_INFINITY);
