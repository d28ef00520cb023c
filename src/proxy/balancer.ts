// Choosing a host of one group: Envoy's round robin, least request (power of two choices) and random. With unequal weights round
// robin and least request run an earliest-deadline-first schedule, so shares are exact, not only likely.

import { PlanError } from '../plan/plan-error.ts';
import type { Cluster } from '../xds/gen/types.ts';
import { compileHashBalancer } from './balancer-hash.ts';
import type { Host } from './host.ts';
import type { HostGroup } from './host-set.ts';
import { compileSlowStart, type SlowStart } from './slow-start.ts';

/** `hash` is the request's hash policy value; undefined when it has none. `attempt` above 0 asks for another host than before. */
export type Balancer = (group: HostGroup, random: () => number, hash: bigint | undefined, attempt: number) => Host | undefined;

/** `now` is the clock hosts are dated by. */
export const compileBalancer = (cluster: Cluster, now: () => number): Balancer => {
  const policy = cluster.lb_policy ?? 'ROUND_ROBIN';
  switch (policy) {
    case 'ROUND_ROBIN': {
      const slow = compileSlowStart(cluster.round_robin_lb_config?.slow_start_config, 'round_robin_lb_config.slow_start_config');
      return slow === undefined ? roundRobin : slowly(roundRobin, (host) => host.weight, slow, now);
    }
    case 'LEAST_REQUEST': {
      const config = cluster.least_request_lb_config;
      const bias = config?.active_request_bias?.default_value ?? 1;
      const slow = compileSlowStart(config?.slow_start_config, 'least_request_lb_config.slow_start_config');
      const usual = leastRequest(config?.choice_count ?? 2, bias);
      return slow === undefined ? usual : slowly(usual, loadWeight(bias), slow, now);
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

/** While a host of the group is new, a schedule in which it weighs less; then as usual. */
const slowly = (usual: Balancer, weigh: (host: Host) => number, slow: SlowStart, now: () => number): Balancer => {
  let at = 0;
  const warming = (host: Host) => weigh(host) * slow.factor(at - host.addedAtMs);
  return (group, random, hash, attempt) => {
    at = now();
    if (at - group.newestMs >= slow.windowMs) return usual(group, random, hash, attempt);
    if (group.deadlines.length === 0)
      group.deadlines = Float64Array.from(group.hosts, (host) => group.edfNow + random() / Math.max(warming(host), 1e-9));
    return edf(group, warming);
  };
};

const loadWeight =
  (bias: number) =>
  (host: Host): number =>
    bias === 0 ? host.weight : host.weight / (host.stats.rqActive + 1) ** bias;

const leastRequest = (choices: number, bias: number): Balancer => {
  const weigh = loadWeight(bias);
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
