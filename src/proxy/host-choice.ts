// Which host the next attempt goes to: the balancer's word, drawn again while a retry policy wants another host than before.
// And what is told of the host and of the connection to it.

import { isIP } from 'node:net';
import type { RetryPlan } from '../plan/retry.ts';
import type { StreamInfo } from '../plan/stream-info.ts';
import type { HeaderBlock } from '../wire/header-block.ts';
import type { ClusterRuntime, PickRequest } from './cluster-runtime.ts';
import type { Host } from './host.ts';
import type { Destination } from './original-destination.ts';
import type { UpstreamStream } from './upstream-stream.ts';

export const chooseHost = (
  cluster: ClusterRuntime,
  retry: RetryPlan | undefined,
  request: PickRequest,
  tried: readonly Host[],
): Host | undefined => {
  let host = cluster.pick(request);
  if (tried.length > 0 && retry?.avoidPreviousHosts === true)
    for (let draw = 0; draw < retry.hostSelectionMaxAttempts && host !== undefined && tried.includes(host); draw++)
      host = cluster.pick({ ...request, attempt: draw + 1 });
  return host;
};

/** Where a request goes by its own word, if its cluster listens to it; else where its connection was going. */
export const wantedDestination = (cluster: ClusterRuntime, headers: HeaderBlock, own: Destination | undefined): Destination | undefined => {
  const text = cluster.destinationHeader === '' ? undefined : headers.get(cluster.destinationHeader);
  const parts = text === undefined ? null : /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  if (parts === null) return own;
  const [ip, port] = [parts[1] ?? parts[2] ?? '', Number(parts[3])];
  return isIP(ip) !== 0 && port <= 65_535 ? { ip, port } : own;
};

export const describeHost = (info: StreamInfo, host: Host): void => {
  info.upstreamHost = host.address;
  info.upstreamHostName = host.hostname;
  info.upstreamHostMetadata = host.metadata as typeof info.upstreamHostMetadata;
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
