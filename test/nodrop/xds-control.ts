// A control plane that a test holds in its hand: resources by node, pushed as they are set, withheld when told to. ADS and SDS.
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { decode, encode, typeOfUrl } from '../../src/xds/codec.ts';
import { fromJsonNamed } from '../../src/xds/json.ts';
import {
  ADS_METHOD,
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  LISTENER_TYPE,
  type ResourceType,
  ROUTE_TYPE,
  resourceType,
  SDS_METHOD,
  SECRET_TYPE,
} from '../../src/xds/resource-types.ts';

export const TYPES = { CDS: CLUSTER_TYPE, EDS: ENDPOINT_TYPE, LDS: LISTENER_TYPE, RDS: ROUTE_TYPE, SDS: SECRET_TYPE } as const;
export type Kind = keyof typeof TYPES;

type Call = ServerDuplexStream<Buffer, Buffer>;
interface Subscription {
  readonly type: ResourceType;
  names: readonly string[];
  nonce: string;
}
interface Stream {
  readonly call: Call;
  readonly node: string;
  readonly subscriptions: Map<string, Subscription>;
}

export class XdsControl {
  readonly #server = new Server();
  readonly #streams = new Set<Stream>();
  readonly #resources = new Map<string, object>();
  readonly #held = new Set<string>();
  readonly refusals: string[] = [];
  #nonces = 0;

  constructor() {
    const bytes = {
      requestDeserialize: (b: Buffer) => b,
      responseSerialize: (b: Buffer) => b,
      requestSerialize: (b: Buffer) => b,
      responseDeserialize: (b: Buffer) => b,
    };
    const stream = (path: string) => ({ path, requestStream: true, responseStream: true, ...bytes });
    this.#server.addService(
      { ads: stream(ADS_METHOD), sds: stream(SDS_METHOD) },
      { ads: (call: Call) => this.#serve(call), sds: (call: Call) => this.#serve(call) },
    );
  }

  start(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
    });
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  /** Sets a resource (as Envoy's JSON) and pushes it. */
  set(node: string, kind: Kind, name: string, json: object): void {
    const { url } = TYPES[kind];
    this.#resources.set(key(node, url, name), { '@type': url, ...(fromJsonNamed(typeOfUrl(url), json) as object) });
    this.#push(node, kind, name);
  }

  remove(node: string, kind: Kind, name: string): void {
    this.#resources.delete(key(node, TYPES[kind].url, name));
    this.#push(node, kind, name);
  }

  /** From now on `name` is not sent; what was sent before stays in force. */
  hold(node: string, kind: Kind, name: string): void {
    this.#held.add(key(node, TYPES[kind].url, name));
  }

  release(node: string, kind: Kind, name: string): void {
    this.#held.delete(key(node, TYPES[kind].url, name));
    this.#push(node, kind, name);
  }

  #push(node: string, kind: Kind, name: string): void {
    const type = TYPES[kind];
    for (const stream of this.#streams) {
      const subscription = stream.subscriptions.get(type.url);
      if (stream.node !== node || subscription === undefined) continue;
      if (type.wildcard || subscription.names.includes(name)) this.#send(stream, subscription, type.wildcard ? undefined : [name]);
    }
  }

  #serve(call: Call): void {
    let stream: Stream | undefined;
    call.on('error', () => undefined);
    call.on('end', () => call.end());
    call.on('close', () => stream && this.#streams.delete(stream));
    call.on('data', (message: Buffer) => {
      const request = decode('envoy.service.discovery.v3.DiscoveryRequest', message);
      if (stream === undefined) {
        stream = { call, node: request.node?.id ?? '', subscriptions: new Map() };
        this.#streams.add(stream);
      }
      const type = resourceType(request.type_url ?? SECRET_TYPE.url);
      if (type === undefined) return;
      if (request.error_detail) this.refusals.push(`${stream.node} refused ${type.shortName}: ${request.error_detail.message}`);
      const names = request.resource_names ?? [];
      const known = stream.subscriptions.get(type.url);
      if (known === undefined) {
        const subscription = { type, names, nonce: '' };
        stream.subscriptions.set(type.url, subscription);
        this.#send(stream, subscription, type.wildcard ? undefined : names);
        return;
      }
      const fresh = names.filter((name) => !known.names.includes(name));
      known.names = names;
      if (fresh.length > 0) this.#send(stream, known, fresh);
    });
  }

  /** `names` undefined: everything of the type. Nothing is sent when all of it is withheld or unknown. */
  #send({ call, node }: Stream, subscription: Subscription, names: readonly string[] | undefined): void {
    const { url } = subscription.type;
    const prefix = key(node, url, '');
    const keys = names?.map((name) => prefix + name) ?? [...this.#resources.keys()].filter((k) => k.startsWith(prefix));
    const resources = keys.filter((k) => !this.#held.has(k)).flatMap((k) => this.#resources.get(k) ?? []);
    if (names !== undefined && resources.length === 0) return;
    const nonce = String(++this.#nonces);
    subscription.nonce = nonce;
    const response = { version_info: nonce, type_url: url, nonce, resources } as never;
    call.write(Buffer.from(encode('envoy.service.discovery.v3.DiscoveryResponse', response)));
  }
}

const key = (node: string, url: string, name: string): string => `${node} ${url} ${name}`;
