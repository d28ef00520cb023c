// TCP forwarding of a filter chain: one cluster or weighted ones, with the log and limits the destination asks for.

import type { RouteDestination } from '../api/specs.ts';
import type { VirtualServiceRule } from '../mesh/virtual-services.ts';
import type { Listener_Filter, TcpProxy } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import type { Side } from './istio-filters.ts';
import { BLACKHOLE, outboundCluster } from './names.ts';
import { outboundStat } from './stat-names.ts';
import { subsetOf } from './traffic-policy.ts';

const TCP_PROXY = 'envoy.filters.network.tcp_proxy';

const filter = (proxy: TcpProxy): Listener_Filter => ({
  name: TCP_PROXY,
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', ...proxy },
});

/** Security first. A chain that must take nothing closes every connection. */
const forwarding = (c: Context, side: Side, proxy: TcpProxy): readonly Listener_Filter[] => [
  ...c.security.network(side),
  ...c.filters.network.stats(side),
  filter(c.security.refusesTcp(side) ? { stat_prefix: BLACKHOLE, cluster: BLACKHOLE, access_log: c.telemetry.tcpLogs(side) } : proxy),
];

/** Without a log: for connections that must not exist. */
export const blackHole = (cluster: string): Listener_Filter => filter({ stat_prefix: cluster, cluster });

/** Everything to one cluster. */
export const tcpProxy = (c: Context, side: Side, cluster: string, stat = cluster): readonly Listener_Filter[] =>
  forwarding(c, side, { stat_prefix: stat, cluster, access_log: c.telemetry.tcpLogs(side) });

/** Everything to one cluster of a service, by default the one of all its endpoints. */
export const tcpToService = (
  c: Context,
  side: Side,
  host: string,
  port: number,
  to: { readonly cluster: string; readonly subset: string } = { cluster: outboundCluster(port, '', host), subset: '' },
): readonly Listener_Filter[] => {
  const { tunneling_config: tunnel, ...rest } = limits(c, host, to.subset);
  // Behind a cluster that is named as its server name is, connections pass as they are.
  const through = to.cluster.startsWith('outbound|') && tunnel !== undefined ? { tunneling_config: tunnel } : {};
  return [
    ...c.filters.network.stats(side),
    filter({
      stat_prefix: statOf(c, host, port, to.subset, to.cluster),
      cluster: to.cluster,
      ...rest,
      ...through,
      access_log: c.telemetry.tcpLogs(side),
    }),
  ];
};

const statOf = (c: Context, host: string, port: number, subset: string, cluster: string): string => {
  const service = c.service(host);
  const named = service?.ports.find((p) => p.port === port);
  return outboundStat(c.mesh, service, subset, named, cluster);
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
    const host = c.scope.canonical(d.destination.host);
    const service = c.service(host);
    const only = service?.ports.length === 1 ? service.ports[0]?.port : undefined;
    const destinationPort = d.destination.port?.number ?? only ?? port;
    const subset = d.destination.subset ?? '';
    return {
      host,
      port: destinationPort,
      subset,
      name: outboundCluster(destinationPort, subset, host),
      weight: d.weight ?? 0,
    };
  });
  const first = resolved[0];
  if (first === undefined) return [];
  // Of weighted destinations the first one's service decides, whatever its subset.
  const shared = { ...limits(c, first.host, resolved.length === 1 ? first.subset : ''), access_log: c.telemetry.tcpLogs(side) };
  const weighted = resolved.filter((d) => d.weight > 0);
  const proxy: TcpProxy =
    resolved.length === 1
      ? { stat_prefix: statOf(c, first.host, first.port, first.subset, first.name), cluster: first.name, ...shared }
      : {
          stat_prefix: `${rule.name}.${rule.namespace}`,
          weighted_clusters: { clusters: weighted.map(({ name, weight }) => ({ name, weight })) },
          ...shared,
        };
  return forwarding(c, side, proxy);
};

/** What a rule says of connections as such; only the level of the whole service counts, but for hash and tunnel. */
const limits = (c: Context, host: string, subset: string): TcpProxy => {
  const service = c.service(host);
  const rule = service === undefined ? undefined : c.destinationRule(service);
  const top = rule?.spec.trafficPolicy;
  const own = subset === '' ? undefined : subsetOf(rule, subset)?.trafficPolicy;
  const tcp = top?.connectionPool?.tcp;
  const idle = tcp?.idleTimeout ?? c.node.idleTimeout;
  const balancer = own?.loadBalancer ?? top?.loadBalancer;
  const tunnel = own?.tunnel ?? top?.tunnel;
  return {
    ...(idle === undefined ? {} : { idle_timeout: idle }),
    ...(tcp?.maxConnectionDuration === undefined ? {} : { max_downstream_connection_duration: tcp.maxConnectionDuration }),
    ...(balancer?.consistentHash?.useSourceIp === true ? { hash_policy: [{ source_ip: {} }] } : {}),
    ...(tunnel === undefined
      ? {}
      : {
          tunneling_config: {
            hostname: authority(tunnel.targetHost, tunnel.targetPort),
            ...(tunnel.protocol === 'POST' ? { use_post: true } : {}),
          },
        }),
  };
};

const authority = (host: string, port: number): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
