// Endpoints of one cluster, grouped by locality. Only ready endpoints are sent; each says whether it takes mutual TLS.

import type { TrafficPolicy } from '../api/specs.ts';
import { compareText } from '../mesh/order.ts';
import { modeForPort } from '../mesh/peer-authentication.ts';
import { type Endpoint, endpointsOf, localityKey, type Service, selects } from '../mesh/service.ts';
import type { ClusterLoadAssignment, JsonObject, LbEndpoint } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { listenerAddress } from './listener-address.ts';
import { localityChoice } from './load-balancing.ts';
import { applyLocality, type LocalityGroup } from './locality.ts';
import { acrossNetworks, weighing } from './networks.ts';
import { machineOf } from './proxy-node.ts';

export interface EndpointsInput {
  readonly cluster: string;
  readonly service: Service;
  readonly port: number;
  readonly subsetLabels: Readonly<Record<string, string>> | undefined;
  readonly policy: TrafficPolicy;
  /** Only endpoints that take mutual TLS between workloads: connections arrive encrypted so already. */
  readonly onlyMutualTls?: boolean;
}

export const loadAssignment = (c: Context, input: EndpointsInput): ClusterLoadAssignment => {
  const groups = new Map<string, LocalityGroup>();
  const machine = input.service.nodeLocal ? machineOf(c.node) : undefined;
  for (const e of endpointsOf(input.service, input.port)) {
    if (!e.ready || (input.subsetLabels !== undefined && !selects(input.subsetLabels, e.labels))) continue;
    if (machine !== undefined && (e.node ?? '') !== machine) continue;
    if (input.onlyMutualTls === true && !takesMutualTls(c, e, input.policy)) continue;
    const key = localityKey(e.locality);
    const member = { endpoint: e, message: lbEndpoint(c, e, input) };
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { locality: e.locality, members: [member] });
    else group.members.push(member);
  }
  const sorted = [...groups.entries()].sort((a, b) => compareText(a[0], b[0])).map(([, g]) => g);
  const reached = withinBounds(acrossNetworks(c, input.service, sorted, (e) => takesMutualTls(c, e, input.policy)));
  const choice = localityChoice(c.mesh, input.policy.loadBalancer, input.service.trafficDistribution);
  const endpoints = applyLocality(c.node, reached, choice, input.policy.outlierDetection !== undefined || choice.forced);
  return { cluster_name: input.cluster, ...(endpoints.length === 0 ? {} : { endpoints }) };
};

const WEIGHTS_MAX = 2 ** 32 - 1;

/** Proxies add the weights of a cluster up in 32 bits, and refuse it where they do not fit. */
const withinBounds = (groups: readonly LocalityGroup[]): readonly LocalityGroup[] => {
  let sum = 0;
  let count = 0;
  for (const { members } of groups) {
    for (const m of members) sum += m.endpoint.weight;
    count += members.length;
  }
  if (sum <= WEIGHTS_MAX) return groups;
  const share = (WEIGHTS_MAX - count) / sum;
  return groups.map((g) => ({ ...g, members: g.members.map((m) => weighing(m, Math.max(1, Math.floor(m.endpoint.weight * share)))) }));
};

const lbEndpoint = (c: Context, e: Endpoint, input: EndpointsInput): LbEndpoint => ({
  endpoint: { address: listenerAddress(e.address, e.port) },
  metadata: {
    filter_metadata: {
      ...(takesMutualTls(c, e, input.policy) ? { 'envoy.transport_socket_match': { tlsMode: 'istio' } } : {}),
      istio: workloadMetadata(e),
    },
  },
  load_balancing_weight: e.weight,
});

/** The endpoint must terminate mutual TLS; then the rule decides, else the policy of its port. */
const takesMutualTls = (c: Context, e: Endpoint, policy: TrafficPolicy): boolean => {
  if (!e.mtls) return false;
  if (policy.tls !== undefined) return policy.tls.mode === 'ISTIO_MUTUAL';
  return modeForPort(c.snapshot.peerAuthentication.forWorkload(e.namespace, e.labels), e.port) !== 'DISABLE';
};

/** `workload;namespace;canonical service;canonical revision;cluster`, what metrics say of the peer. */
const workloadMetadata = (e: Endpoint): JsonObject => {
  const l = e.labels;
  const service = l['service.istio.io/canonical-name'] ?? l['app.kubernetes.io/name'] ?? l['app'] ?? e.workload;
  const revision = l['service.istio.io/canonical-revision'] ?? l['app.kubernetes.io/version'] ?? l['version'] ?? '';
  return { workload: `${e.workload};${e.namespace};${service};${revision};Kubernetes` };
};
