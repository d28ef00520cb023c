// LbSubsetConfig as it is carried out: which keys of the hosts' metadata divide them, and where a request goes whose criteria no
// subset answers. Pure.

import { PlanError } from '../../plan/plan-error.ts';
import type { Cluster_LbSubsetConfig, JsonObject, Subset } from '../../xds/gen/types.ts';

export interface SubsetSelector {
  /** Sorted. */
  readonly keys: readonly string[];
  /** Each subset is its first host. */
  readonly single: boolean;
  readonly fallback: 'cluster' | 'none' | 'any' | 'default' | 'keys';
  readonly fallbackKeys: readonly string[];
}

export interface SubsetPlan {
  readonly fallback: 'none' | 'any' | 'default';
  readonly defaultSubset: JsonObject;
  readonly selectors: readonly SubsetSelector[];
  readonly localityAware: boolean;
  readonly scaleLocality: boolean;
  readonly panicAny: boolean;
  readonly listAsAny: boolean;
  /** Criteria may bring a list of others to be tried one after the other. */
  readonly fallbackList: boolean;
}

const FALLBACK = { NO_FALLBACK: 'none', ANY_ENDPOINT: 'any', DEFAULT_SUBSET: 'default' } as const;
const SELECTOR_FALLBACK = { NOT_DEFINED: 'cluster', KEYS_SUBSET: 'keys', ...FALLBACK } as const;

const named = <T extends object>(table: T, name: string | number | undefined, otherwise: T[keyof T], path: string): T[keyof T] => {
  if (name === undefined) return otherwise;
  const found = Object.entries(table).find(([key]) => key === name);
  if (found === undefined) throw new PlanError(path, `${name} is not supported`);
  return found[1] as T[keyof T];
};

/** undefined: without selectors there are no subsets, as in Envoy. */
export const compileSubsets = (
  config: Cluster_LbSubsetConfig | Subset | undefined,
  byLocality: boolean,
  path: string,
): SubsetPlan | undefined => {
  if (config === undefined || (config.subset_selectors ?? []).length === 0) return undefined;
  if (config.locality_weight_aware === true && !byLocality)
    throw new PlanError(`${path}.locality_weight_aware`, 'requires that a locality_weighted_lb_config is set');
  if ('allow_redundant_keys' in config && config.allow_redundant_keys === true)
    throw new PlanError(`${path}.allow_redundant_keys`, 'criteria must have the keys of a selector');
  return {
    fallback: named(FALLBACK, config.fallback_policy, 'none', `${path}.fallback_policy`),
    defaultSubset: config.default_subset ?? {},
    selectors: (config.subset_selectors ?? []).map((s, i) => selectorOf(s, `${path}.subset_selectors[${i}]`)),
    localityAware: config.locality_weight_aware === true,
    scaleLocality: config.scale_locality_weight === true,
    panicAny: config.panic_mode_any === true,
    listAsAny: config.list_as_any === true,
    fallbackList: config.metadata_fallback_policy === 'FALLBACK_LIST',
  };
};

type Selector = NonNullable<Cluster_LbSubsetConfig['subset_selectors']>[number] | NonNullable<Subset['subset_selectors']>[number];

const selectorOf = (config: Selector, path: string): SubsetSelector => {
  const keys = [...new Set(config.keys ?? [])].sort();
  const fallback = named(SELECTOR_FALLBACK, config.fallback_policy, 'cluster', `${path}.fallback_policy`);
  const fallbackKeys = [...new Set(config.fallback_keys_subset ?? [])].sort();
  const single = config.single_host_per_subset === true;
  if (single && keys.length !== 1) throw new PlanError(`${path}.single_host_per_subset`, 'can only be set when there is exactly one key');
  if (fallback === 'keys') {
    if (fallbackKeys.length === 0) throw new PlanError(`${path}.fallback_keys_subset`, 'must not be empty with KEYS_SUBSET');
    if (fallbackKeys.some((k) => !keys.includes(k))) throw new PlanError(`${path}.fallback_keys_subset`, 'must be a subset of keys');
    if (fallbackKeys.length === keys.length) throw new PlanError(`${path}.fallback_keys_subset`, 'must not be all keys');
  } else if (fallbackKeys.length > 0) throw new PlanError(`${path}.fallback_keys_subset`, 'is for KEYS_SUBSET only');
  return { keys, single, fallback, fallbackKeys };
};
