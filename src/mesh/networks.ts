// Networks of a mesh whose workloads cannot all reach each other: on which of them something is, and by which gateways each is entered
// from the others. Without any gateway there is one network, and nothing here is looked at.

import { NETWORKS_KEY, NETWORKS_OBJECT, readMeshNetworks } from '../api/mesh-config/mesh-networks.ts';
import type { Resource } from '../api/resource.ts';
import type { MeshNetworksSpec } from '../api/specs.ts';
import { NETWORK_LABEL } from './backend.ts';
import { inRange } from './cidr.ts';

export interface NetworkEntrance {
  /** One of the two: an address, or the host of a service of the mesh whose endpoints are the gateways. */
  readonly address: string;
  readonly service: string;
  readonly port: number;
}

export interface Placed {
  readonly labels: Readonly<Record<string, string>>;
  readonly namespace: string;
  readonly address: string;
}

export interface Networks {
  /** By network. Empty: there is only one. */
  readonly entrances: ReadonlyMap<string, readonly NetworkEntrance[]>;
  /** Where something is: by its label, its namespace's label, its address, its registry; empty where nothing says it. */
  of(place: Placed, registry: string): string;
}

export const ONE_NETWORK: Networks = { entrances: new Map(), of: () => '' };

export const buildNetworks = (
  configMaps: readonly Resource<'ConfigMap'>[],
  namespaces: readonly Resource<'Namespace'>[],
  rootNamespace: string,
): Networks => {
  const text = configMaps.find((r) => r.namespace === rootNamespace && r.name === NETWORKS_OBJECT)?.spec.data?.[NETWORKS_KEY];
  if (text === undefined) return ONE_NETWORK;
  const { networks, findings } = readMeshNetworks(text);
  return findings.failed ? ONE_NETWORK : networksOf(networks, new Map(namespaces.map((n) => [n.name, n.labels[NETWORK_LABEL] ?? ''])));
};

/** Addresses whose range is remembered. */
const ADDRESSES_MAX = 100_000;

const networksOf = (spec: MeshNetworksSpec, byNamespace: ReadonlyMap<string, string>): Networks => {
  const entrances = new Map<string, readonly NetworkEntrance[]>();
  const ranges: { readonly range: string; readonly network: string }[] = [];
  const registries = new Map<string, string>();
  for (const [network, { endpoints = [], gateways = [] }] of Object.entries(spec.networks ?? {}).sort()) {
    if (gateways.length > 0)
      entrances.set(
        network,
        gateways.map((g) => ({ address: g.address ?? '', service: g.registryServiceName ?? '', port: g.port ?? 0 })),
      );
    for (const { fromCidr = '', fromRegistry = '' } of endpoints) {
      if (fromCidr !== '') ranges.push({ range: fromCidr, network });
      if (fromRegistry !== '' && !registries.has(fromRegistry)) registries.set(fromRegistry, network);
    }
  }
  if (entrances.size === 0) return ONE_NETWORK;
  // The narrowest range that holds an address speaks for it.
  ranges.sort((a, b) => Number(b.range.split('/')[1]) - Number(a.range.split('/')[1]));
  const known = new Map<string, string>();
  const byRange = (address: string): string => {
    const before = known.get(address);
    if (before !== undefined) return before;
    const found = ranges.find(({ range }) => range.includes(':') === address.includes(':') && inRange(address, range))?.network ?? '';
    if (known.size >= ADDRESSES_MAX) known.clear();
    known.set(address, found);
    return found;
  };
  return {
    entrances,
    of: ({ labels, namespace, address }, registry) =>
      labels[NETWORK_LABEL] || byNamespace.get(namespace) || byRange(address) || (registries.get(registry) ?? ''),
  };
};
