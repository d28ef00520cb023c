// The proxy's ADS stream, carried to the control plane under the workload's credentials. Bytes pass as they are, both ways.
// The agent adds two things: its node to a first request without one, and a subscription to the name table, whose
// answers it keeps, acknowledges and hides from the proxy (a stream of its own would look like a second proxy).
// When the control plane goes away the proxy's stream is ended, so that the proxy comes back with its versions; until then
// it serves on with what it has.
import type { Log } from '../base/log.ts';
import { GRPC } from '../wire/grpc-frames.ts';
import { decode, encode } from '../xds/codec.ts';
import type { NameTable, Node } from '../xds/gen/types.ts';
import { ADS_METHOD, NAME_TABLE_TYPE } from '../xds/resource-types.ts';
import type { StreamEvents, XdsStream, XdsTransport } from '../xds/transport.ts';
import { Reader, WireError } from '../xds/wire-format.ts';

const DELTA_ADS_METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';

export interface AdsRelayOptions {
  readonly upstream: XdsTransport;
  readonly node: Node;
  /** Undefined: the name table is not asked for. */
  readonly onNameTable: ((table: NameTable) => void) | undefined;
  readonly log: Log;
}

export const adsRelay = (options: AdsRelayOptions): XdsTransport => {
  /** Version of the name table last taken, over all streams: a new stream starts from it. */
  const names = { version: '' };
  return {
    open: (method, events) => {
      if (method === ADS_METHOD) return new RelayedStream(options, method, events, names);
      if (method === DELTA_ADS_METHOD) return new RelayedStream({ ...options, onNameTable: undefined }, method, events, names);
      queueMicrotask(() => events.end({ code: GRPC.UNIMPLEMENTED, message: `${method} is not relayed` }));
      return { send: () => {}, close: () => {} };
    },
  };
};

class RelayedStream implements XdsStream {
  readonly #options: AdsRelayOptions;
  readonly #method: string;
  readonly #names: { version: string };
  readonly #upstream: XdsStream;
  #first = true;

  constructor(options: AdsRelayOptions, method: string, events: StreamEvents, names: { version: string }) {
    this.#options = options;
    this.#method = method;
    this.#names = names;
    this.#upstream = options.upstream.open(method, {
      message: (bytes) => {
        if (options.onNameTable && textIn(bytes, TYPE_URL_FIELD) === NAME_TABLE_TYPE.url) this.#takeNames(bytes, options.onNameTable);
        else events.message(bytes);
      },
      end: (status) => {
        options.log.info('xDS stream ended by the control plane', { code: status.code, reason: status.message });
        // OK would read as "nothing more to say"; the proxy is to come back.
        events.end(status.code === GRPC.OK ? { code: GRPC.UNAVAILABLE, message: 'the control plane closed the stream' } : status);
      },
    });
  }

  send(bytes: Uint8Array): void {
    if (!this.#first) {
      this.#upstream.send(bytes);
      return;
    }
    this.#first = false;
    this.#upstream.send(withNode(bytes, this.#options.node, this.#method === DELTA_ADS_METHOD));
    if (this.#options.onNameTable) this.#upstream.send(nameRequest(this.#names.version, ''));
  }

  close(): void {
    this.#upstream.close();
  }

  #takeNames(bytes: Uint8Array, take: (table: NameTable) => void): void {
    const nonce = textIn(bytes, NONCE_FIELD);
    try {
      const response = decode('envoy.service.discovery.v3.DiscoveryResponse', bytes);
      const [table] = response.resources ?? [];
      if (table) take(table as NameTable);
      this.#names.version = response.version_info ?? '';
      this.#upstream.send(nameRequest(this.#names.version, nonce));
    } catch (e) {
      const message = e instanceof Error ? e.message : String(e);
      this.#options.log.warning('name table refused', { problem: message });
      this.#upstream.send(nameRequest(this.#names.version, nonce, message));
    }
  }
}

const nameRequest = (version: string, nonce: string, problem?: string): Uint8Array =>
  encode('envoy.service.discovery.v3.DiscoveryRequest', {
    version_info: version,
    type_url: NAME_TABLE_TYPE.url,
    response_nonce: nonce,
    ...(problem === undefined ? {} : { error_detail: { code: GRPC.INVALID_ARGUMENT, message: problem } }),
  });

/** Field numbers: `type_url` and `nonce` of either response; `node` of the two requests. */
const TYPE_URL_FIELD = 4;
const NONCE_FIELD = 5;
const NODE_FIELD = 2;
const DELTA_NODE_FIELD = 1;

/** A text field without decoding resources; '' when absent or malformed (the receiver will say so). */
const textIn = (bytes: Uint8Array, field: number): string => {
  let found = '';
  eachField(bytes, (number, value) => {
    if (number === field) found = utf8.decode(value);
  });
  return found;
};
const utf8 = new TextDecoder();

const withNode = (bytes: Uint8Array, node: Node, delta: boolean): Uint8Array => {
  let found = false;
  eachField(bytes, (number) => {
    if (number === (delta ? DELTA_NODE_FIELD : NODE_FIELD)) found = true;
  });
  if (found) return bytes;
  const message = delta
    ? encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', { node })
    : encode('envoy.service.discovery.v3.DiscoveryRequest', { node });
  return Buffer.concat([bytes, message]); // fields may come in any order: the message itself stays as it is
};

const eachField = (bytes: Uint8Array, visit: (number: number, value: Uint8Array) => void): void => {
  try {
    const r = new Reader(bytes);
    while (r.pos < r.end) {
      const tag = r.varint();
      const number = Math.floor(tag / 8);
      if (tag % 8 !== 2) {
        r.skip(tag % 8);
        continue;
      }
      const end = r.length();
      visit(number, bytes.subarray(r.pos, end));
      r.pos = end;
    }
  } catch (e) {
    if (!(e instanceof WireError)) throw e;
  }
};
