// Weights and priorities of localities as seen from a proxy: distribution, failover by region, failover by labels.

import type { LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting } from '../api/specs.ts';
import { NETWORK_LABEL } from '../mesh/backend.ts';
import type { Endpoint, Locality } from '../mesh/service.ts';
import type { LbEndpoint, LocalityLbEndpoints } from '../xds/gen/types.ts';
import type { LocalityChoice } from './load-balancing.ts';
import type { ProxyNode } from './proxy-node.ts';

/** Which machine something runs on. */
const HOST_LABEL = 'kubernetes.io/hostname';

export interface LocalityMember {
  readonly endpoint: Endpoint;
  readonly message: LbEndpoint;
}

export interface LocalityGroup {
  readonly locality: Locality;
  readonly members: LocalityMember[];
}

interface Group {
  readonly locality: Locality;
  readonly members: readonly LocalityMember[];
  readonly weight: number;
  readonly priority: number;
}

export const applyLocality = (
  node: ProxyNode,
  groups: readonly LocalityGroup[],
  choice: Pick<LocalityChoice, 'locality' | 'zones'>,
  noticesFailures: boolean,
): readonly LocalityLbEndpoints[] => {
  const plain = groups.map((g) => ({ ...g, weight: sumWeights(g.members), priority: 0 }));
  return settle(node, plain, choice, noticesFailures).map(toMessage);
};

const settle = (
  node: ProxyNode,
  groups: readonly Group[],
  { locality: setting, zones }: Pick<LocalityChoice, 'locality' | 'zones'>,
  noticesFailures: boolean,
): readonly Group[] => {
  if (zones !== undefined) return compact(byZones(node, groups, zones));
  if (setting === undefined) return groups;
  if ((setting.distribute ?? []).length > 0) return distribute(node.locality, groups, setting);
  if (!noticesFailures) return groups;
  const labels = setting.failoverPriority ?? [];
  if (labels.length === 0) return compact(byRegion(node.locality, groups, setting));
  const tiers = byLabels(node, groups, labels);
  // Regions part what the labels find equal.
  return compact((setting.failover ?? []).length === 0 ? tiers : byRegion(node.locality, tiers, setting));
};

/** The own region first, whatever the labels say of endpoints within one region; zones share the load inside a region by themselves. */
const byZones = (node: ProxyNode, groups: readonly Group[], zones: ZoneAwareLoadBalancerSetting): readonly Group[] => {
  const own = node.locality.region;
  const labels = zones.failoverPriority ?? [];
  const failover = (zones.failover ?? []).find((f) => f.from === own);
  const distance = (region: string): number => (region === own ? 0 : failover === undefined || failover.to === region ? 1 : 2);
  const tiers = labels.length > 0 ? byLabels(node, groups, labels) : groups;
  return tiers.map((g) => ({ ...g, priority: g.priority * 3 + distance(g.locality.region) }));
};

const sumWeights = (members: readonly LocalityMember[]): number => members.reduce((n, m) => n + m.endpoint.weight, 0);

const toMessage = (g: Group): LocalityLbEndpoints => ({
  locality: {
    ...(g.locality.region === '' ? {} : { region: g.locality.region }),
    ...(g.locality.zone === '' ? {} : { zone: g.locality.zone }),
    ...(g.locality.subzone === '' ? {} : { sub_zone: g.locality.subzone }),
  },
  ...(g.members.length === 0 ? {} : { lb_endpoints: g.members.map((m) => m.message) }),
  load_balancing_weight: g.weight,
  ...(g.priority === 0 ? {} : { priority: g.priority }),
});

/** `*`, `region/*`, `region/zone/*` or a whole locality. */
export const localityMatches = (l: Locality, pattern: string): boolean => {
  const [region = '', zone, subzone] = pattern.split('/');
  const fits = (value: string, want: string | undefined): boolean => want === undefined || want === '' || want === '*' || value === want;
  if (region === '*') return true;
  if (l.region !== region) return false;
  if (zone === '*') return true;
  return fits(l.zone, zone) && fits(l.subzone, subzone);
};

const distribute = (own: Locality, groups: readonly Group[], setting: LocalityLoadBalancerSetting): readonly Group[] => {
  const rule = (setting.distribute ?? []).find((d) => localityMatches(own, d.from ?? ''));
  if (rule === undefined) return groups;
  const weights = new Map<Group, number>();
  // Narrow patterns first: a locality counts for the first pattern that names it.
  const targets = Object.entries(rule.to ?? {}).sort(
    (a, b) => b[0].replace(/\*$/, '').length - a[0].replace(/\*$/, '').length || (a[0] < b[0] ? -1 : 1),
  );
  for (const [pattern, share] of targets) {
    const fitting = groups.filter((g) => !weights.has(g) && localityMatches(g.locality, pattern));
    const total = fitting.reduce((n, g) => n + g.weight, 0);
    for (const g of fitting) weights.set(g, Math.ceil((g.weight * share) / total));
  }
  return groups.map((g) => {
    const weight = weights.get(g);
    return weight === undefined ? { ...g, members: [] } : { ...g, weight };
  });
};

/** Distances by region, zone and failover. */
const REGION_STEPS = 5;

const byRegion = (own: Locality, groups: readonly Group[], setting: LocalityLoadBalancerSetting): readonly Group[] => {
  const failover = (setting.failover ?? []).find((f) => f.from === own.region);
  return groups.map((g) => {
    const l = g.locality;
    let priority = l.region !== own.region ? 3 : l.zone !== own.zone ? 2 : l.subzone !== own.subzone ? 1 : 0;
    if (priority === 3 && failover !== undefined && failover.to !== l.region) priority = 4;
    return { ...g, priority: g.priority * REGION_STEPS + priority };
  });
};

const localityLabels = (
  l: Locality,
  labels: Readonly<Record<string, string>>,
  host: string | undefined,
): Readonly<Record<string, string>> => ({
  ...labels,
  ...(host === undefined || host === '' ? {} : { [HOST_LABEL]: host }),
  'topology.kubernetes.io/region': l.region,
  'topology.kubernetes.io/zone': l.zone,
  'topology.istio.io/subzone': l.subzone,
});

/** The n-th label counts only when all before it agree. `key=value` stands for a value other than the proxy's own. */
const byLabels = (node: ProxyNode, groups: readonly Group[], wanted: readonly string[]): readonly Group[] => {
  const network = wanted.includes(NETWORK_LABEL) ? node.metadata['NETWORK'] : undefined;
  const labelsOfNode = typeof network === 'string' ? { ...node.labels, [NETWORK_LABEL]: network } : node.labels;
  const host = wanted.includes(HOST_LABEL) ? node.metadata['NODE_NAME'] : undefined;
  const own = localityLabels(node.locality, labelsOfNode, typeof host === 'string' ? host : undefined);
  const pairs = wanted.map((w) => {
    const eq = w.indexOf('=');
    return eq === -1 ? { key: w, value: own[w] ?? '' } : { key: w.slice(0, eq), value: w.slice(eq + 1) };
  });
  return groups.flatMap((g) => {
    const buckets = new Map<number, LocalityMember[]>();
    for (const m of g.members) {
      const labels = localityLabels(m.endpoint.locality, m.endpoint.labels, m.endpoint.node);
      const mismatch = pairs.findIndex((p) => (labels[p.key] ?? '') !== p.value);
      const priority = mismatch === -1 ? 0 : pairs.length - mismatch;
      const bucket = buckets.get(priority);
      if (bucket === undefined) buckets.set(priority, [m]);
      else bucket.push(m);
    }
    return [...buckets.entries()]
      .sort((a, b) => a[0] - b[0])
      .map(([priority, members]) => ({ locality: g.locality, members, weight: sumWeights(members), priority }));
  });
};

/** Priorities without gaps, as Envoy requires. */
const compact = (groups: readonly Group[]): readonly Group[] => {
  const used = [...new Set(groups.map((g) => g.priority))].sort((a, b) => a - b);
  return groups.map((g) => ({ ...g, priority: used.indexOf(g.priority) }));
};
