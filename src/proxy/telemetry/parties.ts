// Who talked to whom, as the standard metrics say it: source, destination and service of one exchange or connection,
// found from peer metadata, certificates, endpoint and cluster metadata. Pure functions of a StreamInfo.
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { JsonObject } from '../../xds/gen/types.ts';
import type { Peer } from './peer-metadata.ts';

/** StreamInfo.filterState keys under which a peer's metadata is kept, as Istio names them. */
export const DOWNSTREAM_PEER = 'downstream_peer';
export const UPSTREAM_PEER = 'upstream_peer';

export interface Service {
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
}

/** What is said of a side that told nothing. */
export const UNKNOWN_PEER: Peer = {
  workload: '',
  namespace: '',
  cluster: '',
  app: '',
  version: '',
  canonicalService: '',
  canonicalRevision: '',
};

/** The calling side of an inbound exchange. The same object for the same facts, so that it may key a map. */
export const downstreamPeer = (info: StreamInfo): Peer | undefined => info.filterState[DOWNSTREAM_PEER] as unknown as Peer | undefined;

/** The called side of an outbound exchange. Its endpoint's metadata stands in when it did not tell. */
export const upstreamPeer = (info: StreamInfo): Peer | undefined =>
  (info.filterState[UPSTREAM_PEER] as unknown as Peer | undefined) ?? endpointPeer(info.upstreamHostMetadata?.filter_metadata?.['istio']);

/** By text: a new endpoint object with the same workload is the same peer. */
const endpointPeers = new Map<string, Peer>();
const ENDPOINT_PEERS_MAX = 4096;

/** istiod's endpoint metadata: `workload;namespace;canonical-service;canonical-revision;cluster`. */
const endpointPeer = (metadata: JsonObject | undefined): Peer | undefined => {
  const text = metadata?.['workload'];
  if (typeof text !== 'string') return undefined;
  let peer = endpointPeers.get(text);
  if (!peer) {
    const [workload = '', namespace = '', canonicalService = '', canonicalRevision = '', cluster = ''] = text.split(';');
    peer = { ...UNKNOWN_PEER, workload, namespace, canonicalService, canonicalRevision, cluster };
    if (endpointPeers.size >= ENDPOINT_PEERS_MAX) endpointPeers.clear();
    endpointPeers.set(text, peer);
  }
  return peer;
};

/** The first URI SAN; '' without one. */
export const principal = (certificate: { readonly uriSans: readonly string[] } | undefined): string => certificate?.uriSans[0] ?? '';

/** `production` of `spiffe://cluster.local/ns/production/sa/web`; '' for another shape. */
export const namespaceOf = (spiffeId: string): string => /^spiffe:\/\/[^/]+\/ns\/([^/]+)\//.exec(spiffeId)?.[1] ?? '';

/** Clusters that stand for no service: their own name is the service name. */
const CATCH_ALL = new Set(['PassthroughCluster', 'BlackHoleCluster', 'InboundPassthroughCluster']);

/** The service that was called. `host` is '' when neither metadata nor fallback names one. */
export const serviceOf = (info: StreamInfo, hostFallback: boolean): Service => {
  const cluster = info.upstreamClusterRaw;
  const fallback = hostFallback ? info.authority : '';
  if (CATCH_ALL.has(cluster)) return { host: fallback, name: cluster, namespace: '' };
  const services = info.clusterMetadata?.filter_metadata?.['istio']?.['services'];
  const first = Array.isArray(services) ? (services[0] as JsonObject | undefined) : undefined;
  if (first) return { host: text(first['host']) || fallback, name: text(first['name']) || fallback, namespace: text(first['namespace']) };
  return { host: fallback, name: fallback, namespace: '' };
};

const text = (v: unknown): string => (typeof v === 'string' ? v : '');
