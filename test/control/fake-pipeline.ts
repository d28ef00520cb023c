// Stages of a few lines in place of the real ones: a `Service` is a cluster with endpoints, a `VirtualService` a route, a
// `Gateway` a listener. The text `!broken` in a document is an error, `!warn` a warning.
import { parse } from 'yaml';
import type { Problem } from '../../src/api/problem.ts';
import { objectOrigin, type Resource } from '../../src/api/resource.ts';
import type { Pipeline } from '../../src/control/pipeline.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import type { ConfigPiece } from '../../src/translate/translate.ts';
import type { Cluster, ClusterLoadAssignment, Listener, RouteConfiguration } from '../../src/xds/gen/types.ts';

interface FakeSnapshot {
  readonly resources: readonly Resource[];
}
type Spec = { readonly value?: string; readonly cluster?: string; readonly endpoints?: readonly string[] };

const parseDocuments: Pipeline['parseDocuments'] = (file, text, { defaultNamespace = 'default' }) => {
  const problems: Problem[] = [];
  const resources: Resource[] = [];
  const lines = text.split('\n');
  for (const [i, line] of lines.entries()) {
    const at = { file, line: i + 1, column: line.indexOf('!') + 1, path: 'spec' };
    if (line.includes('!broken')) problems.push({ ...at, code: 'INVALID', severity: 'error', message: 'broken on purpose' });
    if (line.includes('!warn')) problems.push({ ...at, code: 'DISCOURAGED', severity: 'warning', message: 'not nice' });
  }
  for (const piece of text.split(/^---$/m)) {
    const value = parse(piece.replaceAll(/!(broken|warn)/g, '')) as {
      kind: string;
      name: string;
      namespace?: string;
      spec?: object;
    } | null;
    if (value === null) continue;
    const { kind, name, namespace = defaultNamespace, spec = {} } = value;
    const origin = { ...objectOrigin(file), line: lines.findIndex((l) => l.includes(`name: ${name}`)) + 1 };
    const base = { apiVersion: 'v1', labels: {}, annotations: {}, creationTimestamp: undefined };
    resources.push({ ...base, kind, name, namespace, spec, origin } as unknown as Resource);
  }
  return { resources, problems };
};

const ofKind = (snapshot: FakeSnapshot, kind: string): readonly (Resource & { readonly spec: Spec })[] =>
  snapshot.resources.filter((r) => r.kind === kind) as unknown as readonly (Resource & { readonly spec: Spec })[];

const cluster = (r: Resource & { readonly spec: Spec }): Cluster => ({
  name: r.name,
  type: 'EDS',
  eds_cluster_config: { eds_config: { ads: {}, resource_api_version: 'V3' } },
  ...(r.spec.value === undefined ? {} : { alt_stat_name: r.spec.value }),
});

const endpoints = (r: Resource & { readonly spec: Spec }): ClusterLoadAssignment => ({
  cluster_name: r.name,
  endpoints: [
    {
      lb_endpoints: (r.spec.endpoints ?? []).map((address) => ({
        endpoint: { address: { socket_address: { address, port_value: 80 } } },
      })),
    },
  ],
});

const route = (r: Resource & { readonly spec: Spec }): RouteConfiguration => ({
  name: r.name,
  virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: r.spec.cluster ?? '' } }] }],
});

const listener = (r: Resource & { readonly spec: Spec }): Listener => ({ name: r.name, stat_prefix: r.spec.value ?? '' });

const fakePiece = (s: FakeSnapshot): ConfigPiece => ({
  clusters: ofKind(s, 'Service').map(cluster),
  endpoints: ofKind(s, 'Service').map(endpoints),
  listeners: ofKind(s, 'Gateway').map(listener),
  routes: ofKind(s, 'VirtualService').map(route),
  nameTable: {
    table: Object.fromEntries(ofKind(s, 'Service').map((r) => [`${r.name}.default`, { ips: ['10.96.0.1'], registry: 'Kubernetes' }])),
  },
});

/** Nothing but its resources takes part in what a proxy refuses. */
const NO_CAUSES = {
  envoyFilters: { forWorkload: () => [] },
  telemetry: { forWorkload: () => ({ policies: [] }) },
};

export const fakePipeline = (): Pipeline =>
  ({
    parseDocuments,
    parseMeshConfig: () => ({ ok: true, value: { config: { trustDomain: 'cluster.local', extensionProviders: [] }, problems: [] } }),
    buildSnapshot: ({ resources }: { readonly resources: readonly Resource[] }) => ({
      snapshot: { ...NO_CAUSES, services: { all: [] }, resources },
      problems: resources
        .filter((r) => (r.spec as Spec).value === 'snapshot-error')
        .map((r) => ({ code: 'INVALID', severity: 'error', file: r.origin.file, line: 1, column: 1, path: '', message: 'bad together' })),
    }),
    parseNode,
    http2Problems: () => [],
    unenforced: () => [],
    heldBackPatches: () => [],
    translatePieces: (...[, piece]: Parameters<Pipeline['translatePieces']>) => [
      piece('all', (snapshot) => fakePiece(snapshot as unknown as FakeSnapshot)),
    ],
  }) as unknown as Pipeline;
