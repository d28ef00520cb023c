// What one class of proxies is to have, encoded: built once per generation and class, and each resource once whoever is
// sent it and as long as it stays the same. Versions are hashes of bytes, so an edit that changes nothing for a proxy is no push.
import { createHash } from 'node:crypto';
import type { ProxyConfig } from '../translate/translate.ts';
import { encodeNamed, type TypeName } from '../xds/codec.ts';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  LISTENER_TYPE,
  NAME_TABLE_TYPE,
  type ResourceType,
  ROUTE_TYPE,
  resourceName,
} from '../xds/resource-types.ts';
import { type Content, type EncodedResource, hashVersions } from '../xds/sotw-server.ts';
import { PROXY_CLASSES_MAX } from './limits.ts';

export interface ProxyResources {
  /** By type URL. */
  readonly contents: ReadonlyMap<string, Content>;
  /** Cluster → the name its endpoints are asked for by, of clusters that learn them over EDS. */
  readonly endpointNames: ReadonlyMap<string, string>;
}

/** Hash of the bytes: 96 bits, printable. */
const contentHash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64url').slice(0, 16);

export class ResourceEncoder {
  /** By what a resource says: to write it as text costs a tenth of encoding it, and most are the same for many proxies. */
  #encoded = new Map<string, EncodedResource>();
  #before: ReadonlyMap<string, EncodedResource> = new Map();

  /** What neither this generation nor the next asks for is forgotten. */
  nextGeneration(): void {
    this.#before = this.#encoded;
    this.#encoded = new Map();
  }

  encode(config: ProxyConfig): ProxyResources {
    const endpointNames = new Map<string, string>();
    for (const cluster of config.clusters) {
      if (cluster.type !== 'EDS' || cluster.name === undefined) continue;
      endpointNames.set(cluster.name, cluster.eds_cluster_config?.service_name || cluster.name);
    }
    const contents = new Map<string, Content>([
      [CLUSTER_TYPE.url, this.#content(CLUSTER_TYPE, config.clusters, endpointNames)],
      [ENDPOINT_TYPE.url, this.#content(ENDPOINT_TYPE, config.endpoints)],
      [LISTENER_TYPE.url, this.#content(LISTENER_TYPE, config.listeners)],
      [ROUTE_TYPE.url, this.#content(ROUTE_TYPE, config.routes)],
      [NAME_TABLE_TYPE.url, this.#content(NAME_TABLE_TYPE, config.nameTable === undefined ? [] : [config.nameTable])],
    ]);
    return { contents, endpointNames };
  }

  #content(type: ResourceType, list: readonly object[], endpointNames?: ReadonlyMap<string, string>): Content {
    const resources = new Map<string, EncodedResource>();
    for (const resource of list) {
      const encoded = this.#one(type, resource, endpointNames);
      resources.set(encoded.name, encoded);
    }
    return contentOf(resources);
  }

  #one(type: ResourceType, resource: object, endpointNames?: ReadonlyMap<string, string>): EncodedResource {
    const text = `${type.shortName}${JSON.stringify(resource)}`;
    const known = this.#encoded.get(text);
    if (known) return known;
    const encoded = this.#before.get(text) ?? encodeResource(type.type, resourceName(type, resource), resource, endpointNames);
    this.#encoded.set(text, encoded);
    return encoded;
  }
}

const encodeResource = (type: TypeName, name: string, resource: object, endpointNames?: ReadonlyMap<string, string>): EncodedResource => {
  const bytes = encodeNamed(type, resource);
  return { name, version: contentHash(bytes), bytes, endpointsName: endpointNames?.get(name) };
};

/** In order of name, so that one set has one version. */
export const contentOf = (resources: ReadonlyMap<string, EncodedResource>): Content => {
  const sorted = new Map([...resources].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { version: hashVersions(sorted.values()), resources: sorted };
};

const emptyAssignments = new Map<string, EncodedResource>();
/** The endpoints of a cluster that has none: a client that asks by name must get an answer, or it waits for one. */
export const emptyAssignment = (name: string): EncodedResource => {
  const known = emptyAssignments.get(name);
  if (known) return known;
  if (emptyAssignments.size > PROXY_CLASSES_MAX) emptyAssignments.clear();
  const made = encodeResource(ENDPOINT_TYPE.type, name, { cluster_name: name });
  emptyAssignments.set(name, made);
  return made;
};
