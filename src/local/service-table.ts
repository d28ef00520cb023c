// What kube-proxy and the cluster's DNS would say, for workloads outside the mesh: names to addresses and virtual ports to endpoints.
// Pure. Services without an address of their own get one here, from the same range; only workloads outside the mesh ever see it.

import { createHash } from 'node:crypto';
import type { InstanceDocument } from './admin-client.ts';
import type { VirtualPort } from './hub-network.ts';
import type { HubTable } from './relay-hub.ts';

export interface ServiceDocument {
  readonly name: string;
  readonly namespace: string;
  readonly clusterIP: string | undefined;
  readonly selector: Readonly<Record<string, string>> | undefined;
  readonly ports: readonly {
    readonly name: string;
    readonly port: number;
    readonly targetPort: number | string;
    readonly protocol: 'tcp' | 'udp';
  }[];
}

/** The Services in what GET /v1/resources answers. */
export const servicesOf = (answer: unknown): ServiceDocument[] => {
  const { resources } = (answer ?? {}) as { readonly resources?: readonly { readonly object?: RawService }[] };
  return (resources ?? []).flatMap(({ object }) => (object === undefined ? [] : serviceOf(object)));
};

interface RawService {
  readonly kind?: string;
  readonly metadata?: { readonly name?: string; readonly namespace?: string };
  readonly spec?: {
    readonly clusterIP?: string;
    readonly selector?: Readonly<Record<string, string>>;
    readonly ports?: readonly {
      readonly name?: string;
      readonly port?: number;
      readonly targetPort?: number | string;
      readonly protocol?: string;
    }[];
  };
}

const serviceOf = (raw: RawService): ServiceDocument[] => {
  const name = raw.metadata?.name;
  if (name === undefined || (raw.kind ?? 'Service') !== 'Service') return [];
  const ports = (raw.spec?.ports ?? []).flatMap(({ name: portName = '', port, targetPort, protocol }) =>
    port === undefined
      ? []
      : [{ name: portName, port, targetPort: targetPort ?? port, protocol: protocol === 'UDP' ? ('udp' as const) : ('tcp' as const) }],
  );
  const namespace = raw.metadata?.namespace ?? 'default';
  return [{ name, namespace, clusterIP: raw.spec?.clusterIP, selector: raw.spec?.selector, ports }];
};

export const hubTable = (services: readonly ServiceDocument[], instances: readonly InstanceDocument[]): HubTable => {
  const addresses = allocate(services);
  const names: Record<string, readonly string[]> = {};
  const ports: VirtualPort[] = [];
  for (const service of services) {
    const ready = instances.filter((i) => i.ready && i.namespace === service.namespace && selects(service.selector, i.labels));
    const address = addresses.get(keyOf(service));
    const name = `${service.name}.${service.namespace}.svc.cluster.local`;
    if (address === undefined) {
      names[name] = ready.map((i) => i.address);
      for (const i of ready) names[`${i.name}.${name}`] = [i.address];
      continue;
    }
    names[name] = [address];
    for (const port of service.ports) {
      const endpoints = ready.flatMap((i) => {
        const target = typeof port.targetPort === 'number' ? port.targetPort : i.ports.find((p) => p.name === port.targetPort)?.port;
        return target === undefined ? [] : [{ address: i.address, port: target }];
      });
      ports.push({ address, port: port.port, protocol: port.protocol, endpoints });
    }
  }
  return { names, ports };
};

const keyOf = (service: ServiceDocument): string => `${service.namespace}/${service.name}`;

export const selects = (selector: Readonly<Record<string, string>> | undefined, labels: Readonly<Record<string, string>>): boolean => {
  const wanted = Object.entries(selector ?? {});
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
};

// Headless services ("None") have no entry.
const allocate = (services: readonly ServiceDocument[]): ReadonlyMap<string, string> => {
  const isAddress = (ip: string | undefined): ip is string => ip !== undefined && ip !== '' && ip !== 'None';
  const taken = new Set(services.map((s) => s.clusterIP).filter(isAddress));
  const found = new Map<string, string>();
  for (const service of [...services].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))) {
    if (service.clusterIP === 'None') continue;
    let index = createHash('sha256').update(keyOf(service)).digest().readUInt16BE(0);
    const address = (): string => `10.96.${index >> 8}.${index & 0xff}`;
    if (!isAddress(service.clusterIP)) {
      while (taken.has(address()) || (index & 0xff) === 0 || (index & 0xff) === 0xff) index = (index + 1) & 0xffff;
      taken.add(address());
    }
    found.set(keyOf(service), isAddress(service.clusterIP) ? service.clusterIP : address());
  }
  return found;
};
