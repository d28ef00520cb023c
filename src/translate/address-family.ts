// What a proxy without IPv4 has in place of the addresses that stand for all of its own, for its loopback, and for its calls to its
// application. Everything else is made as for IPv4: the one place that knows both is the end.

import { derive } from '../base/derive.ts';
import type { Cluster, Listener } from '../xds/gen/types.ts';
import { WILDCARD_ADDRESS } from './names.ts';
import type { ProxyNode } from './proxy-node.ts';

const ANY_V6 = '::';

/** The source of connections to the application, which capture lets through. */
export const APPLICATION_SOURCE = '127.0.0.6';
const APPLICATION_SOURCE_V6 = '::6';

export const hasNoV4 = (node: ProxyNode): boolean =>
  derive(node, 'no v4', (n) => n.ipAddresses.length > 0 && n.ipAddresses.every((a) => a.includes(':')));

/** The same listeners where the node has IPv4. */
export const listenersInFamily = (node: ProxyNode, listeners: readonly Listener[]): readonly Listener[] =>
  hasNoV4(node) ? listeners.map(onV6) : listeners;

const onV6 = (l: Listener): Listener => {
  const at = l.address?.socket_address;
  if (at?.address !== WILDCARD_ADDRESS) return l;
  const prefix = `${WILDCARD_ADDRESS}_`;
  const name = l.name?.startsWith(prefix) === true ? `${ANY_V6}_${l.name.slice(prefix.length)}` : l.name;
  return { ...l, ...(name === undefined ? {} : { name }), address: { socket_address: { ...at, address: ANY_V6 } } };
};

/** The same clusters where the node has IPv4. */
export const clustersInFamily = (node: ProxyNode, clusters: readonly Cluster[]): readonly Cluster[] =>
  hasNoV4(node)
    ? clusters.map((c) =>
        c.upstream_bind_config?.source_address?.address === APPLICATION_SOURCE
          ? { ...c, upstream_bind_config: { source_address: { address: APPLICATION_SOURCE_V6, port_value: 0 } } }
          : c,
      )
    : clusters;
