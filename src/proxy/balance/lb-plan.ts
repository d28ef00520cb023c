// What a cluster says about choosing hosts, from the fields of Cluster or from the extension form (`load_balancing_policy`), as one
// plan. Pure. Throws PlanError for what must be refused.

import { PlanError } from '../../plan/plan-error.ts';
import { PEAK_EWMA_TYPE } from '../../xds/client-features.ts';
import type {
  Cluster,
  ConsistentHashingLbConfig,
  LeastRequest,
  LoadBalancingPolicy,
  LocalityLbConfig,
  Maglev,
  Percent,
  Random,
  RingHash,
  RoundRobin,
  Subset,
  WrrLocality,
} from '../../xds/gen/types.ts';
import { configAs, typeNameOf, unwrapConfig } from '../extension-config.ts';
import { compilePeakEwma, type PeakEwmaPlan } from './peak-ewma.ts';
import { compileSlowStart, type SlowStart } from './slow-start.ts';
import { compileSubsets, type SubsetPlan } from './subset-plan.ts';

/** Envoy's default, and what Istio sends where a DestinationRule does not say. */
export const RING_SIZE_MIN = 1024;
const RING_SIZE_MAX = 8 * 1024 * 1024;
const MAGLEV_SIZE = 65_537;
const MAGLEV_SIZE_MAX = 5_000_011;
const CHOICES = 2;
const PANIC_PERCENT = 50;
const ZONE_CLUSTER_MIN = 6;

export interface HashPlan {
  readonly byHostname: boolean;
  /** Percent of its share that a host may have before another takes over; 0: no bound. */
  readonly balanceFactor: number;
}

export type PickPolicy =
  | { readonly kind: 'round-robin'; readonly slow: SlowStart | undefined }
  | {
      readonly kind: 'least-request';
      readonly choices: number;
      readonly bias: number;
      readonly fullScan: boolean;
      readonly slow: SlowStart | undefined;
    }
  | { readonly kind: 'random' }
  | ({ readonly kind: 'ring'; readonly least: number; readonly most: number; readonly murmur: boolean } & HashPlan)
  | ({ readonly kind: 'maglev'; readonly size: number } & HashPlan)
  | ({ readonly kind: 'peak-ewma' } & PeakEwmaPlan)
  | { readonly kind: 'cluster-provided' };

export interface ZonePlan {
  /** [0, 1] of requests that are routed by zone. */
  readonly share: number;
  readonly hostsMin: number;
}

export interface LbPlan {
  readonly policy: PickPolicy;
  /** Percent of healthy hosts below which health is ignored. */
  readonly panicThreshold: number;
  /** In panic there is no host. */
  readonly failOnPanic: boolean;
  /** Localities take shares by their weights. */
  readonly byLocality: boolean;
  readonly zones: ZonePlan | undefined;
  readonly subsets: SubsetPlan | undefined;
}

/** Where choosing is by a request's hash alone. */
export const isHashed = (policy: PickPolicy): boolean => policy.kind === 'ring' || policy.kind === 'maglev';

type Locality = Pick<LbPlan, 'failOnPanic' | 'byLocality' | 'zones'>;
type Parts = { readonly policy: PickPolicy; readonly subsets?: SubsetPlan } & Locality;

export const compileLbPlan = (cluster: Cluster): LbPlan => {
  const common = cluster.common_lb_config;
  const panicThreshold = percent(common?.healthy_panic_threshold, PANIC_PERCENT, 'common_lb_config.healthy_panic_threshold');
  const extension = cluster.load_balancing_policy;
  if (extension === undefined) return { panicThreshold, subsets: undefined, ...fromFields(cluster) };
  if (cluster.lb_subset_config !== undefined) throw new PlanError('load_balancing_policy', 'cannot be combined with lb_subset_config');
  const parts = fromExtension(extension, cluster, 'load_balancing_policy');
  const localities = [common?.zone_aware_lb_config, common?.locality_weighted_lb_config, common?.consistent_hashing_lb_config];
  if (parts.policy.kind !== 'peak-ewma' && localities.some((field) => field !== undefined))
    throw new PlanError(
      'load_balancing_policy',
      'cannot be combined with zone_aware_lb_config, locality_weighted_lb_config and consistent_hashing_lb_config of common_lb_config',
    );
  return { panicThreshold, subsets: undefined, ...parts };
};

const percent = (value: Percent | undefined, otherwise: number, path: string): number => {
  const found = value === undefined ? otherwise : (value.value ?? 0);
  if (!(found >= 0 && found <= 100)) throw new PlanError(path, `${found} is no percentage`);
  return found;
};

const localityOf = (config: LocalityLbConfig | undefined, path: string): Locality => {
  const zones = config?.zone_aware_lb_config;
  return {
    byLocality: config?.locality_weighted_lb_config !== undefined,
    failOnPanic: zones?.fail_traffic_on_panic === true,
    zones:
      zones === undefined
        ? undefined
        : {
            share: percent(zones.routing_enabled, 100, `${path}.zone_aware_lb_config.routing_enabled`) / 100,
            hostsMin: zones.min_cluster_size ?? ZONE_CLUSTER_MIN,
          },
  };
};
const ANYWHERE: Locality = { byLocality: false, failOnPanic: false, zones: undefined };

const hashing = (config: ConsistentHashingLbConfig | undefined, path: string): HashPlan => {
  const balanceFactor = config?.hash_balance_factor ?? 0;
  if (balanceFactor > 0 && balanceFactor < 100) throw new PlanError(`${path}.hash_balance_factor`, 'must be at least 100');
  return { byHostname: config?.use_hostname_for_hashing === true, balanceFactor };
};

const ring = (
  config: Pick<RingHash, 'minimum_ring_size' | 'maximum_ring_size'> | undefined,
  murmur: boolean,
  hash: HashPlan,
  path: string,
): PickPolicy => {
  const least = config?.minimum_ring_size ?? RING_SIZE_MIN;
  const most = config?.maximum_ring_size ?? RING_SIZE_MAX;
  if (least > RING_SIZE_MAX || most > RING_SIZE_MAX) throw new PlanError(path, `a ring has at most ${RING_SIZE_MAX} entries`);
  if (least > most) throw new PlanError(path, `ring hash: minimum_ring_size (${least}) > maximum_ring_size (${most})`);
  return { kind: 'ring', least, most, murmur, ...hash };
};

const maglev = (config: Pick<Maglev, 'table_size'> | undefined, hash: HashPlan, path: string): PickPolicy => {
  const size = config?.table_size ?? MAGLEV_SIZE;
  if (size > MAGLEV_SIZE_MAX) throw new PlanError(`${path}.table_size`, `is above ${MAGLEV_SIZE_MAX}`);
  if (!isPrime(size)) throw new PlanError(`${path}.table_size`, 'The table size of maglev must be prime number');
  return { kind: 'maglev', size, ...hash };
};

const isPrime = (n: number): boolean => {
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false;
  return n > 1;
};

const leastRequest = (config: LeastRequest | undefined, path: string): PickPolicy => {
  const choices = config?.choice_count ?? CHOICES;
  if (choices < 2) throw new PlanError(`${path}.choice_count`, 'must be at least 2');
  const bias = config?.active_request_bias?.default_value ?? (config?.active_request_bias === undefined ? 1 : 0);
  return {
    kind: 'least-request',
    choices,
    // What Envoy falls back to.
    bias: bias >= 0 ? bias : 1,
    fullScan: config?.selection_method === 'FULL_SCAN' || config?.enable_full_scan === true,
    slow: compileSlowStart(config?.slow_start_config, `${path}.slow_start_config`),
  };
};

// --- the fields of Cluster ---

const fromFields = (cluster: Cluster): Parts => {
  const common = cluster.common_lb_config;
  return {
    policy: policyOf(cluster),
    ...localityOf(common, 'common_lb_config'),
    ...subsetsOf(compileSubsets(cluster.lb_subset_config, common?.locality_weighted_lb_config !== undefined, 'lb_subset_config')),
  };
};

const subsetsOf = (subsets: SubsetPlan | undefined): { readonly subsets?: SubsetPlan } => (subsets === undefined ? {} : { subsets });

const policyOf = (cluster: Cluster): PickPolicy => {
  const name = cluster.lb_policy ?? 'ROUND_ROBIN';
  const hash = hashing(cluster.common_lb_config?.consistent_hashing_lb_config, 'common_lb_config.consistent_hashing_lb_config');
  switch (name) {
    case 'ROUND_ROBIN':
      return {
        kind: 'round-robin',
        slow: compileSlowStart(cluster.round_robin_lb_config?.slow_start_config, 'round_robin_lb_config.slow_start_config'),
      };
    case 'LEAST_REQUEST':
      return leastRequest(cluster.least_request_lb_config, 'least_request_lb_config');
    case 'RANDOM':
      return { kind: 'random' };
    case 'CLUSTER_PROVIDED':
      if (cluster.lb_subset_config !== undefined)
        throw new PlanError('lb_policy', 'CLUSTER_PROVIDED cannot be combined with lb_subset_config');
      return { kind: 'cluster-provided' };
    case 'RING_HASH':
      return ring(cluster.ring_hash_lb_config, cluster.ring_hash_lb_config?.hash_function === 'MURMUR_HASH_2', hash, 'ring_hash_lb_config');
    case 'MAGLEV':
      return maglev(cluster.maglev_lb_config, hash, 'maglev_lb_config');
    default:
      throw new PlanError('lb_policy', `${name} is not supported`);
  }
};

// --- extensions ---

const PREFIX = 'envoy.extensions.load_balancing_policies.';

/** Of several the first that is known counts, as for every client of this field. */
const fromExtension = (config: LoadBalancingPolicy, cluster: Cluster, path: string): Parts => {
  const policies = config.policies ?? [];
  for (const [i, { typed_extension_config: extension }] of policies.entries()) {
    const typed = unwrapConfig(extension?.typed_config);
    const type = typeNameOf(typed);
    const known = EXTENSIONS[type];
    if (type === `${PREFIX}client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin`)
      throw new PlanError(`${path}.policies[${i}]`, `${extension?.name ?? type}: weights that hosts report (ORCA) are not supported`);
    const where = `${path}.policies[${i}].typed_extension_config.typed_config`;
    if (known !== undefined) return known(configAs<object>(typed, where), cluster, where);
  }
  const names = policies.map((p) => p.typed_extension_config?.name ?? '').join(', ');
  throw new PlanError(`${path}.policies`, names === '' ? 'must not be empty' : `none of these is supported: ${names}`);
};

const EXTENSIONS: { readonly [type: string]: (config: object, cluster: Cluster, path: string) => Parts } = {
  [`${PREFIX}round_robin.v3.RoundRobin`]: (config: RoundRobin, _cluster, path) => ({
    policy: { kind: 'round-robin', slow: compileSlowStart(config.slow_start_config, `${path}.slow_start_config`) },
    ...localityOf(config.locality_lb_config, `${path}.locality_lb_config`),
  }),
  [`${PREFIX}least_request.v3.LeastRequest`]: (config: LeastRequest, _cluster, path) => ({
    policy: leastRequest(config, path),
    ...localityOf(config.locality_lb_config, `${path}.locality_lb_config`),
  }),
  [`${PREFIX}random.v3.Random`]: (config: Random, _cluster, path) => ({
    policy: { kind: 'random' },
    ...localityOf(config.locality_lb_config, `${path}.locality_lb_config`),
  }),
  [`${PREFIX}ring_hash.v3.RingHash`]: (config: RingHash, _cluster, path) => ({
    policy: ring(config, config.hash_function === 'MURMUR_HASH_2', hashing(config.consistent_hashing_lb_config ?? config, path), path),
    ...ANYWHERE,
    byLocality: config.locality_weighted_lb_config !== undefined,
  }),
  [`${PREFIX}maglev.v3.Maglev`]: (config: Maglev, _cluster, path) => ({
    policy: maglev(config, hashing(config.consistent_hashing_lb_config, path), path),
    ...ANYWHERE,
    byLocality: config.locality_weighted_lb_config !== undefined,
  }),
  [`${PREFIX}cluster_provided.v3.ClusterProvided`]: () => ({ policy: { kind: 'cluster-provided' }, ...ANYWHERE }),
  [`${PREFIX}wrr_locality.v3.WrrLocality`]: (config: WrrLocality, cluster, path) => ({
    ...fromExtension(config.endpoint_picking_policy ?? {}, cluster, `${path}.endpoint_picking_policy`),
    byLocality: true,
    zones: undefined,
  }),
  [`${PREFIX}subset.v3.Subset`]: (config: Subset, cluster, path) => {
    const inner = fromExtension(config.subset_lb_policy ?? {}, cluster, `${path}.subset_lb_policy`);
    if (inner.subsets !== undefined) throw new PlanError(`${path}.subset_lb_policy`, 'subsets of subsets are not supported');
    return { ...inner, ...subsetsOf(compileSubsets(config, inner.byLocality, path)) };
  },
  // Ours; localities stay where the fields of Cluster have them.
  [PEAK_EWMA_TYPE]: (config, cluster, path) => ({
    policy: { kind: 'peak-ewma', ...compilePeakEwma(config, path) },
    ...localityOf(cluster.common_lb_config, 'common_lb_config'),
  }),
};
