// The servers of all Gateways that select a proxy, joined by port: which listeners there are and which route configurations they name.

import type { GatewayServer } from '../api/specs.ts';
import { type GatewayRule, gatewayKey, gatewaysFor, serverProtocol } from '../mesh/gateways.ts';
import { isHttp } from '../mesh/protocol.ts';
import type { Context } from './context.ts';
import { WILDCARD_ADDRESS } from './names.ts';

export interface BoundServer {
  readonly gateway: GatewayRule;
  readonly gatewayKey: string;
  readonly server: GatewayServer;
  /** Empty for servers without HTTP routes. */
  readonly routeName: string;
}

export interface GatewayListenerPlan {
  readonly bind: string;
  readonly port: number;
  readonly kind: 'http' | 'tls' | 'tcp';
  readonly servers: readonly BoundServer[];
}

export const terminatesTls = (s: GatewayServer): boolean => {
  const mode = s.tls?.mode ?? 'PASSTHROUGH';
  return s.tls !== undefined && mode !== 'PASSTHROUGH' && mode !== 'AUTO_PASSTHROUGH';
};

const isPlainHttp = (s: GatewayServer): boolean =>
  isHttp(serverProtocol(s)) && (s.tls === undefined || s.tls.httpsRedirect === true || (s.tls.mode ?? 'PASSTHROUGH') === 'PASSTHROUGH');
const isHttps = (s: GatewayServer): boolean => serverProtocol(s) === 'HTTPS' && terminatesTls(s);
export const serverHosts = (s: GatewayServer): readonly string[] => (s.hosts ?? []).map((h) => h.slice(h.indexOf('/') + 1));

/** The route configuration a server names: HTTP servers of a port share one, HTTPS servers have one each. */
const routeName = (s: GatewayServer, port: number, g: GatewayRule): string => {
  if (isPlainHttp(s)) return (s.bind ?? '') === '' ? `http.${port}` : `http.${port}.${s.bind}`;
  return isHttps(s) ? `https.${port}.${s.port.name}.${g.name}.${g.namespace}` : '';
};

/** Through a Service of the proxy a server's port is the Service's port, and the listener stands on its target. */
const resolvePorts = (c: Context, number: number): readonly number[] => {
  const targets = new Set<number>();
  for (const i of c.snapshot.services.at(c.node.ipAddresses, c.node.workloadNamespace)) {
    if (i.service.ports[i.portIndex]?.port === number) targets.add(i.endpoint.port);
  }
  return targets.size === 0 ? [number] : [...targets].sort((a, b) => a - b);
};

export const planGatewayListeners = (c: Context): readonly GatewayListenerPlan[] => {
  const plans = new Map<string, { bind: string; port: number; kind: 'http' | 'tls' | 'tcp'; servers: BoundServer[] }>();
  for (const gateway of gatewaysFor(c.snapshot.gateways, c.node.labels)) {
    for (const server of gateway.servers) {
      const bind = (server.bind ?? '') === '' ? WILDCARD_ADDRESS : (server.bind ?? WILDCARD_ADDRESS);
      for (const port of resolvePorts(c, server.port.number)) {
        const kind = isPlainHttp(server) ? 'http' : server.tls !== undefined ? 'tls' : 'tcp';
        const bound: BoundServer = { gateway, gatewayKey: gatewayKey(gateway), server, routeName: routeName(server, port, gateway) };
        const key = `${bind}_${port}`;
        const plan = plans.get(key);
        if (plan === undefined) plans.set(key, { bind, port, kind, servers: [bound] });
        else if (joins(plan, bound, kind)) plan.servers.push(bound);
      }
    }
  }
  return [...plans.values()];
};

/** Plain HTTP joins plain HTTP; TLS joins TLS where server names tell them apart; anything else loses to the older. */
const joins = (plan: { readonly kind: string; readonly servers: readonly BoundServer[] }, bound: BoundServer, kind: string): boolean => {
  if (plan.kind !== kind || kind === 'tcp') return false;
  if (kind === 'http') return true;
  const taken = new Set(plan.servers.flatMap((s) => serverHosts(s.server)));
  if (serverHosts(bound.server).some((h) => taken.has(h))) return false;
  return bound.routeName === '' || !plan.servers.some((s) => s.routeName === bound.routeName);
};
