// The services of the mesh as the translation sees them: one shape for Kubernetes Services and ServiceEntries.

import type { Origin } from '../api/resource.ts';
import type { Protocol } from './protocol.ts';

export interface ServicePort {
  readonly name: string;
  readonly port: number;
  readonly protocol: Protocol;
}

/** How addresses of endpoints become known: listed (EDS), the connection's own destination, or by DNS. */
export type Resolution = 'listed' | 'passthrough' | 'dns' | 'dns-round-robin';

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
  readonly resolution: Resolution;
  readonly meshExternal: boolean;
  readonly exportTo: readonly string[];
  readonly creationMs: number;
  /** Names the server may prove beside those of its endpoints. */
  readonly subjectAltNames: readonly string[];
  /** Endpoints are chosen by a selector, so having none now does not mean there never are. */
  readonly selects: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** By service port number. Sorted by address. */
  readonly endpoints: ReadonlyMap<number, readonly Endpoint[]>;
  readonly origin: Origin;
}

export const NO_LOCALITY: Locality = { region: '', zone: '', subzone: '' };

export const parseLocality = (text: string | undefined): Locality => {
  if (text === undefined || text === '') return NO_LOCALITY;
  const [region = '', zone = '', subzone = ''] = text.split('/');
  return { region, zone, subzone };
};

export const localityKey = (l: Locality): string => `${l.region}/${l.zone}/${l.subzone}`;

export const endpointsOf = (service: Service, port: number): readonly Endpoint[] => service.endpoints.get(port) ?? [];

/** The address listeners and virtual hosts are bound to; `0.0.0.0` when the service has none. */
export const listenAddress = (service: Service): string => service.addresses[0] ?? '0.0.0.0';

export const selects = (selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean => {
  for (const key of Object.keys(selector)) if (labels[key] !== selector[key]) return false;
  return true;
};
