// Services by name and by what a namespace can see of them.

import type { Endpoint, Service } from './service.ts';
import { visibleTo } from './visibility.ts';

export interface ServiceIndex {
  /** Oldest first. */
  readonly all: readonly Service[];
  /** What proxies of a namespace know, oldest first; one service per host and port. */
  visibleTo(namespace: string): readonly Service[];
  /** The service a proxy of a namespace means by a host. */
  find(host: string, namespace: string): Service | undefined;
  /** Services that have an endpoint at one of the addresses, with the endpoints there, by service port. */
  at(addresses: readonly string[], namespace: string): readonly ServiceInstance[];
}

export interface ServiceInstance {
  readonly service: Service;
  /** Index into `service.ports`. */
  readonly portIndex: number;
  readonly endpoint: Endpoint;
}

export const buildServiceIndex = (all: readonly Service[]): ServiceIndex => {
  const byHost = new Map<string, Service[]>();
  const byAddress = new Map<string, ServiceInstance[]>();
  for (const service of all) {
    push(byHost, service.host, service);
    for (const [portIndex, p] of service.ports.entries()) {
      for (const endpoint of service.endpoints.get(p.port) ?? []) push(byAddress, endpoint.address, { service, portIndex, endpoint });
    }
  }
  const seenBy = new Map<string, readonly Service[]>();
  const visible = (namespace: string): readonly Service[] => {
    const known = seenBy.get(namespace);
    if (known !== undefined) return known;
    const list = all.filter((s) => visibleTo(s.exportTo, namespace));
    seenBy.set(namespace, list);
    return list;
  };
  return {
    all,
    visibleTo: visible,
    find: (host, namespace) =>
      preferred(
        (byHost.get(host) ?? []).filter((s) => visibleTo(s.exportTo, namespace)),
        namespace,
      ),
    at: (addresses, namespace) => addresses.flatMap((a) => (byAddress.get(a) ?? []).filter((i) => i.endpoint.namespace === namespace)),
  };
};

/** A Service before an entry, then the namespace's own, then the oldest. */
const preferred = (candidates: readonly Service[], namespace: string): Service | undefined =>
  candidates.find((s) => s.registry === 'Kubernetes') ?? candidates.find((s) => s.namespace === namespace) ?? candidates[0];

const push = <V>(map: Map<string, V[]>, key: string, value: V): void => {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
};
