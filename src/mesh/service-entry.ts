// ServiceEntries as services of the mesh: one per host, with the endpoints they list or their selector finds.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Resource } from '../api/resource.ts';
import { at, type Backend, ofEntry } from './backend.ts';
import { creationMsOf } from './order.ts';
import { protocolOfName } from './protocol.ts';
import { type Endpoint, NO_LOCALITY, type Resolution, type Service, type ServicePort, selects } from './service.ts';
import { distributionOf } from './service-kubernetes.ts';
import { resolveExportTo } from './visibility.ts';

const DISTRIBUTION_ANNOTATION = 'networking.istio.io/traffic-distribution';

const RESOLUTIONS: Readonly<Record<string, Resolution>> = {
  NONE: 'passthrough',
  STATIC: 'listed',
  DNS: 'dns',
  DNS_ROUND_ROBIN: 'dns-round-robin',
  DYNAMIC_DNS: 'dynamic-dns',
};

type EntryPort = NonNullable<Resource<'ServiceEntry'>['spec']['ports']>[number];

export const fromServiceEntry = (
  r: Resource<'ServiceEntry'>,
  /** Those of its namespace, for a selector. */
  candidates: readonly Backend[],
  mesh: MeshConfig,
): readonly Service[] => {
  const spec = r.spec;
  const resolution = RESOLUTIONS[spec.resolution ?? 'NONE'] ?? 'passthrough';
  const ports: readonly ServicePort[] = (spec.ports ?? []).map((p) => ({
    name: p.name,
    port: p.number,
    protocol: protocolOfName(p.protocol ?? ''),
  }));
  const listed = (spec.endpoints ?? []).flatMap((e, i) => ofEntry(`${r.name}-${i}`, r.namespace, e) ?? []);
  const selector = spec.workloadSelector === undefined ? undefined : (spec.workloadSelector.labels ?? {});
  const found = selector === undefined ? listed : [...listed, ...candidates.filter((b) => selects(selector, b.endpoint.labels))];
  const resolved = resolution === 'dns' || resolution === 'dns-round-robin';
  return spec.hosts.map((host) => ({
    host,
    name: host,
    namespace: r.namespace,
    registry: 'External',
    ports,
    addresses: (spec.addresses ?? []).map(withoutFullLength),
    resolution,
    meshExternal: spec.location !== 'MESH_INTERNAL',
    exportTo: resolveExportTo(spec.exportTo, r.namespace, mesh.defaultServiceExportTo),
    creationMs: creationMsOf(r.creationTimestamp),
    subjectAltNames: spec.subjectAltNames ?? [],
    selector,
    labels: r.labels,
    aliases: [],
    autoAddress: undefined,
    trafficDistribution: distributionOf(r.annotations[DISTRIBUTION_ANNOTATION]),
    nodeLocal: false,
    endpoints: new Map(
      (spec.ports ?? []).map((p): [number, readonly Endpoint[]] => [
        p.number,
        // Nobody listed: the name itself is resolved.
        resolved && listed.length === 0 && selector === undefined
          ? [hostEndpoint(host, p.targetPort || p.number, r)]
          : found.map((b) => at(b, portOf(b, p))),
      ]),
    ),
    origin: r.origin,
  }));
};

/** The backend's own word for the port's name, the entry's target, the port itself; a zero says nothing. */
const portOf = (b: Backend, p: EntryPort): number =>
  b.endpoint.address.startsWith('unix:') ? 0 : b.ports.get(p.name) || p.targetPort || p.number;

/** A range of one address is that address. */
const withoutFullLength = (address: string): string => address.replace(address.includes(':') ? /\/128$/ : /\/32$/, '');

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
