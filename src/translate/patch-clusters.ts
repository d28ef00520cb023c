// EnvoyFilter on clusters: merged and removed where they stand; others are added.

import type { Cluster, TransportSocket } from '../xds/gen/types.ts';
import { INBOUND_PASSTHROUGH } from './names.ts';
import { isMerge, mergePatch } from './patch-list.ts';
import { clusterFits } from './patch-match.ts';
import { mergeAnys } from './patch-merge.ts';
import type { PatchContext, PatchSet, ReadyPatch } from './patch-set.ts';
import type { ProxyNode } from './proxy-node.ts';

/** `hosts`: of the services behind an inbound cluster. */
export const patchClusters = (
  clusters: readonly Cluster[],
  node: ProxyNode,
  hosts: (cluster: string) => readonly string[],
  set: PatchSet,
): readonly Cluster[] => {
  if (!set.has('CLUSTER')) return clusters;
  return clusters.flatMap((c) => patchCluster(c, contextOf(c, node), hosts(c.name ?? ''), set) ?? []);
};

/** Those that patches add, behind `clusters`. `isKnown`: the proxy has one of that name beside these. */
export const addClusters = (
  clusters: readonly Cluster[],
  node: ProxyNode,
  isKnown: (cluster: string) => boolean,
  set: PatchSet,
): readonly Cluster[] => {
  if (!set.has('CLUSTER')) return clusters;
  const out = [...clusters];
  const names = new Set(out.map((c) => c.name));
  const contexts: readonly PatchContext[] = node.kind === 'router' ? ['GATEWAY'] : ['SIDECAR_OUTBOUND', 'SIDECAR_INBOUND'];
  for (const context of contexts) {
    for (const p of set.of('CLUSTER', context)) {
      const { name = '' } = p.value as Cluster;
      // One for both directions is an outbound one.
      if (p.operation !== 'ADD' || (context === 'SIDECAR_INBOUND' && p.match.context !== context)) continue;
      if (name === '' || names.has(name) || isKnown(name)) continue;
      set.note(p);
      names.add(name);
      out.push(p.value as Cluster);
    }
  }
  return out;
};

const contextOf = (c: Cluster, node: ProxyNode): PatchContext => {
  if (node.kind === 'router') return 'GATEWAY';
  const name = c.name ?? '';
  return name.startsWith('inbound|') || name === INBOUND_PASSTHROUGH ? 'SIDECAR_INBOUND' : 'SIDECAR_OUTBOUND';
};

const patchCluster = (cluster: Cluster, context: PatchContext, hosts: readonly string[], set: PatchSet): Cluster | undefined => {
  let out = cluster;
  for (const p of set.of('CLUSTER', context)) {
    if (!clusterFits(out.name ?? '', hosts, p)) continue;
    if (p.operation === 'REMOVE') {
      set.note(p);
      return undefined;
    }
    if (!isMerge(p)) continue;
    set.note(p);
    out = mergeCluster(out, p);
  }
  return out;
};

/**
 * A transport socket of the same name is merged inside, one of another name takes its place; beside sockets chosen by endpoint none can
 * stand. Of a patch with a transport socket nothing else is merged, as in Istio; who wrote more is warned.
 */
const mergeCluster = (cluster: Cluster, p: ReadyPatch): Cluster => {
  const { transport_socket: wanted } = p.value as Cluster;
  if (wanted === undefined) return mergePatch(cluster, p);
  const choices = cluster.transport_socket_matches ?? [];
  if (choices.length > 0) {
    const at = choices.findIndex((m) => m.transport_socket !== undefined && m.transport_socket.name === wanted.name);
    return {
      ...cluster,
      transport_socket_matches: choices.map((m, i) =>
        i === at && m.transport_socket !== undefined ? { ...m, transport_socket: mergeSocket(m.transport_socket, wanted) } : m,
      ),
    };
  }
  const own = cluster.transport_socket;
  return { ...cluster, transport_socket: own?.name === wanted.name ? mergeSocket(own, wanted) : wanted };
};

const mergeSocket = (own: TransportSocket | undefined, wanted: TransportSocket): TransportSocket => {
  if (own === undefined) return wanted;
  const typed = mergeAnys(own.typed_config, wanted.typed_config) as TransportSocket['typed_config'];
  return typed === undefined ? own : { ...own, typed_config: typed };
};
