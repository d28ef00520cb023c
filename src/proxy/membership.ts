// A ClusterLoadAssignment as hosts in priorities and localities. Hosts already known keep their object.

import { isIP } from 'node:net';
import { PlanError } from '../plan/plan-error.ts';
import type { ClusterLoadAssignment, LbEndpoint } from '../xds/gen/types.ts';
import { Host, isHealthyStatus } from './host.ts';
import type { LocalityHosts, Membership } from './host-set.ts';

/** `known` is keyed by `Host.key`. `logical`: one host per name, whose address may change. Throws PlanError before anything is changed. */
export const buildMembership = (
  assignment: ClusterLoadAssignment,
  known: ReadonlyMap<string, Host>,
  logical = false,
): { readonly membership: Membership; readonly hosts: Host[] } => {
  if (assignment.endpoints?.some((l) => l.leds_cluster_locality_config !== undefined) === true)
    throw new PlanError('endpoints.leds_cluster_locality_config', 'not supported');
  if ((assignment.policy?.drop_overloads?.length ?? 0) > 0) throw new PlanError('policy.drop_overloads', 'not supported');
  const places: { endpoint: LbEndpoint; ip: string; port: number; locality: number; priority: number }[] = [];
  assignment.endpoints?.forEach((locality, l) => {
    locality.lb_endpoints?.forEach((endpoint, e) => {
      const path = `endpoints[${l}].lb_endpoints[${e}].endpoint.address`;
      const pipe = endpoint.endpoint?.address?.pipe?.path;
      if (pipe !== undefined) {
        places.push({ endpoint, ip: pipe, port: 0, locality: l, priority: locality.priority ?? 0 });
        return;
      }
      const address = endpoint.endpoint?.address?.socket_address;
      if (address === undefined) throw new PlanError(path, 'only socket addresses are supported');
      if (isIP(address.address ?? '') === 0)
        throw new PlanError(`${path}.socket_address.address`, `${address.address} is not an IP address`);
      places.push({ endpoint, ip: address.address ?? '', port: address.port_value ?? 0, locality: l, priority: locality.priority ?? 0 });
    });
  });
  const depth = places.reduce((most, p) => Math.max(most, p.priority + 1), 0);
  const priorities = Array.from({ length: depth }, () => ({ localities: [] as LocalityHosts[], hosts: [] as Host[] }));
  const all: Host[] = [];
  const used = new Set<string>();
  assignment.endpoints?.forEach((locality, l) => {
    const hosts: Host[] = [];
    for (const place of places) {
      if (place.locality !== l) continue;
      const hostname = place.endpoint.endpoint?.hostname ?? '';
      const fresh = new Host(place.ip, place.port, hostname, logical);
      const key = fresh.key;
      if (used.has(key)) continue;
      used.add(key);
      const host = known.get(key) ?? fresh;
      if (host.ip !== place.ip) host.moveTo(place.ip);
      host.weight = place.endpoint.load_balancing_weight ?? 1;
      host.priority = place.priority;
      host.locality = locality.locality;
      host.metadata = place.endpoint.metadata;
      host.edsHealth = typeof place.endpoint.health_status === 'string' ? place.endpoint.health_status : undefined;
      host.edsHealthy = isHealthyStatus(place.endpoint.health_status);
      hosts.push(host);
      all.push(host);
    }
    const priority = priorities[locality.priority ?? 0];
    if (priority === undefined || hosts.length === 0) return;
    priority.localities.push({ weight: locality.load_balancing_weight ?? 0, hosts });
    priority.hosts.push(...hosts);
  });
  return { membership: { priorities, overprovisioning: assignment.policy?.overprovisioning_factor ?? 140 }, hosts: all };
};
