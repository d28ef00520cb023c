// What a measuring client reads of a delta response: names, and what to ask for next. Resources are not decoded further than that, so
// that the clients cost little beside what they measure.
import { encode } from '../../src/xds/codec.ts';
import type { Node } from '../../src/xds/gen/types.ts';
import { Reader } from '../../src/xds/wire-format.ts';

export interface DeltaRequest {
  readonly typeUrl: string;
  readonly node?: { readonly [field: string]: unknown } | undefined;
  readonly subscribe?: readonly string[];
  readonly unsubscribe?: readonly string[];
  readonly nonce?: string;
}

export const writeRequest = (request: DeltaRequest): Uint8Array =>
  encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', {
    type_url: request.typeUrl,
    ...(request.node === undefined ? {} : { node: request.node as Node }),
    ...(request.subscribe === undefined ? {} : { resource_names_subscribe: [...request.subscribe] }),
    ...(request.unsubscribe === undefined ? {} : { resource_names_unsubscribe: [...request.unsubscribe] }),
    ...(request.nonce === undefined ? {} : { response_nonce: request.nonce }),
  });

export interface DeltaResponse {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly { readonly name: string; readonly body: Uint8Array }[];
  readonly removed: readonly string[];
}

export const readResponse = (bytes: Uint8Array): DeltaResponse => {
  const r = new Reader(bytes);
  let typeUrl = '';
  let nonce = '';
  const resources: { name: string; body: Uint8Array }[] = [];
  const removed: string[] = [];
  while (r.pos < r.end) {
    const tag = r.varint();
    if (tag === 18) resources.push(readResource(r.buf, r.pos, r.length(), r));
    else if (tag === 34) typeUrl = r.string();
    else if (tag === 42) nonce = r.string();
    else if (tag === 50) removed.push(r.string());
    else r.skip(tag % 8);
  }
  return { typeUrl, nonce, resources, removed };
};

const NO_BYTES = new Uint8Array();

/** Of a Resource from where its length stands: the name, and the value of its Any. */
const readResource = (buf: Uint8Array, _at: number, end: number, outer: Reader): { name: string; body: Uint8Array } => {
  const r = new Reader(buf, outer.pos, end);
  outer.pos = end;
  let name = '';
  let body: Uint8Array = NO_BYTES;
  while (r.pos < r.end) {
    const tag = r.varint();
    if (tag === 26) name = r.string();
    else if (tag === 18) body = anyValue(r.bytes());
    else r.skip(tag % 8);
  }
  return { name, body };
};

const anyValue = (any: Uint8Array): Uint8Array => {
  const r = new Reader(any);
  while (r.pos < r.end) {
    const tag = r.varint();
    if (tag === 18) return r.bytes();
    r.skip(tag % 8);
  }
  return NO_BYTES;
};

/** The name that an EDS cluster's endpoints are asked for by; undefined for clusters of other types. Cluster: name 1, type 2, eds 3 {service_name 2}. */
export const endpointsNameOf = (cluster: Uint8Array): string | undefined => {
  const r = new Reader(cluster);
  let name = '';
  let service = '';
  let eds = false;
  while (r.pos < r.end) {
    const tag = r.varint();
    if (tag === 10) name = r.string();
    else if (tag === 16) eds = r.varint() === 3;
    else if (tag === 26) service = stringIn(r.bytes(), 18);
    else if (tag > 31 && name !== '' && !eds) return undefined;
    else r.skip(tag % 8);
  }
  return eds ? service || name : undefined;
};

const stringIn = (bytes: Uint8Array, wanted: number): string => {
  const r = new Reader(bytes);
  while (r.pos < r.end) {
    const tag = r.varint();
    if (tag === wanted) return r.string();
    r.skip(tag % 8);
  }
  return '';
};

const MANAGER = new TextEncoder().encode('http_connection_manager.v3.HttpConnectionManager');

/** Route configurations that a listener's connection managers ask for (HttpConnectionManager: rds 3 {route_config_name 2}). */
export const routeNamesOf = (listener: Uint8Array): readonly string[] => {
  const found: string[] = [];
  const view = Buffer.from(listener.buffer, listener.byteOffset, listener.byteLength);
  for (let at = view.indexOf(MANAGER); at !== -1; at = view.indexOf(MANAGER, at + MANAGER.length)) {
    const r = new Reader(listener, at + MANAGER.length);
    if (r.varint() !== 18) continue; // the Any's value follows its URL
    const manager = new Reader(listener, r.pos);
    const value = manager.bytes();
    const inside = new Reader(value);
    while (inside.pos < inside.end) {
      const tag = inside.varint();
      if (tag === 26) {
        const name = stringIn(inside.bytes(), 18);
        if (name !== '') found.push(name);
      } else inside.skip(tag % 8);
    }
  }
  return found;
};
