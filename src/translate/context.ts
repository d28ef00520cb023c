// What every part of one translation shares: the snapshot, the node, and what follows from the two.

import type { MeshConfig } from '../api/mesh-config.ts';
import type { MergedRule } from '../mesh/destination-rules.ts';
import type { Service } from '../mesh/service.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { AccessLog } from '../xds/gen/types.ts';
import { accessLogs } from './access-log.ts';
import { type IstioFilters, istioFilters } from './istio-filters.ts';
import type { ProxyNode } from './proxy-node.ts';

export interface Context {
  readonly snapshot: Snapshot;
  readonly mesh: MeshConfig;
  readonly node: ProxyNode;
  /** Services the node may know, oldest first. */
  readonly services: readonly Service[];
  /** The service the node means by a host. */
  service(host: string): Service | undefined;
  destinationRule(service: Pick<Service, 'host' | 'namespace'>): MergedRule | undefined;
  readonly accessLogs: readonly AccessLog[];
  readonly filters: IstioFilters;
  readonly registryOnly: boolean;
}

export const buildContext = (snapshot: Snapshot, node: ProxyNode): Context => {
  const rules = new Map<string, MergedRule | undefined>();
  return {
    snapshot,
    mesh: snapshot.meshConfig,
    node,
    services: snapshot.services.visibleTo(node.namespace),
    service: (host) => snapshot.services.find(host, node.namespace),
    destinationRule: (service) => {
      const key = `${service.namespace}/${service.host}`;
      if (rules.has(key)) return rules.get(key);
      const rule = snapshot.destinationRules.for(node, service);
      rules.set(key, rule);
      return rule;
    },
    accessLogs: accessLogs(snapshot.meshConfig),
    filters: istioFilters(node, snapshot.meshConfig),
    registryOnly: snapshot.meshConfig.outboundTrafficPolicy.mode === 'REGISTRY_ONLY',
  };
};
