// TCP forwarding of a filter chain: one cluster or weighted ones, with the log and limits the destination asks for.

import type { RouteDestination } from '../api/specs.ts';
import type { VirtualServiceRule } from '../mesh/virtual-services.ts';
import type { Listener_Filter, TcpProxy } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import type { Side } from './istio-filters.ts';
import { outboundCluster } from './names.ts';
import { subsetOf, trafficPolicy } from './traffic-policy.ts';

const TCP_PROXY = 'envoy.filters.network.tcp_proxy';

const filter = (proxy: TcpProxy): Listener_Filter => ({
  name: TCP_PROXY,
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', ...proxy },
});

/** Without a log: for connections that must not exist. */
export const blackHole = (cluster: string): Listener_Filter => filter({ stat_prefix: cluster, cluster });

/** Everything to one cluster. */
export const tcpProxy = (c: Context, side: Side, cluster: string): readonly Listener_Filter[] => [
  ...c.filters.network.stats(side),
  filter({ stat_prefix: cluster, cluster, access_log: c.accessLogs }),
];

/** Everything to one cluster of a service. */
export const tcpToService = (c: Context, side: Side, host: string, port: number): readonly Listener_Filter[] => {
  const cluster = outboundCluster(port, '', host);
  return [
    ...c.filters.network.stats(side),
    filter({ stat_prefix: cluster, cluster, ...limits(c, host, port, ''), access_log: c.accessLogs }),
  ];
};

/** As a rule's destinations say. A destination without a port means its service's only port, else the listener's. */
export const tcpToDestinations = (
  c: Context,
  side: Side,
  rule: VirtualServiceRule,
  destinations: readonly RouteDestination[],
  port: number,
): readonly Listener_Filter[] => {
  const resolved = destinations.map((d) => {
    const service = c.service(d.destination.host);
    const only = service?.ports.length === 1 ? service.ports[0]?.port : undefined;
    const destinationPort = d.destination.port?.number ?? only ?? port;
    const subset = d.destination.subset ?? '';
    return {
      host: d.destination.host,
      port: destinationPort,
      subset,
      name: outboundCluster(destinationPort, subset, d.destination.host),
      weight: d.weight ?? 0,
    };
  });
  const first = resolved[0];
  if (first === undefined) return [];
  const shared = { ...limits(c, first.host, first.port, first.subset), access_log: c.accessLogs };
  const weighted = resolved.filter((d) => d.weight > 0);
  const proxy: TcpProxy =
    resolved.length === 1
      ? { stat_prefix: first.name, cluster: first.name, ...shared }
      : {
          stat_prefix: `${rule.name}.${rule.namespace}`,
          weighted_clusters: { clusters: weighted.map(({ name, weight }) => ({ name, weight })) },
          ...shared,
        };
  return [...c.filters.network.stats(side), filter(proxy)];
};

const limits = (c: Context, host: string, port: number, subset: string): TcpProxy => {
  const service = c.service(host);
  const rule = c.destinationRule({ host, namespace: service?.namespace ?? '' });
  const policy = trafficPolicy(rule, subset === '' ? undefined : subsetOf(rule, subset), port);
  const tcp = policy.connectionPool?.tcp;
  return {
    ...(tcp?.idleTimeout === undefined ? {} : { idle_timeout: tcp.idleTimeout }),
    ...(policy.loadBalancer?.consistentHash?.useSourceIp === true ? { hash_policy: [{ source_ip: {} }] } : {}),
  };
};
