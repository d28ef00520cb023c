// What Envoy's expressions can name of a request, its answer, its connections and its route. An attribute that is not there, or is not
// known yet, is undefined: the expression around it has no value then.

import type { HeaderBlock } from '../../wire/header-block.ts';
import type { StreamInfo, TlsFacts } from '../stream-info.ts';

export interface CelFacts {
  readonly info: StreamInfo;
  readonly request: HeaderBlock | undefined;
  readonly response: HeaderBlock | undefined;
  readonly trailers: HeaderBlock | undefined;
}

/** A length of time in milliseconds. */
export class CelDuration {
  readonly ms: number;
  constructor(ms: number) {
    this.ms = ms;
  }
}
export class CelTime {
  readonly ms: number;
  constructor(ms: number) {
    this.ms = ms;
  }
}
/** Headers, which are looked into by name alone. */
export class CelHeaders {
  readonly block: HeaderBlock | undefined;
  readonly info: StreamInfo | undefined;
  constructor(block: HeaderBlock | undefined, info: StreamInfo | undefined) {
    this.block = block;
    this.info = info;
  }
  get(name: string): string | undefined {
    return this.#pseudo(name) ?? this.block?.get(name.toLowerCase());
  }
  #pseudo(name: string): string | undefined {
    const { info } = this;
    if (info === undefined || !name.startsWith(':')) return undefined;
    const value = name === ':path' ? info.path : name === ':method' ? info.method : name === ':authority' ? info.authority : '';
    return value === '' ? undefined : value;
  }
}

/** A value as text, as Envoy prints it. */
export const celText = (value: unknown): string => {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(Number.isInteger(value) ? value : Number(value.toPrecision(6)));
  if (typeof value === 'boolean') return String(value);
  if (value === null) return 'NULL';
  if (value instanceof CelTime) return new Date(value.ms).toISOString();
  if (value instanceof CelDuration) return `${value.ms / 1000}s`;
  return Array.isArray(value) ? 'list value' : 'map value';
};

type Attribute = (facts: CelFacts) => unknown;

const text = (value: string): string | undefined => (value === '' ? undefined : value);
const split = (path: string): readonly [string, string] => {
  const at = path.indexOf('?');
  return at < 0 ? [path, ''] : [path.slice(0, at), path.slice(at + 1)];
};
const portOf = (address: string): number | undefined => {
  const port = /:(\d+)$/.exec(address)?.[1];
  return port === undefined ? undefined : Number(port);
};
/** What an answer that is not gRPC counts as. */
const GRPC_BY_HTTP: Readonly<Record<number, number>> = { 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14 };
const UNKNOWN_STATUS = 2;
const grpcStatus = ({ info, trailers, response }: CelFacts): number | undefined => {
  const status = trailers?.get('grpc-status') ?? response?.get('grpc-status');
  if (status !== undefined) return /^\d+$/.test(status) ? Number(status) : undefined;
  return info.responseCode === 0 ? undefined : (GRPC_BY_HTTP[info.responseCode] ?? UNKNOWN_STATUS);
};
const tlsOf = (tls: (info: StreamInfo) => TlsFacts | undefined): Readonly<Record<string, Attribute>> => {
  const certificate = (side: 'peer' | 'local', kind: 'Uri' | 'Dns') => (facts: CelFacts) =>
    tls(facts.info)?.[side]?.[kind === 'Uri' ? 'uriSans' : 'dnsSans'][0];
  return {
    tls_version: ({ info }) => tls(info)?.version,
    subject_local_certificate: ({ info }) => tls(info)?.local?.subject,
    subject_peer_certificate: ({ info }) => tls(info)?.peer?.subject,
    uri_san_local_certificate: certificate('local', 'Uri'),
    uri_san_peer_certificate: certificate('peer', 'Uri'),
    dns_san_local_certificate: certificate('local', 'Dns'),
    dns_san_peer_certificate: certificate('peer', 'Dns'),
    sha256_peer_certificate_digest: ({ info }) => tls(info)?.peer?.sha256Fingerprint,
  };
};
const filterMetadata = (metadata: { readonly filter_metadata?: unknown } | undefined): unknown =>
  metadata === undefined ? undefined : { filter_metadata: metadata.filter_metadata ?? {} };

/** By their first name, then by their second; a first name that stands for itself has the second ''. */
export const CEL_ATTRIBUTES: Readonly<Record<string, Readonly<Record<string, Attribute>>>> = {
  request: {
    path: ({ info }) => text(info.path),
    url_path: ({ info }) => text(split(info.path)[0]),
    query: ({ info }) => split(info.path)[1],
    host: ({ info }) => text(info.authority),
    scheme: ({ info }) => text(info.scheme),
    method: ({ info }) => text(info.method),
    protocol: ({ info }) => text(info.protocol),
    headers: ({ info, request }) => new CelHeaders(request, info),
    referer: ({ request }) => request?.get('referer'),
    useragent: ({ request }) => request?.get('user-agent'),
    id: ({ request }) => request?.get('x-request-id'),
    time: ({ info }) => new CelTime(info.startTime),
    duration: ({ info }) => (info.endTime === 0 ? undefined : new CelDuration(info.endTime - info.startTime)),
    size: ({ info, request }) => {
      const length = request?.get('content-length');
      return length !== undefined && /^\d+$/.test(length) ? Number(length) : info.bytesReceived;
    },
    total_size: ({ info }) => info.bytesReceived + info.requestHeadersBytes,
  },
  response: {
    code: ({ info }) => (info.responseCode === 0 ? undefined : info.responseCode),
    code_details: ({ info }) => text(info.responseCodeDetails),
    headers: ({ response }) => new CelHeaders(response, undefined),
    trailers: ({ trailers }) => new CelHeaders(trailers, undefined),
    grpc_status: grpcStatus,
    size: ({ info }) => info.bytesSent,
    total_size: ({ info }) => info.bytesSent + info.responseHeadersBytes + info.responseTrailersBytes,
  },
  source: {
    address: ({ info }) => text(info.downstreamRemoteAddress),
    port: ({ info }) => portOf(info.downstreamRemoteAddress),
  },
  destination: {
    address: ({ info }) => text(info.downstreamLocalAddress),
    port: ({ info }) => portOf(info.downstreamLocalAddress),
  },
  connection: {
    id: ({ info }) => info.connectionId,
    mtls: ({ info }) => info.downstreamTls?.peer !== undefined,
    requested_server_name: ({ info }) => info.requestedServerName,
    termination_details: ({ info }) => text(info.connectionTerminationDetails),
    ...tlsOf((info) => info.downstreamTls),
  },
  upstream: {
    address: ({ info }) => text(info.upstreamHost),
    port: ({ info }) => portOf(info.upstreamHost),
    local_address: ({ info }) => text(info.upstreamLocalAddress),
    transport_failure_reason: ({ info }) => text(info.upstreamTransportFailureReason),
    request_attempt_count: ({ info }) => info.upstreamRequestAttemptCount,
    ...tlsOf((info) => info.upstreamTls),
  },
  xds: {
    cluster_name: ({ info }) => (info.upstreamCluster === '' ? undefined : text(info.upstreamClusterRaw)),
    cluster_metadata: ({ info }) => filterMetadata(info.clusterMetadata),
    route_name: ({ info }) => text(info.routeName),
    route_metadata: ({ info }) => filterMetadata(info.routeMetadata),
    virtual_host_name: ({ info }) => text(info.virtualHostName),
    upstream_host_metadata: ({ info }) => filterMetadata(info.upstreamHostMetadata),
    listener_metadata: ({ info }) => filterMetadata(info.listenerMetadata),
    filter_chain_name: ({ info }) => info.filterChainName,
  },
  metadata: { '': ({ info }) => ({ filter_metadata: info.dynamicMetadata }) },
  filter_state: { '': ({ info }) => info.filterState },
};

/** What Envoy knows, and is not known here: refused, since what has no value would silently hold for nothing. */
export const CEL_UNKNOWN: ReadonlySet<string> = new Set([
  'connection.transport_failure_reason',
  'response.backend_latency',
  'response.flags',
  'upstream.cx_pool_ready_duration',
  'xds.listener_direction',
  'xds.node',
  'upstream_filter_state',
]);
