// Endpoints on other networks than the proxy's: in their place stand the gateways by which their network is entered, with the weight of
// all that is behind them. A gateway finds the way on by the name in the TLS greeting, so only what takes mutual TLS is reached so.

import { derive } from '../base/derive.ts';
import { NETWORK_LABEL } from '../mesh/backend.ts';
import { isIpAddress } from '../mesh/host.ts';
import { compareText } from '../mesh/order.ts';
import { type Endpoint, NO_LOCALITY, type Service } from '../mesh/service.ts';
import type { LbEndpoint } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { listenerAddress } from './listener-address.ts';
import type { LocalityGroup, LocalityMember } from './locality.ts';
import type { ProxyNode } from './proxy-node.ts';

const VIEW = 'REQUESTED_NETWORK_VIEW';

interface Entrance {
  readonly address: string;
  readonly port: number;
}

/** Every group as the proxy's network sees it; the groups as they are in a mesh of one network. */
export const acrossNetworks = (
  c: Context,
  service: Service,
  groups: readonly LocalityGroup[],
  takesMutualTls: (e: Endpoint) => boolean,
): readonly LocalityGroup[] => {
  const { networks } = c.snapshot;
  if (networks.entrances.size === 0) {
    const addressed = (g: LocalityGroup): LocalityMember[] => g.members.filter((m) => m.endpoint.address !== '');
    return groups.flatMap((g) =>
      addressed(g).length === g.members.length ? g : addressed(g).length === 0 ? [] : { ...g, members: addressed(g) },
    );
  }
  const own = derive(c.node, `network by ${networks.rule}`, (n) => networkOf(n, networks.of));
  const view = viewOf(c.node);
  const entrances = new Map([...networks.entrances.keys()].map((network) => [network, entrancesOf(c, service, network)]));
  const scale = [...entrances.values()].reduce((n, list) => leastCommonMultiple(n, Math.max(1, list.length)), 1);
  return groups.flatMap(({ locality, members }) => {
    const direct: LocalityMember[] = [];
    const behind = new Map<string, number>();
    for (const m of members) {
      const network = networks.of(m.endpoint, service.registry);
      if (view !== undefined && network !== '' && !view.has(network)) continue;
      const there = network === '' || own === '' || network === own ? [] : (entrances.get(network) ?? []);
      if (there.length === 0) {
        if (m.endpoint.address !== '') direct.push(weighing(m, m.endpoint.weight * scale));
      } else if (takesMutualTls(m.endpoint)) behind.set(network, (behind.get(network) ?? 0) + m.endpoint.weight * scale);
    }
    for (const [network, weight] of [...behind].sort((a, b) => compareText(a[0], b[0]))) {
      const there = entrances.get(network) ?? [];
      direct.push(...there.map((entrance) => gatewayMember(entrance, network, weight / there.length)));
    }
    return direct.length === 0 ? [] : [{ locality, members: direct }];
  });
};

const networkOf = (node: ProxyNode, of: Context['snapshot']['networks']['of']): string => {
  const said = node.metadata['NETWORK'];
  if (typeof said === 'string' && said !== '') return said;
  return of({ labels: node.labels, namespace: node.namespace, address: node.ipAddresses[0] ?? '' }, 'Kubernetes');
};

/** The networks that the proxy wants to hear of; undefined: all. */
const viewOf = (node: ProxyNode): ReadonlySet<string> | undefined => {
  const said = node.metadata[VIEW];
  return typeof said === 'string' && said !== '' ? new Set(said.split(',').map((s) => s.trim())) : undefined;
};

/** Names of gateways are resolved by clusters that resolve names, and by no others. */
const entrancesOf = (c: Context, service: Service, network: string): readonly Entrance[] => {
  const named = service.resolution === 'dns' || service.resolution === 'dns-round-robin';
  const out = new Map<string, Entrance>();
  const add = (address: string, port: number): void => {
    if (address !== '' && (named || isIpAddress(address))) out.set(`${address} ${port}`, { address, port });
  };
  for (const entrance of c.snapshot.networks.entrances.get(network) ?? []) {
    add(entrance.address, entrance.port);
    for (const gateway of entrance.service === '' ? [] : c.snapshot.services.withHost(entrance.service).slice(0, 1))
      for (const e of gateway.endpoints.get(entrance.port) ?? []) if (e.ready) add(e.address, e.port);
  }
  return [...out.values()].sort((a, b) => compareText(a.address, b.address) || a.port - b.port);
};

export const weighing = (m: LocalityMember, weight: number): LocalityMember =>
  weight === m.endpoint.weight
    ? m
    : { endpoint: { ...m.endpoint, weight }, message: { ...m.message, load_balancing_weight: weight } satisfies LbEndpoint };

const gatewayMember = ({ address, port }: Entrance, network: string, weight: number): LocalityMember => ({
  endpoint: {
    ...{ address, port, weight, locality: NO_LOCALITY, labels: { [NETWORK_LABEL]: network } },
    ...{ namespace: '', serviceAccount: '', mtls: true, workload: '', ready: true },
  },
  message: {
    endpoint: { address: listenerAddress(address, port) },
    metadata: { filter_metadata: { 'envoy.transport_socket_match': { tlsMode: 'istio' }, istio: { workload: ';;;;' } } },
    load_balancing_weight: weight,
  },
});

const leastCommonMultiple = (a: number, b: number): number => {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
};
