// EnvoyFilter on what a proxy is to have, in the pieces that it is made in: what the proxy has for itself, and of what it has to call
// others only what some patch may change.

import type { Patch, PatchTarget } from '../mesh/envoy-filters.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { Cluster, Core_TypedExtensionConfig, Listener, RouteConfiguration } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import type { InboundPort } from './inbound-ports.ts';
import { inboundCluster } from './names.ts';
import { addClusters, patchClusters } from './patch-clusters.ts';
import { patchListeners } from './patch-listeners.ts';
import { clusterFits } from './patch-match.ts';
import { patchRoutes } from './patch-routes.ts';
import { type PatchContext, type PatchReport, PatchSet } from './patch-set.ts';
import type { ProxyNode } from './proxy-node.ts';

/** Of what a proxy has to call others, what patches may change. */
export interface PatchReach {
  /** Of services. */
  readonly clusters: boolean;
  readonly listeners: boolean;
  readonly routes: boolean;
}

export interface OwnPatched {
  readonly clusters: readonly Cluster[];
  readonly listeners: readonly Listener[];
  readonly routes: readonly RouteConfiguration[];
  /** Configurations of filters that are discovered by name. */
  readonly extensions: readonly Core_TypedExtensionConfig[];
  readonly patches: PatchReport;
}

const ROUTING: readonly PatchTarget[] = ['ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE'];
/** Listeners may hold routes. */
const LISTENING: readonly PatchTarget[] = ['LISTENER', 'FILTER_CHAIN', 'NETWORK_FILTER', 'HTTP_FILTER', 'LISTENER_FILTER', ...ROUTING];

const calling = (node: ProxyNode): PatchContext => (node.kind === 'router' ? 'GATEWAY' : 'SIDECAR_OUTBOUND');

/** Undefined: the proxy gets no patch. */
export const patchReach = (snapshot: Snapshot, node: ProxyNode): PatchReach | undefined => {
  const set = new PatchSet(snapshot, node);
  if (set.isEmpty) return undefined;
  const context = calling(node);
  const reaches = (targets: readonly PatchTarget[]): boolean => targets.some((t) => set.of(t, context).length > 0);
  return {
    // One that is added stands beside them.
    clusters: set.of('CLUSTER', context).some((p) => p.operation !== 'ADD'),
    listeners: reaches(LISTENING),
    routes: reaches(ROUTING),
  };
};

const placeOf = (c: Context, set: PatchSet, context: PatchContext) => ({ set, context, servicePorts: servicePortsOf(c) });

/** Clusters towards services: merged and removed, none added. */
export const patchReached = (
  c: Context,
  clusters: readonly Cluster[],
): { readonly clusters: readonly Cluster[]; readonly applied: readonly Patch[] } => {
  const set = new PatchSet(c.snapshot, c.node);
  return { clusters: patchClusters(clusters, c.node, () => [], set), applied: [...set.report().applied] };
};

/** The listeners of a sidecar for what its application calls. */
export const patchCalled = (c: Context, listeners: readonly Listener[]): Pick<OwnPatched, 'listeners' | 'patches'> => {
  const set = new PatchSet(c.snapshot, c.node);
  return { listeners: patchListeners(listeners, placeOf(c, set, 'SIDECAR_OUTBOUND')), patches: set.report() };
};

/** The route configurations of these. */
export const patchRouting = (c: Context, routes: readonly RouteConfiguration[]): Pick<OwnPatched, 'routes' | 'patches'> => {
  const set = new PatchSet(c.snapshot, c.node);
  const place = placeOf(c, set, 'SIDECAR_OUTBOUND');
  return { routes: routes.map((r) => patchRoutes(r, place)), patches: set.report() };
};

/**
 * What a sidecar has for its own application, or a gateway but for the clusters of its services; and what patches add, whichever side
 * it is for. `ports`: of the sidecar's application.
 */
export const patchOwn = (
  c: Context,
  config: Pick<OwnPatched, 'clusters' | 'listeners'> & Partial<Pick<OwnPatched, 'routes'>>,
  ports: readonly InboundPort[],
  set: PatchSet,
): OwnPatched => {
  const hosts = new Map(ports.map((p) => [inboundCluster(p.targetPort), p.services.map((s) => s.host)]));
  const place = placeOf(c, set, c.node.kind === 'router' ? 'GATEWAY' : 'SIDECAR_INBOUND');
  const listeners = patchListeners(config.listeners, place);
  const patched = patchClusters(config.clusters, c.node, (name) => hosts.get(name) ?? [], set);
  const gone = set.of('CLUSTER', calling(c.node)).filter((p) => p.operation === 'REMOVE');
  const isKnown = (name: string): boolean => isOfService(c, name) && !gone.some((p) => clusterFits(name, [], p));
  const clusters = addClusters(patched, c.node, isKnown, set);
  const routes = (config.routes ?? []).map((r) => patchRoutes(r, place));
  return { clusters, listeners, routes, extensions: extensionConfigs(set), patches: set.report() };
};

/** The proxy has a cluster of that name to call a service with. */
const isOfService = (c: Context, name: string): boolean => {
  const [direction, port, subset = '', host = ''] = name.split('|');
  if (direction !== 'outbound') return false;
  const service = c.shape(host);
  if (service === undefined || !service.ports.some((p) => `${p.port}` === port && p.protocol !== 'UDP')) return false;
  return subset === '' || c.destinationRule(service)?.spec.subsets?.some((s) => s.name === subset) === true;
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
