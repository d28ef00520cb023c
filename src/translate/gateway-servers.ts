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
import type { ProxyNode } from './proxy-node.ts';

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
  /** Servers of one protocol stand together, protocols in the order in which they came. */
  readonly servers: readonly BoundServer[];
}

const isHttps = (s: GatewayServer): boolean => serverProtocol(s) === 'HTTPS' && terminatesTls(s);

/** The route configuration a server names: HTTP servers of a listener's port share one, HTTPS servers have one each, by their own port. */
const routeName = (s: GatewayServer, port: number, g: GatewayRule): string => {
  const bind = (s.bind ?? '') === '' ? '' : `.${s.bind}`;
  if (isPlainHttp(s)) return `http.${port}${bind}`;
  return isHttps(s) ? `https.${s.port.number}.${s.port.name}.${g.name}.${g.namespace}${bind}` : '';
};

/** Label of a Service whose ports are not those that servers speak of. */
const NO_TRANSLATION = 'experimental.istio.io/disable-gateway-port-translation';

/** Through Services of the proxy a server's port is the Services' port, and listeners stand on their targets. */
const listenerPorts = (c: Context, number: number): readonly number[] => {
  const targets = new Set<number>();
  for (const { service, portIndex, endpoint } of c.snapshot.services.at(c.node.ipAddresses, c.node.workloadNamespace)) {
    if (service.ports[portIndex]?.port === number && service.labels[NO_TRANSLATION] === undefined) targets.add(endpoint.port);
  }
  return targets.size === 0 ? [number] : [...targets].sort((a, b) => a - b);
};

/** Ports below belong to privileged processes; a proxy says when it is none. */
const FIRST_UNPRIVILEGED_PORT = 1024;
const lacksPrivilege = (node: ProxyNode): boolean =>
  node.metadata['UNPRIVILEGED_POD'] === 'true' || node.metadata['UNPRIVILEGED_POD'] === true;

interface Draft {
  readonly bind: string;
  readonly port: number;
  readonly kind: ServerKind;
  servers: BoundServer[];
}

export const planGatewayListeners = (c: Context): readonly GatewayListenerPlan[] => {
  const plans = new Map<string, Draft>();
  // HTTPS servers have their route configurations for themselves, also across addresses.
  const taken = new Map<string, GatewayServer>();
  for (const gateway of gatewaysFor(c.snapshot.gateways, c.node.labels)) {
    for (const server of gateway.servers) {
      const bind = (server.bind ?? '') === '' ? WILDCARD_ADDRESS : (server.bind ?? WILDCARD_ADDRESS);
      for (const port of listenerPorts(c, server.port.number)) {
        // Where the proxy may not stand on low ports the server is left out, or the proxy would refuse the listener.
        if (port < FIRST_UNPRIVILEGED_PORT && lacksPrivilege(c.node)) continue;
        const kind = serverKind(server);
        const bound: BoundServer = { gateway, gatewayKey: gatewayKey(gateway), server, routeName: routeName(server, port, gateway) };
        const holder = kind === 'http' || bound.routeName === '' ? undefined : taken.get(bound.routeName);
        if (holder !== undefined && holder !== server) continue;
        const key = `${bind}_${port}`;
        const plan = plans.get(key);
        if (plan === undefined) plans.set(key, { bind, port, kind, servers: [bound] });
        // Who cannot join loses to the older.
        else if (
          portConflict(
            plan.servers.map((s) => s.server),
            server,
          ) === undefined
        )
          plan.servers = place(plan.servers, bound);
        else continue;
        taken.set(bound.routeName, server);
      }
    }
  }
  return [...plans.values()];
};

/** After the last server of its protocol, else at the end. */
const place = (servers: readonly BoundServer[], bound: BoundServer): BoundServer[] => {
  const last = servers.findLastIndex((s) => serverProtocol(s.server) === serverProtocol(bound.server));
  return last === -1 ? [...servers, bound] : servers.toSpliced(last + 1, 0, bound);
};
