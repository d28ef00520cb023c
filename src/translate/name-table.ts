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
    for (const alias of service.aliases) table[alias] ??= { ips, registry: 'Kubernetes', ...kubernetesNames(alias) };
  }
  return { table };
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
