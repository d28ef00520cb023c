// What a proxy may see: the Sidecar that concerns it, the services and rules each of its egress listeners imports, and their union.
// Without a Sidecar: everything that is exported to the proxy's namespace.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Resource } from '../api/resource.ts';
import type { Destination, SidecarEgressListener } from '../api/specs.ts';
import { Memo, type Pass } from '../base/memo.ts';
import { compareAge, compareText, creationMsOf } from './order.ts';
import { protocolOfName } from './protocol.ts';
import { type Service, type ServiceShape, selects } from './service.ts';
import type { ServiceIndex } from './service-index.ts';
import { addService, trimmedTo } from './service-merge.ts';
import { readImports, selectServices, selectVirtualServices } from './sidecar-hosts.ts';
import { destinationsFrom, MESH_GATEWAY, type VirtualServiceIndex, type VirtualServiceRule } from './virtual-services.ts';

export interface EgressListener {
  /** Undefined where no Sidecar says anything. */
  readonly spec: SidecarEgressListener | undefined;
  /** On a port of its own only that port of each service. */
  readonly services: readonly Service[];
  readonly virtualServices: readonly VirtualServiceRule[];
}

/** An egress listener without the endpoints behind it. */
export interface RoutingListener extends Omit<EgressListener, 'services'> {
  readonly services: readonly ServiceShape[];
}

export interface SidecarScope {
  readonly sidecar: Resource<'Sidecar'> | undefined;
  /** One service per host: what clusters are made of. */
  readonly services: readonly Service[];
  service(host: string): Service | undefined;
  /** The same without its endpoints: who needs no more is not concerned when they change. */
  shape(host: string): ServiceShape | undefined;
  /** The host that has the endpoints, for one that only stands for it; every other host for itself. */
  canonical(host: string): string;
  readonly egress: readonly EgressListener[];
  /** The same without endpoints. */
  readonly routing: readonly RoutingListener[];
  readonly outboundMode: 'REGISTRY_ONLY' | 'ALLOW_ANY' | 'ALLOW_ANY_DYNAMIC_DNS';
  /** Where traffic to unknown destinations goes instead. */
  readonly egressProxy: Destination | undefined;
}

interface Client {
  readonly kind: 'sidecar' | 'router' | 'grpc';
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The mesh answers its DNS. */
  readonly dnsCapture: boolean;
  readonly ipAddresses: readonly string[];
}

/** Which of an entry's own addresses clients of the mesh's DNS are given; undefined: none. */
type Family = 'v4' | 'v6' | undefined;

export interface SidecarScopes {
  for(client: Client): SidecarScope;
  /** Oldest first. */
  readonly all: readonly Resource<'Sidecar'>[];
  /** Sidecars that an older one for the same workloads leaves without effect. */
  readonly shadowed: readonly { readonly resource: Resource<'Sidecar'>; readonly winner: Resource<'Sidecar'> }[];
}

export interface ScopeInput {
  readonly services: ServiceIndex;
  readonly virtualServices: VirtualServiceIndex;
  readonly meshConfig: MeshConfig;
  readonly memo?: Memo;
}

/** What is asked of a namespace's services, from one snapshot to the next. */
interface Seen extends ScopeInput {
  /** An entry without addresses has one for clients that learn it. */
  readonly addressed: (s: Service, family: Family) => Service;
  readonly again: Pass;
}

/** The services of a scope: the same object for as long as nothing of them changes. */
type Union = Pick<SidecarScope, 'services' | 'service' | 'shape' | 'canonical'>;

type Sidecar = Resource<'Sidecar'>;

/** In the order in which they are tried: own namespace with a selector, own namespace without, the root namespace's default. */
const choose = (sidecars: readonly Sidecar[], rootNamespace: string, client: Client): Sidecar | undefined => {
  if (client.kind === 'router') return undefined;
  const own = sidecars.filter((s) => s.namespace === client.namespace);
  const fits = (s: Sidecar): boolean =>
    s.spec.workloadSelector !== undefined && selects(s.spec.workloadSelector.labels ?? {}, client.labels);
  const general = (s: Sidecar): boolean => s.spec.workloadSelector === undefined;
  return own.find(fits) ?? own.find(general) ?? sidecars.find((s) => s.namespace === rootNamespace && general(s));
};

export const buildSidecarScopes = (resources: readonly Sidecar[], input: ScopeInput): SidecarScopes => {
  const sidecars = resources
    .map((r) => ({ name: r.name, namespace: r.namespace, creationMs: creationMsOf(r.creationTimestamp), r }))
    .sort(compareAge)
    .map(({ r }) => r);
  const known = new Map<string, SidecarScope>();
  const memo = input.memo ?? new Memo();
  const seen: Seen = { ...input, addressed: addresser(memo), again: memo.pass('services in scope') };
  return {
    all: sidecars,
    shadowed: shadowedOf(sidecars),
    for: (client) => {
      const sidecar = choose(sidecars, input.meshConfig.rootNamespace, client);
      const family = !client.dnsCapture ? undefined : client.ipAddresses[0]?.includes(':') === true ? 'v6' : 'v4';
      const key = `${client.namespace} ${family ?? ''} ${sidecar === undefined ? '' : `${sidecar.namespace}/${sidecar.name}`}`;
      const scope = known.get(key) ?? scopeOf(sidecar, { key, namespace: client.namespace, family }, seen);
      known.set(key, scope);
      return scope;
    },
  };
};

const shadowedOf = (sidecars: readonly Sidecar[]): SidecarScopes['shadowed'] => {
  const oldest = new Map<string, Sidecar>();
  return sidecars.flatMap((resource) => {
    const labels = Object.entries(resource.spec.workloadSelector?.labels ?? {}).sort();
    const key = JSON.stringify([resource.namespace, resource.spec.workloadSelector === undefined ? null : labels]);
    const winner = oldest.get(key);
    if (winner !== undefined) return [{ resource, winner }];
    oldest.set(key, resource);
    return [];
  });
};

interface Viewer {
  readonly key: string;
  readonly namespace: string;
  readonly family: Family;
}

const scopeOf = (sidecar: Sidecar | undefined, { key, namespace, family }: Viewer, input: Seen): SidecarScope => {
  const listeners: readonly (SidecarEgressListener | undefined)[] =
    sidecar?.spec.egress === undefined || sidecar.spec.egress.length === 0 ? [undefined] : sidecar.spec.egress;
  const egress = listeners.map((spec) => egressListener(spec, namespace, family, input));
  // Rules bring their destinations along where a Sidecar says what is known.
  const rules = sidecar === undefined ? undefined : input.virtualServices;
  const union = input.again(key, [input.services, sidecar, rules], () => unionOf(sidecar, egress, { namespace, family }, input));
  const policy = sidecar?.spec.outboundTrafficPolicy;
  return {
    sidecar,
    services: union.services,
    service: union.service,
    shape: union.shape,
    canonical: union.canonical,
    egress,
    routing: egress,
    outboundMode: policy === undefined ? input.meshConfig.outboundTrafficPolicy.mode : (policy.mode ?? 'REGISTRY_ONLY'),
    egressProxy: policy?.egressProxy,
  };
};

const unionOf = (
  sidecar: Sidecar | undefined,
  egress: readonly EgressListener[],
  { namespace, family }: Omit<Viewer, 'key'>,
  input: Seen,
): Union => {
  const union = new Map<string, Service>();
  for (const listener of egress) {
    for (const s of listener.services) addService(union, s);
    // A rule's destinations come with the rule; they never take the place of what was asked for.
    if (sidecar === undefined) continue;
    for (const s of destinationsOf(listener, namespace, input.services)) addService(union, input.addressed(s, family));
  }
  const aliases = new Map([...union.values()].flatMap((s) => s.aliases.map((a): [string, string] => [a, s.host])));
  return {
    services: [...union.values()],
    service: (host) => union.get(host),
    shape: (host) => union.get(host),
    canonical: (host) => aliases.get(host) ?? host,
  };
};

const addresser = (memo: Memo): Seen['addressed'] => {
  const again = { v4: memo.pass('addressed v4'), v6: memo.pass('addressed v6') };
  return (s, family) => {
    const address = family === undefined ? undefined : s.autoAddress?.[family];
    return family === undefined || address === undefined ? s : again[family](s, [], () => ({ ...s, addresses: [address] }));
  };
};

const egressListener = (spec: SidecarEgressListener | undefined, namespace: string, family: Family, input: Seen): EgressListener => {
  const visible = input.services.visibleTo(namespace);
  const services = family === undefined ? visible : visible.map((s) => input.addressed(s, family));
  const rules = input.virtualServices.for(namespace, MESH_GATEWAY);
  if (spec === undefined) return { spec, services, virtualServices: rules };
  const imports = readImports(spec.hosts, namespace);
  return {
    spec,
    services: selectServices(imports, services, namespace, (s) => trimmedFor(spec, s)),
    virtualServices: selectVirtualServices(imports, rules),
  };
};

/** A listener with a port of its own serves that port, but as a proxy by name it serves them all. */
const trimmedFor = (spec: SidecarEgressListener | undefined, s: Service): Service | undefined => {
  const port = spec?.port?.number ?? 0;
  if (port === 0 || protocolOfName(spec?.port?.protocol ?? '') === 'HTTP_PROXY') return s;
  return trimmedTo(s, new Set([port]));
};

const destinationsOf = (listener: EgressListener, namespace: string, services: ServiceIndex): readonly Service[] => {
  const out: Service[] = [];
  const own = (listener.spec?.port?.number ?? 0) !== 0 && protocolOfName(listener.spec?.port?.protocol ?? '') !== 'HTTP_PROXY';
  for (const rule of listener.virtualServices) {
    for (const [host, ports] of destinationsFrom(rule, namespace)) {
      const found = preferred(services.withHost(host), services, namespace);
      if (found === undefined) continue;
      const trimmed = own ? trimmedFor(listener.spec, found) : ports.has(0) ? found : trimmedTo(found, ports);
      if (trimmed !== undefined) out.push(trimmed);
    }
  }
  return out;
};

/** The namespace's own, else of those it may see a Kubernetes one before others, the oldest first. */
const preferred = (candidates: readonly Service[], services: ServiceIndex, namespace: string): Service | undefined => {
  const own = candidates.find((s) => s.namespace === namespace);
  if (own !== undefined) return own;
  const seen = candidates.filter((s) => services.isVisible(s, namespace));
  const rank = (s: Service): number => (s.registry === 'Kubernetes' ? 0 : 1);
  return [...seen].sort((a, b) => rank(a) - rank(b) || a.creationMs - b.creationMs || compareText(a.namespace, b.namespace))[0];
};
