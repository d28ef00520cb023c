// Gateways in the order in which they win, which proxies they configure, and which of their servers can share a port.

import type { Resource } from '../api/resource.ts';
import type { GatewayServer } from '../api/specs.ts';
import { compareAge, creationMsOf } from './order.ts';
import { isHttp, type Protocol, protocolOfName } from './protocol.ts';
import { selects } from './service.ts';

export interface GatewayRule {
  readonly name: string;
  readonly namespace: string;
  readonly creationMs: number;
  readonly selector: Readonly<Record<string, string>>;
  readonly servers: readonly GatewayServer[];
  readonly resource: Resource<'Gateway'>;
}

export const gatewayKey = (g: { readonly name: string; readonly namespace: string }): string => `${g.namespace}/${g.name}`;

export const buildGateways = (resources: readonly Resource<'Gateway'>[]): readonly GatewayRule[] =>
  resources
    .map((r) => ({
      name: r.name,
      namespace: r.namespace,
      creationMs: creationMsOf(r.creationTimestamp),
      selector: r.spec.selector ?? {},
      servers: r.spec.servers ?? [],
      resource: r,
    }))
    .sort(compareAge);

/** An empty selector selects every gateway proxy. */
export const gatewaysFor = (gateways: readonly GatewayRule[], labels: Readonly<Record<string, string>>): readonly GatewayRule[] =>
  gateways.filter((g) => selects(g.selector, labels));

export const serverProtocol = (s: GatewayServer): Protocol => protocolOfName(s.port.protocol);

export const terminatesTls = (s: GatewayServer): boolean => {
  const mode = s.tls?.mode ?? 'PASSTHROUGH';
  return s.tls !== undefined && mode !== 'PASSTHROUGH' && mode !== 'AUTO_PASSTHROUGH';
};

/** Whatever its TLS settings say: of those only the redirect means something to an HTTP server. */
export const isPlainHttp = (s: GatewayServer): boolean => isHttp(serverProtocol(s));

/** Without the namespace that may stand before a host. */
export const serverHosts = (s: GatewayServer): readonly string[] => (s.hosts ?? []).map((h) => h.slice(h.indexOf('/') + 1));

/** How the connections of a server's port are told apart. */
export type ServerKind = 'http' | 'tls' | 'tcp';
export const serverKind = (s: GatewayServer): ServerKind => (isPlainHttp(s) ? 'http' : s.tls !== undefined ? 'tls' : 'tcp');

/** Why a server cannot have a port that others hold: plain HTTP joins plain HTTP, TLS joins TLS where names tell them apart, TCP joins nothing. */
export const portConflict = (held: readonly GatewayServer[], s: GatewayServer): string | undefined => {
  const [first] = held;
  if (first === undefined) return undefined;
  const kind = serverKind(s);
  if (serverKind(first) !== kind) return `the port is held by a ${serverProtocol(first)} server`;
  if (kind === 'tcp') return 'the port is held by another TCP server';
  if (kind === 'http') return undefined;
  const taken = new Set(held.flatMap(serverHosts).map((h) => h.toLowerCase()));
  const twice = serverHosts(s).find((h) => taken.has(h.toLowerCase()));
  return twice === undefined ? undefined : `another server of the port has the host ${twice}`;
};

export interface ServerConflict {
  readonly gateway: GatewayRule;
  readonly path: string;
  readonly message: string;
}

/** Servers that every proxy which has both gateways leaves out. Gateways are taken to meet where one's selector contains the other's. */
export const serverConflicts = (gateways: readonly GatewayRule[]): readonly ServerConflict[] => {
  const out: ServerConflict[] = [];
  for (const [at, gateway] of gateways.entries()) {
    const older = gateways.slice(0, at).filter((o) => selects(o.selector, gateway.selector) || selects(gateway.selector, o.selector));
    for (const [i, server] of gateway.servers.entries()) {
      const own = gateway.servers.slice(0, i).map((s) => ({ gateway, server: s }));
      const held = [...older.flatMap((g) => g.servers.map((s) => ({ gateway: g, server: s }))), ...own].filter((h) =>
        samePort(h.server, server),
      );
      const why = portConflict(
        held.map((h) => h.server),
        server,
      );
      if (why === undefined) continue;
      const message = `server ${server.port.name} (${server.port.number}) has no effect: ${why}; Gateway ${gatewayKey(held[0]?.gateway ?? gateway)} is in force`;
      out.push({ gateway, path: `spec.servers[${i}]`, message });
    }
  }
  return out;
};

const samePort = (a: GatewayServer, b: GatewayServer): boolean => a.port.number === b.port.number && (a.bind ?? '') === (b.bind ?? '');
