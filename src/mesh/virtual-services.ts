// VirtualServices made ready for use: short names resolved in the namespace of the rule that says them, delegates merged in, gateways
// spelled out, and an index by gateway in the order in which rules win.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Resource } from '../api/resource.ts';
import type { Destination, HttpRoute, RouteDestination, TcpRoute, TlsRoute } from '../api/specs.ts';
import { Memo } from '../base/memo.ts';
import { mergeDelegate, outsideRoot } from './delegate.ts';
import { resolveShortName } from './host.ts';
import { compareAge, creationMsOf } from './order.ts';
import { isPrivate, isPublic, resolveExportTo, visibleTo } from './visibility.ts';

/** The reserved gateway name that stands for all sidecars. */
export const MESH_GATEWAY = 'mesh';

export interface VirtualServiceRule {
  readonly name: string;
  readonly namespace: string;
  readonly creationMs: number;
  /** Fully qualified. */
  readonly hosts: readonly string[];
  /** `mesh` or `namespace/name`. */
  readonly gateways: readonly string[];
  readonly http: readonly HttpRoute[];
  readonly tls: readonly TlsRoute[];
  readonly tcp: readonly TcpRoute[];
  readonly exportTo: readonly string[];
  readonly resource: Resource<'VirtualService'>;
}

export interface VirtualServiceIndex {
  readonly all: readonly VirtualServiceRule[];
  /** Rules bound to a gateway as seen from a namespace: private ones first, then exported to it, then public, each oldest first. */
  for(namespace: string, gateway: string): readonly VirtualServiceRule[];
}

export interface MissingDelegate {
  readonly root: Resource<'VirtualService'>;
  readonly path: string;
  readonly delegate: string;
}

/** One rule of a delegate, as one root takes it. */
interface DelegateUse {
  readonly delegate: Resource<'VirtualService'>;
  readonly path: string;
  readonly root: string;
  /** It does not lie within the root's match. */
  readonly outside: boolean;
}

/** A rule of a delegate that no root has a place for. */
export interface UnusedDelegateRule {
  readonly delegate: Resource<'VirtualService'>;
  readonly path: string;
  /** `namespace/name` of those that delegate to it. */
  readonly roots: readonly string[];
}

const gatewayReference = (name: string, namespace: string): string => {
  if (name === MESH_GATEWAY) return name;
  if (name.includes('/')) return name.startsWith('./') ? `${namespace}/${name.slice(2)}` : name;
  const [first = '', second] = name.split('.');
  return second === undefined ? `${namespace}/${name}` : `${second}/${first}`;
};

export const buildVirtualServices = (
  resources: readonly Resource<'VirtualService'>[],
  mesh: MeshConfig,
  domain: string,
  memo = new Memo(),
): {
  readonly index: VirtualServiceIndex;
  readonly missing: readonly MissingDelegate[];
  readonly unused: readonly UnusedDelegateRule[];
} => {
  const ruleAgain = memo.pass('virtual service');
  const rules = resources.map((r) => ruleAgain(r, [mesh, domain], () => ruleOf(r, mesh, domain))).sort(compareAge);
  const delegates = new Map(rules.filter((r) => r.hosts.length === 0).map((r) => [`${r.namespace}/${r.name}`, r]));
  const rootAgain = memo.pass('virtual service with delegates');
  const roots = rules
    .filter((r) => r.hosts.length > 0)
    .map((r) => {
      const named = r.http.flatMap((h) => (h.delegate === undefined ? [] : [delegates.get(delegateKey(r, h.delegate))]));
      return named.length === 0 ? { rule: r, missing: [], uses: [] } : rootAgain(r, named, () => withDelegates(r, delegates));
    });
  return {
    index: indexOf(roots.map((r) => r.rule)),
    missing: roots.flatMap((r) => r.missing),
    unused: unusedRules(roots.flatMap((r) => r.uses)),
  };
};

const unusedRules = (uses: readonly DelegateUse[]): readonly UnusedDelegateRule[] => {
  const rules = new Map<string, DelegateUse[]>();
  for (const use of uses) {
    const key = `${use.delegate.namespace}/${use.delegate.name} ${use.path}`;
    const list = rules.get(key);
    if (list === undefined) rules.set(key, [use]);
    else list.push(use);
  }
  return [...rules.values()].flatMap((list) => {
    const [first] = list;
    if (first === undefined || list.some((u) => !u.outside)) return [];
    return [{ delegate: first.delegate, path: first.path, roots: [...new Set(list.map((u) => u.root))] }];
  });
};

const delegateKey = (rule: VirtualServiceRule, { name, namespace }: NonNullable<HttpRoute['delegate']>): string =>
  `${namespace === undefined || namespace === '' ? rule.namespace : namespace}/${name ?? ''}`;

const ruleOf = (r: Resource<'VirtualService'>, mesh: MeshConfig, domain: string): VirtualServiceRule => {
  const fqdn = (host: string): string => resolveShortName(host, r.namespace, domain);
  const gateways = r.spec.gateways === undefined || r.spec.gateways.length === 0 ? [MESH_GATEWAY] : r.spec.gateways;
  return {
    name: r.name,
    namespace: r.namespace,
    creationMs: creationMsOf(r.creationTimestamp),
    hosts: (r.spec.hosts ?? []).map(fqdn),
    gateways: gateways.map((g) => gatewayReference(g, r.namespace)),
    http: (r.spec.http ?? []).map((h) => resolveHttp(h, fqdn, r.namespace)),
    tls: (r.spec.tls ?? []).map((t) => ({
      ...t,
      match: t.match.map((m) => withGateways(m, r.namespace)),
      ...(t.route === undefined ? {} : { route: t.route.map((d) => resolveRoute(d, fqdn)) }),
    })),
    tcp: (r.spec.tcp ?? []).map((t) => ({
      ...t,
      ...(t.match === undefined ? {} : { match: t.match.map((m) => withGateways(m, r.namespace)) }),
      ...(t.route === undefined ? {} : { route: t.route.map((d) => resolveRoute(d, fqdn)) }),
    })),
    exportTo: resolveExportTo(r.spec.exportTo, r.namespace, mesh.defaultVirtualServiceExportTo),
    resource: r,
  };
};

const withGateways = <T extends { readonly gateways?: readonly string[] | undefined }>(match: T, namespace: string): T =>
  match.gateways === undefined ? match : { ...match, gateways: match.gateways.map((g) => gatewayReference(g, namespace)) };

const resolveDestination = (d: Destination, fqdn: (host: string) => string): Destination => ({ ...d, host: fqdn(d.host) });

const resolveRoute = <T extends RouteDestination>(d: T, fqdn: (host: string) => string): T => ({
  ...d,
  destination: resolveDestination(d.destination, fqdn),
});

const resolveHttp = (h: HttpRoute, fqdn: (host: string) => string, namespace: string): HttpRoute => ({
  ...h,
  ...(h.match === undefined ? {} : { match: h.match.map((m) => withGateways(m, namespace)) }),
  ...(h.route === undefined ? {} : { route: h.route.map((d) => ({ ...d, destination: resolveDestination(d.destination, fqdn) })) }),
  ...(h.mirror === undefined ? {} : { mirror: resolveDestination(h.mirror, fqdn) }),
  ...(h.mirrors === undefined ? {} : { mirrors: h.mirrors.map((m) => ({ ...m, destination: resolveDestination(m.destination, fqdn) })) }),
});

const withDelegates = (
  rule: VirtualServiceRule,
  delegates: ReadonlyMap<string, VirtualServiceRule>,
): { readonly rule: VirtualServiceRule; readonly missing: readonly MissingDelegate[]; readonly uses: readonly DelegateUse[] } => {
  const missing: MissingDelegate[] = [];
  const uses: DelegateUse[] = [];
  const http = rule.http.flatMap((h, i) => {
    if (h.delegate === undefined) return [h];
    const key = delegateKey(rule, h.delegate);
    const delegate = delegates.get(key);
    if (delegate === undefined || !visibleTo(delegate.exportTo, rule.namespace)) {
      missing.push({ root: rule.resource, path: `spec.http[${i}].delegate`, delegate: key });
      return [];
    }
    const outside = new Set(outsideRoot(h, delegate.http));
    const root = `${rule.namespace}/${rule.name}`;
    for (const index of delegate.http.keys())
      uses.push({ delegate: delegate.resource, path: `spec.http[${index}]`, root, outside: outside.has(index) });
    return mergeDelegate(h, delegate.http);
  });
  return { rule: { ...rule, http }, missing, uses };
};

/** Hosts the rule can send to as a client of a namespace, with the ports named; port 0 stands for any. */
export const destinationsFrom = (rule: VirtualServiceRule, namespace: string): ReadonlyMap<string, ReadonlySet<number>> => {
  const out = new Map<string, Set<number>>();
  const add = (d: Destination): void => {
    const ports = out.get(d.host) ?? new Set();
    out.set(d.host, ports.add(d.port?.number ?? 0));
  };
  const concerns = (matches: readonly { readonly sourceNamespace?: string | undefined }[] | undefined): boolean =>
    matches === undefined ||
    matches.length === 0 ||
    matches.some((m) => (m.sourceNamespace ?? '') === '' || m.sourceNamespace === namespace);
  for (const h of rule.http) {
    if (!concerns(h.match)) continue;
    for (const d of h.route ?? []) add(d.destination);
    if (h.mirror !== undefined) add(h.mirror);
    for (const m of h.mirrors ?? []) add(m.destination);
  }
  for (const t of [...rule.tcp, ...rule.tls]) if (concerns(t.match)) for (const d of t.route ?? []) add(d.destination);
  return out;
};

const indexOf = (rules: readonly VirtualServiceRule[]): VirtualServiceIndex => {
  const byGateway = new Map<string, VirtualServiceRule[]>();
  for (const rule of rules) {
    for (const gateway of new Set(rule.gateways)) {
      const list = byGateway.get(gateway);
      if (list === undefined) byGateway.set(gateway, [rule]);
      else list.push(rule);
    }
  }
  const known = new Map<string, readonly VirtualServiceRule[]>();
  return {
    all: rules,
    for: (namespace, gateway) => {
      const key = `${namespace} ${gateway}`;
      const list = known.get(key) ?? inOrder(byGateway.get(gateway) ?? [], namespace);
      known.set(key, list);
      return list;
    },
  };
};

const inOrder = (bound: readonly VirtualServiceRule[], namespace: string): readonly VirtualServiceRule[] => {
  const own = bound.filter((r) => r.namespace === namespace && isPrivate(r.exportTo, r.namespace));
  const exported = bound.filter((r) => !isPublic(r.exportTo) && !own.includes(r) && r.exportTo.includes(namespace));
  return [...own, ...exported, ...bound.filter((r) => isPublic(r.exportTo))];
};
