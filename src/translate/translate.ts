// The door of this room: a snapshot and a proxy give the proxy's whole xDS configuration. Pure; the same input gives equal output in
// the same order.

import { compareText } from '../mesh/order.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type {
  Cluster,
  ClusterLoadAssignment,
  Core_TypedExtensionConfig,
  ProxyConfig as IstioProxyConfig,
  Listener,
  NameTable,
  RouteConfiguration,
  Secret,
} from '../xds/gen/types.ts';
import { clustersInFamily, listenersInFamily } from './address-family.ts';
import { agentConfig } from './agent-config.ts';
import { blackHoleCluster, inboundClusters, passthroughClusters } from './cluster-inbound.ts';
import { clustersOf, outboundClusters, passedThroughClusters } from './cluster-outbound.ts';
import { buildContext, type Context } from './context.ts';
import { credentialSecrets } from './credentials.ts';
import { gatewayConfig } from './gateway-listener.ts';
import { type InboundPort, inboundPorts } from './inbound-ports.ts';
import { inboundListeners } from './listener-inbound.ts';
import { outboundListeners } from './listener-outbound.ts';
import { nameTable } from './name-table.ts';
import type { Note } from './note.ts';
import { neededClusters, onDemandListeners, onDemandRoutes, type RouteHosts } from './on-demand.ts';
import type { MakePart } from './part.ts';
import { type Patchable, patchConfig } from './patch-config.ts';
import { type PatchReport, PatchSet } from './patch-set.ts';
import type { ProxyNode } from './proxy-node.ts';
import { proxyless } from './proxyless.ts';
import { outboundRoutes } from './route-outbound.ts';
import { unknownClusters } from './unknown-destination.ts';

export interface ProxyConfig {
  readonly clusters: readonly Cluster[];
  readonly listeners: readonly Listener[];
  readonly routes: readonly RouteConfiguration[];
  readonly endpoints: readonly ClusterLoadAssignment[];
  readonly nameTable: NameTable;
  /** For the proxy's agent. */
  readonly agentConfig?: IstioProxyConfig;
  /** Keys and roots that the configuration asks the control plane for. */
  readonly secrets?: readonly Secret[];
  /** Configurations of filters that are discovered by name. */
  readonly extensions?: readonly Core_TypedExtensionConfig[];
  /** What the EnvoyFilters that select the proxy did. */
  readonly patches?: PatchReport;
  /** What the proxy is not given. */
  readonly notes?: readonly Note[];
}

/** What a proxy is given when it asks for it. */
export interface LazyConfig {
  readonly lazyClusters?: readonly Cluster[];
  readonly lazyListeners?: readonly Listener[];
  readonly virtualHosts?: readonly RouteHosts[];
  /** Of the lazy clusters those that it is given unasked. */
  readonly needed?: readonly string[];
}

/** A piece of a configuration that reads little of the node, so that it is the same for many proxies. */
export type ConfigPiece = Partial<ProxyConfig> & LazyConfig;

/** Makes a piece, or gives one that was made from a snapshot and a node that agree with these in all that the piece has read. */
export type MakePiece = <T extends object>(name: string, make: (snapshot: Snapshot, node: ProxyNode, part?: MakePart) => T) => T;

/** All of it, for proxies that ask for what they need as well. */
export const translate = (snapshot: Snapshot, given: ProxyNode): ProxyConfig => {
  const node = given.onDemand === true ? { ...given, onDemand: false } : given;
  const pieces = translatePieces(node.kind, (_, make) => make(snapshot, node));
  const config = {
    clusters: byName(pieces.flatMap((p) => p.clusters ?? [])),
    listeners: byName(pieces.flatMap((p) => p.listeners ?? [])),
    routes: byName(pieces.flatMap((p) => p.routes ?? [])),
    endpoints: pieces.flatMap((p) => p.endpoints ?? []).sort((a, b) => compareText(a.cluster_name ?? '', b.cluster_name ?? '')),
    nameTable: pieces.find((p) => p.nameTable !== undefined)?.nameTable ?? {},
    secrets: byName(byOwnName(pieces.flatMap((p) => p.secrets ?? []))),
    extensions: pieces.flatMap((p) => p.extensions ?? []),
    notes: pieces.flatMap((p) => p.notes ?? []),
  };
  const patches = pieces.find((p) => p.patches !== undefined)?.patches;
  return patches === undefined ? config : { ...config, patches };
};

const byName = <T extends { readonly name?: string | undefined }>(list: readonly T[]): readonly T[] =>
  [...list].sort((a, b) => compareText(a.name ?? '', b.name ?? ''));

/** All pieces of a proxy's configuration. `piece` may keep them by name: a name stands for one way of making one. */
export const translatePieces = (kind: ProxyNode['kind'], piece: MakePiece): readonly ConfigPiece[] => {
  const names = piece('names', (snapshot, node): ConfigPiece => ({ nameTable: nameTable(buildContext(snapshot, node)) }));
  const agent = piece('agent', (snapshot, node): ConfigPiece => {
    const config = agentConfig(snapshot, node);
    return config === undefined ? {} : { agentConfig: config };
  });
  if (kind === 'grpc') return [piece('proxyless', (snapshot, node): ConfigPiece => ({ ...proxyless(buildContext(snapshot, node)) }))];
  // A patch may change anything: then nothing is the same for others but what they agree in as a whole.
  const { patched } = piece('patched', (snapshot, node) => ({ patched: !new PatchSet(snapshot, node).isEmpty }));
  if (kind === 'router' && !patched) return [names, agent, ...gatewayPieces(piece)];
  if (patched) {
    return [
      names,
      agent,
      piece('all', (snapshot, node): ConfigPiece => (kind === 'sidecar' ? sidecar : router)(buildContext(snapshot, node))),
    ];
  }
  const outbound = piece('outbound', (snapshot, node, part): ConfigPiece => {
    const { clusters, ...rest } = allServices(buildContext(snapshot, node, part));
    return { ...(node.onDemand === true ? { lazyClusters: clusters } : { clusters }), ...rest };
  });
  const listening = piece('listening', (snapshot, node) => {
    const made = outboundListeners(buildContext(snapshot, node));
    const { lazyListeners, ...rest }: typeof made & LazyConfig =
      node.onDemand === true ? { ...made, ...onDemandListeners(node, made.listeners) } : made;
    return {
      ...rest,
      listeners: listenersInFamily(node, rest.listeners),
      ...(lazyListeners === undefined ? {} : { lazyListeners: listenersInFamily(node, lazyListeners) }),
    };
  });
  const routes = piece(`routes ${listening.routeNames.join(' ')}`, (snapshot, node, part): ConfigPiece => {
    const c = buildContext(snapshot, node, part);
    const configs = listening.routeNames.map((name) => outboundRoutes(c, name));
    return node.onDemand === true ? onDemandRoutes(node, configs) : { routes: configs };
  });
  const own = piece('own', (snapshot, node): ConfigPiece => {
    const c = buildContext(snapshot, node);
    const made = { ...ownOf(c, inboundPorts(c)), notes: [...new PatchSet(snapshot, node).notes, ...c.telemetry.notes()] };
    return node.onDemand === true ? { ...made, needed: neededClusters(made.listeners) } : made;
  });
  return [names, agent, outbound, listening, routes, own];
};

/** A gateway's: its listeners and routes again with each rule, what it calls as for sidecars. */
const gatewayPieces = (piece: MakePiece): readonly ConfigPiece[] => [
  piece('gateway outbound', (snapshot, node, part): ConfigPiece => allServices(buildContext(snapshot, node, part))),
  piece('gateway', (snapshot, node): ConfigPiece => {
    const c = buildContext(snapshot, node);
    const { endpoints, ...made } = gatewayOf(c);
    const notes = [...new PatchSet(snapshot, node).notes, ...c.telemetry.notes()];
    return { ...made, endpoints, notes, secrets: credentialSecrets(c, made) };
  }),
];

/** What a proxy has to call all services. */
const allServices = (c: Context): Pick<Parts, 'clusters' | 'endpoints' | 'secrets'> => {
  const parts = c.services.map(({ host }) => c.part(host, { host }, serviceClusters));
  return {
    clusters: parts.flatMap((p) => p.clusters),
    endpoints: parts.flatMap((p) => p.endpoints),
    // Services may share a credential.
    secrets: byOwnName(parts.flatMap((p) => p.secrets)),
  };
};

const byOwnName = (secrets: readonly Secret[]): readonly Secret[] => [...new Map(secrets.map((s) => [s.name, s])).values()];

/** What a proxy has to call one service. */
const serviceClusters = (c: Context, { host }: { readonly host: string }): Pick<Parts, 'clusters' | 'endpoints' | 'secrets'> => {
  const built = clustersOf(c, host);
  return { ...built, secrets: credentialSecrets(c, built) };
};

type Parts = Required<Omit<ProxyConfig, 'nameTable' | 'agentConfig'>>;

const sidecar = (c: Context): Parts => {
  const ports = inboundPorts(c);
  const own = ownOf(c, ports);
  const outbound = outboundClusters(c);
  const listeners = outboundListeners(c);
  const config: Patchable = {
    clusters: [...own.clusters, ...outbound.clusters],
    listeners: [...listenersInFamily(c.node, listeners.listeners), ...own.listeners],
    routes: listeners.routeNames.map((name) => outboundRoutes(c, name)),
  };
  const patched = patchConfig(c, config, ports);
  return {
    ...patched,
    notes: [...patched.notes, ...c.telemetry.notes()],
    secrets: credentialSecrets(c, patched),
    endpoints: outbound.endpoints,
  };
};

/** What a sidecar has for its own application, and what every one has. */
const ownOf = (c: Context, ports: readonly InboundPort[]): Pick<Parts, 'clusters' | 'listeners'> => ({
  clusters: clustersInFamily(c.node, [blackHoleCluster(c), ...passthroughClusters(c), ...unknownClusters(c), ...inboundClusters(c, ports)]),
  listeners: listenersInFamily(c.node, inboundListeners(c, ports)),
});

/** What a gateway has but the clusters of its services. */
const gatewayOf = (c: Context): Pick<Parts, 'clusters' | 'listeners' | 'routes' | 'endpoints'> => {
  const gateway = gatewayConfig(c);
  const passed = passedThroughClusters(c, gateway.passedThrough);
  return {
    clusters: [blackHoleCluster(c), ...passed.clusters],
    listeners: listenersInFamily(c.node, gateway.listeners),
    routes: gateway.routes,
    endpoints: passed.endpoints,
  };
};

const router = (c: Context): Parts => {
  const outbound = outboundClusters(c);
  const { endpoints, ...own } = gatewayOf(c);
  const config: Patchable = { ...own, clusters: [...own.clusters, ...outbound.clusters] };
  const patched = patchConfig(c, config, []);
  const notes = [...patched.notes, ...c.telemetry.notes()];
  return { ...patched, notes, secrets: credentialSecrets(c, patched), endpoints: [...outbound.endpoints, ...endpoints] };
};
