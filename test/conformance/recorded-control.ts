// A control plane that serves recorded resources as they are, and workload certificates over SDS to any proxy.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { decode, decodeNamed, encode, typeOfUrl } from '../../src/xds/codec.ts';
import type { DiscoveryRequest } from '../../src/xds/gen/types.ts';
import { fromJsonNamed } from '../../src/xds/json.ts';
import type { RecordedXds } from './scenario.ts';

const CDS = 'type.googleapis.com/envoy.config.cluster.v3.Cluster';
const EDS = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment';
const LDS = 'type.googleapis.com/envoy.config.listener.v3.Listener';
const RDS = 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration';
const SDS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';

interface Stored {
  readonly name: string;
  readonly any: object;
}

/** Recorded JSON back to an Any: types that the recorder did not know travel as the bytes it kept. */
export const recordedAny = (json: unknown): unknown => {
  if (Array.isArray(json)) return json.map(recordedAny);
  if (typeof json !== 'object' || json === null) return json;
  const o = json as Record<string, unknown>;
  const inner = o['value'] as Record<string, unknown> | undefined;
  if (o['@type'] === 'type.googleapis.com/google.protobuf.Struct' && typeof inner?.['unknown_type'] === 'string') return recordedAny(inner);
  if (typeof o['unknown_type'] === 'string') {
    return { '@type': o['unknown_type'], ...decodeNamed(typeOfUrl(o['unknown_type']), Buffer.from(String(o['bytes']), 'base64')) };
  }
  return Object.fromEntries(Object.entries(o).map(([k, v]) => [k, recordedAny(v)]));
};

export class RecordedControl {
  readonly #server = new Server();
  readonly #byNode = new Map<string, Map<string, Stored[]>>();
  readonly #certs: string;
  readonly #nacks: string[];

  /** `nacks` gathers what proxies refuse, in their own words. */
  constructor(certs: string, nacks: string[]) {
    this.#certs = certs;
    this.#nacks = nacks;
    const bytes = {
      requestDeserialize: (b: Buffer) => b,
      responseSerialize: (b: Buffer) => b,
      requestSerialize: (b: Buffer) => b,
      responseDeserialize: (b: Buffer) => b,
    };
    const stream = (path: string) => ({ path, requestStream: true, responseStream: true, ...bytes });
    this.#server.addService(
      {
        ads: stream('/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources'),
        sds: stream('/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets'),
      },
      { ads: (call: Call) => this.#serve(call), sds: (call: Call) => this.#serve(call) },
    );
  }

  /** Serves `record` to the node of the given id. `rewrite` may change the JSON text (file paths). */
  add(nodeId: string, record: RecordedXds, rewrite: (text: string) => string): void {
    const types = new Map<string, Stored[]>();
    const put = (url: string, list: readonly object[] | undefined, key: string): void => {
      const stored = (list ?? []).map((raw) => {
        const { '@type': _type, ...rest } = JSON.parse(rewrite(JSON.stringify(recordedAny(raw)))) as Record<string, unknown>;
        return { name: String(rest[key]), any: { '@type': url, ...(fromJsonNamed(typeOfUrl(url), rest) as object) } };
      });
      types.set(url, stored);
    };
    put(CDS, record.clusters, 'name');
    put(EDS, record.endpoints, 'cluster_name');
    put(LDS, record.listeners, 'name');
    put(RDS, record.routes, 'name');
    this.#byNode.set(nodeId, types);
  }

  start(address: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve()));
    });
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #serve(call: Call): void {
    let node: DiscoveryRequest['node'];
    let nonce = 0;
    const lastNames = new Map<string, string>();
    call.on('error', () => undefined);
    call.on('end', () => call.end());
    call.on('data', (message: Buffer) => {
      const request = decode('envoy.service.discovery.v3.DiscoveryRequest', message);
      node ??= request.node;
      if (request.error_detail) this.#nacks.push(`${node?.id?.split('~')[1]} refused ${request.type_url}: ${request.error_detail.message}`);
      const url = request.type_url ?? SDS;
      const names = JSON.stringify([...(request.resource_names ?? [])].sort());
      if (request.response_nonce && lastNames.get(url) === names) return; // an ACK or NACK of what was sent
      lastNames.set(url, names);
      const resources = this.#resources(url, request.resource_names ?? [], node);
      if (!resources) return;
      const response = { version_info: '1', type_url: url, nonce: String(++nonce), resources } as never;
      call.write(Buffer.from(encode('envoy.service.discovery.v3.DiscoveryResponse', response)));
    });
  }

  #resources(url: string, names: readonly string[], node: DiscoveryRequest['node']): object[] | undefined {
    if (url === SDS) return names.map((name) => this.#secret(name, node));
    const stored = this.#byNode.get(node?.id ?? '')?.get(url);
    if (!stored) return undefined;
    return stored.filter((s) => names.length === 0 || names.includes(s.name)).map((s) => s.any);
  }

  #secret(name: string, node: DiscoveryRequest['node']): object {
    const path = (at: string): Uint8Array => new Uint8Array(readFileSync(at));
    const file = (leaf: string): Uint8Array => path(join(this.#certs, leaf));
    const type = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
    if (name === 'ROOTCA') return { '@type': type, name, validation_context: { trusted_ca: { inline_bytes: file('ca.pem') } } };
    if (name.startsWith('file-root:'))
      return { '@type': type, name, validation_context: { trusted_ca: { inline_bytes: path(name.slice(10)) } } };
    if (name.startsWith('file-cert:')) {
      const [chain = '', key = ''] = name.slice(10).split('~');
      return {
        '@type': type,
        name,
        tls_certificate: { certificate_chain: { inline_bytes: path(chain) }, private_key: { inline_bytes: path(key) } },
      };
    }
    const metadata = (node?.metadata ?? {}) as Record<string, unknown>;
    const id = `wl-${process.env['SKEIN_TRUST_DOMAIN'] ?? 'cluster.local'}-${metadata['NAMESPACE']}-${metadata['SERVICE_ACCOUNT']}`;
    return {
      '@type': type,
      name,
      tls_certificate: { certificate_chain: { inline_bytes: file(`${id}.pem`) }, private_key: { inline_bytes: file(`${id}-key.pem`) } },
    };
  }
}
type Call = ServerDuplexStream<Buffer, Buffer>;
