// How traffic divides among priority levels by what is healthy of them, as Envoy reckons it: healthy hosts first, then degraded ones,
// with overprovisioning, and by numbers alone once all levels panic. Pure.

import type { Membership, PriorityHosts } from './host-set.ts';

export interface PriorityLoad {
  /** Percent of requests for healthy hosts of this level. */
  readonly load: number;
  /** Percent for degraded ones. */
  readonly degraded: number;
  /** Too few are healthy: health does not count here. */
  readonly panic: boolean;
}

interface Counts {
  readonly healthy: number;
  readonly degraded: number;
  /** All but those that are left out of every share. */
  readonly counted: number;
  readonly hosts: number;
}

const countsOf = (level: PriorityHosts): Counts => {
  let [healthy, degraded, counted] = [0, 0, 0];
  for (const host of level.hosts) {
    const { health } = host;
    if (health === 'healthy') healthy++;
    else if (health === 'degraded') degraded++;
    if (!host.excluded) counted++;
  }
  return { healthy, degraded, counted, hosts: level.hosts.length };
};

const weightOf = (level: PriorityHosts, health: string | undefined): number =>
  level.hosts.reduce((sum, h) => sum + (health === undefined || h.health === health ? h.weight : 0), 0);

export const priorityLoads = (membership: Membership, panicThreshold: number): readonly PriorityLoad[] => {
  const levels = membership.priorities;
  const counts = levels.map(countsOf);
  const available = (share: number, of: number): number =>
    of === 0 ? 0 : Math.min(100, Math.floor((membership.overprovisioning * share) / of));
  const health = levels.map((level, i) => {
    const c = counts[i] as Counts;
    if (membership.weightedHealth !== true) return [available(c.healthy, c.counted), available(c.degraded, c.counted)] as const;
    const total = weightOf(level, undefined);
    return [available(weightOf(level, 'healthy'), total), available(weightOf(level, 'degraded'), total)] as const;
  });
  const total = Math.min(
    100,
    health.reduce((sum, [healthy, degraded]) => sum + healthy + degraded, 0),
  );
  const panic = counts.map((c) => total < 100 && (c.counted === 0 ? 0 : (100 * (c.healthy + c.degraded)) / c.counted) < panicThreshold);
  if (panic.length > 0 && panic.every((p) => p)) return byNumbers(counts);
  if (total === 0) return levels.map((_, i) => ({ load: i === 0 ? 100 : 0, degraded: 0, panic: panic[i] === true }));
  let left = 100;
  const take = (share: number): number => {
    const load = Math.min(left, Math.floor((share * 100) / total));
    left -= load;
    return load;
  };
  const healthy = health.map(([share]) => take(share));
  const degraded = health.map(([, share]) => take(share));
  // Rounding must not lose traffic: what is left goes to the first level that has anything.
  const first = health.findIndex(([share]) => share > 0);
  const firstDegraded = health.findIndex(([, share]) => share > 0);
  if (first >= 0) healthy[first] = (healthy[first] ?? 0) + left;
  else if (firstDegraded >= 0) degraded[firstDegraded] = (degraded[firstDegraded] ?? 0) + left;
  return healthy.map((load, i) => ({ load, degraded: degraded[i] ?? 0, panic: panic[i] === true }));
};

const byNumbers = (counts: readonly Counts[]): readonly PriorityLoad[] => {
  const hosts = counts.reduce((sum, c) => sum + c.hosts, 0);
  const loads = counts.map((c) => (hosts === 0 ? 0 : Math.floor((100 * c.hosts) / hosts)));
  const first = Math.max(
    0,
    counts.findIndex((c) => c.hosts > 0),
  );
  loads[first] = (loads[first] ?? 0) + 100 - loads.reduce((a, b) => a + b, 0);
  return loads.map((load) => ({ load, degraded: 0, panic: true }));
};
