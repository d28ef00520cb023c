// Which objects took part in a resource that a proxy refused, the most likely first: what the resource says it was made from, patches
// that fit it, policies that govern the workload, gateways and their secrets. Words of the refusal decide between them. Pure.
import type { Resource } from '../../api/resource.ts';
import { type Patch, patchPath } from '../../mesh/envoy-filters.ts';
import { gatewaysFor } from '../../mesh/gateways.ts';
import type { Snapshot } from '../../mesh/snapshot.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import type { EncodedResource } from '../../xds/content.ts';

export interface Cause {
  readonly resource: Resource;
  /** The place in it. */
  readonly path: string;
}

export interface RefusedResource {
  /** `LDS` and the like. */
  readonly type: string;
  readonly resource: EncodedResource;
  /** What the proxy said of it. */
  readonly words: string;
}

/** Who refused, and the mesh that its configuration was made from. */
export interface Refuser {
  readonly node: ProxyNode;
  readonly snapshot: Snapshot;
  /** Undefined: it is not known which patches changed something. */
  readonly applied: ReadonlySet<Patch> | undefined;
}

interface Suspect extends Cause {
  readonly weight: number;
}

/** Written by hand and merged into what was sound. */
const PATCH = 3;
/** The resource itself says so. */
const NAMED = 2;
/** One of many that look alike. */
const POSSIBLE = 1;
/** The proxy's words are about such an object. */
const WORDS = 4;

const CONFIG_PATH = /\/apis\/[a-z.]+\/v[a-z0-9]+\/namespaces\/([a-z0-9.-]+)\/(virtual-service|destination-rule|sidecar)\/([a-z0-9.-]+)/g;
const KINDS: Readonly<Record<string, string>> = {
  'virtual-service': 'VirtualService',
  'destination-rule': 'DestinationRule',
  sidecar: 'Sidecar',
};

export const refusalCauses = (
  refused: RefusedResource,
  objects: readonly Resource[],
  refuser: Refuser | undefined,
): readonly (readonly Cause[])[] => {
  const ranks = new Map<number, Map<string, Cause>>();
  const seen = new Set<string>();
  const suspects = [...named(refused, objects), ...(refuser === undefined ? [] : involved(refused, objects, refuser))];
  for (const { weight, resource, path } of suspects.sort((a, b) => b.weight - a.weight)) {
    const key = `${resource.kind} ${resource.namespace}/${resource.name}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const rank = ranks.get(weight) ?? new Map<string, Cause>();
    ranks.set(weight, rank.set(key, { resource, path }));
  }
  return [...ranks.values()].map((r) => [...r.values()]);
};

const named = ({ resource, words }: RefusedResource, objects: readonly Resource[]): readonly Suspect[] => {
  const text = Buffer.from(resource.bytes.buffer, resource.bytes.byteOffset, resource.bytes.byteLength).toString('latin1');
  const found = new Set([...text.matchAll(CONFIG_PATH)].map(([, namespace, kind = '', name]) => `${KINDS[kind]} ${namespace}/${name}`));
  return objects
    .filter((o) => found.has(`${o.kind} ${o.namespace}/${o.name}`))
    .map((o) => ({
      resource: o,
      path: 'metadata.name',
      weight: (found.size === 1 ? NAMED : POSSIBLE) + (hostsOf(o).some((h) => says(words, h)) ? 1 : 0),
    }));
};

const hostsOf = (o: Resource): readonly string[] => {
  const { hosts } = o.spec as { readonly hosts?: unknown };
  return [o.name, ...(o.kind === 'VirtualService' && Array.isArray(hosts) ? hosts.filter((h): h is string => typeof h === 'string') : [])];
};

const involved = (refused: RefusedResource, objects: readonly Resource[], refuser: Refuser): readonly Suspect[] => [
  ...patches(refused, refuser),
  ...(refused.type === 'LDS' ? [...tokenRules(refused, refuser), ...policies(refused, refuser), ...telemetry(refused, refuser)] : []),
  ...gateways(refused, refuser),
  ...(refused.type === 'SDS' ? secrets(refused, objects) : []),
  ...(refused.type === 'CDS' || refused.type === 'EDS' ? services(refused, objects) : []),
];

const ROUTE_PATCHES = ['ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE'];
const PATCHES_OF: Readonly<Record<string, readonly string[]>> = {
  LDS: ['LISTENER', 'FILTER_CHAIN', 'NETWORK_FILTER', 'HTTP_FILTER', 'LISTENER_FILTER', ...ROUTE_PATCHES],
  RDS: ROUTE_PATCHES,
  CDS: ['CLUSTER'],
  ECDS: ['EXTENSION_CONFIG'],
};

const patches = (refused: RefusedResource, { node, snapshot, applied }: Refuser): readonly Suspect[] => {
  const targets = PATCHES_OF[refused.type] ?? [];
  const changed = applied && new Set([...applied].map(placeOf));
  return snapshot.envoyFilters
    .forWorkload(node)
    .filter((p) => targets.includes(p.applyTo) && (changed?.has(placeOf(p)) ?? true) && patchFits(p, refused, node))
    .map((p) => ({ resource: p.resource, path: patchPath(p), weight: PATCH + wordsOfPatch(p, refused) }));
};

const placeOf = ({ resource, index }: Patch): string => `${resource.namespace}/${resource.name} ${index}`;

/** By the names in the match alone; what it says of chains, filters and hosts is left to `applied`. */
const patchFits = (
  { match, operation, value, applyTo }: Patch,
  { type, resource: { name } }: RefusedResource,
  node: ProxyNode,
): boolean => {
  if (type === 'ECDS' || (operation === 'ADD' && (applyTo === 'LISTENER' || applyTo === 'CLUSTER'))) return value['name'] === name;
  const context = match.context ?? 'ANY';
  const side = node.kind === 'router' ? 'GATEWAY' : /^(?:virtualInbound$|inbound\|)/.test(name) ? 'SIDECAR_INBOUND' : 'SIDECAR_OUTBOUND';
  if (context !== 'ANY' && context !== side) return false;
  const { listener, cluster, routeConfiguration } = match;
  if (type === 'CDS') {
    const [, port, subset, host] = name.split('|');
    const { name: wanted = '', service = '', portNumber = 0, subset: own = '' } = cluster ?? {};
    if (wanted !== '') return wanted === name;
    return (
      (service === '' || host === '' || service === host) &&
      (portNumber === 0 || String(portNumber) === port) &&
      (own === '' || own === subset)
    );
  }
  if (type === 'RDS') return (routeConfiguration?.name ?? '') === '' || routeConfiguration?.name === name;
  const { name: wanted = '', portNumber = 0 } = listener ?? {};
  return (wanted === '' || wanted === name) && (portNumber === 0 || name.startsWith('virtual') || name.endsWith(`_${portNumber}`));
};

/** Its fields or texts are in the refusal: `filter_chains` in "multiple filter chains with overlapping rules". */
const wordsOfPatch = (patch: Patch, { resource, words }: RefusedResource): number => {
  const rest = words.toLowerCase();
  let best = 0;
  const look = (value: unknown, depth: number): void => {
    if (typeof value === 'string') {
      const last = value.slice(value.lastIndexOf('/') + 1);
      if (value.length >= 4 && value !== resource.name && rest.includes(value.toLowerCase())) best = 3;
      else if (last !== value && rest.includes(last.slice(last.lastIndexOf('.') + 1).toLowerCase())) best = 3;
      return;
    }
    if (typeof value !== 'object' || value === null || depth > 32) return;
    for (const [key, inner] of Object.entries(value)) {
      const field = key
        .replace(/([a-z])([A-Z])/g, '$1_$2')
        .toLowerCase()
        .replace(/s$/, '');
      if (field.length >= 5 && (rest.includes(field) || rest.includes(field.replaceAll('_', ' ')))) best = Math.max(best, 2);
      look(inner, depth + 1);
    }
  };
  look(patch.value, 0);
  return best;
};

const tokenRules = ({ words, resource }: RefusedResource, { node, snapshot }: Refuser): readonly Suspect[] => {
  if (node.kind !== 'router' && resource.name !== 'virtualInbound') return [];
  const about = /\bjwks?\b|\bjwt|origins-\d/i.test(words);
  const index = /\borigins-(\d+)/.exec(words)?.[1];
  const rule = index === undefined ? undefined : snapshot.requestAuthentication.rulesFor(node)[Number(index)];
  return snapshot.requestAuthentication.policiesFor(node).map((policy) => {
    const rules = policy.spec.jwtRules ?? [];
    const at = rule === undefined ? rules.findIndex((r) => says(words, r.issuer ?? '')) : rules.indexOf(rule);
    const weight = POSSIBLE + (about ? WORDS : 0) + (at === -1 ? 0 : 2);
    return { resource: policy, path: at === -1 ? 'metadata.name' : `spec.jwtRules[${at}]`, weight };
  });
};

const policies = ({ words, resource }: RefusedResource, { node, snapshot }: Refuser): readonly Suspect[] => {
  if (node.kind !== 'router' && resource.name !== 'virtualInbound') return [];
  const about = /\brbac\b|ext_authz|authoriz/i.test(words);
  const { custom, audit, deny, allow } = snapshot.authorization.forWorkload(node);
  return [...custom, ...deny, ...allow, ...audit].map((p) => {
    const own = words.includes(`policy[${p.name}]`) ? 2 : 0;
    return { resource: p, path: 'metadata.name', weight: POSSIBLE + (about ? WORDS : 0) + own };
  });
};

const telemetry = ({ words }: RefusedResource, { node, snapshot }: Refuser): readonly Suspect[] => {
  const about = /access.?log|StreamInfo|substitution|format|trac(?:er|ing)|stats?\b|telemetry|\bCEL\b/i.test(words);
  return snapshot.telemetry
    .forWorkload(node)
    .policies.map((p) => ({ resource: p, path: 'metadata.name', weight: POSSIBLE + (about ? WORDS : 0) }));
};

const gateways = ({ type, words, resource }: RefusedResource, { node, snapshot }: Refuser): readonly Suspect[] => {
  if (node.kind !== 'router' || !['LDS', 'RDS', 'SDS'].includes(type)) return [];
  const port = /(?:_(?=\d+$)|^https?\.)(\d+)/.exec(resource.name)?.[1];
  const about = /tls|certificate|private key|cipher|secret|server name|sni\b|domains?\b/i.test(words);
  return gatewaysFor(snapshot.gateways, node.labels).map(({ resource: gateway, servers }) => {
    const credential = servers.findIndex(
      (s) => (s.tls?.credentialName ?? '') !== '' && resource.name.includes(s.tls?.credentialName ?? ''),
    );
    const onPort = servers.findIndex((s) => String(s.port.number) === port);
    const at = type === 'SDS' ? credential : servers.length === 1 ? 0 : onPort;
    const binds = at !== -1 && /cannot bind|address already in use/i.test(words);
    const weight = POSSIBLE + (at === -1 ? 0 : 1) + (binds ? WORDS : about ? WORDS - 2 : 0);
    return { resource: gateway, path: at === -1 ? 'metadata.name' : `spec.servers[${at}]`, weight };
  });
};

const secrets = ({ resource }: RefusedResource, objects: readonly Resource[]): readonly Suspect[] => {
  const [, last = ''] = /([^/]+)$/.exec(resource.name) ?? [];
  const names = [last, last.replace(/-cacert$/, '')];
  return objects
    .filter((o) => (o.kind === 'Secret' || o.kind === 'ConfigMap') && names.includes(o.name))
    .map((o) => ({ resource: o, path: 'metadata.name', weight: NAMED + (resource.name.includes(`/${o.namespace}/`) ? 1 : 0) + WORDS }));
};

const services = ({ resource }: RefusedResource, objects: readonly Resource[]): readonly Suspect[] => {
  const host = resource.name.split('|')[3] ?? '';
  if (host === '') return [];
  const isIt = (o: Resource): boolean =>
    o.kind === 'ServiceEntry'
      ? (o.spec as { readonly hosts?: readonly string[] }).hosts?.includes(host) === true
      : o.kind === 'Service' && host.startsWith(`${o.name}.${o.namespace}.`);
  return objects.filter(isIt).map((o) => ({ resource: o, path: 'metadata.name', weight: POSSIBLE }));
};

const says = (words: string, text: string): boolean => text.length >= 3 && words.includes(text);
