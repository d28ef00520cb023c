// The virtual hosts of one route configuration, for clients that ask for them one by one (VHDS): which one a host name leads to, and what
// is sent for it. Whoever was given a virtual host looks there first from then on, so it is sent with nothing but exact domains: where a
// pattern fits (`*` among them), it is made for the one host that was asked for, or a host that another one knows better would go wrong.
import { compileHostTable, type HostTable, lookUpHost } from '../../plan/virtual-host-lookup.ts';
import type { RouteHosts } from '../../translate/on-demand.ts';
import { encode, encodeNamed, type TypeName } from '../../xds/codec.ts';
import { type Content, contentOf, type EncodedResource, hashVersions } from '../../xds/content.ts';

/** A virtual host without name and domains. */
interface Template {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly version: string;
}

const TYPE: TypeName = 'envoy.config.route.v3.VirtualHost';
/** Between a virtual host and the one host it was made for. */
const FOR = '|';

export class HostDirectory {
  readonly route: string;
  readonly #ignorePort: boolean;
  readonly #exact: HostTable<EncodedResource>;
  readonly #patterns: HostTable<Template>;

  /** `hash` of bytes, printable. */
  constructor({ route, hosts, ignorePort }: RouteHosts, hash: (bytes: Uint8Array) => string) {
    this.route = route;
    this.#ignorePort = ignorePort;
    const exact: { domains: readonly string[]; value: EncodedResource; path: string }[] = [];
    const patterns: { domains: readonly string[]; value: Template; path: string }[] = [];
    for (const host of hosts) {
      const { domains = [], name = '' } = host;
      const own = domains.filter((d) => !isPattern(d));
      if (own.length > 0) {
        const bytes = encodeNamed(TYPE, { ...host, domains: own });
        exact.push({ domains: own, value: { name: resourceName(route, name), version: hash(bytes), bytes }, path: name });
      }
      if (own.length < domains.length) {
        const { name: _, domains: __, ...rest } = host;
        const bytes = encodeNamed(TYPE, rest);
        patterns.push({ domains: domains.filter(isPattern), value: { name, bytes, version: hash(bytes) }, path: name });
      }
    }
    this.#exact = compileHostTable(exact, ignorePort);
    this.#patterns = compileHostTable(patterns, ignorePort);
  }

  resolve(asked: string): EncodedResource | undefined {
    const host = asked.slice(asked.lastIndexOf(FOR) + 1).toLowerCase();
    const exact = lookUpHost(this.#exact, host);
    if (exact) return exact;
    const template = lookUpHost(this.#patterns, host);
    if (!template) return undefined;
    const domain = this.#ignorePort ? host.replace(/:\d+$/, '') : host;
    // Fields may come in any order.
    const bytes = Buffer.concat([template.bytes, encode(TYPE, { name: template.name, domains: [domain] })]);
    return { name: `${resourceName(this.route, template.name)}${FOR}${domain}`, version: `${template.version} ${domain}`, bytes };
  }
}

const isPattern = (domain: string): boolean => domain.startsWith('*') || domain.endsWith('*');

const resourceName = (route: string, name: string): string => (name.startsWith(`${route}/`) ? name : `${route}/${name}`);

/** What the names `route/host` lead to. A name that leads nowhere is answered too. `namesRoutes`: something is said of every route,
 * for Envoy, which takes a route configuration into use when anything comes below its name. */
export const selectHosts = (directories: ReadonlyMap<string, HostDirectory>, names: ReadonlySet<string>, namesRoutes: boolean): Content => {
  const found = new Map<string, { readonly resource: EncodedResource; readonly aliases: string[] }>();
  const ownNames = new Map<string, string>();
  if (namesRoutes) for (const route of directories.keys()) found.set(`${route}/`, { resource: absent(`${route}/`), aliases: [] });
  for (const asked of names) {
    const slash = asked.lastIndexOf('/');
    if (slash < 0) continue;
    const resolved = directories.get(asked.slice(0, slash))?.resolve(asked.slice(slash + 1));
    const resource = resolved ?? absent(asked);
    const entry = found.get(resource.name) ?? { resource, aliases: [] };
    found.set(resource.name, entry);
    entry.aliases.push(asked);
    ownNames.set(asked, resource.name);
  }
  const resources = new Map([...found].map(([name, { resource, aliases }]) => [name, { ...resource, aliases: aliases.sort() }]));
  const sorted = contentOf(resources).resources;
  return { version: hashVersions(sorted.values()), resources: new AliasedMap(sorted, ownNames) };
};

const absent = (name: string): EncodedResource => ({ name, version: 'absent', bytes: new Uint8Array(), absent: true });

/** Found under the names that were asked for, listed under their own. */
class AliasedMap extends Map<string, EncodedResource> {
  readonly #ownNames: ReadonlyMap<string, string>;

  constructor(resources: Iterable<readonly [string, EncodedResource]>, ownNames: ReadonlyMap<string, string>) {
    super(resources);
    this.#ownNames = ownNames;
  }

  override get(name: string): EncodedResource | undefined {
    return super.get(name) ?? super.get(this.#ownNames.get(name) ?? name);
  }

  override has(name: string): boolean {
    return this.get(name) !== undefined;
  }
}
