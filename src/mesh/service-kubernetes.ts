// Kubernetes Services as services of the mesh. Their endpoints are those that EndpointSlices or Endpoints list; without either, what the
// selector finds among Pods, running instances and WorkloadEntries.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Resource } from '../api/resource.ts';
import { at, type Backend, placeOf } from './backend.ts';
import { CLUSTER_DOMAIN } from './host.ts';
import { compareText, creationMsOf } from './order.ts';
import { protocolOfServicePort } from './protocol.ts';
import { type Endpoint, NO_LOCALITY, type Service, type ServicePort, selects, type TrafficDistribution } from './service.ts';
import { resolveExportTo } from './visibility.ts';

const EXPORT_TO_ANNOTATION = 'networking.istio.io/exportTo';
const DISTRIBUTION_ANNOTATION = 'networking.istio.io/traffic-distribution';
const SERVICE_LABEL = 'kubernetes.io/service-name';

export interface KubernetesInput {
  /** By namespace, each sorted by name. */
  readonly backends: ReadonlyMap<string, readonly Backend[]>;
  /** By `namespace/name` of the Service, each sorted by name. */
  readonly slices: ReadonlyMap<string, readonly Resource<'EndpointSlice'>[]>;
  readonly endpoints: ReadonlyMap<string, Resource<'Endpoints'>>;
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly meshConfig: MeshConfig;
}

/** Where addresses were listed: each with its ports by the name of the service's port. */
interface Listed {
  readonly address: string;
  readonly pod: string;
  readonly node: string | undefined;
  readonly hostname: string | undefined;
  readonly ready: boolean;
  readonly ports: ReadonlyMap<string, number>;
}

type KubernetesService = Resource<'Service'>;

export const hostOf = (name: string, namespace: string): string => `${name}.${namespace}.svc.${CLUSTER_DOMAIN}`;

/** One that stands for another host has no endpoints of its own. */
export const isAlias = (r: KubernetesService): boolean => r.spec.type === 'ExternalName';

export const fromService = (r: KubernetesService, vip: string | undefined, input: KubernetesInput): Service => {
  const headless = r.spec.clusterIP === 'None';
  const listed = listedFor(r, input);
  const backends = input.backends.get(r.namespace) ?? [];
  const found = listed === undefined ? selected(r, backends) : [];
  const unready = r.spec.publishNotReadyAddresses === true;
  const ports: ServicePort[] = [];
  const endpoints = new Map<number, readonly Endpoint[]>();
  for (const p of r.spec.ports ?? []) {
    const name = p.name ?? '';
    ports.push({ name, port: p.port, protocol: protocolOfServicePort(p.port, name, p.protocol ?? 'TCP', p.appProtocol) });
    const here =
      listed === undefined
        ? found.flatMap((b) => selectedEndpoint(b, name, p.targetPort ?? p.port))
        : listed.flatMap((l) => listedEndpoint(l, r, name, backends));
    endpoints.set(p.port, sorted(unready ? here.map((e) => ({ ...e, ready: true })) : here));
  }
  const annotated = r.annotations[EXPORT_TO_ANNOTATION]?.split(',').map((s) => s.trim());
  return {
    host: hostOf(r.name, r.namespace),
    name: r.name,
    namespace: r.namespace,
    registry: 'Kubernetes',
    ports,
    addresses: headless ? [] : clusterIps(r, vip),
    resolution: headless ? 'passthrough' : 'listed',
    meshExternal: false,
    exportTo: resolveExportTo(annotated, r.namespace, input.meshConfig.defaultServiceExportTo),
    creationMs: creationMsOf(r.creationTimestamp),
    subjectAltNames: [],
    selector: r.spec.selector,
    labels: r.labels,
    endpoints,
    aliases: [],
    autoAddress: undefined,
    trafficDistribution: distributionOf(
      r.spec.trafficDistribution,
      r.annotations[DISTRIBUTION_ANNOTATION],
      input.namespaces.get(r.namespace)?.[DISTRIBUTION_ANNOTATION],
    ),
    nodeLocal: r.spec.internalTrafficPolicy === 'Local',
    origin: r.origin,
  };
};

const clusterIps = (r: KubernetesService, vip: string | undefined): readonly string[] => {
  const first = (r.spec.clusterIP ?? '') === '' ? vip : r.spec.clusterIP;
  const all = [...(first === undefined ? [] : [first]), ...(r.spec.clusterIPs ?? [])];
  return [...new Set(all.filter((ip) => ip !== '' && ip !== 'None'))];
};

/** The first that says something: the Service's field, its annotation, its namespace's annotation. */
export const distributionOf = (...said: readonly (string | undefined)[]): TrafficDistribution => {
  for (const value of said) {
    switch (value?.toLowerCase()) {
      case 'preferclose':
      case 'prefersamezone':
        return 'zone';
      case 'prefersamenode':
        return 'node';
    }
  }
  return 'any';
};

/** What a Service without a selector has is listed, not found. */
const selected = (r: KubernetesService, backends: readonly Backend[]): readonly Backend[] => {
  const selector = r.spec.selector;
  if (selector === undefined || Object.keys(selector).length === 0) return [];
  return backends.filter((b) => selects(selector, b.endpoint.labels));
};

/** A name is looked up where the backend names its ports; a WorkloadEntry may name the Service's port instead of a number. */
const portAt = (b: Backend, portName: string, target: number | string): number | undefined => {
  const port =
    typeof target === 'string' ? (b.ports.get(target) ?? Number(target)) : b.kind === 'entry' ? (b.ports.get(portName) ?? target) : target;
  return Number.isInteger(port) && port > 0 ? port : undefined;
};

const selectedEndpoint = (b: Backend, portName: string, target: number | string): readonly Endpoint[] => {
  const port = portAt(b, portName, target);
  return port === undefined ? [] : [at(b, port)];
};

const listedFor = (r: KubernetesService, input: KubernetesInput): readonly Listed[] | undefined => {
  const key = `${r.namespace}/${r.name}`;
  const slices = input.slices.get(key);
  if (slices !== undefined) return slices.flatMap((s) => (s.spec.addressType === 'FQDN' ? [] : sliceEntries(s)));
  const object = input.endpoints.get(key);
  return object === undefined ? undefined : endpointsEntries(object);
};

/** The Service a slice belongs to. */
export const sliceOwner = (s: Resource<'EndpointSlice'>): string => `${s.namespace}/${s.labels[SERVICE_LABEL] ?? ''}`;

const sliceEntries = (s: Resource<'EndpointSlice'>): readonly Listed[] => {
  const ports = new Map((s.spec.ports ?? []).map((p): [string, number] => [p.name ?? '', p.port ?? 0]));
  return (s.spec.endpoints ?? []).flatMap((e) =>
    e.addresses.map((address) => ({
      address,
      pod: e.targetRef?.kind === 'Pod' ? (e.targetRef.name ?? '') : '',
      node: e.nodeName,
      hostname: e.hostname,
      // Unknown means ready.
      ready: e.conditions?.ready !== false,
      ports,
    })),
  );
};

const endpointsEntries = (r: Resource<'Endpoints'>): readonly Listed[] =>
  (r.spec.subsets ?? []).flatMap((s) => {
    const ports = new Map((s.ports ?? []).map((p): [string, number] => [p.name ?? '', p.port]));
    const entries = (list: typeof s.addresses, ready: boolean): readonly Listed[] =>
      (list ?? []).map(({ ip: address, targetRef, nodeName: node, hostname }) => {
        const pod = targetRef?.kind === 'Pod' ? (targetRef.name ?? '') : '';
        return { address, pod, node, hostname, ready, ports };
      });
    return [...entries(s.addresses, true), ...entries(s.notReadyAddresses, false)];
  });

type Owner = Pick<KubernetesService, 'namespace' | 'name'>;

/** Who is behind a listed address, its Pod says: found by name, else by address. */
const listedEndpoint = (l: Listed, of: Owner, portName: string, backends: readonly Backend[]): readonly Endpoint[] => {
  const { namespace, name: service } = of;
  const port = l.ports.get(portName) ?? 0;
  if (port === 0) return [];
  const backend =
    backends.find((b) => b.kind === 'instance' && b.name === l.pod && b.endpoint.address === l.address) ??
    backends.find((b) => b.endpoint.address === l.address);
  // Such a Pod's subdomain is the Service's name: that is why the list says its own.
  const place = placeOf(l.node, l.hostname, service);
  if (backend !== undefined) return [{ ...place, ...at(backend, port), ready: l.ready }];
  const unknown = { labels: {}, serviceAccount: '', mtls: false, locality: NO_LOCALITY, weight: 1, workload: l.pod };
  return [{ ...unknown, ...place, address: l.address, port, namespace, ready: l.ready }];
};

const sorted = (endpoints: readonly Endpoint[]): readonly Endpoint[] =>
  [...endpoints].sort((a, b) => compareText(a.address, b.address) || a.port - b.port);
