// The application ports of the node's own workload: those a Sidecar names, else those that services expose at the workload's addresses.

import type { ConnectionPoolSettings, ServerTLSSettings, SidecarIngressListener } from '../api/specs.ts';
import { compareAge } from '../mesh/order.ts';
import { isTls, type Protocol, protocolOfName } from '../mesh/protocol.ts';
import type { Service, ServicePort } from '../mesh/service.ts';
import { hasNoV4 } from './address-family.ts';
import type { Context } from './context.ts';
import { LOCALHOST, WILDCARD_ADDRESS } from './names.ts';
import { capturesNothing } from './proxy-node.ts';

export interface InboundPort {
  /** Where the connection was going, and what the cluster is named for. */
  readonly targetPort: number;
  /** The oldest service on the port: its protocol and policy are used. A Sidecar's port stands for itself. */
  readonly service: Pick<Service, 'host'>;
  readonly servicePort: ServicePort;
  readonly services: readonly Service[];
  /** What spans call the place. */
  readonly host: string;
  /** Part of the name of its chains. */
  readonly bind: string;
  /** Where the application listens; undefined for the connection's own destination. */
  readonly endpoint: { readonly address: string; readonly port: number } | undefined;
  /** Said by a Sidecar for this port or all of them; else the service's rule decides. */
  readonly connectionPool: ConnectionPoolSettings | undefined;
  /** The server's own TLS in place of the mesh's. */
  readonly tls: ServerTLSSettings | undefined;
  /** A listener of its own instead of chains for captured connections. */
  readonly bindsToPort: boolean;
}

/** In the order of a Sidecar's listeners, else sorted by application port. */
export const inboundPorts = (c: Context): readonly InboundPort[] => {
  const ingress = c.scope.sidecar?.spec.ingress ?? [];
  if (ingress.length > 0) return ingress.map((i) => sidecarPort(c, i));
  // Where nothing is captured the application holds its ports itself.
  return capturesNothing(c.node) ? [] : servicePorts(c);
};

const servicePorts = (c: Context): readonly InboundPort[] => {
  const byTarget = new Map<number, { readonly service: Service; readonly port: ServicePort }[]>();
  for (const i of c.snapshot.services.at(c.node.ipAddresses, c.node.workloadNamespace)) {
    const port = i.service.ports[i.portIndex];
    if (port === undefined || port.protocol === 'UDP') continue;
    const list = byTarget.get(i.endpoint.port);
    if (list === undefined) byTarget.set(i.endpoint.port, [{ service: i.service, port }]);
    else list.push({ service: i.service, port });
  }
  const out: InboundPort[] = [];
  for (const [targetPort, list] of [...byTarget.entries()].sort((a, b) => a[0] - b[0])) {
    list.sort((a, b) => compareAge(a.service, b.service) || a.port.port - b.port.port);
    const first = list[0];
    if (first === undefined) continue;
    out.push({
      targetPort,
      service: first.service,
      host: first.service.host,
      servicePort: first.port,
      services: [...new Set(list.map((l) => l.service))],
      bind: WILDCARD_ADDRESS,
      endpoint:
        c.mesh.inboundTrafficPolicy.mode === 'LOCALHOST' ? { address: hasNoV4(c.node) ? '::1' : LOCALHOST, port: targetPort } : undefined,
      connectionPool: c.scope.sidecar?.spec.inboundConnectionPool,
      tls: undefined,
      bindsToPort: false,
    });
  }
  return out;
};

const sidecarPort = (c: Context, i: SidecarIngressListener): InboundPort => {
  const number = i.port.number ?? 0;
  const written = protocolOfName(i.port.protocol ?? '');
  const sidecar = c.scope.sidecar;
  const host = `${sidecar?.name}.${sidecar?.namespace}`;
  const known = c.snapshot.services
    .at(c.node.ipAddresses, c.node.workloadNamespace)
    .find((s) => s.service.ports[s.portIndex]?.port === number)?.service;
  return {
    targetPort: number,
    service: known ?? { host },
    host,
    servicePort: { name: i.port.name ?? '', port: number, protocol: i.tls === undefined ? written : afterTls(written) },
    services: [],
    bind: (i.bind ?? '') === '' ? unicastAddress(c.node.ipAddresses) : (i.bind ?? ''),
    endpoint: defaultEndpoint(i.defaultEndpoint ?? '', c.node.ipAddresses),
    connectionPool: i.connectionPool ?? sidecar?.spec.inboundConnectionPool,
    tls: i.tls,
    bindsToPort: i.captureMode === 'NONE' || (i.captureMode !== 'IPTABLES' && capturesNothing(c.node)),
  };
};

/** What a port speaks once its TLS has ended. */
const afterTls = (p: Protocol): Protocol => (p === 'HTTPS' ? 'HTTP' : isTls(p) ? 'TCP' : p);

/** The workload's address by which others reach it; all addresses when it has none such. */
const unicastAddress = (addresses: readonly string[]): string =>
  addresses.find((a) => !/^(127\.|169\.254\.|22[4-9]\.|23\d\.|0\.0\.0\.0$|255\.255\.255\.255$|::1?$|fe[89ab]|ff)/i.test(a)) ??
  WILDCARD_ADDRESS;

const defaultEndpoint = (text: string, own: readonly string[]): InboundPort['endpoint'] => {
  if (text === '') return undefined;
  if (text.startsWith('unix:')) return { address: text, port: 0 };
  const colon = text.lastIndexOf(':');
  const host = text.slice(0, colon).replace(/^\[|\]$/g, '');
  const port = Number(text.slice(colon + 1));
  const ofFamily = (v6: boolean): string | undefined => own.find((a) => a.includes(':') === v6);
  switch (host) {
    case '0.0.0.0':
      return endpointAt(ofFamily(false), port);
    case '::':
      return endpointAt(ofFamily(true), port);
    case '::1':
      return { address: ofFamily(true) === undefined ? LOCALHOST : '::1', port };
    default:
      return { address: ofFamily(false) === undefined && own.length > 0 ? '::1' : LOCALHOST, port };
  }
};

const endpointAt = (address: string | undefined, port: number): InboundPort['endpoint'] =>
  address === undefined ? undefined : { address, port };
