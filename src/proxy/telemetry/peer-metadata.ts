// Istio's HTTP peer metadata exchange: each side tells the other who it is in `x-envoy-peer-metadata` (a
// serialized google.protobuf.Struct, base64) and `x-envoy-peer-metadata-id` (the node id). Own metadata is encoded
// once per process, peers' are decoded once per header value (bounded cache). Malformed metadata reads as no
// metadata. What an exchange has to do:
//   inbound request:   info.downstreamPeer = m.readPeer(request.headers) then m.strip(request.headers)
//   its response:      m.addOwn(response.headers)
//   outbound request:  m.addOwn(request.headers)
//   its response:      info.upstreamPeer = m.readPeer(response.headers) then m.strip(response.headers)
import { decodeNamed, encodeNamed } from '../../xds/codec.ts';
import type { JsonObject, Node } from '../../xds/gen/types.ts';

export const PEER_METADATA_HEADER = 'x-envoy-peer-metadata';
export const PEER_METADATA_ID_HEADER = 'x-envoy-peer-metadata-id';

/** What the standard metrics say of one side. Empty string: not known. */
export interface Peer {
  readonly workload: string;
  readonly namespace: string;
  readonly cluster: string;
  readonly app: string;
  readonly version: string;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
}

/** The part of a header block that the exchange of metadata needs. */
export interface PeerHeaders {
  get(name: string): string | undefined;
  set(name: string, value: string): void;
  remove(name: string): unknown;
}

export interface PeerMetadata {
  /** This proxy's own side. */
  readonly own: Peer;
  /** What of its node this proxy tells its peers, and its id. */
  readonly advertised: JsonObject;
  readonly id: string;
  /** Who sent these headers; undefined without (or with malformed) metadata. */
  readPeer(headers: PeerHeaders): Peer | undefined;
  /** Removes both headers so that neither the application nor a far party sees them. */
  strip(headers: PeerHeaders): void;
  /** Adds this proxy's metadata and id. */
  addOwn(headers: PeerHeaders): void;
}

/** Peers remembered by header value: a bound against a caller that sends ever new values. */
const PEERS_MAX = 1024;
/** A longer value is not metadata of a mesh's workload. */
const VALUE_LENGTH_MAX = 16 * 1024;

export const createPeerMetadata = (node: Node): PeerMetadata => {
  const metadata = node.metadata ?? {};
  const told = advertised(metadata);
  const value = Buffer.from(encodeNamed('google.protobuf.Struct', told)).toString('base64');
  const id = node.id ?? '';
  const known = new Map<string, Peer | undefined>();
  return {
    own: peerOf(metadata),
    advertised: told,
    id,
    readPeer: (headers) => {
      const text = headers.get(PEER_METADATA_HEADER);
      if (text === undefined || text === '' || text.length > VALUE_LENGTH_MAX) return undefined;
      if (known.has(text)) return known.get(text);
      if (known.size >= PEERS_MAX) known.clear();
      const peer = decodePeer(text);
      known.set(text, peer);
      return peer;
    },
    strip: (headers) => {
      headers.remove(PEER_METADATA_HEADER);
      headers.remove(PEER_METADATA_ID_HEADER);
    },
    addOwn: (headers) => {
      headers.set(PEER_METADATA_HEADER, value);
      if (id !== '') headers.set(PEER_METADATA_ID_HEADER, id);
    },
  };
};

const decodePeer = (text: string): Peer | undefined => {
  try {
    return peerOf(decodeNamed('google.protobuf.Struct', new Uint8Array(Buffer.from(text, 'base64'))) as JsonObject);
  } catch {
    return undefined; // a peer's fault: it counts as a peer without metadata
  }
};

/** The keys that Istio's proxies tell one another; the rest of a node's metadata is nobody's business. */
const ADVERTISED = ['NAME', 'NAMESPACE', 'OWNER', 'WORKLOAD_NAME', 'CLUSTER_ID', 'PLATFORM_METADATA'];
const ADVERTISED_LABELS = [
  'app',
  'version',
  'app.kubernetes.io/name',
  'app.kubernetes.io/version',
  'service.istio.io/canonical-name',
  'service.istio.io/canonical-revision',
];

const advertised = (metadata: JsonObject): JsonObject => {
  const labels = objectAt(metadata, 'LABELS');
  const shown = pick(labels, ADVERTISED_LABELS);
  return { ...pick(metadata, ADVERTISED), ...(Object.keys(shown).length > 0 ? { LABELS: shown } : {}) };
};

const pick = (from: JsonObject, keys: readonly string[]): JsonObject =>
  Object.fromEntries(keys.flatMap((k) => (from[k] === undefined ? [] : [[k, from[k]]])));

const objectAt = (from: JsonObject, key: string): JsonObject => {
  const v = from[key];
  return typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as JsonObject) : {};
};
const textAt = (from: JsonObject, ...keys: readonly string[]): string => {
  for (const key of keys) {
    const v = from[key];
    if (typeof v === 'string' && v !== '') return v;
  }
  return '';
};

export const peerOf = (metadata: JsonObject): Peer => {
  const labels = objectAt(metadata, 'LABELS');
  const workload = textAt(metadata, 'WORKLOAD_NAME');
  return {
    workload,
    namespace: textAt(metadata, 'NAMESPACE'),
    cluster: textAt(metadata, 'CLUSTER_ID'),
    app: textAt(labels, 'app', 'app.kubernetes.io/name'),
    version: textAt(labels, 'version', 'app.kubernetes.io/version'),
    canonicalService: textAt(labels, 'service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app') || workload,
    canonicalRevision: textAt(labels, 'service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version') || 'latest',
  };
};
