// Where an attempt gets its stream: the host's pool of connections that are alike, or, where a CONNECT ends here, one of its own.

import type { ClusterRuntime } from './cluster-runtime.ts';
import type { DownstreamFacts } from './connection-facts.ts';
import type { Exchange } from './exchange.ts';
import type { Host } from './host.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { transportVariant } from './transport-variant.ts';
import { ConnectUpstream } from './upstream-connect.ts';
import { forClient } from './upstream-proxy-protocol.ts';
import type { UpstreamPool } from './upstream-stream.ts';

export const attemptPool = (
  env: ProxyEnvironment,
  cluster: ClusterRuntime,
  host: Host,
  exchange: Exchange,
  facts: DownstreamFacts,
): UpstreamPool => {
  const common = transportVariant(cluster, exchange, exchange.info.protocol === 'HTTP/2');
  const variant = cluster.tellsClient ? forClient(common, facts) : common;
  const connect = exchange.route?.route.connect;
  if (connect === undefined || (exchange.method !== 'CONNECT' && !(connect.allowPost && exchange.method === 'POST')))
    return cluster.pool(host, variant);
  return new ConnectUpstream(cluster, host, connect, { ...variant, protocol: 'tcp' }, facts, env.wheel);
};
