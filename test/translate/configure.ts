// Configuration of a node from YAML, read as the product reads it. Every resource is encoded, so that no field is misspelt.

import assert from 'node:assert/strict';
import { parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import type { Instance } from '../../src/mesh/instance.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { type ProxyNode, parseNode } from '../../src/translate/proxy-node.ts';
import { type ProxyConfig, translate } from '../../src/translate/translate.ts';
import { encodeNamed } from '../../src/xds/codec.ts';
import type { Cluster, FilterChain, Node } from '../../src/xds/gen/types.ts';

export const GATEWAY: Node = {
  id: 'router~10.244.0.9~gw.istio-system~istio-system.svc.cluster.local',
  metadata: { NAMESPACE: 'istio-system', LABELS: { istio: 'ingressgateway' } },
};
export const CLIENT: Node = {
  id: 'sidecar~10.244.0.1~web-0.shop~shop.svc.cluster.local',
  metadata: { NAMESPACE: 'shop', LABELS: { app: 'web' }, INSTANCE_IPS: '10.244.0.1' },
};

export interface Setting {
  readonly node?: Node;
  readonly mesh?: Readonly<Record<string, unknown>>;
  readonly instances?: readonly Instance[];
  /** Facts that the control plane knows of the node. */
  readonly known?: Partial<ProxyNode>;
}

export const configure = (yaml: string, { node = GATEWAY, mesh = {}, instances = [], known = {} }: Setting = {}): ProxyConfig => {
  const { resources, problems } = parseDocuments('mesh.yaml', yaml);
  assert.deepEqual(
    problems.filter((p) => p.severity === 'error'),
    [],
  );
  const read = parseMeshConfig('mesh-config.yaml', JSON.stringify(mesh));
  assert.ok(read.ok);
  const parsed = parseNode(node);
  assert.ok(parsed);
  const { snapshot } = buildSnapshot({ resources, instances, meshConfig: read.value.config });
  const config = translate(snapshot, { ...parsed, ...known });
  for (const c of config.clusters) encodeNamed('envoy.config.cluster.v3.Cluster', c);
  for (const l of config.listeners) encodeNamed('envoy.config.listener.v3.Listener', l);
  for (const r of config.routes) encodeNamed('envoy.config.route.v3.RouteConfiguration', r);
  for (const s of config.secrets ?? []) encodeNamed('envoy.extensions.transport_sockets.tls.v3.Secret', s);
  return config;
};

export const clusterOf = (config: ProxyConfig, name: string): Cluster => {
  const found = config.clusters.find((c) => c.name === name);
  assert.ok(found, `no cluster ${name} among ${config.clusters.map((c) => c.name).join(' ')}`);
  return found;
};

export const chainsOf = (config: ProxyConfig, listener: string): readonly FilterChain[] => {
  const found = config.listeners.find((l) => l.name === listener);
  assert.ok(found, `no listener ${listener} among ${config.listeners.map((l) => l.name).join(' ')}`);
  return found.filter_chains ?? [];
};

/** The typed configuration of a chain's last filter. */
export const lastFilter = (chain: FilterChain | undefined): Record<string, unknown> => {
  const config = chain?.filters?.at(-1)?.typed_config;
  assert.ok(config);
  return config as Record<string, unknown>;
};
