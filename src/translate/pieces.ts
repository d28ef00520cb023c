// The pieces that a configuration is made in. Each reads as little as it can, so that it is the same for many proxies and is made again
// seldom. What patches do not reach is the piece that proxies without patches have.

import type { Patch } from '../mesh/envoy-filters.ts';
import type { Cluster } from '../xds/gen/types.ts';
import { clustersInFamily, listenersInFamily } from './address-family.ts';
import { blackHoleCluster, inboundClusters, passthroughClusters } from './cluster-inbound.ts';
import { clustersOf, passedThroughClusters } from './cluster-outbound.ts';
import { buildContext, type Context } from './context.ts';
import { credentialSecrets } from './credentials.ts';
import { gatewayConfig } from './gateway-listener.ts';
import { type InboundPort, inboundPorts } from './inbound-ports.ts';
import { inboundListeners } from './listener-inbound.ts';
import { outboundListeners } from './listener-outbound.ts';
import { neededClusters, onDemandListeners, onDemandRoutes } from './on-demand.ts';
import { type OwnPatched, type PatchReach, patchCalled, patchOwn, patchReached, patchRouting } from './patch-config.ts';
import { type PatchReport, PatchSet } from './patch-set.ts';
import type { ProxyNode } from './proxy-node.ts';
import { outboundRoutes } from './route-outbound.ts';
import type { ConfigPiece, LazyConfig, MakePiece, ProxyConfig } from './translate.ts';
import { unknownClusters } from './unknown-destination.ts';

/** What patches reach of what a proxy has to call others, and whether it asks for what it needs. */
export interface PatchedNode {
  readonly reach: PatchReach;
  readonly onDemand: boolean;
}

type Parts = Required<Omit<ProxyConfig, 'nameTable' | 'agentConfig'>>;

export const sidecarPieces = (piece: MakePiece, patched: PatchedNode | undefined): readonly ConfigPiece[] => {
  const { clusters = false, listeners = false, routes = false } = patched?.reach ?? {};
  // What a patch changes may name anything: then a proxy is given all of it, unasked.
  const whole = (clusters || listeners || routes) && patched?.onDemand === true;
  const asks = (node: ProxyNode): boolean => !whole && node.onDemand === true;
  const named = (name: string, isPatched: boolean): string => `${name}${isPatched ? ' patched' : ''}${whole ? ' whole' : ''}`;

  const outbound = piece(named('outbound', clusters), (snapshot, node, part): ConfigPiece => {
    const { clusters: made, ...rest } = allServices(buildContext(snapshot, node, part), clusters);
    return { ...(asks(node) ? { lazyClusters: made } : { clusters: made }), ...rest };
  });
  const listening = piece(named('listening', listeners), (snapshot, node) => {
    const c = buildContext(snapshot, node);
    const all = outboundListeners(c);
    if (listeners) return { ...all, ...patchCalled(c, listenersInFamily(node, all.listeners)) };
    const { lazyListeners, ...rest }: typeof all & LazyConfig = asks(node) ? { ...all, ...onDemandListeners(node, all.listeners) } : all;
    return {
      ...rest,
      listeners: listenersInFamily(node, rest.listeners),
      ...(lazyListeners === undefined ? {} : { lazyListeners: listenersInFamily(node, lazyListeners) }),
    };
  });
  const routing = piece(`${named('routes', routes)} ${listening.routeNames.join(' ')}`, (snapshot, node, part): ConfigPiece => {
    // A patch looks into routes: they are not taken over as parts.
    const c = buildContext(snapshot, node, routes ? undefined : part);
    const configs = listening.routeNames.map((name) => outboundRoutes(c, name));
    if (routes) return patchRouting(c, configs);
    return asks(node) ? onDemandRoutes(node, configs) : { routes: configs };
  });
  const own = piece(named('own', patched !== undefined), (snapshot, node): ConfigPiece => {
    const c = buildContext(snapshot, node);
    const ports = inboundPorts(c);
    const set = new PatchSet(snapshot, node);
    const made = patched === undefined ? ownOf(c, ports) : withSecrets(c, patchOwn(c, ownOf(c, ports), ports, set));
    const notes = [...set.notes, ...c.telemetry.notes()];
    return { ...made, notes, ...(asks(node) ? { needed: neededClusters([...made.listeners, ...set.values]) } : {}) };
  });
  return [outbound, listening, routing, own];
};

/** A gateway's: its listeners and routes again with each rule, what it calls as for sidecars. */
export const gatewayPieces = (piece: MakePiece, patched: PatchedNode | undefined): readonly ConfigPiece[] => {
  const clusters = patched?.reach.clusters === true;
  return [
    piece(`gateway outbound${clusters ? ' patched' : ''}`, (snapshot, node, part): ConfigPiece => {
      return allServices(buildContext(snapshot, node, part), clusters);
    }),
    piece(`gateway${patched === undefined ? '' : ' patched'}`, (snapshot, node): ConfigPiece => {
      const c = buildContext(snapshot, node);
      const { endpoints, ...plain } = gatewayOf(c);
      const set = new PatchSet(snapshot, node);
      const made = withSecrets(c, patched === undefined ? plain : patchOwn(c, plain, [], set));
      return { ...made, endpoints, notes: [...set.notes, ...c.telemetry.notes()] };
    }),
  ];
};

const withSecrets = <T extends Pick<OwnPatched, 'clusters' | 'listeners'>>(c: Context, made: T): T & Pick<Parts, 'secrets'> => ({
  ...made,
  secrets: credentialSecrets(c, made),
});

interface Called extends Pick<Parts, 'clusters' | 'endpoints' | 'secrets'> {
  readonly patches?: PatchReport;
}

/** What a proxy has to call all services. */
const allServices = (c: Context, patched: boolean): Called => {
  const parts = c.services.map(({ host }) => c.part(host, { host }, patched ? patchedClusters : serviceClusters));
  return {
    clusters: parts.flatMap((p) => p.clusters),
    endpoints: parts.flatMap((p) => p.endpoints),
    // Services may share a credential.
    secrets: [...new Map(parts.flatMap((p) => p.secrets).map((s) => [s.name, s])).values()],
    ...(patched ? { patches: { applied: new Set(parts.flatMap((p) => p.applied ?? [])), idle: new Set() } } : {}),
  };
};

interface CalledService extends Pick<Parts, 'clusters' | 'endpoints' | 'secrets'> {
  readonly applied?: readonly Patch[];
}

/** What a proxy has to call one service. */
const serviceClusters = (c: Context, { host }: { readonly host: string }): CalledService => {
  const built = clustersOf(c, host);
  return { ...built, secrets: credentialSecrets(c, built) };
};

const patchedClusters = (c: Context, { host }: { readonly host: string }): CalledService => {
  const built = clustersOf(c, host);
  const { clusters, applied } = patchReached(c, built.clusters);
  return { clusters, endpoints: built.endpoints, secrets: credentialSecrets(c, { clusters }), applied };
};

/** What a sidecar has for its own application, and what every one has. */
const ownOf = (c: Context, ports: readonly InboundPort[]): Pick<Parts, 'clusters' | 'listeners'> => ({
  clusters: clustersInFamily(c.node, [
    blackHoleCluster(c),
    ...passthroughClusters(c),
    ...unknownClusters(c),
    ...inboundClusters(c, ports),
    ...c.telemetry.collectors(),
  ]),
  listeners: listenersInFamily(c.node, inboundListeners(c, ports)),
});

/** What a gateway has but the clusters of its services. */
const gatewayOf = (c: Context): Pick<Parts, 'clusters' | 'listeners' | 'routes' | 'endpoints'> => {
  const gateway = gatewayConfig(c);
  const passed = passedThroughClusters(c, gateway.passedThrough);
  const clusters: readonly Cluster[] = [blackHoleCluster(c), ...passed.clusters, ...c.telemetry.collectors()];
  return { clusters, listeners: listenersInFamily(c.node, gateway.listeners), routes: gateway.routes, endpoints: passed.endpoints };
};
