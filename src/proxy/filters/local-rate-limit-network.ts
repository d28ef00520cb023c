// envoy.filters.network.local_ratelimit and envoy.filters.listener.local_ratelimit: how many connections begin in a time, over all
// workers. One over the limit is closed before anything is read of it.

import { PlanError } from '../../plan/plan-error.ts';
import { compileBucket } from '../../plan/rate-limit/token-bucket.ts';
import { FLAG } from '../../plan/response-flag.ts';
import type { AnyMessage, NetworkLocalRatelimit_LocalRateLimit } from '../../xds/gen/types.ts';
import { configAs } from '../extension-config.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { NetworkFilterFactory, Refusal } from './network-filter.ts';

const REFUSAL: Refusal = { reason: 'local_ratelimit_close_over_limit', details: '', delayMs: 0, flag: FLAG.URX };

/** Whether one more connection may begin; one that may not is counted. */
export type ConnectionRate = () => boolean;

const compileRate = (config: NetworkLocalRatelimit_LocalRateLimit, env: ProxyEnvironment, path: string, key: string, stat: string) => {
  const prefix = config.stat_prefix ?? '';
  if (prefix === '') throw new PlanError(`${path}.stat_prefix`, 'is required');
  if (config.token_bucket === undefined) throw new PlanError(`${path}.token_bucket`, 'is required');
  const size = compileBucket(config.token_bucket, `${path}.token_bucket`);
  const limited = env.stats.counter(`${stat}.${prefix}.rate_limited`);
  // There is no runtime to ask: runtime_enabled is what it is by default.
  if (config.runtime_enabled?.default_value === false) return () => true;
  const bucket = env.sharing.bucket(key, size);
  return (): boolean => {
    if (bucket.take(1, env.clock.monotonicMs())) return true;
    limited.value++;
    return false;
  };
};

export const localRateLimitNetwork: NetworkFilterFactory = (any, env, path, place) => {
  const config = configAs<NetworkLocalRatelimit_LocalRateLimit>(any, path);
  // One bucket would have to live beyond each of the listeners that share it.
  if ((config.share_key ?? '') !== '') throw new PlanError(`${path}.share_key`, 'is not supported');
  const admits = compileRate(config, env, path, place, 'local_rate_limit');
  return { admit: () => (admits() ? undefined : REFUSAL) };
};

export const listenerRate = (any: AnyMessage | undefined, env: ProxyEnvironment, path: string, place: string): ConnectionRate =>
  compileRate(configAs<NetworkLocalRatelimit_LocalRateLimit>(any, path), env, path, place, 'listener_local_ratelimit');
