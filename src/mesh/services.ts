// Services and their endpoints from the resources and running instances. Pure: the same set in any order gives the same services.

import type { MeshConfig } from '../api/mesh-config.ts';
import { isKind, type Resource } from '../api/resource.ts';
import { CLUSTER_DOMAIN } from './host.ts';
import type { Instance } from './instance.ts';
import { compareAge, compareText, creationMsOf } from './order.ts';
import { protocolOfName, protocolOfServicePort } from './protocol.ts';
import { type Endpoint, NO_LOCALITY, parseLocality, type Resolution, type Service, type ServicePort, selects } from './service.ts';
import { allocateVirtualIps } from './virtual-ip.ts';
import { resolveExportTo } from './visibility.ts';

/** Label (and, for entries, its absence beside a service account) that says whether an endpoint terminates mutual TLS. */
const TLS_MODE_LABEL = 'security.istio.io/tlsMode';
const EXPORT_TO_ANNOTATION = 'networking.istio.io/exportTo';

export interface ServicesInput {
  readonly resources: readonly Resource[];
  readonly instances: readonly Instance[];
  readonly meshConfig: MeshConfig;
}

type WorkloadEntry = Resource<'WorkloadEntry'>;

export const buildServices = (input: ServicesInput): readonly Service[] => {
  const instances = [...input.instances].sort((a, b) => compareText(a.namespace, b.namespace) || compareText(a.name, b.name));
  const workloadEntries = input.resources
    .filter((r): r is WorkloadEntry => isKind(r, 'WorkloadEntry'))
    .sort((a, b) => compareText(a.name, b.name));
  const kubernetes = input.resources.filter((r): r is Resource<'Service'> => isKind(r, 'Service'));
  const taken = new Set(kubernetes.map((s) => s.spec.clusterIP).filter((ip): ip is string => ip !== undefined && ip !== ''));
  const unnamed = kubernetes.filter((s) => needsVirtualIp(s)).map((s) => `${s.namespace}/${s.name}`);
  const vips = allocateVirtualIps(unnamed, taken);
  const services: Service[] = [];
  for (const r of kubernetes) {
    if (r.spec.type === 'ExternalName') continue;
    services.push(fromService(r, vips.get(`${r.namespace}/${r.name}`), instances, input.meshConfig));
  }
  const kubernetesHosts = new Map(services.map((s, i) => [`${s.namespace}/${s.host}`, i]));
  for (const r of input.resources) {
    if (!isKind(r, 'ServiceEntry')) continue;
    for (const service of fromServiceEntry(r, instances, workloadEntries, input.meshConfig)) {
      const at = kubernetesHosts.get(`${service.namespace}/${service.host}`);
      const decorated = at === undefined ? undefined : services[at];
      // An entry for the host of a Service only adds the names that may be proven.
      if (at !== undefined && decorated !== undefined)
        services[at] = { ...decorated, subjectAltNames: [...decorated.subjectAltNames, ...service.subjectAltNames] };
      else services.push(service);
    }
  }
  return services.sort((a, b) => compareAge(a, b) || compareText(a.host, b.host));
};

const needsVirtualIp = (s: Resource<'Service'>): boolean =>
  s.spec.type !== 'ExternalName' && (s.spec.clusterIP === undefined || s.spec.clusterIP === '');

const fromService = (r: Resource<'Service'>, vip: string | undefined, instances: readonly Instance[], mesh: MeshConfig): Service => {
  const headless = r.spec.clusterIP === 'None';
  const ports: ServicePort[] = [];
  const endpoints = new Map<number, readonly Endpoint[]>();
  const selected = r.spec.selector === undefined ? [] : chosen(instances, r.namespace, r.spec.selector);
  for (const p of r.spec.ports ?? []) {
    const name = p.name ?? '';
    ports.push({ name, port: p.port, protocol: protocolOfServicePort(p.port, name, p.protocol ?? 'TCP', p.appProtocol) });
    endpoints.set(
      p.port,
      sorted(selected.flatMap((i) => instanceEndpoint(i, p.targetPort ?? p.port, r.spec.publishNotReadyAddresses === true))),
    );
  }
  const clusterIp = headless ? undefined : r.spec.clusterIP === undefined || r.spec.clusterIP === '' ? vip : r.spec.clusterIP;
  const annotated = r.annotations[EXPORT_TO_ANNOTATION]?.split(',').map((s) => s.trim());
  return {
    host: `${r.name}.${r.namespace}.svc.${CLUSTER_DOMAIN}`,
    name: r.name,
    namespace: r.namespace,
    registry: 'Kubernetes',
    ports,
    addresses: clusterIp === undefined ? [] : [clusterIp],
    resolution: headless ? 'passthrough' : 'listed',
    meshExternal: false,
    exportTo: resolveExportTo(annotated, r.namespace, mesh.defaultServiceExportTo),
    creationMs: creationMsOf(r.creationTimestamp),
    subjectAltNames: [],
    selects: true,
    labels: r.labels,
    endpoints,
    origin: r.origin,
  };
};

const chosen = (instances: readonly Instance[], namespace: string, selector: Readonly<Record<string, string>>): readonly Instance[] =>
  instances.filter((i) => i.namespace === namespace && selects(selector, i.labels));

const instanceEndpoint = (i: Instance, targetPort: number | string, publishNotReady: boolean): readonly Endpoint[] => {
  const port = typeof targetPort === 'number' ? targetPort : (i.ports.find((p) => p.name === targetPort)?.port ?? Number(targetPort));
  if (!Number.isInteger(port) || port <= 0) return [];
  return [
    {
      address: i.address,
      port,
      labels: i.labels,
      namespace: i.namespace,
      serviceAccount: i.serviceAccount,
      mtls: i.meshed && i.labels[TLS_MODE_LABEL] !== 'disabled',
      locality: i.locality === undefined ? NO_LOCALITY : parseLocality(i.locality),
      weight: 1,
      workload: i.workload,
      ready: i.ready || publishNotReady,
    },
  ];
};

const RESOLUTIONS: Readonly<Record<string, Resolution>> = {
  NONE: 'passthrough',
  STATIC: 'listed',
  DNS: 'dns',
  DNS_ROUND_ROBIN: 'dns-round-robin',
};

const fromServiceEntry = (
  r: Resource<'ServiceEntry'>,
  instances: readonly Instance[],
  workloadEntries: readonly WorkloadEntry[],
  mesh: MeshConfig,
): readonly Service[] => {
  const spec = r.spec;
  const resolution = RESOLUTIONS[spec.resolution ?? 'NONE'] ?? 'passthrough';
  const ports: ServicePort[] = (spec.ports ?? []).map((p) => ({
    name: p.name,
    port: p.number,
    protocol: protocolOfName(p.protocol ?? ''),
  }));
  const exportTo = resolveExportTo(spec.exportTo, r.namespace, mesh.defaultServiceExportTo);
  const listed = (spec.endpoints ?? []).map((e, i) => ({ spec: e, workload: `${r.name}-${i}` }));
  const selector = spec.workloadSelector?.labels;
  const out: Service[] = [];
  for (const host of spec.hosts) {
    const endpoints = new Map<number, readonly Endpoint[]>();
    for (const p of spec.ports ?? []) {
      const fallback = p.targetPort ?? p.number;
      const found: Endpoint[] = listed.flatMap((e) => entryEndpoint(e.spec, e.workload, r.namespace, p.name, fallback));
      if (selector !== undefined) {
        for (const e of workloadEntries) {
          if (e.namespace === r.namespace && selects(selector, { ...e.labels, ...e.spec.labels })) {
            found.push(...entryEndpoint({ ...e.spec, labels: { ...e.labels, ...e.spec.labels } }, e.name, r.namespace, p.name, fallback));
          }
        }
        for (const i of chosen(instances, r.namespace, selector)) found.push(...instanceEndpoint(i, fallback, false));
      }
      const named = resolution === 'dns' || resolution === 'dns-round-robin';
      if (named && listed.length === 0 && selector === undefined) found.push(hostEndpoint(host, fallback, r));
      endpoints.set(p.number, found);
    }
    out.push({
      host,
      name: host,
      namespace: r.namespace,
      registry: 'External',
      ports,
      addresses: spec.addresses ?? [],
      resolution,
      meshExternal: spec.location !== 'MESH_INTERNAL',
      exportTo,
      creationMs: creationMsOf(r.creationTimestamp),
      subjectAltNames: spec.subjectAltNames ?? [],
      selects: selector !== undefined,
      labels: r.labels,
      endpoints,
      origin: r.origin,
    });
  }
  return out;
};

const hostEndpoint = (host: string, port: number, r: Resource<'ServiceEntry'>): Endpoint => ({
  address: host,
  port,
  labels: {},
  namespace: r.namespace,
  serviceAccount: '',
  mtls: false,
  locality: NO_LOCALITY,
  weight: 1,
  workload: r.name,
  ready: true,
});

const entryEndpoint = (
  e: WorkloadEntry['spec'],
  workload: string,
  namespace: string,
  portName: string,
  fallbackPort: number,
): readonly Endpoint[] => {
  const address = e.address ?? '';
  if (address === '') return [];
  const labels = e.labels ?? {};
  const mode = labels[TLS_MODE_LABEL];
  // Said by label; without one, a service account means that somebody proves it.
  const mtls = mode === undefined ? (e.serviceAccount ?? '') !== '' : mode === 'istio';
  return [
    {
      address,
      port: e.ports?.[portName] ?? fallbackPort,
      labels,
      namespace,
      serviceAccount: e.serviceAccount ?? '',
      mtls,
      locality: parseLocality(e.locality),
      weight: e.weight === undefined || e.weight === 0 ? 1 : e.weight,
      workload,
      ready: true,
    },
  ];
};

const sorted = (endpoints: readonly Endpoint[]): readonly Endpoint[] =>
  [...endpoints].sort((a, b) => compareText(a.address, b.address) || a.port - b.port);
