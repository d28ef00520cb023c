// The proxy's ADS stream, carried to the control plane under the workload's credentials. Bytes pass as they are, both ways.
// The agent adds its node to a first request without one, subscriptions to the name table and to its own configuration, whose
// answers it keeps, acknowledges and hides from the proxy (a stream of its own would look like a second proxy), and the
// workload's health: what is known when a stream opens, and every change.
// When the control plane goes away the proxy's stream is ended, so that the proxy comes back with its versions; until then
// it serves on with what it has.
import type { Log } from '../base/log.ts';
import { GRPC } from '../wire/grpc-frames.ts';
import { decode, encode } from '../xds/codec.ts';
import type { NameTable, Node, ProxyConfig } from '../xds/gen/types.ts';
import { ADS_METHOD, DELTA_ADS_METHOD, HEALTH_TYPE_URL, NAME_TABLE_TYPE, PROXY_CONFIG_TYPE } from '../xds/resource-types.ts';
import type { StreamEvents, XdsStream, XdsTransport } from '../xds/transport.ts';
import { Reader, WireError } from '../xds/wire-format.ts';
import type { HealthReport, HealthState } from './health-report.ts';

export interface AdsRelayOptions {
  readonly upstream: XdsTransport;
  readonly node: Node;
  /** Undefined: the name table is not asked for. */
  readonly onNameTable: ((table: NameTable) => void) | undefined;
  /** Undefined: it is not asked for. Called without one when the control plane has none. */
  readonly onProxyConfig?: ((config: ProxyConfig | undefined) => void) | undefined;
  readonly health?: HealthReport;
  readonly log: Log;
}

/** A type that the agent asks for itself. */
interface OwnType {
  readonly url: string;
  readonly take: (resource: object | undefined) => void;
  /** Last taken, over all streams: a new stream starts from it. */
  version: string;
}

export const adsRelay = (options: AdsRelayOptions): XdsTransport => {
  const { onNameTable, onProxyConfig } = options;
  const own: readonly OwnType[] = [
    ...(onNameTable ? [{ url: NAME_TABLE_TYPE.url, take: (r: object | undefined) => r && onNameTable(r as NameTable), version: '' }] : []),
    ...(onProxyConfig
      ? [{ url: PROXY_CONFIG_TYPE.url, take: (r: object | undefined) => onProxyConfig(r as ProxyConfig | undefined), version: '' }]
      : []),
  ];
  return {
    open: (method, events) => {
      if (method === ADS_METHOD || method === DELTA_ADS_METHOD) return new RelayedStream(options, method, events, own);
      queueMicrotask(() => events.end({ code: GRPC.UNIMPLEMENTED, message: `${method} is not relayed` }));
      return { send: () => {}, close: () => {} };
    },
  };
};

class RelayedStream implements XdsStream {
  readonly #options: AdsRelayOptions;
  readonly #method: string;
  readonly #own: readonly OwnType[];
  readonly #upstream: XdsStream;
  #first = true;
  #unwatch: () => void = () => {};

  constructor(options: AdsRelayOptions, method: string, events: StreamEvents, own: readonly OwnType[]) {
    this.#options = options;
    this.#method = method;
    this.#own = own;
    this.#upstream = options.upstream.open(method, {
      message: (bytes) => {
        const url = own.length === 0 ? '' : textIn(bytes, TYPE_URL_FIELD);
        const type = own.find((t) => t.url === url);
        if (type) this.#take(type, bytes);
        else events.message(bytes);
      },
      end: (status) => {
        this.#unwatch();
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
    for (const type of this.#own) this.#upstream.send(this.#ownRequest(type, ''));
    this.#unwatch = this.#options.health?.watch((state) => this.#upstream.send(healthRequest(state, this.#method))) ?? this.#unwatch;
  }

  close(): void {
    this.#unwatch();
    this.#upstream.close();
  }

  #take(type: OwnType, bytes: Uint8Array): void {
    const nonce = textIn(bytes, NONCE_FIELD);
    try {
      if (this.#method === DELTA_ADS_METHOD) takeDelta(type, bytes);
      else {
        const response = decode('envoy.service.discovery.v3.DiscoveryResponse', bytes);
        type.take(response.resources?.[0]);
        type.version = response.version_info ?? '';
      }
      this.#upstream.send(this.#ownRequest(type, nonce));
    } catch (e) {
      const message = e instanceof Error ? e.message : String(e);
      const what = type.url === NAME_TABLE_TYPE.url ? 'name table refused' : "the agent's configuration refused";
      this.#options.log.warning(what, { problem: message });
      this.#upstream.send(this.#ownRequest(type, nonce, message));
    }
  }

  #ownRequest(type: OwnType, nonce: string, problem?: string): Uint8Array {
    return this.#method === DELTA_ADS_METHOD ? ownDeltaRequest(type, nonce, problem) : ownRequest(type, nonce, problem);
  }
}

const ownRequest = ({ url, version }: OwnType, nonce: string, problem?: string): Uint8Array =>
  encode('envoy.service.discovery.v3.DiscoveryRequest', {
    version_info: version,
    type_url: url,
    response_nonce: nonce,
    ...(problem === undefined ? {} : { error_detail: { code: GRPC.INVALID_ARGUMENT, message: problem } }),
  });

/** The one resource of such a type has no name. */
const takeDelta = (type: OwnType, bytes: Uint8Array): void => {
  const { resources = [], removed_resources: removed = [] } = decode('envoy.service.discovery.v3.DeltaDiscoveryResponse', bytes);
  const [given] = resources;
  if (given === undefined && removed.length === 0 && type.version !== '') return;
  type.take(given?.resource);
  type.version = given?.version ?? '';
};

const ownDeltaRequest = ({ url, version }: OwnType, nonce: string, problem?: string): Uint8Array =>
  encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', {
    type_url: url,
    ...(nonce === '' ? { resource_names_subscribe: ['*'], initial_resource_versions: version === '' ? {} : { '': version } } : {}),
    response_nonce: nonce,
    ...(problem === undefined ? {} : { error_detail: { code: GRPC.INVALID_ARGUMENT, message: problem } }),
  });

/** As Istio's agents say it; the code is theirs too. */
const healthRequest = ({ healthy, message }: HealthState, method: string): Uint8Array => {
  const said = { type_url: HEALTH_TYPE_URL, ...(healthy ? {} : { error_detail: { code: 500, message } }) };
  return method === DELTA_ADS_METHOD
    ? encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', said)
    : encode('envoy.service.discovery.v3.DiscoveryRequest', said);
};

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
