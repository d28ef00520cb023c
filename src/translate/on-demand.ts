// Configuration for a proxy that asks for what it needs when it needs it: virtual hosts leave their route configurations (VHDS), filters
// ask for clusters (ODCDS), and listeners of one address are told apart from those that must be there. What must be there at once: what a
// filter, a log or a tracer calls, and listeners whose port another one would take.

import { LISTENERS_ON_DEMAND } from '../xds/client-features.ts';
import type { HttpConnectionManager, Listener, Listener_Filter, RouteConfiguration, TcpProxy, VirtualHost } from '../xds/gen/types.ts';
import { HTTP_CONNECTION_MANAGER } from './http-connection.ts';
import { VIRTUAL_OUTBOUND, WILDCARD_ADDRESS } from './names.ts';
import type { ProxyNode } from './proxy-node.ts';

/** The virtual hosts of one route configuration. */
export interface RouteHosts {
  readonly route: string;
  readonly hosts: readonly VirtualHost[];
  readonly ignorePort: boolean;
}

const ADS = { ads: {}, resource_api_version: 'V3' } as const;
const ON_DEMAND = 'type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand';
const TCP_PROXY = 'envoy.filters.network.tcp_proxy';
/** Envoy's own for a cluster; virtual hosts wait as long. */
const TIMEOUT = '5s';

/** Of a service: these alone are asked for by name. */
const isService = (cluster: string): boolean => cluster.startsWith('outbound|') || cluster.startsWith('outbound_.');

export const onDemandRoutes = (
  node: ProxyNode,
  configs: readonly RouteConfiguration[],
): { readonly routes: readonly RouteConfiguration[]; readonly virtualHosts: readonly RouteHosts[] } => {
  const virtualHosts: RouteHosts[] = [];
  const routes = configs.map((config): RouteConfiguration => {
    const { name = '', virtual_hosts: hosts = [] } = config;
    // One service on an address of its own: there is nothing to leave out.
    if (hosts.length === 1 && name.includes(':')) return config;
    // Envoy drops a virtual host by the name of its resource.
    const named = node.isSkein === true ? hosts : hosts.map((h) => ({ ...h, name: `${name}/${h.name}` }));
    virtualHosts.push({ route: name, hosts: named, ignorePort: config.ignore_port_in_host_matching === true });
    return { ...config, virtual_hosts: [], vhds: { config_source: { ...ADS, initial_fetch_timeout: TIMEOUT } } };
  });
  return { routes, virtualHosts };
};

export interface OnDemandListeners {
  /** For all. */
  readonly listeners: readonly Listener[];
  /** For who asks. */
  readonly lazyListeners: readonly Listener[];
  /** Clusters that must be there at once. */
  readonly needed: readonly string[];
}

export const onDemandListeners = (node: ProxyNode, all: readonly Listener[]): OnDemandListeners => {
  const asking = all.map(withAsking);
  const needed = neededClusters(asking);
  if (node.onDemandListeners !== true) return { listeners: asking, lazyListeners: [], needed };
  const wildcardPorts = new Set(asking.filter((l) => addressOf(l) === WILDCARD_ADDRESS).map(portOf));
  const isLazy = (l: Listener): boolean => l.bind_to_port === false && addressOf(l) !== WILDCARD_ADDRESS && !wildcardPorts.has(portOf(l));
  const listeners = asking.filter((l) => !isLazy(l)).map((l) => (l.name === VIRTUAL_OUTBOUND ? asksForListeners(l) : l));
  return { listeners, lazyListeners: asking.filter(isLazy), needed };
};

const addressOf = (l: Listener): string => l.address?.socket_address?.address ?? '';
const portOf = (l: Listener): number => l.address?.socket_address?.port_value ?? 0;

/** A connection that no listener is there for waits for `<address>_<port>`. */
const asksForListeners = (l: Listener): Listener => ({
  ...l,
  metadata: { filter_metadata: { ...l.metadata?.filter_metadata, [LISTENERS_ON_DEMAND]: { timeout: TIMEOUT } } },
});

const withAsking = (l: Listener): Listener => ({
  ...l,
  ...(l.filter_chains === undefined
    ? {}
    : { filter_chains: l.filter_chains.map((c) => ({ ...c, filters: (c.filters ?? []).map(asksForClusters) })) }),
  ...(l.default_filter_chain === undefined
    ? {}
    : { default_filter_chain: { ...l.default_filter_chain, filters: (l.default_filter_chain.filters ?? []).map(asksForClusters) } }),
});

const asksForClusters = (filter: Listener_Filter): Listener_Filter => {
  const { typed_config: typed } = filter;
  if (typed === undefined || !('@type' in typed)) return filter;
  if (filter.name === HTTP_CONNECTION_MANAGER) {
    const { http_filters: filters = [] } = typed as unknown as HttpConnectionManager;
    const asking = {
      name: 'envoy.filters.http.on_demand',
      typed_config: { '@type': ON_DEMAND, odcds: { source: ADS, timeout: TIMEOUT } },
    };
    return { ...filter, typed_config: { ...typed, http_filters: [asking, ...filters] } };
  }
  if (filter.name !== TCP_PROXY) return filter;
  const { cluster = '', weighted_clusters: weighted } = typed as unknown as TcpProxy;
  const asks = isService(cluster) || weighted?.clusters?.some((w) => isService(w.name ?? '')) === true;
  return asks ? { ...filter, typed_config: { ...typed, on_demand: { odcds_config: ADS, timeout: TIMEOUT } } } : filter;
};

/** Clusters of services that something other than a route or a TCP proxy calls, in listeners and parts of them. */
export const neededClusters = (listeners: readonly object[]): readonly string[] => {
  const found = new Set<string>();
  const walk = (value: unknown): void => {
    if (typeof value === 'string') {
      if (isService(value)) found.add(value);
    } else if (Array.isArray(value)) for (const item of value) walk(item);
    else if (typeof value === 'object' && value !== null) {
      const passes = String((value as { readonly '@type'?: unknown })['@type'] ?? '').endsWith('.TcpProxy');
      for (const [key, inner] of Object.entries(value)) if (key !== 'route_config' && !(passes && PASSED_TO.has(key))) walk(inner);
    }
  };
  walk(listeners);
  return [...found].sort();
};
/** Of a TCP proxy: asked for when a connection comes. */
const PASSED_TO: ReadonlySet<string> = new Set(['cluster', 'weighted_clusters', 'stat_prefix']);
