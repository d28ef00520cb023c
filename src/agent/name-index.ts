// Names of the mesh as a sidecar's application may write them: `a`, `a.ns`, `a.ns.svc`, `a.ns.svc.cluster.local`, a foreign
// host with a search domain behind it, wildcards. Built once per name table, then only looked up. Pure.
import type { NameTable } from '../xds/gen/types.ts';

export interface NameIndexOptions {
  readonly namespace: string;
  /** `cluster.local`. */
  readonly domain: string;
}

export interface NameAnswer {
  /** The host that has the addresses when it is not the name asked for: to be told as a CNAME. */
  readonly alias: string | undefined;
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

interface Addresses {
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

export class NameIndex {
  readonly #byName = new Map<string, Addresses>();
  readonly #hosts = new Set<string>();
  readonly #domain: string;
  readonly #searchDomains: readonly string[];

  constructor(table: NameTable, { namespace, domain }: NameIndexOptions) {
    this.#domain = domain.toLowerCase();
    const service = `svc.${this.#domain}`;
    this.#searchDomains = [`${namespace}.${service}`.toLowerCase(), service, this.#domain];
    // Exact hosts first: a short form never hides a host of that very name.
    const entries = Object.entries(table.table ?? {});
    for (const [host, info] of entries) {
      const name = plain(host);
      this.#byName.set(name, sortByFamily(info.ips ?? []));
      this.#hosts.add(name);
    }
    for (const [host, info] of entries) {
      const name = plain(host);
      const addresses = this.#byName.get(name);
      if (!addresses) continue;
      for (const short of shortForms(name, info.shortname ?? '', info.namespace ?? '', namespace, this.#domain)) {
        if (!this.#byName.has(short)) this.#byName.set(short, addresses);
      }
    }
  }

  /** Undefined: not a name of the mesh. `name` with or without the final dot, any case. */
  lookup(name: string): NameAnswer | undefined {
    const asked = plain(name);
    const direct = this.#byName.get(asked);
    if (direct) return { alias: undefined, ...direct };
    for (const search of this.#searchDomains) {
      if (!asked.endsWith(`.${search}`)) continue;
      const host = asked.slice(0, -search.length - 1);
      const found = this.#hosts.has(host) ? this.#byName.get(host) : undefined;
      if (found) return { alias: host, ...found };
    }
    for (let dot = asked.indexOf('.'); dot >= 0; dot = asked.indexOf('.', dot + 1)) {
      const wild = this.#byName.get(`*${asked.slice(dot)}`);
      if (wild) return { alias: undefined, ...wild };
    }
    return undefined;
  }

  /** A name that only the mesh can know. */
  isClusterName(name: string): boolean {
    const asked = plain(name);
    return asked.endsWith(`.svc.${this.#domain}`) || asked === `svc.${this.#domain}`;
  }
}

const plain = (name: string): string => (name.endsWith('.') ? name.slice(0, -1) : name).toLowerCase();

/** As Istio's agent: only for hosts of this cluster's domain; the bare name only inside its namespace. */
const shortForms = (host: string, short: string, ns: string, ownNs: string, domain: string): readonly string[] => {
  if (short === '' || ns === '' || !host.endsWith(`.${domain}`)) return [];
  const qualified = `${short}.${ns}`.toLowerCase();
  const forms = [qualified, `${qualified}.svc`];
  let tail = `${qualified}.svc`;
  for (const part of domain.split('.')) {
    tail = `${tail}.${part}`;
    forms.push(tail);
  }
  if (ns === ownNs) forms.push(short.toLowerCase());
  return forms;
};

const sortByFamily = (ips: readonly string[]): Addresses => ({
  v4: ips.filter((ip) => !ip.includes(':')),
  v6: ips.filter((ip) => ip.includes(':')),
});
