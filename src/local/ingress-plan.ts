// Where the host listens for what gateway workloads serve: their own ports, and the ports that Gateways open on them, also those applied
// while the mesh runs. Pure. The first port is at the chosen address; others at their own number or, below 1024, 8000 above it.

import type { IngressRule } from './relay-protocol.ts';
import { type ServiceDocument, selects } from './service-table.ts';

export interface GatewayDocument {
  readonly selector: Readonly<Record<string, string>>;
  readonly servers: readonly { readonly port: number; readonly scheme: Scheme }[];
}

export type Scheme = 'http' | 'https' | 'tcp';

export interface GatewayReplica {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly address: string;
  readonly ports: readonly { readonly name: string; readonly port: number }[];
}

export interface IngressAddress {
  readonly rule: IngressRule;
  readonly scheme: Scheme;
}

/** The Gateways in what GET /v1/resources answers. */
export const gatewaysOf = (answer: unknown): GatewayDocument[] => {
  const { resources } = (answer ?? {}) as { readonly resources?: readonly { readonly object?: RawGateway }[] };
  return (resources ?? []).map(({ object }) => ({
    selector: object?.spec?.selector ?? {},
    servers: (object?.spec?.servers ?? []).flatMap((server) => {
      const port = server.port?.number;
      return port === undefined ? [] : [{ port, scheme: schemeOf(server) }];
    }),
  }));
};

interface RawGateway {
  readonly spec?: {
    readonly selector?: Readonly<Record<string, string>>;
    readonly servers?: readonly RawServer[];
  };
}

interface RawServer {
  readonly port?: { readonly number?: number; readonly protocol?: string };
  readonly tls?: { readonly httpsRedirect?: boolean };
}

const schemeOf = ({ port, tls }: RawServer): Scheme => {
  const protocol = (port?.protocol ?? '').toUpperCase();
  if (/^(TCP|MONGO|MYSQL|REDIS)$/.test(protocol)) return 'tcp';
  return protocol === 'HTTPS' || protocol === 'TLS' || (tls !== undefined && tls.httpsRedirect !== true) ? 'https' : 'http';
};

export const ingressPlan = (
  first: { readonly host: string; readonly port: number },
  replicas: readonly GatewayReplica[],
  gateways: readonly GatewayDocument[],
  services: readonly ServiceDocument[],
): IngressAddress[] => {
  const taken = new Set<number>();
  return replicas.flatMap((replica) =>
    [...portsOf(replica, gateways, services)].map(([port, scheme]): IngressAddress => {
      let listen = taken.size === 0 ? first.port : port < 1024 ? 8000 + port : port;
      while (taken.has(listen)) listen++;
      taken.add(listen);
      return { rule: { listen: { host: first.host, port: listen }, target: { host: replica.address, port } }, scheme };
    }),
  );
};

// An object that selects nothing by name selects every gateway, as in Istio.
const portsOf = (
  replica: GatewayReplica,
  gateways: readonly GatewayDocument[],
  services: readonly ServiceDocument[],
): ReadonlyMap<number, Scheme> => {
  const opened = new Map<number, Scheme>();
  for (const { selector, servers } of gateways) {
    if (Object.keys(selector).length > 0 && !selects(selector, replica.labels)) continue;
    for (const { port, scheme } of servers) opened.set(listenerPort(port, replica, services), scheme);
  }
  const own = replica.ports.map(({ port }) => [port, opened.get(port) ?? 'http'] as const);
  return new Map([...own, ...[...opened].sort(([a], [b]) => a - b)]);
};

/** A Gateway's port is the Service's; the gateway listens on what that port leads to. */
const listenerPort = (port: number, replica: GatewayReplica, services: readonly ServiceDocument[]): number => {
  for (const service of services) {
    if (service.namespace !== replica.namespace || !selects(service.selector, replica.labels)) continue;
    const target = service.ports.find((p) => p.port === port)?.targetPort;
    if (typeof target === 'number') return target;
    const named = replica.ports.find((p) => p.name === target)?.port;
    if (named !== undefined) return named;
  }
  return port;
};
