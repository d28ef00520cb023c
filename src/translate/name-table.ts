// What the agent's DNS answers: every visible service's virtual addresses, or the addresses of its endpoints where it has none.

import { isIpAddress } from '../mesh/host.ts';
import type { Service } from '../mesh/service.ts';
import type { NameTable, NameTable_NameInfo } from '../xds/gen/types.ts';
import type { Context } from './context.ts';

export const nameTable = (c: Context): NameTable => {
  const table: Record<string, NameTable_NameInfo> = {};
  for (const service of c.services) {
    const ips = addressesOf(service);
    if (ips.length === 0) continue;
    const known = table[service.host];
    if (known !== undefined && (known.registry === 'Kubernetes' || service.registry !== 'Kubernetes')) continue;
    table[service.host] =
      service.registry === 'Kubernetes'
        ? { ips, registry: 'Kubernetes', shortname: service.name, namespace: service.namespace }
        : { ips, registry: 'External', ...kubernetesNames(service.host) };
    addPods(table, service);
    for (const alias of service.aliases) table[alias] ??= { ips, registry: 'Kubernetes', ...kubernetesNames(alias) };
  }
  return { table };
};

/** Pods of a Service without an address of its own are found one by one where they have a hostname, as those of a StatefulSet have. */
const addPods = (table: Record<string, NameTable_NameInfo>, service: Service): void => {
  if (service.registry !== 'Kubernetes' || service.resolution !== 'passthrough') return;
  const below = service.host.slice(service.host.indexOf('.') + 1);
  const pods = new Map<string, Set<string>>();
  for (const endpoints of service.endpoints.values()) {
    for (const { dnsName, address, ready } of endpoints) {
      if (dnsName === undefined || !ready || !isIpAddress(address)) continue;
      pods.set(dnsName, (pods.get(dnsName) ?? new Set()).add(address));
    }
  }
  for (const [shortname, ips] of pods) {
    table[`${shortname}.${below}`] ??= { ips: [...ips].sort(), registry: 'Kubernetes', shortname, namespace: service.namespace };
  }
};

/** An entry whose host follows Kubernetes' naming is found by its short forms too. */
const kubernetesNames = (host: string): NameTable_NameInfo => {
  const [name, namespace, svc] = host.split('.');
  return svc === 'svc' && name !== undefined && namespace !== undefined ? { shortname: name, namespace } : {};
};

const addressesOf = (service: Service): readonly string[] => {
  const own = service.addresses.filter(isIpAddress);
  if (own.length > 0) return own;
  if (service.resolution !== 'passthrough') return [];
  const ips = new Set<string>();
  for (const endpoints of service.endpoints.values()) for (const e of endpoints) if (e.ready && isIpAddress(e.address)) ips.add(e.address);
  return [...ips].sort();
};
