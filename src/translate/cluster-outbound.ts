// Clusters towards services: one per service port and subset.

import type { Subset, TrafficPolicy } from '../api/specs.ts';
import { derive } from '../base/derive.ts';
import type { MergedRule } from '../mesh/destination-rules.ts';
import { hostSubsetOf } from '../mesh/host.ts';
import { isHttpOrSniffed } from '../mesh/protocol.ts';
import type { Service, ServicePort } from '../mesh/service.ts';
import type { Cluster, ClusterLoadAssignment, JsonObject } from '../xds/gen/types.ts';
import { clusterTls, proxyProtocol } from './cluster-tls.ts';
import { circuitBreakers, httpProtocolOptions, keepalive, speakable, upstreamHttp } from './connection-pool.ts';
import type { Context } from './context.ts';
import { byName, resolvesNames } from './dynamic-dns.ts';
import { type EndpointsInput, loadAssignment } from './endpoints.ts';
import { isPassthrough, loadBalancing, localityChoice, localityWeights, peakEwma } from './load-balancing.ts';
import { clusterSni, configPath, outboundCluster, statName } from './names.ts';
import { countedAnswers, outlierDetection } from './outlier.ts';
import { preservedCase } from './proxy-headers.ts';
import { sessionHosts } from './sessions.ts';
import { outboundStat } from './stat-names.ts';
import { trafficPolicy } from './traffic-policy.ts';

export interface Outbound {
  readonly clusters: readonly Cluster[];
  readonly endpoints: readonly ClusterLoadAssignment[];
}

/** Those of one service in scope. */
export const clustersOf = (c: Context, host: string): Outbound => {
  const service = c.service(host);
  return service === undefined ? { clusters: [], endpoints: [] } : build(c, [service], outboundCluster, outbound);
};

/** For connections that reach a gateway still encrypted between workloads: found by server name, passed on as they are. */
export const passedThroughClusters = (c: Context, hosts: readonly string[]): Outbound =>
  build(
    c,
    hosts.length === 0 ? [] : c.services.filter((s) => !s.meshExternal && hosts.some((h) => hostSubsetOf(s.host, h))),
    clusterSni,
    passedThrough,
  );

type Build = (c: Context, input: OutboundInput) => { readonly cluster: Cluster; readonly endpoints?: ClusterLoadAssignment };

interface OutboundInput {
  readonly service: Service;
  readonly port: ServicePort;
  readonly rule: MergedRule | undefined;
  readonly subset: Subset | undefined;
  readonly name: string;
  readonly policy: TrafficPolicy;
}

const build = (c: Context, services: readonly Service[], nameOf: typeof outboundCluster, one: Build): Outbound => {
  const clusters = new Map<string, Cluster>();
  const endpoints: ClusterLoadAssignment[] = [];
  for (const service of services) {
    for (const port of service.ports) {
      if (port.protocol === 'UDP') continue;
      const rule = c.destinationRule(service);
      for (const subset of [undefined, ...(rule?.spec.subsets ?? [])]) {
        const name = nameOf(port.port, subset?.name ?? '', service.host);
        // Two services of one name: the older one has it.
        if (clusters.has(name)) continue;
        const built = one(c, { service, port, rule, subset, name, policy: policyOf(c, rule, subset, port.port) });
        clusters.set(name, built.cluster);
        if (built.endpoints !== undefined) endpoints.push(built.endpoints);
      }
    }
  }
  return { clusters: [...clusters.values()], endpoints };
};

/** The mesh's defaults stand in for whole blocks that no rule has. */
export const policyOf = (c: Context, rule: MergedRule | undefined, subset: Subset | undefined, port: number): TrafficPolicy => {
  const policy = trafficPolicy(rule, subset, port);
  const defaults = c.mesh.defaultTrafficPolicy;
  if (defaults === undefined) return policy;
  const connectionPool = policy.connectionPool ?? defaults.connectionPool;
  const outlier = policy.outlierDetection ?? defaults.outlierDetection;
  return {
    ...policy,
    ...(connectionPool === undefined ? {} : { connectionPool }),
    ...(outlier === undefined ? {} : { outlierDetection: outlier }),
  };
};

type Discovery = 'EDS' | 'ORIGINAL_DST' | 'STRICT_DNS' | 'LOGICAL_DNS' | 'BY_NAME';

const discovery = (c: Context, service: Service, passthrough: boolean): Discovery => {
  if (passthrough) return 'ORIGINAL_DST';
  switch (service.resolution) {
    case 'listed':
      return 'EDS';
    case 'passthrough':
      // A gateway has no original destination to pass on to.
      return c.node.kind === 'router' ? 'EDS' : 'ORIGINAL_DST';
    case 'dns':
      return 'STRICT_DNS';
    case 'dns-round-robin':
      return 'LOGICAL_DNS';
    case 'dynamic-dns':
      return resolvesNames(c.node) ? 'BY_NAME' : 'ORIGINAL_DST';
  }
};

const outbound: Build = (c, input) => {
  const { service, port, rule, subset, name, policy } = input;
  const type = discovery(c, service, isPassthrough(policy));
  const pool = policy.connectionPool;
  const http = speakable(upstreamHttp(port.protocol, pool, c.mesh.h2UpgradePolicy === 'UPGRADE'), c.node.http2);
  const tls = clusterTls(c, {
    service,
    port: port.port,
    policy,
    sni: clusterSni(port.port, subset?.name ?? '', service.host),
    http2: http === 'http2',
    originalDst: type === 'ORIGINAL_DST',
    selected: rule?.workloadSelector !== undefined,
  });
  const endpoints: EndpointsInput = { cluster: name, service, port: port.port, subsetLabels: subset?.labels, policy };
  const cluster: Cluster = {
    ...common(c, input, type, tls.originated),
    ...discoveryFields(c, type, endpoints),
    ...(c.filters.upstream.length === 0 ? {} : { filters: c.filters.upstream }),
    ...httpProtocolOptions({
      http,
      pool,
      autoSni: tls.autoSni,
      autoSan: tls.autoSan,
      http1: isHttpOrSniffed(port.protocol) ? preservedCase(c) : undefined,
      outlier: countedAnswers(policy.outlierDetection),
    }),
    ...proxyProtocol(tls.fields, policy.proxyProtocol),
  };
  return type === 'EDS' ? { cluster, endpoints: loadAssignment(c, endpoints) } : { cluster };
};

const passedThrough: Build = (c, input) => {
  const { service, port, subset, name, policy } = input;
  const type = discovery(c, service, isPassthrough(policy));
  const pool = policy.connectionPool;
  const upgraded = upstreamHttp('TCP', pool, false) === 'http2' ? 'http2' : 'http1';
  const endpoints: EndpointsInput = { cluster: name, service, port: port.port, subsetLabels: subset?.labels, policy, onlyMutualTls: true };
  const cluster: Cluster = {
    ...common(c, input, type, false),
    ...discoveryFields(c, type, endpoints),
    ...httpProtocolOptions({ http: speakable(upgraded, c.node.http2), pool }),
  };
  return type === 'EDS' ? { cluster, endpoints: loadAssignment(c, endpoints) } : { cluster };
};

/** What a cluster has whatever speaks through it. */
const common = (
  c: Context,
  { service, port, rule, subset, name, policy }: OutboundInput,
  type: Discovery,
  originated: boolean,
): Cluster => {
  const pool = policy.connectionPool;
  const choice = localityChoice(c.mesh, policy.loadBalancer, service.trafficDistribution);
  return {
    name,
    ...(type === 'BY_NAME' ? {} : { type }),
    connect_timeout: pool?.tcp?.connectTimeout ?? c.mesh.connectTimeout,
    ...(type === 'ORIGINAL_DST'
      ? { lb_policy: 'CLUSTER_PROVIDED' as const }
      : (peakEwma(c.node, rule, policy.loadBalancer) ?? loadBalancing(policy.loadBalancer))),
    circuit_breakers: circuitBreakers(pool, policy),
    ...keepalive(c.mesh, pool),
    ...(policy.outlierDetection === undefined ? {} : { outlier_detection: outlierDetection(policy.outlierDetection) }),
    common_lb_config: {
      healthy_panic_threshold: panicThreshold(policy.outlierDetection?.minHealthPercent),
      ...(type === 'ORIGINAL_DST' ? {} : localityWeights(choice, policy)),
      ...sessionHosts(c, service.host),
    },
    metadata: {
      filter_metadata: {
        istio: { ...clusterMetadata([service], rule, subset, service.meshExternal), ...(originated ? { alpn_override: 'false' } : {}) },
      },
    },
    alt_stat_name: statName(outboundStat(c.mesh, service, subset?.name ?? '', port, name)),
  };
};

/** Panic (using unhealthy hosts) is off unless a minimum is named. */
const panicThreshold = (percent: number | undefined): { readonly value?: number } =>
  percent === undefined || percent === 0 ? {} : { value: percent };

const discoveryFields = (c: Context, type: Discovery, input: EndpointsInput): Cluster => {
  switch (type) {
    case 'EDS':
      return {
        eds_cluster_config: {
          eds_config: { ads: {}, initial_fetch_timeout: '0s', resource_api_version: 'V3' },
          service_name: input.cluster,
        },
      };
    case 'ORIGINAL_DST':
      return {};
    case 'BY_NAME':
      return byName(c);
    default:
      return {
        load_assignment: loadAssignment(c, input),
        dns_lookup_family: derive(c.node, 'first v6', (n) => n.ipAddresses[0]?.includes(':') === true) ? 'V6_ONLY' : 'V4_ONLY',
        dns_refresh_rate: c.mesh.dnsRefreshRate,
        dns_jitter: '0.1s',
        respect_dns_ttl: true,
        typed_dns_resolver_config: {
          name: 'envoy.network.dns_resolver.cares',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig',
            udp_max_queries: 100,
          },
        },
      };
  }
};

/** What Istio's tools and metrics read of a cluster: the rule, the subset, the services behind it. */
export const clusterMetadata = (
  services: readonly Service[],
  rule: MergedRule | undefined,
  subset?: Subset,
  external = false,
): JsonObject => {
  const source = rule?.sources[0];
  return {
    ...(source === undefined ? {} : { config: configPath('destination-rule', source) }),
    ...(subset === undefined ? {} : { subset: subset.name }),
    ...(external ? { external: true } : {}),
    ...(services.length === 0 ? {} : { services: services.map((s) => ({ host: s.host, name: s.name, namespace: s.namespace })) }),
  };
};
