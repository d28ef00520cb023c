// What stands before a gateway: how many proxies are trusted, and how they pass on who called. What the gateway was started with counts
// more than what the mesh says now.

import type { MeshConfig, MeshProxyConfig } from '../api/mesh-config.ts';
import type { ProxyNode } from './proxy-node.ts';

type GatewayTopology = NonNullable<MeshProxyConfig['gatewayTopology']>;

const isObject = (v: unknown): v is Readonly<Record<string, unknown>> => typeof v === 'object' && v !== null && !Array.isArray(v);

export const gatewayTopology = (mesh: MeshConfig, node: ProxyNode): GatewayTopology => {
  const config = node.metadata['PROXY_CONFIG'];
  const own = isObject(config) ? config['gatewayTopology'] : undefined;
  return isObject(own) ? (own as GatewayTopology) : (mesh.defaultConfig.gatewayTopology ?? {});
};
