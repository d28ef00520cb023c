// Lists of RateLimit, compiled: those of routes and virtual hosts, and those that a filter brings itself. Each makes at most one
// descriptor of a request.

import type { JsonValue, RateLimit_Override, Route_RateLimit } from '../../xds/gen/types.ts';
import { PlanError } from '../plan-error.ts';
import { compileAction, compileMetadataKey, type DescriptorAction } from './actions.ts';
import type { Descriptor, DescriptorEntry, LimitedRequest, LimitOverride } from './descriptor.ts';
import type { HitsAddend } from './hits.ts';
import { compileHits } from './hits.ts';

export interface RateLimitRule {
  readonly stage: number;
  readonly disableKey: string;
  /** It applies once the response is over. */
  readonly onStreamDone: boolean;
  readonly actions: readonly DescriptorAction[];
  readonly limit: ((from: LimitedRequest) => LimitOverride | undefined) | undefined;
  readonly hits: HitsAddend | undefined;
  readonly headers: boolean | undefined;
}
export type RateLimitPolicy = readonly RateLimitRule[];

const NONE: RateLimitPolicy = [];
const STAGE_MAX = 10;
/** RateLimit.x_ratelimit_option. */
const HEADERS: ReadonlyMap<string | number, boolean | undefined> = new Map([
  ['UNSPECIFIED', undefined],
  ['OFF', false],
  ['DRAFT_VERSION_03', true],
]);

/** Of a route or a virtual host. As Envoy, these count one hit each and leave x-ratelimit headers to the filter. */
export const compileRateLimits = (configs: readonly Route_RateLimit[] | undefined, path: string): RateLimitPolicy =>
  configs === undefined || configs.length === 0
    ? NONE
    : configs.map((config, i) => ({ ...compileRule(config, `${path}[${i}]`), hits: undefined, headers: undefined }));

/** Of a filter. `limits`: their limits may be overridden. */
export const compileOwnRateLimits = (configs: readonly Route_RateLimit[] | undefined, limits: boolean, path: string): RateLimitPolicy => {
  if (configs === undefined || configs.length === 0) return NONE;
  return configs.map((config, i) => {
    const where = `${path}[${i}]`;
    if (config.stage !== undefined) throw new PlanError(`${where}.stage`, 'is not supported here');
    if ((config.disable_key ?? '') !== '') throw new PlanError(`${where}.disable_key`, 'is not supported here');
    if (config.limit !== undefined && !limits) throw new PlanError(`${where}.limit`, 'is not supported here');
    return compileRule(config, where);
  });
};

const compileRule = (config: Route_RateLimit, path: string): RateLimitRule => {
  const stage = config.stage ?? 0;
  if (stage > STAGE_MAX) throw new PlanError(`${path}.stage`, `must be at most ${STAGE_MAX}`);
  const option = config.x_ratelimit_option ?? 'UNSPECIFIED';
  if (!HEADERS.has(option)) throw new PlanError(`${path}.x_ratelimit_option`, `${option} is not known`);
  const actions = (config.actions ?? []).map((action, i) => compileAction(action, `${path}.actions[${i}]`));
  if (actions.length === 0) throw new PlanError(`${path}.actions`, 'must not be empty');
  return {
    stage,
    disableKey: config.disable_key ?? '',
    onStreamDone: config.apply_on_stream_done === true,
    actions,
    limit: config.limit === undefined ? undefined : compileOverride(config.limit, `${path}.limit`),
    hits: compileHits(config.hits_addend, `${path}.hits_addend`),
    headers: HEADERS.get(option),
  };
};

const UNITS: ReadonlySet<JsonValue | undefined> = new Set(['UNKNOWN', 'SECOND', 'MINUTE', 'HOUR', 'DAY', 'MONTH', 'YEAR', 'WEEK']);

const compileOverride = (config: RateLimit_Override, path: string): RateLimitRule['limit'] => {
  if (config.rate_limit !== undefined) {
    const { requests_per_unit: requests = 0, unit = 'UNKNOWN' } = config.rate_limit;
    if (typeof unit !== 'string') throw new PlanError(`${path}.rate_limit.unit`, `${unit} is not known`);
    const override = { requests, unit };
    return () => override;
  }
  if (config.dynamic_metadata === undefined) throw new PlanError(path, 'one of dynamic_metadata, rate_limit is required');
  const read = compileMetadataKey(config.dynamic_metadata.metadata_key, `${path}.dynamic_metadata.metadata_key`);
  return (from) => {
    const value = read(from.info.dynamicMetadata);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    const { requests_per_unit: requests, unit } = value as { readonly [key: string]: JsonValue };
    if (typeof requests !== 'number' || typeof unit !== 'string' || !UNITS.has(unit)) return undefined;
    return { requests: Math.max(0, Math.min(0xffffffff, Math.trunc(requests))), unit };
  };
};

/** undefined: the rule does not apply. */
export const describeRequest = (rule: RateLimitRule, from: LimitedRequest): Descriptor | undefined => {
  const entries: DescriptorEntry[] = [];
  for (const act of rule.actions) if (!act(from, entries)) return undefined;
  const hits = rule.hits === undefined ? undefined : rule.hits(from);
  if (hits === 'none') return undefined;
  return { entries, limit: rule.limit?.(from), hits, headers: rule.headers };
};
