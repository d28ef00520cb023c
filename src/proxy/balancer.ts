// Choosing a host of one group: Envoy's round robin, least request (power of two choices) and random. With unequal weights round
// robin and least request run an earliest-deadline-first schedule, so shares are exact, not only likely.

import { PlanError } from '../plan/plan-error.ts';
import type { Cluster } from '../xds/gen/types.ts';
import { compileHashBalancer } from './balancer-hash.ts';
import type { Host } from './host.ts';
import type { HostGroup } from './host-set.ts';

/** `hash` is the request's hash policy value; undefined when it has none. `attempt` above 0 asks for another host than before. */
export type Balancer = (group: HostGroup, random: () => number, hash: bigint | undefined, attempt: number) => Host | undefined;

export const compileBalancer = (cluster: Cluster): Balancer => {
  const policy = cluster.lb_policy ?? 'ROUND_ROBIN';
  switch (policy) {
    case 'ROUND_ROBIN':
      return roundRobin;
    case 'LEAST_REQUEST': {
      const config = cluster.least_request_lb_config;
      return leastRequest(config?.choice_count ?? 2, config?.active_request_bias?.default_value ?? 1);
    }
    case 'RANDOM':
      return (group, random) => group.hosts[Math.floor(random() * group.hosts.length)];
    case 'CLUSTER_PROVIDED':
      return roundRobin;
    case 'RING_HASH':
    case 'MAGLEV':
      return compileHashBalancer(cluster);
    default:
      throw new PlanError('lb_policy', `${policy} is not supported`);
  }
};

const roundRobin: Balancer = (group) => {
  const hosts = group.hosts;
  if (!group.equalWeights) return edf(group, (host) => host.weight);
  if (hosts.length === 0) return undefined;
  group.cursor = group.cursor + 1 >= hosts.length ? 0 : group.cursor + 1;
  return hosts[group.cursor];
};

const leastRequest = (choices: number, bias: number): Balancer => {
  const weigh = (host: Host) => (bias === 0 ? host.weight : host.weight / (host.stats.rqActive + 1) ** bias);
  return (group, random) => {
    const hosts = group.hosts;
    if (!group.equalWeights) return edf(group, weigh);
    let best = hosts[Math.floor(random() * hosts.length)];
    for (let i = 1; i < choices && best !== undefined; i++) {
      const other = hosts[Math.floor(random() * hosts.length)];
      if (other !== undefined && other.stats.rqActive < best.stats.rqActive) best = other;
    }
    return best;
  };
};

// The host whose turn comes first; its next turn is 1/weight later.
const edf = (group: HostGroup, weigh: (host: Host) => number): Host | undefined => {
  const { hosts, deadlines } = group;
  let at = -1;
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < hosts.length; i++) {
    const deadline = deadlines[i] ?? 0;
    if (deadline < least) {
      least = deadline;
      at = i;
    }
  }
  const host = hosts[at];
  if (host === undefined) return undefined;
  group.edfNow = least;
  deadlines[at] = least + 1 / Math.max(weigh(host), 1e-9);
  return host;
};
