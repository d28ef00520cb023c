// One span, finished: what is told of a request, or of one attempt to forward it. Tags have Envoy's names, so that what reads an Envoy's
// spans reads these.

import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { isGrpcType } from '../route-criteria.ts';
import type { StreamInfo } from '../stream-info.ts';
import type { CompiledTag } from './custom-tags.ts';

export interface SpanRecord {
  readonly traceId: string;
  readonly spanId: string;
  /** '': it is the first of its trace. */
  readonly parentId: string;
  readonly state: string;
  /** The parent is another process's. */
  readonly remoteParent: boolean;
  readonly kind: 'server' | 'client';
  readonly name: string;
  /** Microseconds since 1970. */
  readonly startUs: number;
  readonly durationUs: number;
  readonly tags: ReadonlyMap<string, string>;
  readonly events: readonly { readonly name: string; readonly atUs: number }[];
  /** 0: nobody answered. */
  readonly status: number;
  /** A gRPC status says so. */
  readonly failed: boolean;
}

/** The headers of an exchange, as they are when it ends. */
export interface SpanHeaders {
  readonly request: HeaderBlock | undefined;
  readonly response: HeaderBlock | undefined;
  readonly trailers: HeaderBlock | undefined;
}

const ABSENT = '-';

const WIRE = /[\x80-\xff]/;
/** What came off the wire has a character for each byte. */
const readable = (text: string): string => (WIRE.test(text) ? Buffer.from(text, 'latin1').toString('utf8') : text);

/** Of a request as a whole. */
export const requestTags = (
  info: StreamInfo,
  headers: SpanHeaders,
  node: { readonly id: string; readonly zone: string },
  pathMax: number,
  custom: readonly CompiledTag[],
): Map<string, string> => {
  const tags = new Map<string, string>([
    ['node_id', node.id],
    ['zone', node.zone],
  ]);
  const { request } = headers;
  if (request !== undefined) describeRequest(tags, info, request, pathMax);
  tags.set('request_size', String(info.bytesReceived));
  tags.set('response_size', String(info.bytesSent));
  describeOutcome(tags, info);
  grpcOutcome(tags, headers);
  addCustom(tags, info, headers, custom);
  return tags;
};

/** How an attempt ended. */
export interface AttemptEnd {
  /** 0: it was not answered. */
  readonly status: number;
  /** Its answer was not taken: another attempt stands for it. */
  readonly given: boolean;
  /** Short name of the flag and words for how it was lost; '' when it was not. */
  readonly flag: string;
  readonly reason: string;
}

/** Of one attempt upstream. */
export const attemptTags = (
  info: StreamInfo,
  headers: SpanHeaders,
  retries: number,
  attempt: AttemptEnd,
  custom: readonly CompiledTag[],
): Map<string, string> => {
  const tags = new Map<string, string>();
  tags.set('http.protocol', info.upstreamProtocol === '' ? ABSENT : info.upstreamProtocol);
  tags.set('upstream_address', info.upstreamHost);
  tags.set('peer.address', info.upstreamHost);
  describeOutcome(tags, info, attempt.status);
  tags.set('response_flags', attempt.flag === '' ? ABSENT : attempt.flag);
  if (attempt.reason !== '') tags.set('error.reason', attempt.reason);
  if (attempt.given) tags.set('canceled', 'true');
  if (retries > 0) tags.set('retry.count', String(retries));
  if (!attempt.given) grpcOutcome(tags, headers);
  addCustom(tags, info, headers, custom);
  return tags;
};

const describeRequest = (tags: Map<string, string>, info: StreamInfo, request: HeaderBlock, pathMax: number): void => {
  const id = request.getById(H.X_REQUEST_ID);
  if (id !== undefined) tags.set('guid:x-request-id', readable(id));
  const path = request.getById(H.X_ENVOY_ORIGINAL_PATH) ?? info.path;
  const scheme = request.getById(H.X_FORWARDED_PROTO) ?? info.scheme;
  tags.set('http.url', readable(`${scheme}://${info.authority}${path.slice(0, pathMax)}`));
  tags.set('http.method', info.method);
  tags.set('downstream_cluster', readable(request.getById(H.X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER) ?? ABSENT));
  tags.set('user_agent', readable(request.getById(H.USER_AGENT) ?? ABSENT));
  tags.set('http.protocol', info.protocol);
  tags.set('peer.address', withoutPort(info.downstreamDirectRemoteAddress));
  const client = request.getById(H.X_CLIENT_TRACE_ID);
  if (client !== undefined) tags.set('guid:x-client-trace-id', readable(client));
  if (!isGrpcType(request.getById(H.CONTENT_TYPE))) return;
  tags.set('grpc.path', readable(info.path));
  tags.set('grpc.authority', info.authority);
  tags.set('grpc.content_type', request.getById(H.CONTENT_TYPE) ?? '');
  const timeout = request.getById(H.GRPC_TIMEOUT);
  if (timeout !== undefined) tags.set('grpc.timeout', timeout);
};

const describeOutcome = (tags: Map<string, string>, info: StreamInfo, status = info.responseCode): void => {
  tags.set('component', 'proxy');
  if (info.upstreamCluster !== '') {
    tags.set('upstream_cluster', info.upstreamClusterRaw);
    tags.set('upstream_cluster.name', info.upstreamCluster);
  }
  tags.set('http.status_code', String(status));
  tags.set('response_flags', info.hasAnyFlag() ? info.flagsShort() : ABSENT);
  if (status === 0 || (status >= 500 && status < 600)) tags.set('error', 'true');
};

/** The statuses that blame the server. */
const GRPC_ERRORS: ReadonlySet<string> = new Set(['2', '4', '12', '13', '14', '15']);

/** Whether the server is blamed. */
export const grpcFailed = ({ response, trailers }: SpanHeaders): boolean =>
  GRPC_ERRORS.has(trailers?.getById(H.GRPC_STATUS) ?? response?.getById(H.GRPC_STATUS) ?? '');

const grpcOutcome = (tags: Map<string, string>, { response, trailers }: SpanHeaders): void => {
  const from = trailers?.hasId(H.GRPC_STATUS) === true ? trailers : response;
  const status = from?.getById(H.GRPC_STATUS);
  if (status === undefined) return;
  tags.set('grpc.status_code', status);
  const message = from?.getById(H.GRPC_MESSAGE);
  if (message !== undefined) tags.set('grpc.message', readable(message));
  if (GRPC_ERRORS.has(status)) tags.set('error', 'true');
};

const addCustom = (tags: Map<string, string>, info: StreamInfo, headers: SpanHeaders, custom: readonly CompiledTag[]): void => {
  for (const { tag, value, received } of custom) {
    const text = value(info, headers.request, headers.response, headers.trailers);
    if (text !== undefined && text !== '') tags.set(tag, received ? readable(text) : text);
  }
};

const withoutPort = (address: string): string => {
  const colon = address.lastIndexOf(':');
  return colon < 0 ? address : address.slice(0, colon).replace(/^\[|\]$/g, '');
};

type Moment = { readonly name: string; readonly at: (info: StreamInfo) => number };
const UPSTREAM: readonly Moment[] = [
  { name: 'first_upstream_tx_byte_sent', at: (info) => info.firstUpstreamTxByte },
  { name: 'last_upstream_tx_byte_sent', at: (info) => info.lastUpstreamTxByte },
  { name: 'first_upstream_rx_byte_received', at: (info) => info.firstUpstreamRxByte },
  { name: 'last_upstream_rx_byte_received', at: (info) => info.lastUpstreamRxByte },
];
const REQUEST: readonly Moment[] = [
  { name: 'last_downstream_rx_byte_received', at: (info) => info.lastDownstreamRxByte },
  ...UPSTREAM,
  { name: 'first_downstream_tx_byte_sent', at: (info) => info.firstDownstreamTxByte },
  { name: 'last_downstream_tx_byte_sent', at: (info) => info.lastDownstreamTxByte },
];

/** When what happened; for a verbose listener. */
export const momentsOf = (info: StreamInfo, attempt: boolean): SpanRecord['events'] =>
  (attempt ? UPSTREAM : REQUEST).map(({ name, at }) => ({ name, atUs: Math.round(at(info) * 1000) })).filter(({ atUs }) => atUs > 0);
