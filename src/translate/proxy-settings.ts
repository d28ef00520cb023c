// What a proxy was started with, field by field: its own ProxyConfig, as its agent announces it, counts more than what the mesh says now.

import type { MeshConfig, MeshProxyConfig } from '../api/mesh-config/mesh-config.ts';
import { derive } from '../base/derive.ts';
import type { ProxyNode } from './proxy-node.ts';

const isObject = (v: unknown): v is Readonly<Record<string, unknown>> => typeof v === 'object' && v !== null && !Array.isArray(v);

type ObjectField = {
  [K in keyof MeshProxyConfig]-?: NonNullable<MeshProxyConfig[K]> extends object ? K : never;
}[keyof MeshProxyConfig];

/** Undefined where neither says anything. */
export const proxySetting = <K extends ObjectField>(mesh: MeshConfig, node: ProxyNode, field: K): MeshProxyConfig[K] | undefined =>
  ownSetting(node, field) ?? mesh.defaultConfig[field];

const ownSetting = <K extends ObjectField>(node: ProxyNode, field: K): MeshProxyConfig[K] | undefined =>
  derive(node, `proxy setting ${field}`, (n) => {
    const config = n.metadata['PROXY_CONFIG'];
    const own = isObject(config) ? config[field] : undefined;
    // The agent's word is not read by our tables: whatever it says wrong, the codec leaves out.
    return isObject(own) ? (own as MeshProxyConfig[K]) : undefined;
  });
