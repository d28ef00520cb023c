// What questions about requests are answered from: one snapshot, the objects it was made from, and the workloads that run, or that the
// objects say would run. Pure; it never asks a proxy.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import { ofKind, type Resource } from '../api/resource.ts';
import type { Instance } from '../mesh/instance.ts';
import { NO_LOCALITY, parseLocality } from '../mesh/service.ts';
import { buildSnapshot, type Snapshot } from '../mesh/snapshot.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';

export interface KnownMesh {
  readonly snapshot: Snapshot;
  readonly resources: readonly Resource[];
  readonly instances: readonly Instance[];
  /** Of proxies that are connected; what one announces decides what it is given. */
  readonly nodes: readonly ProxyNode[];
}

const INJECT = 'sidecar.istio.io/inject';

/** The mesh that a control plane runs. */
export const runningMesh = (
  snapshot: Snapshot,
  resources: readonly Resource[],
  running: readonly Instance[],
  nodes: readonly ProxyNode[],
): KnownMesh => ({ snapshot, resources, instances: [...running, ...described(snapshot, running)], nodes });

/** The mesh that objects would make. Keys for tokens are known only where an object holds them. */
export const plannedMesh = (resources: readonly Resource[], meshConfig: MeshConfig): KnownMesh => {
  const planned = plannedInstances(resources);
  const { snapshot } = buildSnapshot({ resources, instances: planned, meshConfig });
  return runningMesh(snapshot, resources, planned, []);
};

/** Endpoints that no replica stands for: of Pods, WorkloadEntries and listed addresses. */
const described = (snapshot: Snapshot, running: readonly Instance[]): readonly Instance[] => {
  const known = new Set(running.map((i) => `${i.namespace}/${i.address}`));
  const out = new Map<string, Instance>();
  for (const service of snapshot.services.all) {
    for (const endpoint of [...service.endpoints.values()].flat()) {
      const { address, namespace, workload, labels, serviceAccount, ready, mtls } = endpoint;
      const key = `${namespace}/${address}`;
      if (known.has(key) || serviceAccount === '') continue;
      const ports = [...(out.get(key)?.ports ?? []), { name: '', port: endpoint.port }];
      const name = workload || address;
      out.set(key, { name, namespace, workload, address, labels, serviceAccount, ports, ready, meshed: mtls });
    }
  }
  return [...out.values()];
};

/** One replica for each Workload, at addresses that nobody has: for a mesh that does not run. */
const plannedInstances = (resources: readonly Resource[]): readonly Instance[] => {
  const namespaces = new Map(ofKind(resources, 'Namespace').map((n) => [n.name, n.labels['istio-injection']]));
  return ofKind(resources, 'Workload').map((w, index) => ({
    name: `${w.name}-0`,
    namespace: w.namespace,
    workload: w.name,
    address: `198.18.${Math.floor(index / 250) % 256}.${(index % 250) + 1}`,
    labels: w.labels,
    serviceAccount: w.spec.serviceAccount ?? 'default',
    ports: (w.spec.ports ?? []).map(({ name, port }) => ({ name: name ?? '', port })),
    ready: true,
    meshed: isGateway(w) || injects(w.labels[INJECT] ?? w.annotations[INJECT], namespaces.get(w.namespace)),
  }));
};

const isGateway = (w: Resource<'Workload'>): boolean =>
  (w.spec.command ?? []).length === 0 && w.annotations['inject.istio.io/templates'] === 'gateway';

const injects = (workload: string | undefined, namespace: string | undefined): boolean =>
  namespace !== 'disabled' && (workload === undefined ? namespace === 'enabled' : workload === 'true');

/** The proxy of a workload: as it is connected, else as a sidecar that knows everything. */
export const nodeOf = (mesh: KnownMesh, workload: Instance): ProxyNode => {
  const connected = mesh.nodes.find((n) => n.name === workload.name && n.namespace === workload.namespace);
  if (connected !== undefined) return { ...connected, onDemand: false };
  const { name, namespace, address, labels, serviceAccount, locality } = workload;
  const described = ofKind(mesh.resources, 'Workload').find((w) => w.name === workload.workload && w.namespace === namespace);
  const kind = described !== undefined && isGateway(described) ? 'router' : 'sidecar';
  return {
    id: `${kind}~${address}~${name}.${namespace}~${namespace}.svc.cluster.local`,
    kind,
    name,
    namespace,
    workloadNamespace: namespace,
    labels,
    ipAddresses: [address],
    serviceAccount,
    dnsDomain: `${namespace}.svc.cluster.local`,
    locality: locality === undefined ? NO_LOCALITY : parseLocality(locality),
    clusterId: '',
    meshId: '',
    metadata: {},
    extensionTypes: new Set(),
    extensionNames: new Set(),
    proven: true,
    secretsUnanswered: false,
    http2: true,
    idleTimeout: undefined,
    http10: false,
    dnsCapture: false,
  };
};

/** `spiffe://cluster.local/ns/production/sa/web`. */
export const spiffeOf = (mesh: KnownMesh, { namespace, serviceAccount }: Pick<Instance, 'namespace' | 'serviceAccount'>): string =>
  `spiffe://${mesh.snapshot.meshConfig.trustDomain}/ns/${namespace}/sa/${serviceAccount}`;

/** An object, or a place in it, as people find it. */
export interface Place {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** `spec.rules[0]`; empty for the object. */
  readonly path: string;
  readonly file: string;
  readonly line: number;
}

export const placeOf = (resource: Resource, path = ''): Place => ({
  kind: resource.kind,
  namespace: resource.namespace,
  name: resource.name,
  path,
  file: resource.origin.file,
  line: path === '' ? resource.origin.line : resource.origin.at(path).line,
});
