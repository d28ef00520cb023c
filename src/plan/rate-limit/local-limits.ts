// The buckets of an envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit: the one for all, those of exact descriptors,
// and those of descriptors that leave values open, of which every value has its own.
import type { HttpLocalRatelimit_LocalRateLimit, LocalRateLimitDescriptor } from '../../xds/gen/types.ts';
import { PlanError } from '../plan-error.ts';
import { type DescriptorEntry, descriptorKey } from './descriptor.ts';
import { type BucketSize, compileBucket } from './token-bucket.ts';

export interface DescriptorLimit {
  readonly entries: readonly DescriptorEntry[];
  readonly key: string;
  readonly size: BucketSize;
  /** Only counted. */
  readonly shadow: boolean;
}

export interface LocalLimits {
  /** undefined: whoever no descriptor names is not limited. */
  readonly all: BucketSize | undefined;
  readonly exact: readonly DescriptorLimit[];
  /** With values left open. */
  readonly open: readonly DescriptorLimit[];
  /** Buckets at once of each that leaves values open. */
  readonly openMax: number;
  /** The bucket for all is asked too where a descriptor was. */
  readonly alwaysAll: boolean;
}

/** Envoy's. */
const OPEN_MAX = 20;

export const compileLocalLimits = (config: HttpLocalRatelimit_LocalRateLimit): LocalLimits => {
  const exact = new Map<string, DescriptorLimit>();
  const open = new Map<string, DescriptorLimit>();
  (config.descriptors ?? []).forEach((descriptor, i) => {
    const limit = compileDescriptor(descriptor, `descriptors[${i}]`);
    const kind = limit.entries.some((entry) => entry.value === '') ? open : exact;
    if (kind.has(limit.key)) throw new PlanError(`descriptors[${i}]`, 'has the entries of another one');
    kind.set(limit.key, limit);
  });
  const openMax = config.max_dynamic_descriptors ?? OPEN_MAX;
  if (openMax < 1) throw new PlanError('max_dynamic_descriptors', 'must be at least 1');
  return {
    all: config.token_bucket === undefined ? undefined : compileBucket(config.token_bucket, 'token_bucket'),
    exact: [...exact.values()],
    open: [...open.values()],
    openMax,
    alwaysAll: config.always_consume_default_token_bucket ?? true,
  };
};

const compileDescriptor = (config: LocalRateLimitDescriptor, path: string): DescriptorLimit => {
  if ((config.entries ?? []).length === 0) throw new PlanError(`${path}.entries`, 'must not be empty');
  const entries = (config.entries ?? []).map(({ key = '', value = '' }, i) => {
    if (key === '') throw new PlanError(`${path}.entries[${i}].key`, 'is required');
    return { key, value };
  });
  if (config.token_bucket === undefined) throw new PlanError(`${path}.token_bucket`, 'is required');
  return {
    entries,
    key: descriptorKey(entries),
    size: compileBucket(config.token_bucket, `${path}.token_bucket`),
    shadow: config.shadow_mode === true,
  };
};

/** Same keys in the same order, and the values that are not left open. */
export const fits = (limit: DescriptorLimit, entries: readonly DescriptorEntry[]): boolean => {
  if (limit.entries.length !== entries.length) return false;
  return limit.entries.every(({ key, value }, i) => key === entries[i]?.key && (value === '' || value === entries[i]?.value));
};
