// Load balancing of a cluster: algorithm, slow start, hash rings, and whether localities are weighed.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { LoadBalancerSettings, LocalityLoadBalancerSetting, TrafficPolicy, ZoneAwareLoadBalancerSetting } from '../api/specs.ts';
import type { MergedRule } from '../mesh/destination-rules.ts';
import type { TrafficDistribution } from '../mesh/service.ts';
import { PEAK_EWMA_TYPE } from '../xds/client-features.ts';
import type { Cluster } from '../xds/gen/types.ts';
import type { ProxyNode } from './proxy-node.ts';

/** Istio's default ring; Envoy caps at 8 Mi. */
const RING_SIZE_MIN = 1024;

export const isPassthrough = (policy: TrafficPolicy): boolean => policy.loadBalancer?.simple === 'PASSTHROUGH';

/** How the localities of endpoints count. With neither setting they do not. */
export interface LocalityChoice {
  readonly locality: LocalityLoadBalancerSetting | undefined;
  readonly zones: ZoneAwareLoadBalancerSetting | undefined;
  /** Priorities hold although nothing notices failures. */
  readonly forced: boolean;
}

const ANYWHERE: LocalityChoice = { locality: undefined, zones: undefined, forced: false };

const ZONE = ['topology.istio.io/network', 'topology.kubernetes.io/region', 'topology.kubernetes.io/zone'];
const NODE = [...ZONE, 'topology.istio.io/subzone', 'kubernetes.io/hostname'];

/** The rule's own setting, else what the service asks for, else the mesh's; each alone, none of them merged. */
export const localityChoice = (
  mesh: Pick<MeshConfig, 'localityLbSetting' | 'zoneAwareLbSetting'>,
  own: LoadBalancerSettings | undefined,
  distribution: TrafficDistribution,
): LocalityChoice => {
  if (own?.zoneAwareLbSetting !== undefined) return byZones(own.zoneAwareLbSetting);
  if (own?.localityLbSetting !== undefined) return byLocality(own.localityLbSetting);
  if (distribution !== 'any')
    return { ...ANYWHERE, locality: { enabled: true, failoverPriority: distribution === 'zone' ? ZONE : NODE }, forced: true };
  return mesh.zoneAwareLbSetting === undefined ? byLocality(mesh.localityLbSetting) : byZones(mesh.zoneAwareLbSetting);
};

const byLocality = (locality: LocalityLoadBalancerSetting): LocalityChoice =>
  locality.enabled === false ? ANYWHERE : { ...ANYWHERE, locality };

const byZones = (zones: ZoneAwareLoadBalancerSetting): LocalityChoice =>
  zones.enabled === false ? ANYWHERE : { ...ANYWHERE, zones, forced: true };

type CommonLbConfig = NonNullable<Cluster['common_lb_config']>;

/** Failing over needs something that notices failures, or a service that asks for it. */
export const localityWeights = (choice: LocalityChoice, policy: TrafficPolicy): CommonLbConfig => {
  const { locality, zones, forced } = choice;
  if (zones !== undefined) return { zone_aware_lb_config: { routing_enabled: { value: 100 }, ...clusterSize(zones) } };
  if (locality === undefined) return {};
  const labels = (locality.failoverPriority ?? []).length > 0;
  const failsOver = (policy.outlierDetection !== undefined || forced) && (labels || (locality.failover ?? []).length > 0);
  return (locality.distribute ?? []).length > 0 || failsOver ? { locality_weighted_lb_config: {} } : {};
};

const clusterSize = (zones: ZoneAwareLoadBalancerSetting): { readonly min_cluster_size?: number } =>
  zones.minClusterSize === undefined ? {} : { min_cluster_size: zones.minClusterSize };

export const loadBalancing = (settings: LoadBalancerSettings | undefined): Cluster => {
  const hash = settings?.consistentHash;
  if (hash !== undefined) {
    if (hash.maglev !== undefined) {
      const size = Number(hash.maglev.tableSize ?? 0);
      return { lb_policy: 'MAGLEV', ...(size === 0 ? {} : { maglev_lb_config: { table_size: size } }) };
    }
    const size = Number(hash.ringHash?.minimumRingSize ?? hash.minimumRingSize ?? 0);
    return { lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: size === 0 ? RING_SIZE_MIN : size } };
  }
  const slowStart = slowStartOf(settings);
  switch (settings?.simple) {
    case 'ROUND_ROBIN':
      return { lb_policy: 'ROUND_ROBIN', ...(slowStart === undefined ? {} : { round_robin_lb_config: { slow_start_config: slowStart } }) };
    case 'RANDOM':
      return { lb_policy: 'RANDOM' };
    default:
      return {
        lb_policy: 'LEAST_REQUEST',
        ...(slowStart === undefined ? {} : { least_request_lb_config: { slow_start_config: slowStart } }),
      };
  }
};

const slowStartOf = (
  settings: LoadBalancerSettings | undefined,
): NonNullable<NonNullable<Cluster['round_robin_lb_config']>['slow_start_config']> | undefined => {
  const warmup = settings?.warmup;
  if (warmup !== undefined) {
    return {
      slow_start_window: warmup.duration,
      aggression: { default_value: warmup.aggression ?? 1, runtime_key: '(' },
      min_weight_percent: { value: warmup.minimumPercent ?? 10 },
    };
  }
  const window = settings?.warmupDurationSecs;
  return window === undefined ? undefined : { slow_start_window: window };
};

const PEAK_EWMA_ANNOTATION = 'skein.dev/load-balancer';

/** A rule may ask Skein's own proxy for peak EWMA by an annotation; every other proxy does what the rule itself says. */
export const peakEwma = (
  node: ProxyNode,
  rule: MergedRule | undefined,
  settings: LoadBalancerSettings | undefined,
): Pick<Cluster, 'load_balancing_policy'> | undefined => {
  const asked = rule?.sources.some((source) => source.annotations[PEAK_EWMA_ANNOTATION] === 'peak-ewma') === true;
  if (!asked || node.peakEwma !== true || settings?.consistentHash !== undefined) return undefined;
  const typed_config = { '@type': TYPED_STRUCT, type_url: `type.googleapis.com/${PEAK_EWMA_TYPE}`, value: {} };
  return { load_balancing_policy: { policies: [{ typed_extension_config: { name: PEAK_EWMA_TYPE, typed_config } }] } };
};

const TYPED_STRUCT = 'type.googleapis.com/xds.type.v3.TypedStruct';
