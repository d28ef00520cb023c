// The servers of all Gateways that select a proxy, joined by port: which listeners there are and which route configurations they name.

import type { GatewayServer } from '../api/specs.ts';
import {
  type GatewayRule,
  gatewayKey,
  gatewaysFor,
  isPlainHttp,
  portConflict,
  type ServerKind,
  serverKind,
  serverProtocol,
  terminatesTls,
} from '../mesh/gateways.ts';
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
  readonly kind: ServerKind;
  readonly servers: readonly BoundServer[];
}

const isHttps = (s: GatewayServer): boolean => serverProtocol(s) === 'HTTPS' && terminatesTls(s);

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
  const plans = new Map<string, { bind: string; port: number; kind: ServerKind; servers: BoundServer[] }>();
  for (const gateway of gatewaysFor(c.snapshot.gateways, c.node.labels)) {
    for (const server of gateway.servers) {
      const bind = (server.bind ?? '') === '' ? WILDCARD_ADDRESS : (server.bind ?? WILDCARD_ADDRESS);
      for (const port of resolvePorts(c, server.port.number)) {
        const kind = serverKind(server);
        const bound: BoundServer = { gateway, gatewayKey: gatewayKey(gateway), server, routeName: routeName(server, port, gateway) };
        const key = `${bind}_${port}`;
        const plan = plans.get(key);
        if (plan === undefined) plans.set(key, { bind, port, kind, servers: [bound] });
        else if (joins(plan, bound)) plan.servers.push(bound);
      }
    }
  }
  return [...plans.values()];
};

/** Who cannot join loses to the older. */
const joins = (plan: { readonly servers: readonly BoundServer[] }, bound: BoundServer): boolean => {
  const held = plan.servers.map((s) => s.server);
  if (portConflict(held, bound.server) !== undefined) return false;
  return serverKind(bound.server) === 'http' || bound.routeName === '' || !plan.servers.some((s) => s.routeName === bound.routeName);
};
