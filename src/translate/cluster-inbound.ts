// Clusters towards the proxy's own application, one per application port, and the fixed clusters every proxy has.

import type { ConnectionPoolSettings } from '../api/specs.ts';
import type { Cluster } from '../xds/gen/types.ts';
import { APPLICATION_SOURCE } from './address-family.ts';
import { clusterMetadata } from './cluster-outbound.ts';
import { circuitBreakers, httpProtocolOptions, keepalive, speakable, upstreamHttp } from './connection-pool.ts';
import type { Context } from './context.ts';
import type { InboundPort } from './inbound-ports.ts';
import { listenerAddress } from './listener-address.ts';
import { BLACKHOLE, INBOUND_PASSTHROUGH, inboundCluster, PASSTHROUGH, statName } from './names.ts';
import { preservedCase } from './proxy-headers.ts';
import { inboundStat } from './stat-names.ts';
import { trafficPolicy } from './traffic-policy.ts';

/** Connections to the application come from here, so that capture lets them through. */
const INBOUND_SOURCE = { source_address: { address: APPLICATION_SOURCE, port_value: 0 } };

/** Original-destination hosts are never cleaned up: the longest duration Envoy takes. */
const NEVER = '9223372035s';

/** Of connections to addresses the mesh does not know. */
const PASSTHROUGH_IDLE = '300s';

export const inboundClusters = (c: Context, ports: readonly InboundPort[]): readonly Cluster[] =>
  ports.map((p) => {
    const rule = c.inboundRule(p.service);
    const ofRule = trafficPolicy(rule, undefined, p.servicePort.port).connectionPool;
    const pool = p.connectionPool ?? ofRule;
    const name = inboundCluster(p.targetPort);
    const metadata = clusterMetadata(p.services, rule?.spec.trafficPolicy === undefined ? undefined : rule);
    return {
      name,
      connect_timeout: pool?.tcp?.connectTimeout ?? c.mesh.connectTimeout,
      circuit_breakers: circuitBreakers(pool),
      ...keepalive(c.mesh, pool),
      ...(p.endpoint === undefined ? ownDestination : listening(name, p.endpoint)),
      ...(p.services.length === 0 && metadata['config'] === undefined ? {} : { metadata: { filter_metadata: { istio: metadata } } }),
      common_lb_config: {},
      alt_stat_name: statName(inboundStat(c.mesh, p, name)),
      ...httpProtocolOptions({
        http: speakable(upstreamHttp(p.servicePort.protocol, asClient(pool), false), c.node.http2),
        pool,
        http1: preservedCase(c),
      }),
    };
  });

/** Of HTTP only this wish concerns the way to the application. */
const asClient = (pool: ConnectionPoolSettings | undefined): ConnectionPoolSettings =>
  pool?.http?.useClientProtocol === true ? { http: { useClientProtocol: true } } : {};

const ownDestination: Cluster = {
  type: 'ORIGINAL_DST',
  lb_policy: 'CLUSTER_PROVIDED',
  cleanup_interval: NEVER,
  upstream_bind_config: INBOUND_SOURCE,
};

const listening = (name: string, at: NonNullable<InboundPort['endpoint']>): Cluster => ({
  type: 'STATIC',
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: listenerAddress(at.address, at.port) } }] }],
  },
});

export const blackHoleCluster = (c: Context): Cluster => ({
  name: BLACKHOLE,
  type: 'STATIC',
  connect_timeout: c.mesh.connectTimeout,
  alt_stat_name: statName(BLACKHOLE),
});

const passthrough = (c: Context, name: string): Cluster => ({
  name,
  type: 'ORIGINAL_DST',
  connect_timeout: c.mesh.connectTimeout,
  lb_policy: 'CLUSTER_PROVIDED',
  circuit_breakers: circuitBreakers(undefined),
  alt_stat_name: statName(PASSTHROUGH),
  ...httpProtocolOptions({ http: speakable('as-client', c.node.http2), pool: undefined, idleTimeout: PASSTHROUGH_IDLE }),
});

export const passthroughClusters = (c: Context): readonly Cluster[] => [
  { ...passthrough(c, PASSTHROUGH), ...(c.filters.upstream.length === 0 ? {} : { filters: c.filters.upstream }) },
  { ...passthrough(c, INBOUND_PASSTHROUGH), upstream_bind_config: INBOUND_SOURCE },
];
