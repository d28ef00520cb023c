// Istio's HTTP peer metadata exchange: each side tells the other who it is in `x-envoy-peer-metadata` (a
// serialized google.protobuf.Struct, base64) and `x-envoy-peer-metadata-id` (the node id). Own metadata is encoded
// once per process, peers' are decoded once per header value (bounded cache). Malformed metadata reads as no
// metadata. What an exchange has to do:
//   inbound request:   info.downstreamPeer = m.readPeer(request.headers) then m.strip(request.headers)
//   its response:      m.addOwn(response.headers)
//   outbound request:  m.addOwn(request.headers)
//   its response:      info.upstreamPeer = m.readPeer(response.headers) then m.strip(response.headers)
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
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

export interface PeerMetadata {
  /** This proxy's own side. */
  readonly own: Peer;
  /** What of its node this proxy tells its peers, and its id. */
  readonly advertised: JsonObject;
  readonly id: string;
  /** Who sent these headers; undefined without (or with malformed) metadata. */
  readPeer(headers: HeaderBlock): Peer | undefined;
  /** Removes both headers so that neither the application nor a far party sees them. */
  strip(headers: HeaderBlock): void;
  /** Adds this proxy's metadata and id. */
  addOwn(headers: HeaderBlock): void;
}

/** Peers remembered by header value: a bound against a caller that sends ever new values. */
const PEERS_MAX = 1024;
/** Of them, those that are compared byte by byte first. */
const RECENT_PEERS_MAX = 4;
/** A longer value is not metadata of a mesh's workload. */
const VALUE_LENGTH_MAX = 16 * 1024;

export const createPeerMetadata = (node: Node): PeerMetadata => {
  const metadata = node.metadata ?? {};
  const told = advertised(metadata);
  const value = Buffer.from(Buffer.from(encodeNamed('google.protobuf.Struct', told)).toString('base64'), 'latin1');
  const id = node.id ?? '';
  const idBytes = Buffer.from(id.replace(/[\0\r\n]/g, ' '));
  const peers = new KnownPeers();
  return {
    own: peerOf(metadata),
    advertised: told,
    id,
    readPeer: (headers) => peers.read(headers),
    strip: (headers) => {
      headers.removeById(H.X_ENVOY_PEER_METADATA);
      headers.removeById(H.X_ENVOY_PEER_METADATA_ID);
    },
    addOwn: (headers) => {
      headers.setBytesById(H.X_ENVOY_PEER_METADATA, value);
      if (id !== '') headers.setBytesById(H.X_ENVOY_PEER_METADATA_ID, idBytes);
    },
  };
};

interface Recent {
  readonly bytes: Buffer;
  readonly peer: Peer | undefined;
}

/** Peers by what they told: the latest few are found without making a text of it. */
class KnownPeers {
  readonly #byText = new Map<string, Peer | undefined>();
  readonly #recent: Recent[] = [];
  #oldest = 0;

  read(headers: HeaderBlock): Peer | undefined {
    for (const known of this.#recent) if (headers.valueIs(H.X_ENVOY_PEER_METADATA, known.bytes)) return known.peer;
    const text = headers.getById(H.X_ENVOY_PEER_METADATA);
    if (text === undefined || text === '' || text.length > VALUE_LENGTH_MAX) return undefined;
    if (this.#byText.has(text)) return this.#again(text, this.#byText.get(text));
    if (this.#byText.size >= PEERS_MAX) this.#byText.clear();
    const peer = decodePeer(text);
    this.#byText.set(text, peer);
    return peer;
  }

  #again(text: string, peer: Peer | undefined): Peer | undefined {
    this.#recent[this.#oldest] = { bytes: Buffer.from(text, 'latin1'), peer };
    this.#oldest = (this.#oldest + 1) % RECENT_PEERS_MAX;
    return peer;
  }
}

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
