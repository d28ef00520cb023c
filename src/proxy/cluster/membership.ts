// A ClusterLoadAssignment as hosts in priorities and localities. Hosts already known keep their object.

import { isIP } from 'node:net';
import { PlanError } from '../../plan/plan-error.ts';
import type { Address, ClusterLoadAssignment, LbEndpoint } from '../../xds/gen/types.ts';
import type { LocalityHosts, Membership } from '../balance/host-set.ts';
import { Host, type HostCheck, isHealthyStatus } from './host.ts';

interface Place {
  readonly endpoint: LbEndpoint;
  readonly ip: string;
  readonly port: number;
  readonly check: HostCheck | undefined;
  readonly locality: number;
  readonly priority: number;
}

/**
 * `known` is keyed by `Host.key`. `logical`: one host per name, whose address may change. `stays`: of those known and no longer
 * among the endpoints, who is kept where it was. Throws PlanError before anything is changed.
 */
export const buildMembership = (
  assignment: ClusterLoadAssignment,
  known: ReadonlyMap<string, Host>,
  logical = false,
  stays: (host: Host) => boolean = () => false,
): { readonly membership: Membership; readonly hosts: Host[] } => {
  const places = placesOf(assignment);
  const depth = places.reduce((most, p) => Math.max(most, p.priority + 1), 0);
  const priorities = Array.from({ length: depth }, () => ({ localities: [] as LocalityHosts[], hosts: [] as Host[] }));
  const all: Host[] = [];
  const used = new Set<string>();
  assignment.endpoints?.forEach((locality, l) => {
    const hosts: Host[] = [];
    const stands = { locality: locality.locality, metadata: locality.metadata };
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
      host.place = stands;
      host.metadata = place.endpoint.metadata;
      host.edsHealth = typeof place.endpoint.health_status === 'string' ? place.endpoint.health_status : undefined;
      host.edsHealthy = isHealthyStatus(place.endpoint.health_status);
      host.healthCheck = place.check;
      host.leaving = false;
      hosts.push(host);
      all.push(host);
    }
    const priority = priorities[locality.priority ?? 0];
    if (priority === undefined || hosts.length === 0) return;
    priority.localities.push({ weight: locality.load_balancing_weight ?? 0, hosts, locality: locality.locality });
    priority.hosts.push(...hosts);
  });
  for (const host of known.values()) {
    if (used.has(host.key) || !stays(host)) continue;
    host.leaving = true;
    all.push(host);
    while (priorities.length <= host.priority) priorities.push({ localities: [], hosts: [] });
    const priority = priorities[host.priority];
    priority?.hosts.push(host);
    const place = JSON.stringify(host.locality ?? {});
    const at = priority?.localities.findIndex((l) => JSON.stringify(l.locality ?? {}) === place) ?? -1;
    const there = priority?.localities[at];
    if (there === undefined) priority?.localities.push({ weight: 0, hosts: [host], locality: host.locality });
    else priority?.localities.splice(at, 1, { ...there, hosts: [...there.hosts, host] });
  }
  const { overprovisioning_factor: overprovisioning = 140, weighted_priority_health: weightedHealth = false } = assignment.policy ?? {};
  return { membership: { priorities, overprovisioning, weightedHealth }, hosts: all };
};

const placesOf = (assignment: ClusterLoadAssignment): readonly Place[] => {
  if ((assignment.policy?.drop_overloads?.length ?? 0) > 0) throw new PlanError('policy.drop_overloads', 'not supported');
  const places: Place[] = [];
  assignment.endpoints?.forEach((locality, l) => {
    if (locality.leds_cluster_locality_config !== undefined) throw new PlanError('endpoints.leds_cluster_locality_config', 'not supported');
    if (locality.load_balancer_endpoints !== undefined) throw new PlanError(`endpoints[${l}].load_balancer_endpoints`, 'not supported');
    locality.lb_endpoints?.forEach((endpoint, e) => {
      const path = `endpoints[${l}].lb_endpoints[${e}].endpoint`;
      const { ip, port } = addressOf(endpoint.endpoint?.address, `${path}.address`);
      const check = checkOf(endpoint, ip, port, `${path}.health_check_config`);
      places.push({ endpoint, ip, port, check, locality: l, priority: locality.priority ?? 0 });
    });
  });
  return places;
};

/** The path of a pipe stands as an address without port. */
const addressOf = (config: Address | undefined, path: string): { readonly ip: string; readonly port: number } => {
  if (config?.pipe?.path !== undefined) return { ip: config.pipe.path, port: 0 };
  const address = config?.socket_address;
  if (address === undefined) throw new PlanError(path, 'only socket addresses are supported');
  if (isIP(address.address ?? '') === 0) throw new PlanError(`${path}.socket_address.address`, `${address.address} is not an IP address`);
  return { ip: address.address ?? '', port: address.port_value ?? 0 };
};

const NO_CHECK: HostCheck = { ip: '', port: 0, hostname: '' };

/** NO_CHECK's empty address: it is not to be asked. */
const checkOf = ({ endpoint }: LbEndpoint, ip: string, port: number, path: string): HostCheck | undefined => {
  const config = endpoint?.health_check_config;
  if (config === undefined) return undefined;
  if (config.disable_active_health_check === true) return NO_CHECK;
  const own = config.address === undefined ? { ip, port } : addressOf(config.address, `${path}.address`);
  const other = config.port_value ?? 0;
  return { ip: own.ip, port: other === 0 ? own.port : other, hostname: config.hostname ?? '' };
};
