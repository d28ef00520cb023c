// What Prometheus finds the mesh's sidecars by: its HTTP service discovery. One target a replica that has a sidecar, connected or not, so that
// one that went away is seen as down. Labels are few on purpose: each is on every series of the target. Pure but for the route.
import type { Instance } from '../../mesh/instance.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import type { AdminRoute } from './http.ts';

/** Agents' merged metrics: the proxy's, their own, the application's. */
const AGENT_PORT = 15020;
const AGENT_PATH = '/stats/prometheus';

export interface TargetGroup {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

type Node = Pick<ProxyNode, 'kind' | 'name' | 'namespace' | 'labels' | 'ipAddresses' | 'metadata'>;
type Replica = Pick<Instance, 'name' | 'namespace' | 'workload' | 'address' | 'labels' | 'meshed'>;

interface Found {
  readonly name: string;
  readonly namespace: string;
  readonly workload: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Sorted by namespace and name: an unchanged mesh gives an unchanged text. */
export const prometheusTargets = (nodes: readonly Node[], instances: readonly Replica[]): readonly TargetGroup[] => {
  const found = new Map<string, Found>();
  for (const { kind, name, namespace, labels, ipAddresses, metadata } of nodes) {
    const address = ipAddresses[0];
    const { WORKLOAD_NAME: workload } = metadata;
    if (kind === 'grpc' || address === undefined) continue;
    found.set(`${namespace}/${name}`, { name, namespace, workload: typeof workload === 'string' ? workload : '', address, labels });
  }
  for (const instance of instances) if (instance.meshed) found.set(`${instance.namespace}/${instance.name}`, instance);
  return [...found]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { name, namespace, workload, address, labels }]) => ({
      targets: [`${address.includes(':') ? `[${address}]` : address}:${AGENT_PORT}`],
      labels: {
        __metrics_path__: AGENT_PATH,
        namespace,
        pod: name,
        ...(workload === '' ? {} : { workload }),
        ...(labels['app'] === undefined ? {} : { app: labels['app'] }),
        ...(labels['version'] === undefined ? {} : { version: labels['version'] }),
      },
    }));
};

export const prometheusRoutes = (o: {
  readonly ads: { nodes(): readonly Node[] };
  readonly instances: { list(): readonly Replica[] };
}): readonly AdminRoute[] => [
  {
    method: 'GET',
    pattern: '/v1/prometheus/targets',
    handle: () => ({ status: 200, json: prometheusTargets(o.ads.nodes(), o.instances.list()) }),
  },
];
