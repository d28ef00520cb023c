// RING_HASH and MAGLEV are not built yet: refused by name.

import { PlanError } from '../plan/plan-error.ts';
import type { Cluster } from '../xds/gen/types.ts';
import type { Balancer } from './balancer.ts';

export const compileRingHash = (cluster: Cluster): Balancer => {
  throw new PlanError('lb_policy', `${cluster.lb_policy} is not supported yet`);
};
