// What happens to outbound traffic for nothing the proxy knows: refused, passed on to where it was going, or sent to an egress proxy.

import type { Cluster, Route, VirtualHost } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { ANY_NAME_CLUSTER, byName, resolvesUnknown } from './dynamic-dns.ts';
import { BLACKHOLE, outboundCluster, PASSTHROUGH, statName } from './names.ts';
import { attemptCount } from './proxy-headers.ts';

/** The cluster for HTTP whose name no virtual host has. */
const unknownHttpCluster = (c: Context): string => (resolvesUnknown(c) ? ANY_NAME_CLUSTER : unknownCluster(c));

/** Clusters that unknown destinations need beside the passthrough ones. */
export const unknownClusters = (c: Context): readonly Cluster[] =>
  resolvesUnknown(c)
    ? [{ name: ANY_NAME_CLUSTER, connect_timeout: c.mesh.connectTimeout, alt_stat_name: statName(ANY_NAME_CLUSTER), ...byName(c) }]
    : [];

/** The cluster for connections that are no readable HTTP. */
export const unknownCluster = (c: Context): string => {
  if (c.registryOnly) return BLACKHOLE;
  const proxy = c.scope.egressProxy;
  return proxy === undefined ? PASSTHROUGH : outboundCluster(proxy.port?.number ?? 0, proxy.subset ?? '', proxy.host);
};

/** The virtual host for every name that no other has. */
export const unknownHost = (c: Context): VirtualHost => {
  const name = c.registryOnly ? 'block_all' : resolvesUnknown(c) ? 'allow_any_dynamic_dns' : 'allow_any';
  const action: Route = c.registryOnly
    ? { direct_response: { status: 502 } }
    : { route: { cluster: unknownHttpCluster(c), timeout: '0s', max_grpc_timeout: '0s' } };
  return { name, domains: ['*'], routes: [{ name, match: { prefix: '/' }, ...action }], ...attemptCount(c) };
};
