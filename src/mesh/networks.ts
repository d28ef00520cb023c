// Networks of a mesh whose workloads cannot all reach each other: on which of them something is, and by which gateways each is entered
// from the others. Without any gateway there is one network, and nothing here is looked at.

import { NETWORKS_KEY, NETWORKS_OBJECT, readMeshNetworks } from '../api/mesh-config/mesh-networks.ts';
import type { Resource } from '../api/resource.ts';
import type { MeshNetworksSpec } from '../api/specs.ts';
import { NETWORK_LABEL } from './backend.ts';
import { inRange } from './cidr.ts';
import { hostOf } from './service-kubernetes.ts';

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
  /** Where something is: by its label, its namespace's, the root namespace's, its address, its registry; empty where nothing says it. */
  of(place: Placed, registry: string): string;
  /** All that `of` goes by beside its arguments: two with one rule answer alike. */
  readonly rule: string;
}

export const ONE_NETWORK: Networks = { entrances: new Map(), of: () => '', rule: '' };

const GATEWAY_PORT_LABEL = 'networking.istio.io/gatewayPort';
const GATEWAY_PORT = 15443;

type KubernetesService = Resource<'Service'>;

/** It says by its label which network it is the way into, or has addresses outside, by which others may call it one. */
export const isEntrance = (r: KubernetesService): boolean => (r.labels[NETWORK_LABEL] ?? '') !== '' || outsideOf(r).length > 0;

/** Where a service is reached from outside. */
const outsideOf = ({ spec, balancers = [] }: KubernetesService): readonly string[] => [
  ...(spec.type === 'LoadBalancer' ? balancers : []),
  ...(spec.externalIPs ?? []),
];

/** `services`: those that are entrances. */
export const buildNetworks = (
  configMaps: readonly Resource<'ConfigMap'>[],
  namespaces: readonly Resource<'Namespace'>[],
  services: readonly KubernetesService[],
  rootNamespace: string,
): Networks => {
  const text = configMaps.find((r) => r.namespace === rootNamespace && r.name === NETWORKS_OBJECT)?.spec.data?.[NETWORKS_KEY];
  if (text === undefined && services.length === 0) return ONE_NETWORK;
  const { networks, findings } = readMeshNetworks(text ?? '{}');
  const byNamespace = new Map(namespaces.map((n) => [n.name, n.labels[NETWORK_LABEL] ?? '']));
  return networksOf(findings.failed ? {} : networks, byNamespace, services, rootNamespace);
};

/** Where nothing says the address of a balancer, its endpoints stand in. */
const entrancesOf = (service: KubernetesService): readonly NetworkEntrance[] => {
  const { name, namespace, labels, spec } = service;
  const written = Number(labels[GATEWAY_PORT_LABEL]);
  const port = Number.isInteger(written) && written > 0 && written < 65_536 ? written : GATEWAY_PORT;
  const addresses = outsideOf(service);
  if (addresses.length > 0) return addresses.map((address) => ({ address, service: '', port }));
  return spec.type === 'LoadBalancer' ? [{ address: '', service: hostOf(name, namespace), port }] : [];
};

/** Addresses whose range is remembered. */
const ADDRESSES_MAX = 100_000;

const networksOf = (
  spec: MeshNetworksSpec,
  byNamespace: ReadonlyMap<string, string>,
  services: readonly KubernetesService[],
  rootNamespace: string,
): Networks => {
  const entrances = new Map<string, readonly NetworkEntrance[]>();
  const ranges: { readonly range: string; readonly network: string }[] = [];
  const registries = new Map<string, string>();
  for (const [network, { endpoints = [], gateways = [] }] of Object.entries(spec.networks ?? {}).sort()) {
    if (gateways.length > 0)
      entrances.set(
        network,
        gateways.flatMap(({ address = '', registryServiceName = '', port = 0 }): readonly NetworkEntrance[] => {
          const outside = services.find((s) => hostOf(s.name, s.namespace) === registryServiceName);
          const addresses = outside === undefined ? [] : outsideOf(outside);
          if (addresses.length > 0) return addresses.map((at) => ({ address: at, service: '', port }));
          return [{ address, service: registryServiceName, port }];
        }),
      );
    for (const { fromCidr = '', fromRegistry = '' } of endpoints) {
      if (fromCidr !== '') ranges.push({ range: fromCidr, network });
      if (fromRegistry !== '' && !registries.has(fromRegistry)) registries.set(fromRegistry, network);
    }
  }
  for (const service of services) {
    const network = service.labels[NETWORK_LABEL] ?? '';
    if (network === '') continue;
    const found = entrancesOf(service);
    if (found.length > 0) entrances.set(network, [...(entrances.get(network) ?? []), ...found]);
  }
  if (entrances.size === 0) return ONE_NETWORK;
  const cluster = byNamespace.get(rootNamespace) ?? '';
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
    rule: JSON.stringify([ranges, [...registries], [...byNamespace].filter(([, network]) => network !== ''), cluster]),
    of: ({ labels, namespace, address }, registry) =>
      labels[NETWORK_LABEL] ||
      byNamespace.get(namespace) ||
      // The label of the root namespace is about what the cluster runs.
      (registry === 'Kubernetes' && cluster) ||
      byRange(address) ||
      (registries.get(registry) ?? ''),
  };
};
