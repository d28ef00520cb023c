// What an egress listener of a Sidecar imports: `namespace/dnsName` entries read once, then asked for services and rules.

import { hostSubsetOf, hostsMatch, isWildcard } from './host.ts';
import type { Service } from './service.ts';
import type { VirtualServiceRule } from './virtual-services.ts';

const ALL = '*';
const NONE = '~';

interface HostSet {
  readonly exact: Set<string>;
  readonly wild: string[];
  readonly excluded: string[];
}

/** Entries by the namespace they name; `*` stands for all. */
export type ImportedHosts = ReadonlyMap<string, HostSet>;

/** `ns/host`, `./host`, any namespace, and with `~` before the namespace what is left out again. `~/host` leaves it out everywhere. */
export const readImports = (hosts: readonly string[], namespace: string): ImportedHosts => {
  const out = new Map<string, HostSet>();
  for (const entry of hosts) {
    const slash = entry.indexOf('/');
    if (slash === -1) continue;
    const host = entry.slice(slash + 1);
    const excludes = entry.startsWith(NONE);
    const named = entry.slice(excludes ? 1 : 0, slash);
    const key = named === '' ? ALL : named === '.' ? namespace : named;
    const set = out.get(key) ?? { exact: new Set(), wild: [], excluded: [] };
    out.set(key, set);
    if (excludes) set.excluded.push(host);
    else if (isWildcard(host)) set.wild.push(host);
    else set.exact.add(host);
  }
  return out;
};

const holdsService = (set: HostSet | undefined, host: string): boolean =>
  set !== undefined && (set.exact.has(host) || set.wild.some((h) => hostSubsetOf(host, h)));

const leavesOut = (set: HostSet | undefined, host: string): boolean => set?.excluded.some((h) => hostSubsetOf(host, h)) === true;

const imported = (
  imports: ImportedHosts,
  namespace: string,
  host: string,
  holds: (set: HostSet | undefined, host: string) => boolean,
): boolean => {
  const own = imports.get(namespace);
  const all = imports.get(ALL);
  return !leavesOut(own, host) && !leavesOut(all, host) && (holds(own, host) || holds(all, host));
};

/** Of one host only the services of one namespace: the importing one's own, else that of the first. */
export const selectServices = (
  imports: ImportedHosts,
  services: readonly Service[],
  namespace: string,
  trim: (service: Service) => Service | undefined,
): readonly Service[] => {
  const found: Service[] = [];
  const chosen = new Map<string, Service>();
  for (const candidate of services) {
    const known = (host: string): boolean => imported(imports, candidate.namespace, host, holdsService);
    const s = known(candidate.host) ? withAliases(trim(candidate), known) : undefined;
    if (s === undefined) continue;
    found.push(s);
    const first = chosen.get(s.host);
    if (first === undefined || (s.namespace === namespace && first.namespace !== namespace)) chosen.set(s.host, s);
  }
  return found.filter((s) => chosen.get(s.host)?.namespace === s.namespace);
};

/** Only the aliases that are imported too. */
const withAliases = (s: Service | undefined, known: (host: string) => boolean): Service | undefined =>
  s === undefined || s.aliases.every(known) ? s : { ...s, aliases: s.aliases.filter(known) };

/** Rules are imported by their own namespace, for any of their hosts. A rule's wildcard host and an imported wildcard match when either covers the other. */
const holdsRuleHost = (set: HostSet | undefined, host: string): boolean => {
  if (set === undefined) return false;
  if (set.exact.has(host)) return true;
  if (set.wild.some((h) => hostsMatch(host, h))) return true;
  return isWildcard(host) && [...set.exact].some((h) => hostsMatch(host, h));
};

export const selectVirtualServices = (imports: ImportedHosts, rules: readonly VirtualServiceRule[]): readonly VirtualServiceRule[] =>
  rules.filter((r) => r.hosts.some((h) => imported(imports, r.namespace, h, holdsRuleHost)));
