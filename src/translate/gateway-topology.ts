// What stands before a gateway: how many proxies are trusted, and how they pass on who called.

import type { MeshConfig, MeshProxyConfig } from '../api/mesh-config/mesh-config.ts';
import type { ProxyNode } from './proxy-node.ts';
import { proxySetting } from './proxy-settings.ts';

type GatewayTopology = NonNullable<MeshProxyConfig['gatewayTopology']>;

export const gatewayTopology = (mesh: MeshConfig, node: ProxyNode): GatewayTopology => proxySetting(mesh, node, 'gatewayTopology') ?? {};
