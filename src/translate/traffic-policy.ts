// The traffic policy in force for one cluster: rule, its subset and their port levels folded together as Istio folds them. Blocks are
// replaced whole; a port level that names the port decides its four blocks alone, missing ones falling back to defaults.

import type { ConsistentHashLB, PortTrafficPolicy, Subset, TrafficPolicy } from '../api/specs.ts';
import type { MergedRule } from '../mesh/destination-rules.ts';

const forPort = (policy: TrafficPolicy | undefined, port: number): PortTrafficPolicy | undefined =>
  policy?.portLevelSettings?.find((p) => p.port?.number === port);

/** `over` on top of `base`: what `over` says replaces, block by block. */
const overlay = (base: TrafficPolicy | undefined, over: TrafficPolicy, port: number): TrafficPolicy => {
  const { portLevelSettings: _base, ...below } = base ?? {};
  const { portLevelSettings: _over, ...above } = over;
  const merged: TrafficPolicy = { ...below, ...Object.fromEntries(Object.entries(above).filter(([, v]) => v !== undefined)) };
  const level = forPort(over, port);
  if (level === undefined) return merged;
  const { connectionPool, loadBalancer, outlierDetection, tls } = level;
  return { ...merged, connectionPool, loadBalancer, outlierDetection, tls } as TrafficPolicy;
};

export const subsetOf = (rule: MergedRule | undefined, subset: string): Subset | undefined =>
  rule?.spec.subsets?.find((s) => s.name === subset);

export const trafficPolicy = (rule: MergedRule | undefined, subset: Subset | undefined, port: number): TrafficPolicy => {
  const top = rule?.spec.trafficPolicy;
  const base = top === undefined ? {} : overlay(undefined, top, port);
  return subset?.trafficPolicy === undefined ? base : overlay(base, subset.trafficPolicy, port);
};

/** The hash that routes to a destination carry: subset port, subset, rule port, rule; port levels only where the destination names its port. */
export const hashSettings = (rule: MergedRule | undefined, subset: string, port: number | undefined): ConsistentHashLB | undefined => {
  const top = rule?.spec.trafficPolicy;
  const own = subset === '' ? undefined : subsetOf(rule, subset)?.trafficPolicy;
  const level = (p: TrafficPolicy | undefined): ConsistentHashLB | undefined =>
    port === undefined ? undefined : forPort(p, port)?.loadBalancer?.consistentHash;
  return level(own) ?? own?.loadBalancer?.consistentHash ?? level(top) ?? top?.loadBalancer?.consistentHash;
};
