// The door of this room: a snapshot and a proxy give the proxy's whole xDS configuration. Pure; the same input gives equal output in
// the same order.

import { compareText } from '../mesh/order.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { Cluster, ClusterLoadAssignment, Listener, NameTable, RouteConfiguration } from '../xds/gen/types.ts';
import { blackHoleCluster, inboundClusters, passthroughClusters } from './cluster-inbound.ts';
import { outboundClusters } from './cluster-outbound.ts';
import { buildContext, type Context } from './context.ts';
import { gatewayConfig } from './gateway-listener.ts';
import { inboundPorts } from './inbound-ports.ts';
import { inboundListener } from './listener-inbound.ts';
import { outboundListeners } from './listener-outbound.ts';
import { nameTable } from './name-table.ts';
import type { ProxyNode } from './proxy-node.ts';
import { outboundRoutes } from './route-outbound.ts';

export interface ProxyConfig {
  readonly clusters: readonly Cluster[];
  readonly listeners: readonly Listener[];
  readonly routes: readonly RouteConfiguration[];
  readonly endpoints: readonly ClusterLoadAssignment[];
  readonly nameTable: NameTable;
}

export const translate = (snapshot: Snapshot, node: ProxyNode): ProxyConfig => {
  const c = buildContext(snapshot, node);
  const config = node.kind === 'sidecar' ? sidecar(c) : router(c);
  return {
    clusters: byName(config.clusters),
    listeners: byName(config.listeners),
    routes: byName(config.routes),
    endpoints: [...config.endpoints].sort((a, b) => compareText(a.cluster_name ?? '', b.cluster_name ?? '')),
    nameTable: nameTable(c),
  };
};

const byName = <T extends { readonly name?: string | undefined }>(list: readonly T[]): readonly T[] =>
  [...list].sort((a, b) => compareText(a.name ?? '', b.name ?? ''));

type Parts = Omit<ProxyConfig, 'nameTable'>;

const sidecar = (c: Context): Parts => {
  const ports = inboundPorts(c);
  const outbound = outboundClusters(c);
  const listeners = outboundListeners(c);
  return {
    clusters: [blackHoleCluster(c), ...passthroughClusters(c), ...inboundClusters(c, ports), ...outbound.clusters],
    listeners: [...listeners.listeners, inboundListener(c, ports)],
    routes: listeners.routeNames.map((name) => outboundRoutes(c, name)),
    endpoints: outbound.endpoints,
  };
};

const router = (c: Context): Parts => {
  const outbound = outboundClusters(c);
  const gateway = gatewayConfig(c);
  return {
    clusters: [blackHoleCluster(c), ...outbound.clusters],
    listeners: gateway.listeners,
    routes: gateway.routes,
    endpoints: outbound.endpoints,
  };
};
