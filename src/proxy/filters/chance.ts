// A RuntimeFractionalPercent of a filter. There is no runtime to ask, so a runtime_key changes nothing.

import { compileFraction } from '../../plan/fraction.ts';
import type { RuntimeFractionalPercent } from '../../xds/gen/types.ts';

/** Draws only where there is a choice. */
export type Chance = (random: () => number) => boolean;

/** undefined: never. */
export const compileChance = (config: RuntimeFractionalPercent | undefined, path: string): Chance => {
  if (config === undefined) return () => false;
  const hit = compileFraction(config, path);
  if (!hit(0, undefined)) return () => false;
  // The largest draw there is.
  if (hit(1 - Number.EPSILON, undefined)) return () => true;
  return (random) => hit(random(), undefined);
};
