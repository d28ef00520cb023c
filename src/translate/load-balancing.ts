// Load balancing of a cluster: algorithm, slow start, hash rings, and whether localities are weighed.

import type { MeshConfig } from '../api/mesh-config.ts';
import type { LoadBalancerSettings, LocalityLoadBalancerSetting, TrafficPolicy } from '../api/specs.ts';
import type { Cluster } from '../xds/gen/types.ts';
import type { ProxyNode } from './proxy-node.ts';

/** Istio's default ring; Envoy caps at 8 Mi. */
const RING_SIZE_MIN = 1024;

export const isPassthrough = (policy: TrafficPolicy): boolean => policy.loadBalancer?.simple === 'PASSTHROUGH';

/** Undefined: localities are not looked at. The rule's own setting replaces the mesh's. */
export const localitySetting = (mesh: MeshConfig, policy: TrafficPolicy): LocalityLoadBalancerSetting | undefined => {
  const own = policy.loadBalancer?.localityLbSetting;
  const setting = own ?? mesh.localityLbSetting;
  return setting.enabled === false ? undefined : setting;
};

/** Failing over needs something that notices failures. */
export const weighsLocalities = (node: ProxyNode, setting: LocalityLoadBalancerSetting | undefined, policy: TrafficPolicy): boolean => {
  if (setting === undefined) return false;
  const labels = (setting.failoverPriority ?? []).length > 0;
  if (node.locality.region === '' && !labels) return false;
  if ((setting.distribute ?? []).length > 0) return true;
  return policy.outlierDetection !== undefined && (labels || (setting.failover ?? []).length > 0);
};

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
