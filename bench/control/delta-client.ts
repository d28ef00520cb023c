// One simulated proxy: a delta ADS stream on a connection of its own. It asks for clusters and listeners, then for the endpoints and
// routes that they name, acknowledges everything, and notes when what came.
import net from 'node:net';
import { performance } from 'node:perf_hooks';
import { type GrpcCall, GrpcConnection } from '../../src/wire/grpc-client.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../../src/xds/resource-types.ts';
import { type DeltaResponse, endpointsNameOf, readResponse, routeNamesOf, writeRequest } from './delta-messages.ts';

const DELTA_METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const MESSAGE_BYTES_MAX = 256 * 1024 * 1024;

export type WatchedType = 'CDS' | 'EDS' | 'LDS' | 'RDS';
const SHORT = new Map<string, WatchedType>([
  [CLUSTER_TYPE.url, 'CDS'],
  [ENDPOINT_TYPE.url, 'EDS'],
  [LISTENER_TYPE.url, 'LDS'],
  [ROUTE_TYPE.url, 'RDS'],
]);

/** Milliseconds on the clock of the machine, comparable between processes. */
export const clockMs = (): number => performance.timeOrigin + performance.now();

/** What clusters and listeners lead to, once for all clients: most of them are sent the same bytes. */
export class Known {
  readonly #endpoints = new Map<string, { readonly body: Uint8Array; readonly name: string | undefined }>();
  readonly #routes = new Map<string, { readonly body: Uint8Array; readonly names: readonly string[] }>();

  endpointsName(name: string, body: Uint8Array): string | undefined {
    const known = this.#endpoints.get(name);
    if (known && Buffer.compare(known.body, body) === 0) return known.name;
    const found = endpointsNameOf(body);
    this.#endpoints.set(name, { body: body.slice(), name: found });
    return found;
  }

  routeNames(name: string, body: Uint8Array): readonly string[] {
    const known = this.#routes.get(name);
    if (known && Buffer.compare(known.body, body) === 0) return known.names;
    const names = routeNamesOf(body);
    this.#routes.set(name, { body: body.slice(), names });
    return names;
  }
}

export interface DeltaClientOptions {
  readonly host: string;
  readonly port: number;
  readonly node: { readonly [field: string]: unknown };
  readonly known: Known;
  readonly failed: (problem: string) => void;
  /** Something has come and was acknowledged. */
  readonly noted: (client: DeltaClient) => void;
}

export class DeltaClient {
  bytes = 0;
  responses = 0;
  /** When the last response of a type came since the last mark. */
  readonly at = new Map<WatchedType, number>();
  configuredAtMs = 0;
  readonly #options: DeltaClientOptions;
  readonly #socket: net.Socket;
  readonly #grpc: GrpcConnection;
  #call: GrpcCall | undefined;
  readonly #waiting = new Set<string>();
  readonly #asked = new Set<string>();
  #clusters = false;
  #listeners = false;

  constructor(options: DeltaClientOptions) {
    this.#options = options;
    this.#socket = net.connect({ host: options.host, port: options.port, noDelay: true });
    this.#grpc = new GrpcConnection(
      {
        write: (pieces) => {
          let more = true;
          for (const piece of pieces) more = this.#socket.write(piece);
          return more;
        },
        ready: () => undefined,
        closing: () => undefined,
        pong: () => undefined,
        over: (problem) => options.failed(problem || 'the server closed the connection'),
      },
      { scheme: 'http', authority: 'xds', messageBytesMax: MESSAGE_BYTES_MAX },
    );
    this.#socket.on('connect', () => {
      this.#grpc.start();
      this.#open();
    });
    this.#socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
      this.#grpc.receive(chunk);
    });
    this.#socket.on('drain', () => this.#grpc.drained());
    this.#socket.on('error', (error) => options.failed(error.message));
  }

  mark(): void {
    this.bytes = 0;
    this.responses = 0;
    this.at.clear();
  }

  close(): void {
    this.#socket.destroy();
  }

  #open(): void {
    this.#call = this.#grpc.open(
      DELTA_METHOD,
      {},
      {
        message: (bytes) => this.#received(readResponse(bytes)),
        end: (status) => this.#options.failed(`the stream ended: ${status.code} ${status.message}`),
      },
    );
    this.#call.send(writeRequest({ node: this.#options.node, typeUrl: CLUSTER_TYPE.url }));
    this.#call.send(writeRequest({ typeUrl: LISTENER_TYPE.url }));
  }

  #received(response: DeltaResponse): void {
    const type = SHORT.get(response.typeUrl);
    this.#call?.send(writeRequest({ typeUrl: response.typeUrl, nonce: response.nonce }));
    if (type === undefined) return;
    this.responses++;
    this.at.set(type, clockMs());
    if (type === 'CDS') this.#tookClusters(response);
    else if (type === 'LDS') this.#tookListeners(response);
    else for (const r of response.resources) this.#waiting.delete(`${type} ${r.name}`);
    for (const name of response.removed) this.#waiting.delete(`${type} ${name}`);
    if (this.configuredAtMs === 0 && this.#clusters && this.#listeners && this.#waiting.size === 0) this.configuredAtMs = clockMs();
    this.#options.noted(this);
  }

  #tookClusters(response: DeltaResponse): void {
    this.#clusters = true;
    const { known } = this.#options;
    this.#ask(
      'EDS',
      ENDPOINT_TYPE.url,
      response.resources.flatMap((r) => known.endpointsName(r.name, r.body) ?? []),
    );
  }

  #tookListeners(response: DeltaResponse): void {
    this.#listeners = true;
    const { known } = this.#options;
    this.#ask(
      'RDS',
      ROUTE_TYPE.url,
      response.resources.flatMap((r) => known.routeNames(r.name, r.body)),
    );
  }

  #ask(type: WatchedType, typeUrl: string, names: readonly string[]): void {
    const fresh = [...new Set(names)].filter((name) => !this.#asked.has(`${type} ${name}`));
    if (fresh.length === 0) return;
    for (const name of fresh) {
      this.#asked.add(`${type} ${name}`);
      this.#waiting.add(`${type} ${name}`);
    }
    this.#call?.send(writeRequest({ typeUrl, subscribe: fresh }));
  }
}
