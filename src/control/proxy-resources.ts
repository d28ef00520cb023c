// What a proxy is to have, encoded. A configuration comes in pieces; each is made and encoded once for all proxies that it is the same
// for, and each resource is encoded once as long as it stays the same. Versions are hashes of bytes, so an edit that changes nothing for
// a proxy is no push.
import { createHash } from 'node:crypto';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import type { ConfigPiece } from '../translate/translate.ts';
import { encodeNamed, type TypeName } from '../xds/codec.ts';
import { type Content, contentOf, type EncodedResource, layered } from '../xds/content.ts';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  NAME_TABLE_TYPE,
  ROUTE_TYPE,
  resourceName,
  SECRET_TYPE,
  type ServedType,
} from '../xds/resource-types.ts';
import { EMPTY_ASSIGNMENTS_MAX } from './limits.ts';
import { PieceCache, withoutResources } from './piece-cache.ts';
import type { Pipeline } from './pipeline.ts';
import type { ProxyNotes } from './proxy-notes.ts';

export interface ProxyResources {
  /** By type URL. */
  readonly contents: ReadonlyMap<string, Content>;
  /** What the proxy was not given, and what patches did; absent in tests. */
  readonly said?: ProxyNotes;
}

/** A piece's resources by type; types that it has nothing of are absent. */
type EncodedPiece = ReadonlyMap<string, Content>;

const NO_CONTENT = contentOf(new Map());
const TYPES = [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE, EXTENSION_TYPE, NAME_TABLE_TYPE] as const;

/** Hashes kept before it is looked which of their resources are gone. */
const ENCODED_SWEEP_MIN = 10_000;

const digest = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('base64url');
/** Hash of the bytes: 96 bits, printable. */
const contentHash = (bytes: Uint8Array): string => digest(bytes).slice(0, 16);

export class ProxyConfigs {
  readonly #pipeline: Pick<Pipeline, 'translatePieces'>;
  readonly #pieces = new PieceCache();
  readonly #encodedPieces = new WeakMap<object, EncodedPiece>();
  /** By a hash of what a resource says: to write it as text costs a tenth of encoding it, and most stay the same. Those in use only. */
  readonly #encoded = new Map<string, WeakRef<EncodedResource>>();
  #sweepAt = ENCODED_SWEEP_MIN;

  constructor(pipeline: Pick<Pipeline, 'translatePieces'>) {
    this.#pipeline = pipeline;
  }

  /** Throws what the translation throws. */
  resources(snapshot: Snapshot, node: ProxyNode): ProxyResources {
    this.#pieces.turnTo(snapshot);
    const pieces = this.#pipeline.translatePieces(node.kind, (name, make) =>
      this.#pieces.get(`${node.kind} ${name}`, node, make, (made) => this.#keep(made)),
    );
    const encoded = pieces.map((piece) => this.#encodedPieces.get(piece) ?? this.#encode(piece));
    const contents = TYPES.map(({ url }) => [url, layered(encoded.map((e) => e.get(url) ?? NO_CONTENT))] as const);
    const notes = pieces.flatMap((p) => p.notes ?? []);
    const patches = pieces.flatMap((p) => p.patches ?? []);
    return { contents: new Map(contents), said: { notes, patches } };
  }

  /** A piece is kept encoded only: as objects it would take ten times as much. */
  #keep<T extends object>(made: T): T {
    const encoded = this.#encode(made);
    const kept = withoutResources(made);
    this.#encodedPieces.set(kept, encoded);
    return kept;
  }

  #encode(piece: ConfigPiece): EncodedPiece {
    const endpointNames = new Map<string, string>();
    for (const cluster of piece.clusters ?? []) {
      if (cluster.type !== 'EDS' || cluster.name === undefined) continue;
      endpointNames.set(cluster.name, cluster.eds_cluster_config?.service_name || cluster.name);
    }
    const out = new Map<string, Content>();
    const add = (type: ServedType, list: readonly object[] | undefined, names?: ReadonlyMap<string, string>): void => {
      if (list === undefined || list.length === 0) return;
      const resources = list.map((resource) => this.#one(type, resource, names));
      out.set(type.url, contentOf(new Map(resources.map((r) => [r.name, r]))));
    };
    add(CLUSTER_TYPE, piece.clusters, endpointNames);
    add(ENDPOINT_TYPE, piece.endpoints);
    add(LISTENER_TYPE, piece.listeners);
    add(ROUTE_TYPE, piece.routes);
    add(SECRET_TYPE, piece.secrets);
    add(EXTENSION_TYPE, piece.extensions);
    add(NAME_TABLE_TYPE, piece.nameTable === undefined ? undefined : [piece.nameTable]);
    return out;
  }

  #one(type: ServedType, resource: object, endpointNames?: ReadonlyMap<string, string>): EncodedResource {
    const key = digest(`${type.shortName}${JSON.stringify(resource)}`);
    const known = this.#encoded.get(key)?.deref();
    if (known) return known;
    const encoded = encodeResource(type.type, resourceName(type, resource), resource, endpointNames);
    this.#encoded.set(key, new WeakRef(encoded));
    if (this.#encoded.size > this.#sweepAt) this.#sweep();
    return encoded;
  }

  #sweep(): void {
    for (const [key, held] of this.#encoded) if (!held.deref()) this.#encoded.delete(key);
    this.#sweepAt = Math.max(ENCODED_SWEEP_MIN, 2 * this.#encoded.size);
  }
}

const encodeResource = (type: TypeName, name: string, resource: object, endpointNames?: ReadonlyMap<string, string>): EncodedResource => {
  const bytes = encodeNamed(type, resource);
  return { name, version: contentHash(bytes), bytes, endpointsName: endpointNames?.get(name) };
};

const emptyAssignments = new Map<string, EncodedResource>();
/** The endpoints of a cluster that has none: a client that asks by name must get an answer, or it waits for one. */
export const emptyAssignment = (name: string): EncodedResource => {
  const known = emptyAssignments.get(name);
  if (known) return known;
  if (emptyAssignments.size > EMPTY_ASSIGNMENTS_MAX) emptyAssignments.clear();
  const made = encodeResource(ENDPOINT_TYPE.type, name, { cluster_name: name });
  emptyAssignments.set(name, made);
  return made;
};
