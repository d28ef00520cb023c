// What a proxy is to have, encoded. A configuration comes in pieces; each is made and encoded once for all proxies that it is the same
// for, and each resource is encoded once as long as it stays the same. Versions are hashes of bytes, so an edit that changes nothing for
// a proxy is no push.
import { createHash } from 'node:crypto';
import type { Snapshot } from '../../mesh/snapshot.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import type { ConfigPiece } from '../../translate/translate.ts';
import { encode, encodeNamed, type TypeName } from '../../xds/codec.ts';
import { type Content, contentOf, type EncodedResource, layered } from '../../xds/content.ts';
import { EncodedMessage } from '../../xds/encoded-message.ts';
import type { Cluster, Route } from '../../xds/gen/types.ts';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  NAME_TABLE_TYPE,
  PROXY_CONFIG_TYPE,
  ROUTE_TYPE,
  resourceName,
  SECRET_TYPE,
  type ServedType,
  VIRTUAL_HOST_TYPE,
} from '../../xds/resource-types.ts';
import { EMPTY_ASSIGNMENTS_MAX, PIECES_KEPT_MIN, PIECES_KEPT_PER_NODE } from '../limits.ts';
import type { Pipeline } from '../pipeline.ts';
import { HostDirectory } from '../registration/host-directory.ts';
import { type Keep, PieceCache, withoutResources } from './piece-cache.ts';
import type { ProxyNotes } from './proxy-notes.ts';

export interface ProxyResources {
  /** By type URL. */
  readonly contents: ReadonlyMap<string, Content>;
  /** What the proxy was not given, and what patches did; absent in tests. */
  readonly said?: ProxyNotes;
  /** What the proxy is given beside that when it asks for it by name. */
  readonly lazy?: LazyResources | undefined;
}

export interface LazyResources {
  /** By type URL. */
  readonly contents: ReadonlyMap<string, Content>;
  /** By route configuration. */
  readonly hosts: ReadonlyMap<string, HostDirectory>;
  /** The proxy waits for word of each route configuration. */
  readonly namesRoutes: boolean;
}

/** A piece's resources by type; types that it has nothing of are absent. */
interface EncodedPiece {
  readonly contents: ReadonlyMap<string, Content>;
  readonly lazy: ReadonlyMap<string, Content>;
  readonly hosts: readonly HostDirectory[];
}

const NO_CONTENT = contentOf(new Map());
const TYPES = [
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  LISTENER_TYPE,
  ROUTE_TYPE,
  SECRET_TYPE,
  EXTENSION_TYPE,
  NAME_TABLE_TYPE,
  PROXY_CONFIG_TYPE,
] as const;

const ROUTE: TypeName = 'envoy.config.route.v3.Route';

/** Hashes kept before it is looked which of their resources are gone. */
const ENCODED_SWEEP_MIN = 2_000;

const digest = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('base64url');
/** Hash of the bytes: 96 bits, printable. */
const contentHash = (bytes: Uint8Array): string => digest(bytes).slice(0, 16);

export class ProxyConfigs {
  readonly #pipeline: Pick<Pipeline, 'translatePieces'>;
  readonly #pieces: PieceCache;
  readonly #encodedPieces = new WeakMap<object, EncodedPiece>();
  /** By a hash of what a resource says: to write it as text costs a tenth of encoding it, and most stay the same. Those in use only. */
  readonly #encoded = new Map<string, WeakRef<EncodedResource>>();
  /** Those that this has encoded: a piece that is made of kept parts holds them in place of resources. */
  readonly #made = new WeakSet<object>();
  #sweepAt = ENCODED_SWEEP_MIN;

  /** `nodes`: how many there are now. */
  constructor(pipeline: Pick<Pipeline, 'translatePieces'>, nodes: () => number = () => 0) {
    this.#pipeline = pipeline;
    this.#pieces = new PieceCache(() => Math.max(PIECES_KEPT_MIN, PIECES_KEPT_PER_NODE * nodes()));
  }

  /** Of nodes that have gone not everything is kept. */
  trim(): void {
    this.#pieces.trim();
  }

  /** Throws what the translation throws. */
  resources(snapshot: Snapshot, node: ProxyNode): ProxyResources {
    this.#pieces.turnTo(snapshot);
    const pieces = this.#pipeline.translatePieces(node.kind, (name, make) =>
      this.#pieces.get(`${node.kind} ${name}`, node, make, this.#keep),
    );
    const encoded = pieces.map((piece) => this.#encodedPieces.get(piece) ?? this.#encode(piece));
    const contents = new Map(TYPES.map(({ url }) => [url, layered(encoded.map((e) => e.contents.get(url) ?? NO_CONTENT))]));
    const lazy = node.onDemand === true ? lazyOf(encoded, node.isSkein !== true) : undefined;
    if (lazy) addNeeded(contents, lazy, new Set(pieces.flatMap((p) => p.needed ?? [])));
    const notes = pieces.flatMap((p) => p.notes ?? []);
    const patches = pieces.flatMap((p) => p.patches ?? []);
    return { contents, said: { notes, patches }, lazy };
  }

  /** A piece is kept encoded only, its parts too: as objects they would take ten times as much. */
  readonly #keep: Keep = {
    piece: (made) => {
      const encoded = this.#encode(made);
      const kept = withoutResources(made);
      this.#encodedPieces.set(kept, encoded);
      return kept;
    },
    part: (made) => this.#keepPart(made),
  };

  /** In place of its resources stand encoded ones, which `#one` takes as they are; in place of routes, encoded messages. */
  #keepPart({ clusters, endpoints, secrets, routes, ...others }: PartResources): object {
    const names = endpointNames(clusters);
    return {
      ...others,
      ...(clusters && { clusters: clusters.map((r) => this.#one(CLUSTER_TYPE, r, names)) }),
      ...(endpoints && { endpoints: endpoints.map((r) => this.#one(ENDPOINT_TYPE, r)) }),
      ...(secrets && { secrets: secrets.map((r) => this.#one(SECRET_TYPE, r)) }),
      ...(routes && { routes: routes.map(encodedRoute) }),
    };
  }

  #encode(piece: ConfigPiece): EncodedPiece {
    const contents = new Map<string, Content>();
    const lazy = new Map<string, Content>();
    const add = (type: ServedType, list: readonly object[] | undefined, names?: ReadonlyMap<string, string>, out = contents): void => {
      if (list === undefined || list.length === 0) return;
      const resources = list.map((resource) => this.#one(type, resource, names));
      out.set(type.url, contentOf(new Map(resources.map((r) => [r.name, r]))));
    };
    add(CLUSTER_TYPE, piece.lazyClusters, endpointNames(piece.lazyClusters), lazy);
    add(LISTENER_TYPE, piece.lazyListeners, undefined, lazy);
    const hosts = (piece.virtualHosts ?? []).map((of) => new HostDirectory(of, contentHash));
    add(CLUSTER_TYPE, piece.clusters, endpointNames(piece.clusters));
    add(ENDPOINT_TYPE, piece.endpoints);
    add(LISTENER_TYPE, piece.listeners);
    add(ROUTE_TYPE, piece.routes);
    add(SECRET_TYPE, piece.secrets);
    add(EXTENSION_TYPE, piece.extensions);
    add(NAME_TABLE_TYPE, piece.nameTable === undefined ? undefined : [piece.nameTable]);
    add(PROXY_CONFIG_TYPE, piece.agentConfig === undefined ? undefined : [piece.agentConfig]);
    return { contents, lazy, hosts };
  }

  #one(type: ServedType, resource: object, endpointNames?: ReadonlyMap<string, string>): EncodedResource {
    if (this.#made.has(resource)) return resource as EncodedResource;
    const make = (): EncodedResource => encodeResource(type.type, resourceName(type, resource), resource, endpointNames);
    // Where most is encoded already, to encode the rest costs less than to write it as text.
    const encoded = isOfParts(resource) ? make() : undefined;
    const key = encoded === undefined ? digest(`${type.shortName}${JSON.stringify(resource)}`) : `${type.shortName} ${encoded.version}`;
    const known = this.#encoded.get(key)?.deref();
    if (known) return known;
    const kept = encoded ?? make();
    this.#made.add(kept);
    this.#encoded.set(key, new WeakRef(kept));
    if (this.#encoded.size > this.#sweepAt) this.#sweep();
    return kept;
  }

  #sweep(): void {
    for (const [key, held] of this.#encoded) if (!held.deref()) this.#encoded.delete(key);
    this.#sweepAt = Math.max(ENCODED_SWEEP_MIN, 2 * this.#encoded.size);
  }
}

const lazyOf = (pieces: readonly EncodedPiece[], namesRoutes: boolean): LazyResources | undefined => {
  const contents = new Map(
    [CLUSTER_TYPE, LISTENER_TYPE].map(({ url }) => [url, layered(pieces.map((p) => p.lazy.get(url) ?? NO_CONTENT))] as const),
  );
  const hosts = new Map(pieces.flatMap((p) => p.hosts.map((h) => [h.route, h] as const)));
  // A proxy that is patched is given everything.
  return hosts.size === 0 && [...contents.values()].every((c) => c.resources.size === 0) ? undefined : { contents, hosts, namesRoutes };
};

/** Virtual hosts have a place, and clusters that are needed at once go with the others. */
const addNeeded = (contents: Map<string, Content>, lazy: LazyResources, names: ReadonlySet<string>): void => {
  contents.set(VIRTUAL_HOST_TYPE.url, NO_CONTENT);
  const clusters = lazy.contents.get(CLUSTER_TYPE.url)?.resources;
  const needed = [...names].flatMap((name) => clusters?.get(name) ?? []);
  if (needed.length === 0) return;
  const own = contentOf(new Map(needed.map((r) => [r.name, r])));
  contents.set(CLUSTER_TYPE.url, layered([contents.get(CLUSTER_TYPE.url) ?? NO_CONTENT, own]));
};

/** Of a part of a piece. */
interface PartResources extends Pick<ConfigPiece, 'clusters' | 'endpoints' | 'secrets'> {
  readonly routes?: readonly Route[] | undefined;
}

const encodedRoute = (route: Route): EncodedMessage => {
  const bytes = encode(ROUTE, route);
  return new EncodedMessage(ROUTE, bytes, digest(bytes));
};

/** A route configuration whose routes are encoded. */
const isOfParts = (resource: object): boolean => {
  const { virtual_hosts: hosts } = resource as { readonly virtual_hosts?: readonly { readonly routes?: readonly unknown[] }[] };
  return hosts?.[0]?.routes?.[0] instanceof EncodedMessage;
};

/** By cluster, the names under which endpoints are asked for. */
const endpointNames = (clusters: readonly Cluster[] = []): ReadonlyMap<string, string> => {
  const out = new Map<string, string>();
  for (const cluster of clusters) {
    if (cluster.type !== 'EDS' || cluster.name === undefined) continue;
    out.set(cluster.name, cluster.eds_cluster_config?.service_name || cluster.name);
  }
  return out;
};

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
