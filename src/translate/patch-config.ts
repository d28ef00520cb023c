// EnvoyFilter on everything a proxy is to have: the last step of the translation.

import type { Cluster, Core_TypedExtensionConfig, Listener, RouteConfiguration } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import type { InboundPort } from './inbound-ports.ts';
import { inboundCluster } from './names.ts';
import type { Note } from './note.ts';
import { patchClusters } from './patch-clusters.ts';
import { patchListeners } from './patch-listeners.ts';
import { patchRoutes } from './patch-routes.ts';
import { type PatchContext, type PatchReport, PatchSet } from './patch-set.ts';

export interface Patchable {
  readonly clusters: readonly Cluster[];
  readonly listeners: readonly Listener[];
  readonly routes: readonly RouteConfiguration[];
}

export interface Patched extends Patchable {
  /** Configurations of filters that are discovered by name. */
  readonly extensions: readonly Core_TypedExtensionConfig[];
  readonly patches: PatchReport;
  readonly notes: readonly Note[];
}

/** `ports`: of the sidecar's own application. */
export const patchConfig = (c: Context, config: Patchable, ports: readonly InboundPort[]): Patched => {
  const set = new PatchSet(c.snapshot, c.node);
  if (set.isEmpty) return { ...config, extensions: [], patches: set.report(), notes: set.notes };
  const servicePorts = servicePortsOf(c);
  const hosts = new Map(ports.map((p) => [inboundCluster(p.targetPort), p.services.map((s) => s.host)]));
  const place = (context: PatchContext) => ({ set, context, servicePorts });
  const inbound = config.listeners.filter((l) => l.traffic_direction === 'INBOUND');
  const outbound = config.listeners.filter((l) => l.traffic_direction !== 'INBOUND');
  const routing: PatchContext = c.node.kind === 'router' ? 'GATEWAY' : 'SIDECAR_OUTBOUND';
  const listeners =
    c.node.kind === 'router'
      ? patchListeners(config.listeners, place('GATEWAY'))
      : [...patchListeners(outbound, place('SIDECAR_OUTBOUND')), ...patchListeners(inbound, place('SIDECAR_INBOUND'))];
  const clusters = patchClusters(config.clusters, c.node, (name) => hosts.get(name) ?? [], set);
  const routes = config.routes.map((r) => patchRoutes(r, place(routing)));
  return { clusters, listeners, routes, extensions: extensionConfigs(set), patches: set.report(), notes: set.notes };
};

const extensionConfigs = (set: PatchSet): readonly Core_TypedExtensionConfig[] =>
  set
    .all('EXTENSION_CONFIG')
    .filter((p) => p.operation === 'ADD')
    .map((p) => {
      set.note(p);
      return p.value as Core_TypedExtensionConfig;
    });

const servicePortsOf = (c: Context): ((port: number) => ReadonlySet<number> | undefined) => {
  if (c.node.kind !== 'router') return () => undefined;
  const ports = new Map<number, Set<number>>();
  for (const i of c.snapshot.services.at(c.node.ipAddresses, c.node.workloadNamespace)) {
    const number = i.service.ports[i.portIndex]?.port;
    if (number === undefined) continue;
    const known = ports.get(i.endpoint.port);
    if (known === undefined) ports.set(i.endpoint.port, new Set([number]));
    else known.add(number);
  }
  return (port) => ports.get(port);
};
