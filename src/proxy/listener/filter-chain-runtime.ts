// A filter chain compiled: its TLS, its network filters, its terminal filter (HTTP connection manager or tcp_proxy). Immutable but
// for its secrets and routes, which are references. Connections keep the chain they began with.

import type { BlockList } from 'node:net';
import { PlanError } from '../../plan/plan-error.ts';
import type {
  DownstreamTlsContext,
  FilterChain,
  HttpConnectionManager,
  Listener,
  NetworkDirectResponse_Config,
  TcpProxy,
} from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { type ConnectionLedger, connectionLedger } from '../connection-ledger.ts';
import { compileHcm, type HcmPlan } from '../exchange/hcm-plan.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import { compileInternalRanges } from '../exchange/request-headers.ts';
import { inlineRoutes, type RouteTable, type RouteTables } from '../exchange/route-table.ts';
import { configAs, typeNameOf, unwrapConfig } from '../extension-config.ts';
import type { NetworkFilter } from '../filters/network-filter.ts';
import { networkFilterFactory } from '../filters/network-filters.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Stat, StatsStore } from '../stats-store.ts';
import { compileTcpProxy, type TcpPlan } from '../tcp/tcp-plan.ts';
import { DownstreamTls } from '../transport/downstream-tls.ts';
import { exchangesPeers } from '../transport/peer-exchange.ts';
import { dataSourceText } from '../transport/secrets.ts';
import { listenerStatPrefix } from './listener-stats.ts';

export type Terminal =
  | { readonly kind: 'http'; readonly plan: HcmPlan; readonly internalRanges: BlockList | undefined }
  | { readonly kind: 'tcp'; readonly plan: TcpPlan }
  /** Says its bytes and closes. */
  | { readonly kind: 'direct'; readonly response: Buffer };

interface ConnectionStats {
  readonly total: Stat;
  readonly active: Stat;
}

export interface ChainRuntime {
  readonly name: string;
  readonly tls: DownstreamTls | undefined;
  /** Asked in order before the terminal filter gets the connection. */
  readonly networkFilters: readonly NetworkFilter[];
  readonly terminal: Terminal;
  readonly warm: boolean;
  /** Of its connections, under the prefix of its HTTP connection manager. */
  readonly connections: ConnectionStats | undefined;
  /** What they came to. */
  readonly ledger: ConnectionLedger | undefined;
  /** Gives back secrets and routes. */
  close(): void;
}

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const TCP_PROXY = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
const DOWNSTREAM_TLS = 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
const RAW_BUFFER = 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer';
const DIRECT_RESPONSE = 'envoy.extensions.filters.network.direct_response.v3.Config';

export const compileChain = (
  chain: FilterChain,
  listener: Listener,
  env: ProxyEnvironment,
  tables: RouteTables,
  path: string,
  changed: () => void,
): ChainRuntime => {
  const releases: (() => void)[] = [];
  if (chain.use_proxy_proto === true) throw new PlanError(`${path}.use_proxy_proto`, 'not supported: the listener filter is');
  if (chain.on_demand_configuration !== undefined) throw new PlanError(`${path}.on_demand_configuration`, 'not supported');
  try {
    const tls = compileTls(chain, listener, env, path, changed);
    if (tls !== undefined) releases.push(() => tls.close());
    const { networkFilters, terminal } = compileFilters(chain, listener, env, tables, path, releases);
    return {
      name: chain.name ?? '',
      tls,
      networkFilters,
      terminal,
      connections: connectionStats(terminal, env.stats),
      ledger: ledgerOf(terminal, env.stats),
      get warm() {
        return tls?.warm !== false && (terminal.kind !== 'http' || (terminal.plan.routes.plan !== undefined && terminal.plan.filtersWarm));
      },
      close: () => {
        for (const release of releases) release();
      },
    };
  } catch (problem) {
    for (const release of releases) release();
    throw problem;
  }
};

const connectionStats = (terminal: Terminal, stats: StatsStore): ConnectionStats | undefined => {
  if (terminal.kind !== 'http') return undefined;
  const prefix = `http.${terminal.plan.context.statPrefix}.downstream_cx_`;
  return {
    total: stats.counter(`${prefix}total`),
    active: stats.gauge(`${prefix}active`),
  };
};

const ledgerOf = (terminal: Terminal, stats: StatsStore): ConnectionLedger | undefined =>
  terminal.kind === 'direct'
    ? undefined
    : connectionLedger(stats, `${terminal.kind}.${terminal.plan.context.statPrefix}.downstream_cx_`, terminal.kind);

const compileTls = (
  chain: FilterChain,
  listener: Listener,
  env: ProxyEnvironment,
  path: string,
  changed: () => void,
): DownstreamTls | undefined => {
  const socket = chain.transport_socket;
  if (socket === undefined) return undefined;
  const type = typeNameOf(socket.typed_config);
  if (type === RAW_BUFFER || (type === '' && socket.name === 'envoy.transport_sockets.raw_buffer')) return undefined;
  if (type !== DOWNSTREAM_TLS)
    throw new PlanError(`${path}.transport_socket`, `transport socket ${socket.name ?? ''} (${type}) is not supported`);
  const timeout = chain.transport_socket_connect_timeout;
  return new DownstreamTls(
    configAs<DownstreamTlsContext>(socket.typed_config, path),
    env.secrets,
    env.wheel,
    env.stats,
    listenerStatPrefix(listener),
    `${path}.transport_socket.typed_config`,
    timeout === undefined ? 0 : durationMs(timeout),
    changed,
    env.peerExchange !== undefined && exchangesPeers(chain.filters) && endsInTcpProxy(chain),
  );
};

const endsInTcpProxy = (chain: FilterChain): boolean =>
  typeNameOf(unwrapConfig(chain.filters?.[chain.filters.length - 1]?.typed_config)) === TCP_PROXY;

const compileFilters = (
  chain: FilterChain,
  listener: Listener,
  env: ProxyEnvironment,
  tables: RouteTables,
  path: string,
  releases: (() => void)[],
): { readonly networkFilters: readonly NetworkFilter[]; readonly terminal: Terminal } => {
  const networkFilters: NetworkFilter[] = [];
  const filters = chain.filters ?? [];
  const described: ListenerContext['filters'][number][] = filters.map((f) => ({
    name: f.name ?? '',
    typedConfig: unwrapConfig(f.typed_config),
  }));
  const version = env.sharing.version(listener.name ?? '', listener);
  let terminal: Terminal | undefined;
  described.forEach((filter, i) => {
    const where = `${path}.filters[${i}]`;
    const place = `${version}\n${where}`;
    const type = typeNameOf(filter.typedConfig);
    if (terminal !== undefined) throw new PlanError(where, 'no filter may stand behind a terminal filter');
    if (type === HCM)
      terminal = prefixed(`${where}.typed_config`, () =>
        compileHttp(configAs<HttpConnectionManager>(filter.typedConfig, where), listener, described, env, tables, place, releases),
      );
    else if (type === TCP_PROXY) {
      const config = configAs<TcpProxy>(filter.typedConfig, where);
      const context = contextOf('tcp', listener, config.stat_prefix, config.access_log, described);
      terminal = { kind: 'tcp', plan: prefixed(`${where}.typed_config`, () => compileTcpProxy(config, context, env.asksOnDemand)) };
      env.observer.prepare(context, env);
    } else if (type === DIRECT_RESPONSE) {
      const { response } = configAs<NetworkDirectResponse_Config>(filter.typedConfig, where);
      terminal = { kind: 'direct', response: Buffer.from(dataSourceText(response, `${where}.typed_config.response`) ?? '') };
    } else {
      const factory = networkFilterFactory(type);
      if (factory === undefined) throw new PlanError(where, `network filter ${filter.name} (${type}) is not supported`);
      if (factory === null) return;
      const made = factory(filter.typedConfig, env, `${where}.typed_config`, place);
      networkFilters.push(made);
      if (made.close !== undefined) releases.push(() => made.close?.());
    }
  });
  if (terminal === undefined) throw new PlanError(path, 'a filter chain must end in http_connection_manager, tcp_proxy or direct_response');
  return { networkFilters, terminal };
};

const compileHttp = (
  hcm: HttpConnectionManager,
  listener: Listener,
  networkFilters: ListenerContext['filters'],
  env: ProxyEnvironment,
  tables: RouteTables,
  place: string,
  releases: (() => void)[],
): Terminal => {
  const own = (hcm.http_filters ?? []).map((f) => ({ name: f.name ?? '', typedConfig: unwrapConfig(f.typed_config) }));
  const context = contextOf('http', listener, hcm.stat_prefix, hcm.access_log, [...networkFilters, ...own]);
  const filters = env.filters.compileChain(hcm.http_filters, context, 'http_filters', place, releases);
  const routes = routesOf(hcm, env, tables, releases, place);
  const plan = compileHcm(hcm, routes, filters, context, listener.traffic_direction, env);
  env.observer.prepare(context, env);
  return { kind: 'http', plan, internalRanges: compileInternalRanges(plan) };
};

const routesOf = (
  hcm: HttpConnectionManager,
  env: ProxyEnvironment,
  tables: RouteTables,
  releases: (() => void)[],
  place: string,
): RouteTable => {
  const inline = hcm.route_config;
  if (inline !== undefined) return prefixed('route_config', () => inlineRoutes(inline, (config) => env.filters.checkRoutes(config, place)));
  const name = hcm.rds?.route_config_name;
  if (name === undefined) throw new PlanError('rds', 'routes are needed: rds or route_config');
  releases.push(() => tables.release(name));
  return tables.use(name);
};

const contextOf = (
  kind: 'http' | 'tcp',
  listener: Listener,
  statPrefix: string | undefined,
  accessLog: ListenerContext['accessLog'] | undefined,
  filters: ListenerContext['filters'],
): ListenerContext => ({
  kind,
  listenerName: listener.name ?? '',
  direction: listener.traffic_direction,
  statPrefix: statPrefix ?? '',
  accessLog: accessLog ?? [],
  filters,
  observed: undefined,
});

const prefixed = <T>(path: string, compile: () => T): T => {
  try {
    return compile();
  } catch (problem) {
    if (problem instanceof PlanError) throw new PlanError(problem.path === '' ? path : `${path}.${problem.path}`, problem.problem);
    throw problem;
  }
};
