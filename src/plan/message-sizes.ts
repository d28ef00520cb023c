// Sizes of a message as Envoy's logs tell them: what passed over a connection, and what a header map holds. Where the wire was not counted
// it is head and body; what frames a body (chunks, frames of HTTP/2) is not in it.
import type { HeaderBlock } from '../wire/header-block.ts';
import type { StreamInfo } from './stream-info.ts';

export const wireReceived = (info: StreamInfo): number => info.downstreamWireBytesReceived || info.requestHeadersBytes + info.bytesReceived;
export const wireSent = (info: StreamInfo): number => info.downstreamWireBytesSent || info.responseHeadersBytes + info.bytesSent;
export const upstreamWireSent = (info: StreamInfo): number =>
  info.upstreamWireBytesSent ||
  (isTunnel(info) || info.upstreamHeaderBytesSent > 0 ? info.upstreamHeaderBytesSent + info.bytesReceived : 0);
export const upstreamWireReceived = (info: StreamInfo): number =>
  info.upstreamWireBytesReceived ||
  (isTunnel(info) || info.upstreamHeaderBytesReceived > 0 ? info.upstreamHeaderBytesReceived + info.bytesSent : 0);

/** Bytes only, no messages; and somebody was reached. */
const isTunnel = (info: StreamInfo): boolean => info.protocol === '' && info.upstreamHost !== '';

const PSEUDO = ':method:path:authority:scheme'.length;

/** Names and values of a request's header map, pseudo headers included. */
export const requestMapBytes = (info: StreamInfo, request: HeaderBlock | undefined): number => {
  if (request === undefined) return 0;
  const { method, path, authority, scheme } = info;
  const host = request.get('host');
  return (
    request.byteSize - (host === undefined ? 0 : 4 + host.length) + PSEUDO + method.length + path.length + authority.length + scheme.length
  );
};

const STATUS = ':status200'.length;

export const responseMapBytes = (info: StreamInfo, response: HeaderBlock | undefined): number =>
  response === undefined || info.responseCode === 0 ? 0 : response.byteSize + STATUS;
