// Sizes of a message as Envoy's logs tell them: what passed over a connection, what of it was header fields, and what a header map holds.
// Where the wire was not counted it is head and body; what frames a body (chunks, DATA frames of HTTP/2) is not in it.
import type { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import { STATUS_REASONS } from '../wire/http1-writer.ts';
import type { StreamInfo } from './stream-info.ts';

const HTTP2 = 'HTTP/2';
/** Before the block of a HEADERS frame. */
const FRAME_HEAD = 9;
const framed = (protocol: string, head: number): number => (head > 0 && protocol === HTTP2 ? head + FRAME_HEAD : head);

const END_OF_HEAD = 2;
const requestLine = (method: string, path: string): number => `${method} ${path} HTTP/1.1\r\n`.length;
const statusLine = (status: number): number => `HTTP/1.1 ${status} ${STATUS_REASONS[status] ?? 'Unknown'}\r\n`.length;

// --- the wire

export const wireReceived = (info: StreamInfo): number =>
  info.downstreamWireBytesReceived || framed(info.protocol, info.requestHeadersBytes) + info.bytesReceived;
export const wireSent = (info: StreamInfo): number =>
  info.downstreamWireBytesSent || framed(info.protocol, info.responseHeadersBytes) + info.bytesSent;
export const upstreamWireSent = (info: StreamInfo): number =>
  info.upstreamWireBytesSent ||
  (isTunnel(info) || info.upstreamHeaderBytesSent > 0
    ? framed(info.upstreamProtocol, info.upstreamHeaderBytesSent) + info.bytesReceived
    : 0);
export const upstreamWireReceived = (info: StreamInfo): number =>
  info.upstreamWireBytesReceived ||
  (isTunnel(info) || info.upstreamHeaderBytesReceived > 0
    ? framed(info.upstreamProtocol, info.upstreamHeaderBytesReceived) + info.bytesSent
    : 0);

/** Bytes only, no messages; and somebody was reached. */
const isTunnel = (info: StreamInfo): boolean => info.protocol === '' && info.upstreamHost !== '';

// --- header fields on the wire: of HTTP/1 without the first line and the empty one; and of those that came, as Envoy's parser tells them,
// without the space behind the colon

export const headerReceived = (info: StreamInfo, request: HeaderBlock | undefined): number => {
  const head = info.requestHeadersBytes;
  if (head === 0 || info.protocol === HTTP2) return framed(info.protocol, head);
  const path = request?.getById(H.X_ENVOY_ORIGINAL_PATH) ?? info.path;
  return atLeastNothing(head - requestLine(info.method, path) - END_OF_HEAD - info.requestFields);
};

export const headerSent = (info: StreamInfo): number => {
  const head = info.responseHeadersBytes;
  if (head === 0 || info.protocol === HTTP2) return framed(info.protocol, head);
  return atLeastNothing(head - statusLine(info.responseCode) - END_OF_HEAD);
};

export const upstreamHeaderSent = (info: StreamInfo): number => {
  const head = info.upstreamHeaderBytesSent;
  if (head === 0 || info.upstreamProtocol === HTTP2) return framed(info.upstreamProtocol, head);
  return atLeastNothing(head - requestLine(info.method, info.path) - END_OF_HEAD);
};

export const upstreamHeaderReceived = (info: StreamInfo): number => {
  const head = info.upstreamHeaderBytesReceived;
  if (head === 0 || info.upstreamProtocol === HTTP2) return framed(info.upstreamProtocol, head);
  return atLeastNothing(head - statusLine(info.responseCode) - END_OF_HEAD - info.upstreamFields);
};

const atLeastNothing = (bytes: number): number => Math.max(0, bytes);

// --- header maps

const PSEUDO = ':method:path:authority:scheme'.length;

/** Names and values of a request's header map, pseudo headers included. */
export const requestMapBytes = (info: StreamInfo, request: HeaderBlock | undefined): number => {
  if (request === undefined) return 0;
  const { method, path, authority, scheme } = info;
  const host = request.getById(H.HOST);
  return (
    request.byteSize - (host === undefined ? 0 : 4 + host.length) + PSEUDO + method.length + path.length + authority.length + scheme.length
  );
};

const STATUS = ':status200'.length;
const CLOSES = 'connectionclose'.length;

const EMPTY = 'content-length0'.length;

export const responseMapBytes = (info: StreamInfo, response: HeaderBlock | undefined): number => {
  if (response === undefined || info.responseCode === 0) return 0;
  // Of an answer that was made here only Envoy's codec says that it is empty.
  const isOwnEmpty = info.upstreamHeaderBytesReceived === 0 && response.getById(H.CONTENT_LENGTH) === '0';
  return response.byteSize + STATUS + (info.lastAnswer ? CLOSES : 0) - (isOwnEmpty ? EMPTY : 0);
};
