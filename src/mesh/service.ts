// The services of the mesh as the translation sees them: one shape for Kubernetes Services and ServiceEntries.

import type { Origin } from '../api/resource.ts';
import type { AutoAddress } from './auto-address.ts';
import type { Protocol } from './protocol.ts';

export interface ServicePort {
  readonly name: string;
  readonly port: number;
  readonly protocol: Protocol;
}

/** How addresses of endpoints become known: listed (EDS), the connection's own destination, by DNS, by DNS for each name that is asked. */
export type Resolution = 'listed' | 'passthrough' | 'dns' | 'dns-round-robin' | 'dynamic-dns';

/** Which endpoints a service prefers: any, those in the client's zone, those on its node. */
export type TrafficDistribution = 'any' | 'zone' | 'node';

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

export interface Endpoint {
  /** IP address, or a host name under DNS resolution. */
  readonly address: string;
  /** Port at the endpoint. */
  readonly port: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Has a sidecar that terminates mutual TLS. */
  readonly mtls: boolean;
  readonly locality: Locality;
  readonly weight: number;
  readonly workload: string;
  readonly ready: boolean;
  /** The machine it runs on, where that is known. */
  readonly node?: string;
  /** `hostname.subdomain` of a Pod that has a name of its own in the DNS. */
  readonly dnsName?: string;
}

export interface Service {
  readonly host: string;
  /** Name in Istio's metadata: the Service's name, or the host of a ServiceEntry. */
  readonly name: string;
  readonly namespace: string;
  readonly registry: 'Kubernetes' | 'External';
  readonly ports: readonly ServicePort[];
  /** Virtual IPs or CIDRs; empty for headless services and entries without addresses. */
  readonly addresses: readonly string[];
  /** In place of missing addresses for clients whose DNS the mesh answers. */
  readonly autoAddress: AutoAddress | undefined;
  readonly resolution: Resolution;
  readonly meshExternal: boolean;
  readonly exportTo: readonly string[];
  readonly creationMs: number;
  /** Names the server may prove beside those of its endpoints. */
  readonly subjectAltNames: readonly string[];
  /** Chooses the endpoints: having none now does not mean there never are. Undefined where they are listed. */
  readonly selector: Readonly<Record<string, string>> | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Other hosts under which it is known. */
  readonly aliases: readonly string[];
  readonly trafficDistribution: TrafficDistribution;
  /** Only endpoints on the client's own machine are called, and none where it has none. */
  readonly nodeLocal: boolean;
  /** By service port number. Sorted by address. */
  readonly endpoints: ReadonlyMap<number, readonly Endpoint[]>;
  readonly origin: Origin;
}

/** What a service is, without who serves it now: what routes and names are made from, which endpoints leave as they are. */
export const SHAPE_FIELDS = [
  'host',
  'name',
  'namespace',
  'registry',
  'ports',
  'addresses',
  'autoAddress',
  'resolution',
  'meshExternal',
  'exportTo',
  'creationMs',
  'subjectAltNames',
  'selector',
  'labels',
  'aliases',
  'trafficDistribution',
  'nodeLocal',
] as const satisfies readonly (keyof Service)[];

export type ServiceShape = Pick<Service, (typeof SHAPE_FIELDS)[number]>;

export const NO_LOCALITY: Locality = { region: '', zone: '', subzone: '' };

export const parseLocality = (text: string | undefined): Locality => {
  if (text === undefined || text === '') return NO_LOCALITY;
  const [region = '', zone = '', subzone = ''] = text.split('/');
  return { region, zone, subzone };
};

export const localityKey = (l: Locality): string => `${l.region}/${l.zone}/${l.subzone}`;

export const endpointsOf = (service: Service, port: number): readonly Endpoint[] => service.endpoints.get(port) ?? [];

/** Addresses of the families a client has itself; all of them where it has none of those, or none is known of it. */
export const addressesFor = (service: Pick<Service, 'addresses'>, own: readonly string[]): readonly string[] => {
  const fitting = service.addresses.filter((a) => own.some((o) => o.includes(':') === a.includes(':')));
  return fitting.length === 0 ? service.addresses : fitting;
};

export const selects = (selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean => {
  for (const key of Object.keys(selector)) if (labels[key] !== selector[key]) return false;
  return true;
};
