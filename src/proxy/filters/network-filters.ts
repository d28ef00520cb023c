// The network filters built in, by the type of their configuration: connection_limit, sni_cluster, set_filter_state.
// HTTP connection manager, tcp_proxy and direct_response end a chain and are not among them.

import { compileSubstitutionFormat } from '../../plan/log-format.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { StreamInfo } from '../../plan/stream-info.ts';
import type { ConnectionLimit, FilterStateValue, NetworkSetFilterState_Config } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { type DownstreamFacts, describeConnection } from '../connection-facts.ts';
import { configAs } from '../extension-config.ts';
import { networkExtAuthz } from './ext-authz-network.ts';
import { localRateLimitNetwork } from './local-rate-limit-network.ts';
import type { NetworkFilterFactory, Refusal } from './network-filter.ts';
import { networkRbac } from './rbac-network.ts';

/** Filter state that changes what tcp_proxy does, under Envoy's keys. */
export const STATE_CLUSTER = 'envoy.tcp_proxy.cluster';
export const STATE_SERVER_NAME = 'envoy.network.upstream_server_name';
export const STATE_PROTOCOLS = 'envoy.network.application_protocols';

const connectionLimit: NetworkFilterFactory = (any, env, path, place) => {
  const config = configAs<ConnectionLimit>(any, path);
  const most = config.max_connections;
  if (most === undefined || most < 1) throw new PlanError(`${path}.max_connections`, 'must be at least 1');
  const prefix = config.stat_prefix ?? '';
  if (prefix === '') throw new PlanError(`${path}.stat_prefix`, 'is needed');
  const runtimeKey = config.runtime_enabled?.runtime_key ?? '';
  if (runtimeKey !== '') throw new PlanError(`${path}.runtime_enabled.runtime_key`, 'there is no runtime to read it from');
  const enabled = config.runtime_enabled?.default_value ?? true;
  const refusal: Refusal = {
    reason: 'over_connection_limit',
    details: '',
    delayMs: config.delay === undefined ? 0 : durationMs(config.delay),
  };
  const active = env.stats.gauge(`connection_limit.${prefix}.active_connections`);
  const limited = env.stats.counter(`connection_limit.${prefix}.limited_connections`);
  const count = env.sharing.count(place);
  return {
    admit: () => {
      if (!count.tryTake(enabled ? most : Infinity)) {
        limited.value++;
        return refusal;
      }
      active.value++;
      return undefined;
    },
    released: () => {
      count.release();
      active.value--;
    },
    close: () => count.close(),
  };
};

const GOES_ON = undefined;

const sniCluster: NetworkFilterFactory = () => ({
  admit: (facts) => {
    if (facts.sni !== '') put(facts, STATE_CLUSTER, facts.sni);
    return GOES_ON;
  },
});

const put = (facts: DownstreamFacts, key: string, value: string): void => {
  facts.filterState ??= {};
  facts.filterState[key] = value;
};

/** Objects that are understood, by factory; a text under another key is only for logs. */
const FACTORIES: ReadonlySet<string> = new Set(['envoy.string', STATE_CLUSTER, STATE_SERVER_NAME, STATE_PROTOCOLS]);

const setFilterState: NetworkFilterFactory = (any, _env, path) => {
  const config = configAs<NetworkSetFilterState_Config>(any, path);
  const values = (config.on_new_connection ?? []).map((value, i) => compileState(value, `${path}.on_new_connection[${i}]`));
  return {
    admit: (facts) => {
      const info = new StreamInfo();
      describeConnection(info, facts);
      for (const { key, text, skipsEmpty } of values) {
        const value = text(info);
        if (value !== '' || !skipsEmpty) put(facts, key, value);
        info.filterState = { ...info.filterState, [key]: value };
      }
      return GOES_ON;
    },
  };
};

const compileState = (value: FilterStateValue, path: string) => {
  const key = value.object_key ?? '';
  if (key === '') throw new PlanError(`${path}.object_key`, 'is needed');
  const factory = (value.factory_key ?? '') === '' ? key : (value.factory_key ?? '');
  if (!FACTORIES.has(factory)) throw new PlanError(`${path}.factory_key`, `${factory} is not supported`);
  // Nobody above this proxy could receive it: there are no internal listeners.
  if (value.shared_with_upstream !== undefined && value.shared_with_upstream !== 'NONE')
    throw new PlanError(`${path}.shared_with_upstream`, 'not supported');
  return {
    key,
    text: compileSubstitutionFormat(value.format_string, `${path}.format_string`),
    skipsEmpty: value.skip_if_empty === true,
  };
};

/** Filters of Istio's build that only feed telemetry: the observer finds their configuration in the context. */
const INERT: ReadonlySet<string> = new Set(['envoy.tcp.metadataexchange.config.MetadataExchange', 'stats.PluginConfig']);

const FILTERS: ReadonlyMap<string, NetworkFilterFactory> = new Map([
  ['envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit', connectionLimit],
  ['envoy.extensions.filters.network.ext_authz.v3.ExtAuthz', networkExtAuthz],
  ['envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit', localRateLimitNetwork],
  ['envoy.extensions.filters.network.sni_cluster.v3.SniCluster', sniCluster],
  ['envoy.extensions.filters.network.set_filter_state.v3.Config', setFilterState],
  ['envoy.extensions.filters.network.rbac.v3.RBAC', networkRbac],
]);

/** `null`: known, nothing to do for a connection; undefined: unknown. */
export const networkFilterFactory = (type: string): NetworkFilterFactory | null | undefined =>
  FILTERS.get(type) ?? (INERT.has(type) ? null : undefined);
