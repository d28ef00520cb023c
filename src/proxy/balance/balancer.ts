// Choosing a host of one group: Envoy's round robin, least request (power of two choices or all) and random, and our peak EWMA.
// With unequal weights round robin and least request run an earliest-deadline-first schedule, so shares are exact, not only likely.

import type { Host } from '../cluster/host.ts';
import { compileHashBalancer } from './hash-tables.ts';
import type { HostGroup } from './host-set.ts';
import type { PickPolicy } from './lb-plan.ts';
import { lessLoaded } from './peak-ewma.ts';
import type { SlowStart } from './slow-start.ts';

/** `hash` is the request's hash policy value; undefined when it has none. `attempt` above 0 asks for another host than before. */
export type Balancer = (group: HostGroup, random: () => number, hash: bigint | undefined, attempt: number) => Host | undefined;

/** `now` is the clock hosts are dated by; `active`: requests the cluster has in hand. */
export const compileBalancer = (policy: PickPolicy, now: () => number, active: () => number): Balancer => {
  switch (policy.kind) {
    case 'round-robin':
      return policy.slow === undefined ? roundRobin : slowly(roundRobin, (host) => host.weight, policy.slow, now);
    case 'least-request': {
      const { slow, bias } = policy;
      const weigh = loadWeight(bias);
      const usual = policy.fullScan ? leastOfAll(weigh) : leastOfSome(policy.choices, weigh);
      return slow === undefined ? usual : slowly(usual, weigh, slow, now);
    }
    case 'random':
      return (group, random) => group.hosts[Math.floor(random() * group.hosts.length)];
    case 'cluster-provided':
      return roundRobin;
    case 'peak-ewma':
      return peakEwma(policy.choices, policy.decayMs, now);
    case 'ring':
    case 'maglev':
      return compileHashBalancer(policy, active);
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

const leastOfSome =
  (choices: number, weigh: (host: Host) => number): Balancer =>
  (group, random) => {
    const hosts = group.hosts;
    if (!group.equalWeights) return edf(group, weigh);
    let best = hosts[Math.floor(random() * hosts.length)];
    for (let i = 1; i < choices && best !== undefined; i++) {
      const other = hosts[Math.floor(random() * hosts.length)];
      if (other !== undefined && other.stats.rqActive < best.stats.rqActive) best = other;
    }
    return best;
  };

/** Of those with the fewest requests, any. */
const leastOfAll =
  (weigh: (host: Host) => number): Balancer =>
  (group, random) => {
    if (!group.equalWeights) return edf(group, weigh);
    let best: Host | undefined;
    let alike = 0;
    for (const host of group.hosts) {
      if (best === undefined || host.stats.rqActive < best.stats.rqActive) {
        best = host;
        alike = 1;
      } else if (host.stats.rqActive === best.stats.rqActive && random() * ++alike < 1) best = host;
    }
    return best;
  };

const peakEwma =
  (choices: number, decayMs: number, now: () => number): Balancer =>
  (group, random) => {
    const { hosts } = group;
    if (hosts.length < 2) return hosts[0];
    const at = now();
    const first = Math.floor(random() * hosts.length);
    let best = hosts[first];
    for (let i = 1; i < choices && best !== undefined; i++) {
      // Another one than the first: with two hosts both are looked at.
      const other = hosts[(first + 1 + Math.floor(random() * (hosts.length - 1))) % hosts.length];
      if (other !== undefined && other !== best) best = lessLoaded(best, other, at, decayMs);
    }
    return best;
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
