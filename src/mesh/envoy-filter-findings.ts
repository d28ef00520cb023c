// What an EnvoyFilter says that does nothing in any proxy: a local rate limit that is switched on nowhere.

import type { Problem } from '../api/problem.ts';
import { type Patch, patchPath } from './envoy-filters.ts';

const LOCAL_RATE_LIMIT = 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit';
const NAMES = ['envoy.filters.http.local_ratelimit'] as const;

type Raw = Readonly<Record<string, unknown>>;
const isRaw = (v: unknown): v is Raw => typeof v === 'object' && v !== null && !Array.isArray(v);

export const envoyFilterProblems = (patches: readonly Patch[]): readonly Problem[] => patches.flatMap(rateLimitProblems);

const rateLimitProblems = (patch: Patch): readonly Problem[] => {
  const perFilter = patch.value['typed_per_filter_config'] ?? patch.value['typedPerFilterConfig'];
  const places: readonly (readonly [string, unknown])[] = [
    ['typed_config', patch.value['typed_config'] ?? patch.value['typedConfig']],
    ...(isRaw(perFilter) ? NAMES.map((n) => [`typed_per_filter_config[${JSON.stringify(n)}]`, perFilter[n]] as const) : []),
  ];
  return places.flatMap(([at, config]) => {
    const limit = rateLimitIn(config);
    if (limit === undefined || !has(limit, 'token_bucket', 'tokenBucket')) return [];
    const missing = [
      ...(has(limit, 'filter_enabled', 'filterEnabled') ? [] : ['filter_enabled']),
      ...(has(limit, 'filter_enforced', 'filterEnforced') ? [] : ['filter_enforced']),
    ];
    return missing.length === 0 ? [] : [problem(patch, `${patchPath(patch)}.patch.value.${at}`, missing)];
  });
};

/** Written as it is, or in a TypedStruct. */
const rateLimitIn = (config: unknown): Raw | undefined => {
  if (!isRaw(config)) return undefined;
  const named = (url: unknown): boolean => typeof url === 'string' && url.endsWith(`/${LOCAL_RATE_LIMIT}`);
  if (named(config['@type'])) return config;
  return named(config['type_url'] ?? config['typeUrl']) && isRaw(config['value']) ? config['value'] : undefined;
};

const has = (config: Raw, ...names: readonly string[]): boolean => names.some((n) => config[n] !== undefined && config[n] !== null);

const problem = (patch: Patch, path: string, missing: readonly string[]): Problem => {
  const { origin } = patch.resource;
  return {
    code: 'RATE_LIMIT_OFF',
    severity: 'warning',
    file: origin.file,
    ...origin.at(path),
    path,
    message: `no request is limited: Envoy applies the limit to 0 % of requests without ${missing.join(' and ')}`,
    hint: 'filter_enabled: {default_value: {numerator: 100, denominator: HUNDRED}}, and filter_enforced alike',
  };
};
