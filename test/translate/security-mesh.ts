// A mesh of one workload and one gateway for tests of security policies: what a proxy that knows every filter, or only some, is sent.

import type { KeySets } from '../../src/mesh/key-sets.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { type ProxyNode, parseNode } from '../../src/translate/proxy-node.ts';
import { type ProxyConfig, translate } from '../../src/translate/translate.ts';
import type { FilterChain, HttpConnectionManager, HttpFilter, Listener, Listener_Filter } from '../../src/xds/gen/types.ts';
import { meshConfigOf, resourcesOf } from './mesh-fixture.ts';

export const SERVICES = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: app, namespace: shop}
spec:
  hosts: [app.shop.svc.cluster.local]
  addresses: [10.0.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 9000, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.1.0.1, labels: {app: app}, serviceAccount: app}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: authz, namespace: shop}
spec:
  hosts: [authz.shop.svc.cluster.local]
  addresses: [10.0.0.2]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8000, name: http, protocol: HTTP}, {number: 9000, name: grpc, protocol: GRPC}]
  endpoints: [{address: 10.1.0.2}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8000, name: http, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: shop}
spec:
  hosts: ['*']
  gateways: [istio-system/gw]
  http: [{route: [{destination: {host: app.shop.svc.cluster.local, port: {number: 80}}}]}]
  tcp: [{match: [{port: 9000}], route: [{destination: {host: app.shop.svc.cluster.local, port: {number: 9000}}}]}]
---
`;

export interface NodeOptions {
  readonly gateway?: boolean;
  /** Names of filters the proxy announces; nothing is announced when absent. */
  readonly announces?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
}

export const nodeOf = ({ gateway = false, announces, labels }: NodeOptions = {}): ProxyNode => {
  const id = gateway
    ? 'router~10.1.0.9~gw.istio-system~istio-system.svc.cluster.local'
    : 'sidecar~10.1.0.1~app.shop~shop.svc.cluster.local';
  const node = parseNode({
    id,
    metadata: { LABELS: labels ?? (gateway ? { istio: 'ingressgateway' } : { app: 'app' }) },
    ...(announces === undefined ? {} : { extensions: announces.map((name) => ({ name })) }),
  });
  if (node === undefined) throw new Error(`not a node: ${id}`);
  return node;
};

export interface MeshOptions extends NodeOptions {
  readonly mesh?: Readonly<Record<string, unknown>>;
  readonly keySets?: KeySets;
}

export const snapshotOf = (yaml: string, { mesh = {}, keySets }: MeshOptions = {}) => {
  const input = { resources: resourcesOf(SERVICES + yaml), instances: [], meshConfig: meshConfigOf({ ...mesh }) };
  return buildSnapshot(keySets === undefined ? input : { ...input, keySets });
};

export const configFor = (yaml: string, options: MeshOptions = {}): ProxyConfig =>
  translate(snapshotOf(yaml, options).snapshot, nodeOf(options));

const managerOf = (chain: FilterChain): HttpConnectionManager | undefined => {
  const filter = chain.filters?.find((f) => f.name === 'envoy.filters.network.http_connection_manager');
  return filter === undefined ? undefined : (filter.typed_config as unknown as HttpConnectionManager);
};

const listenerOf = (config: ProxyConfig, gateway: boolean, port: number): Listener | undefined =>
  config.listeners.find((l) => l.name === (gateway ? `0.0.0.0_${port}` : 'virtualInbound'));

/** Chains of an application port at a sidecar, all chains of a listener at a gateway. */
export const chainsOf = (config: ProxyConfig, port: number, gateway = false): readonly FilterChain[] => {
  const chains = listenerOf(config, gateway, port)?.filter_chains ?? [];
  return gateway ? chains : chains.filter((c) => c.filter_chain_match?.destination_port === port);
};

export const managersOf = (chains: readonly FilterChain[]): readonly HttpConnectionManager[] =>
  chains.map(managerOf).filter((m): m is HttpConnectionManager => m !== undefined);

const SECURITY = /rbac|jwt_authn|ext_authz/;

export const httpSecurity = (chains: readonly FilterChain[]): readonly (readonly HttpFilter[])[] =>
  managersOf(chains).map((m) => (m.http_filters ?? []).filter((f) => SECURITY.test(f.name ?? '')));

export const tcpSecurity = (chains: readonly FilterChain[]): readonly (readonly Listener_Filter[])[] =>
  chains.filter((c) => managerOf(c) === undefined).map((c) => (c.filters ?? []).filter((f) => SECURITY.test(f.name ?? '')));

export const names = (filters: readonly { readonly name?: string | undefined }[]): readonly string[] => filters.map((f) => f.name ?? '');
