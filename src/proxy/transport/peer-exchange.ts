// Istio's exchange of peer metadata on TCP: where a handshake chose `istio-peer-exchange`, each side's first bytes are a frame that
// says who it is. Both write at once and read on the way, so nobody ever waits for the other's frame.

import { PlanError } from '../../plan/plan-error.ts';
import { readPeerFrame, writePeerFrame } from '../../wire/peer-exchange.ts';
import { decodeNamed, encodeNamed } from '../../xds/codec.ts';
import type { AnyMessage, JsonObject, JsonValue } from '../../xds/gen/types.ts';
import { typeNameOf, unwrapConfig } from '../extension-config.ts';
import { PEERS_KNOWN_MAX } from '../limits.ts';
import { PEER_METADATA_HEADER, PEER_METADATA_ID_HEADER, type PeerMetadata, peerOf } from '../telemetry/peer-metadata.ts';

export const PEER_EXCHANGE_ALPN = 'istio-peer-exchange';
const STRUCT = 'google.protobuf.Struct';
const STRUCT_TYPE_URL = `type.googleapis.com/${STRUCT}`;
const FILTER = 'envoy.tcp.metadataexchange.config.MetadataExchange';

export interface PeerExchange {
  /** What this side begins with. */
  readonly frame: Buffer;
  /** Who wrote this value; the same object for the same bytes. undefined when they say nothing. */
  peer(typeUrl: string, value: Uint8Array): JsonObject | undefined;
}

export const createPeerExchange = (metadata: Pick<PeerMetadata, 'advertised' | 'id'>): PeerExchange => {
  const known = new Map<string, JsonObject | undefined>();
  const { advertised, id } = metadata;
  const told: JsonObject = {
    [PEER_METADATA_HEADER]: sorted(advertised),
    ...(id === '' ? {} : { [PEER_METADATA_ID_HEADER]: id }),
  };
  return {
    frame: writePeerFrame(STRUCT_TYPE_URL, encodeNamed(STRUCT, told)),
    peer: (typeUrl, value) => {
      if (typeUrl !== STRUCT_TYPE_URL) return undefined;
      const key = Buffer.from(value).toString('latin1');
      if (known.has(key)) return known.get(key);
      if (known.size >= PEERS_KNOWN_MAX) known.clear();
      const peer = decode(value);
      known.set(key, peer);
      return peer;
    },
  };
};

const decode = (value: Uint8Array): JsonObject | undefined => {
  try {
    const told = (decodeNamed(STRUCT, value) as JsonObject)[PEER_METADATA_HEADER];
    return isObject(told) ? (peerOf(told) as unknown as JsonObject) : undefined;
  } catch {
    return undefined; // a peer's fault: it counts as a peer without metadata
  }
};

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

// As Envoy writes maps: by key.
const sorted = (object: JsonObject): JsonObject =>
  Object.fromEntries(
    Object.entries(object)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => [key, isObject(value) ? sorted(value) : value]),
  );

/** The same of a cluster, which can have no other filter. Throws PlanError. */
export const clusterExchangesPeers = (filters: Parameters<typeof exchangesPeers>[0]): boolean => {
  const other = filters?.findIndex((filter) => !exchangesPeers([filter])) ?? -1;
  if (other >= 0) throw new PlanError(`filters[${other}]`, 'only the exchange of peer metadata is supported');
  return exchangesPeers(filters);
};

/** Whether these filters take part in the exchange. */
export const exchangesPeers = (filters: readonly { readonly typed_config?: AnyMessage | undefined }[] | undefined): boolean =>
  filters?.some((filter) => typeNameOf(unwrapConfig(filter.typed_config)) === FILTER) === true;

/** Takes the peer's frame off the front of one direction of a connection. */
export class PeerReader {
  readonly #exchange: PeerExchange;
  #held: Buffer | undefined;
  /** The frame was read, or there is none. */
  done = false;
  /** The frame is broken: the connection cannot go on. */
  broken = false;
  peer: JsonObject | undefined;

  constructor(exchange: PeerExchange) {
    this.#exchange = exchange;
  }

  /** What of the bytes so far is the stream's; undefined: nothing yet. */
  read(bytes: Buffer): Buffer | undefined {
    const all = this.#held === undefined ? bytes : Buffer.concat([this.#held, bytes]);
    const frame = readPeerFrame(all);
    if (frame.kind === 'need-more') {
      this.#held = all;
      return undefined;
    }
    this.#held = undefined;
    this.done = true;
    if (frame.kind === 'none') return all;
    if (frame.kind === 'bad') {
      this.broken = true;
      return undefined;
    }
    this.peer = this.#exchange.peer(frame.typeUrl, frame.value);
    return all.length > frame.length ? all.subarray(frame.length) : undefined;
  }
}
