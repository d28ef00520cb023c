// envoy.config.core.v3.RuntimeFractionalPercent as a probability.
import type { FractionalPercent, RuntimeFractionalPercent } from '../xds/gen/types.ts';
import { PlanError } from './plan-error.ts';
import type { Runtime } from './route-plan.ts';

const DENOMINATORS: Readonly<Record<string, number>> = { HUNDRED: 100, TEN_THOUSAND: 10_000, MILLION: 1_000_000 };

export const probabilityOf = (percent: FractionalPercent | undefined, path: string): number => {
  const denominator = DENOMINATORS[percent?.denominator ?? 'HUNDRED'];
  if (denominator === undefined) throw new PlanError(`${path}.denominator`, `${percent?.denominator} is not known`);
  return Math.min(1, (percent?.numerator ?? 0) / denominator);
};

/** Whether a draw in [0,1) falls inside; the runtime's value (a numerator) wins over the configured one. */
export const compileFraction = (config: RuntimeFractionalPercent, path: string): ((draw: number, runtime: Runtime) => boolean) => {
  const probability = probabilityOf(config.default_value, `${path}.default_value`);
  const key = config.runtime_key ?? '';
  const denominator = DENOMINATORS[config.default_value?.denominator ?? 'HUNDRED'] ?? 100;
  return (draw, runtime) => {
    const value = key === '' ? undefined : runtime?.[key];
    return draw < (value === undefined ? probability : value / denominator);
  };
};
