// Gateways in the order in which they win, and which proxies they configure.

import type { Resource } from '../api/resource.ts';
import type { GatewayServer } from '../api/specs.ts';
import { compareAge, creationMsOf } from './order.ts';
import { type Protocol, protocolOfName } from './protocol.ts';
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
