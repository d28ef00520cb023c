// Clusters towards services: one per service port and subset.

import type { Subset } from '../api/specs.ts';
import type { MergedRule } from '../mesh/destination-rules.ts';
import type { Service, ServicePort } from '../mesh/service.ts';
import type { Cluster, ClusterLoadAssignment, JsonObject } from '../xds/gen/types.ts';
import { clusterTls } from './cluster-tls.ts';
import { circuitBreakers, httpProtocolOptions, keepalive, speakable, upstreamHttp } from './connection-pool.ts';
import type { Context } from './context.ts';
import { type EndpointsInput, loadAssignment } from './endpoints.ts';
import { isPassthrough, loadBalancing, localitySetting, weighsLocalities } from './load-balancing.ts';
import { clusterSni, configPath, outboundCluster, statName } from './names.ts';
import { outlierDetection } from './outlier.ts';
import { trafficPolicy } from './traffic-policy.ts';

export interface Outbound {
  readonly clusters: readonly Cluster[];
  readonly endpoints: readonly ClusterLoadAssignment[];
}

export const outboundClusters = (c: Context): Outbound => {
  const clusters = new Map<string, Cluster>();
  const endpoints: ClusterLoadAssignment[] = [];
  for (const service of c.services) {
    for (const port of service.ports) {
      if (port.protocol === 'UDP') continue;
      const rule = c.destinationRule(service);
      for (const subset of [undefined, ...(rule?.spec.subsets ?? [])]) {
        const name = outboundCluster(port.port, subset?.name ?? '', service.host);
        // Two services of one name: the older one has it.
        if (clusters.has(name)) continue;
        const built = outbound(c, service, port, rule, subset, name);
        clusters.set(name, built.cluster);
        if (built.endpoints !== undefined) endpoints.push(built.endpoints);
      }
    }
  }
  return { clusters: [...clusters.values()], endpoints };
};

type Discovery = 'EDS' | 'ORIGINAL_DST' | 'STRICT_DNS' | 'LOGICAL_DNS';

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
  }
};

const outbound = (
  c: Context,
  service: Service,
  port: ServicePort,
  rule: MergedRule | undefined,
  subset: Subset | undefined,
  name: string,
): { readonly cluster: Cluster; readonly endpoints?: ClusterLoadAssignment } => {
  const policy = trafficPolicy(rule, subset, port.port);
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
  });
  const input: EndpointsInput = { cluster: name, service, port: port.port, subsetLabels: subset?.labels, policy };
  const setting = localitySetting(c.mesh, policy);
  const cluster: Cluster = {
    name,
    type,
    connect_timeout: pool?.tcp?.connectTimeout ?? c.mesh.connectTimeout,
    ...(type === 'ORIGINAL_DST' ? { lb_policy: 'CLUSTER_PROVIDED' as const } : loadBalancing(policy.loadBalancer)),
    ...discoveryFields(c, type, input),
    circuit_breakers: circuitBreakers(pool, policy),
    ...keepalive(pool),
    ...(policy.outlierDetection === undefined ? {} : { outlier_detection: outlierDetection(policy.outlierDetection) }),
    common_lb_config: {
      healthy_panic_threshold: panicThreshold(policy.outlierDetection?.minHealthPercent),
      ...(type !== 'ORIGINAL_DST' && weighsLocalities(c.node, setting, policy) ? { locality_weighted_lb_config: {} } : {}),
    },
    metadata: {
      filter_metadata: {
        istio: { ...clusterMetadata([service], rule, subset, service.meshExternal), ...(tls.originated ? { alpn_override: 'false' } : {}) },
      },
    },
    alt_stat_name: statName(name),
    ...(c.filters.upstream.length === 0 ? {} : { filters: c.filters.upstream }),
    ...httpProtocolOptions({ http, pool, autoSni: tls.autoSni, autoSan: tls.autoSan }),
    ...tls.fields,
  };
  return type === 'EDS' ? { cluster, endpoints: loadAssignment(c, input) } : { cluster };
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
    default:
      return {
        load_assignment: loadAssignment(c, input),
        dns_lookup_family: c.node.ipAddresses[0]?.includes(':') === true ? 'V6_ONLY' : 'V4_ONLY',
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
    services: services.map((s) => ({ host: s.host, name: s.name, namespace: s.namespace })),
  };
};
