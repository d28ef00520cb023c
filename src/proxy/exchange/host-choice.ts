// Which host the next attempt goes to: the balancer's word, drawn again while a retry policy wants another host than before.
// And what is told of the host and of the connection to it.

import { isDeepStrictEqual } from 'node:util';
import type { RetryPlan } from '../../plan/retry.ts';
import type { RouteMatch } from '../../plan/route.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { JsonObject } from '../../xds/gen/types.ts';
import type { ClusterRuntime, PickRequest } from '../cluster/cluster-runtime.ts';
import type { Host } from '../cluster/host.ts';
import type { UpstreamStream } from '../upstream/upstream-stream.ts';

export const chooseHost = (
  cluster: ClusterRuntime,
  retry: RetryPlan | undefined,
  request: PickRequest,
  tried: readonly Host[],
): Host | undefined => {
  if (tried.length === 0 || retry === undefined) return cluster.pick(request);
  const without = triedPriorities(retry.previousPrioritiesEvery, tried);
  let host = cluster.pick({ ...request, without });
  for (let draw = 0; draw < retry.hostSelectionMaxAttempts && host !== undefined && isUnwanted(host, retry, tried); draw++)
    host = cluster.pick({ ...request, without, attempt: draw + 1 });
  return host;
};

const isUnwanted = (host: Host, retry: RetryPlan, tried: readonly Host[]): boolean =>
  (retry.avoidPreviousHosts && tried.includes(host)) ||
  (retry.omitCanaryHosts && lbValue(host, 'canary') === true) ||
  (retry.omitHosts !== undefined && Object.entries(retry.omitHosts).every(([key, value]) => isDeepStrictEqual(lbValue(host, key), value)));

const lbValue = (host: Host, key: string): unknown =>
  (host.metadata as { filter_metadata?: { 'envoy.lb'?: JsonObject } } | undefined)?.filter_metadata?.['envoy.lb']?.[key];

/** The priorities of the attempts so far, seen anew every so many of them. */
const triedPriorities = (every: number, tried: readonly Host[]): readonly number[] | undefined => {
  if (every === 0 || tried.length < every) return undefined;
  const seen = tried.slice(0, tried.length - (tried.length % every));
  return [...new Set(seen.map((host) => host.priority))].toSorted((a, b) => a - b);
};

/** Which subset is meant: by the route, and over it by what filters have found (`envoy.lb` of the dynamic metadata). */
export const lbMetadata = (match: RouteMatch, info: StreamInfo): JsonObject | undefined => {
  const found = info.dynamicMetadata?.['envoy.lb'];
  return found === undefined ? match.metadataMatch : { ...match.metadataMatch, ...(found as JsonObject) };
};

export const describeHost = (info: StreamInfo, host: Host): void => {
  info.upstreamHost = host.address;
  info.upstreamHostName = host.hostname;
  info.upstreamHostMetadata = host.metadata as typeof info.upstreamHostMetadata;
  info.upstreamLocality = host.place;
  info.upstreamHostsAttempted.push(host.address);
  info.upstreamTransportFailureReason = '';
};

export const describeConnected = (info: StreamInfo, connection: UpstreamStream): void => {
  info.upstreamLocalAddress = connection.localAddress;
  info.upstreamConnectionId = connection.id;
  info.upstreamTls = connection.tls;
  info.upstreamProtocol = connection.protocol;
  info.upstreamConnectStart = connection.connectStartMs;
  info.upstreamConnectComplete = connection.connectedMs;
};
