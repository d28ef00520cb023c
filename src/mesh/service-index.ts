// Services by name and by what a namespace can see of them.

import type { Endpoint, Service } from './service.ts';
import { isPrivate, isPublic, visibleTo } from './visibility.ts';

export interface ServiceIndex {
  /** Oldest first. */
  readonly all: readonly Service[];
  /** What proxies of a namespace know: its private services, those exported to it, public ones; each oldest first. */
  visibleTo(namespace: string): readonly Service[];
  isVisible(service: Service, namespace: string): boolean;
  /** Oldest first, visible or not. */
  withHost(host: string): readonly Service[];
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
    for (const alias of service.aliases) push(byHost, alias, service);
    for (const [portIndex, p] of service.ports.entries()) {
      for (const endpoint of service.endpoints.get(p.port) ?? []) push(byAddress, endpoint.address, { service, portIndex, endpoint });
    }
  }
  const seenBy = new Map<string, readonly Service[]>();
  const visible = (namespace: string): readonly Service[] => {
    const known = seenBy.get(namespace);
    if (known !== undefined) return known;
    const seen = all.filter((s) => visibleTo(s.exportTo, namespace));
    const list = seen.every((s) => isPublic(s.exportTo)) ? seen : inOrder(seen);
    seenBy.set(namespace, list);
    return list;
  };
  return {
    all,
    visibleTo: visible,
    isVisible: (service, namespace) => visibleTo(service.exportTo, namespace),
    withHost: (host) => byHost.get(host) ?? [],
    find: (host, namespace) =>
      preferred(
        (byHost.get(host) ?? []).filter((s) => visibleTo(s.exportTo, namespace)),
        namespace,
      ),
    at: (addresses, namespace) => addresses.flatMap((a) => (byAddress.get(a) ?? []).filter((i) => i.endpoint.namespace === namespace)),
  };
};

const inOrder = (seen: readonly Service[]): readonly Service[] => {
  const own = seen.filter((s) => isPrivate(s.exportTo, s.namespace));
  const exported = seen.filter((s) => !isPublic(s.exportTo) && !isPrivate(s.exportTo, s.namespace));
  return [...own, ...exported, ...seen.filter((s) => isPublic(s.exportTo))];
};

/** A Service before an entry, then the namespace's own, then the oldest. */
const preferred = (candidates: readonly Service[], namespace: string): Service | undefined =>
  candidates.find((s) => s.registry === 'Kubernetes') ?? candidates.find((s) => s.namespace === namespace) ?? candidates[0];

const push = <V>(map: Map<string, V[]>, key: string, value: V): void => {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
};
