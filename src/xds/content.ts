// What a server has to give: encoded resources, and sets of them with a version. A set may be made of layers, so that what is the same
// for many clients is one object that all of their sets share, and is compared, selected and written once.

/** A resource ready to be sent. */
export interface EncodedResource {
  readonly name: string;
  /** Hash of the content. */
  readonly version: string;
  readonly bytes: Uint8Array;
  /** Of a cluster: the name under which its endpoints are asked for, when it is not the cluster's name. */
  readonly endpointsName?: string | undefined;
  /** Names that it was asked for under, where they are not its own. */
  readonly aliases?: readonly string[] | undefined;
  /** There is nothing by this name: the client is told so by an empty resource, not by a removal. */
  readonly absent?: boolean | undefined;
}

/** All resources of one type for one client. */
export interface Content {
  /** Hash of all the content. */
  readonly version: string;
  readonly resources: ReadonlyMap<string, EncodedResource>;
  /** The sets that it is made of, where it is; a name in a later layer hides the same name in an earlier one. */
  readonly layers?: readonly Content[] | undefined;
}

/** In order of name, so that one set has one version. */
export const contentOf = (resources: ReadonlyMap<string, EncodedResource>): Content => {
  const sorted = new Map([...resources].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { version: hashVersions(sorted.values()), resources: sorted };
};

/** The same layers give the same version; layers without resources do not count. */
export const layered = (layers: readonly Content[]): Content => {
  const filled = layers.filter((l) => l.resources.size > 0);
  const [only] = filled;
  if (filled.length === 0) return contentOf(new Map());
  if (filled.length === 1 && only) return only;
  const flat = filled.flatMap(layersOf);
  const version = hashVersions(flat.map((l, i) => ({ name: `${i}`, version: l.version })));
  return { version, resources: new LayeredMap(flat.map((l) => l.resources)), layers: flat };
};

export const layersOf = (content: Content): readonly Content[] => content.layers ?? [content];

/** Several maps read as one. */
class LayeredMap implements ReadonlyMap<string, EncodedResource> {
  readonly #maps: readonly ReadonlyMap<string, EncodedResource>[];
  readonly size: number;

  constructor(maps: readonly ReadonlyMap<string, EncodedResource>[]) {
    this.#maps = maps;
    // Names are told apart from the small maps' side: the large ones are shared, and this is made for every client.
    const seen = new Set<string>();
    let size = 0;
    const bySize = [...maps].sort((a, b) => b.size - a.size);
    for (const [i, map] of bySize.entries()) {
      size += map.size;
      if (i === 0) continue;
      for (const name of map.keys()) {
        if (seen.has(name) || bySize[0]?.has(name)) size--;
        seen.add(name);
      }
    }
    this.size = size;
  }

  get(name: string): EncodedResource | undefined {
    for (let i = this.#maps.length - 1; i >= 0; i--) {
      const found = this.#maps[i]?.get(name);
      if (found) return found;
    }
    return undefined;
  }
  has(name: string): boolean {
    return this.#maps.some((map) => map.has(name));
  }
  forEach(call: (value: EncodedResource, key: string, map: ReadonlyMap<string, EncodedResource>) => void): void {
    for (const [name, value] of this.entries()) call(value, name, this);
  }
  *entries(): MapIterator<[string, EncodedResource]> {
    for (const [i, map] of this.#maps.entries()) for (const entry of map) if (!this.#hidden(entry[0], i)) yield entry;
  }
  *keys(): MapIterator<string> {
    for (const [name] of this.entries()) yield name;
  }
  *values(): MapIterator<EncodedResource> {
    for (const [, value] of this.entries()) yield value;
  }
  [Symbol.iterator](): MapIterator<[string, EncodedResource]> {
    return this.entries();
  }

  #hidden(name: string, at: number): boolean {
    for (let i = at + 1; i < this.#maps.length; i++) if (this.#maps[i]?.has(name)) return true;
    return false;
  }
}

/** A content version of a set of resources (order matters): 64 bits of FNV-1a over names and versions. */
export const hashVersions = (resources: Iterable<{ readonly name: string; readonly version: string }>): string => {
  let a = 0x811c9dc5;
  let b = 0x9747b28c;
  for (const r of resources) {
    const text = `${r.name}\0${r.version}\0`;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      a = Math.imul(a ^ c, 0x01000193);
      b = Math.imul(b ^ c, 0x01000197);
    }
  }
  return (a >>> 0).toString(16).padStart(8, '0') + (b >>> 0).toString(16).padStart(8, '0');
};
