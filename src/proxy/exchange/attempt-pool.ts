// Where an attempt gets its stream: the host's pool of connections that are alike, or, where a CONNECT ends here, one of its own.

import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import type { Host } from '../cluster/host.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { transportVariant } from '../transport/transport-variant.ts';
import { forClient } from '../transport/upstream-proxy-protocol.ts';
import { ConnectUpstream } from '../upstream/upstream-connect.ts';
import type { UpstreamPool } from '../upstream/upstream-stream.ts';
import type { Exchange } from './exchange.ts';

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
