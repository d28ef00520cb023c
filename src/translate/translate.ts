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
import { agentConfig } from './agent-config.ts';
import { buildContext } from './context.ts';
import { nameTable } from './name-table.ts';
import type { Note } from './note.ts';
import type { RouteHosts } from './on-demand.ts';
import type { MakePart } from './part.ts';
import { patchReach } from './patch-config.ts';
import type { PatchReport } from './patch-set.ts';
import { gatewayPieces, sidecarPieces } from './pieces.ts';
import type { ProxyNode } from './proxy-node.ts';
import { proxyless } from './proxyless.ts';

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
  const patches = together(pieces.flatMap((p) => p.patches ?? []));
  return patches === undefined ? config : { ...config, patches };
};

/** A patch that changed something in one piece is not idle. */
const together = (reports: readonly PatchReport[]): PatchReport | undefined => {
  if (reports.length === 0) return undefined;
  const applied = new Set(reports.flatMap((r) => [...r.applied]));
  return { applied, idle: new Set(reports.flatMap((r) => [...r.idle]).filter((p) => !applied.has(p))) };
};

const byOwnName = (secrets: readonly Secret[]): readonly Secret[] => [...new Map(secrets.map((s) => [s.name, s])).values()];

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
  const { reach, onDemand } = piece('patched', (snapshot, node) => ({
    reach: patchReach(snapshot, node),
    onDemand: node.onDemand === true,
  }));
  const patched = reach && { reach, onDemand };
  return [names, agent, ...(kind === 'router' ? gatewayPieces(piece, patched) : sidecarPieces(piece, patched))];
};
