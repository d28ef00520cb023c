// What Envoy's expressions can name of a request, its answer, its connections and its route. An attribute that is not there, or is not
// known yet, is undefined: the expression around it has no value then.

import type { HeaderBlock } from '../../wire/header-block.ts';
import type { JsonObject, JsonValue } from '../../xds/gen/types.ts';
import { requestMapBytes, responseMapBytes } from '../message-sizes.ts';
import type { ProcessFacts, StreamInfo, TlsFacts } from '../stream-info.ts';

export interface CelFacts {
  readonly info: StreamInfo;
  readonly request: HeaderBlock | undefined;
  readonly response: HeaderBlock | undefined;
  readonly trailers: HeaderBlock | undefined;
}

/** Repeated values with commas between them. */
const joined = (block: HeaderBlock | undefined, name: string): string | undefined => {
  const first = block?.get(name);
  if (block === undefined || first === undefined) return undefined;
  const all = block.values(name);
  return all.length > 1 ? all.join(',') : first;
};

/** The filter state, which is looked into by name alone. */
export class CelStates {
  readonly #info: StreamInfo;
  readonly #stateOf: ProcessFacts['stateOf'];
  constructor(info: StreamInfo, stateOf: ProcessFacts['stateOf']) {
    this.#info = info;
    this.#stateOf = stateOf;
  }
  get(name: string): unknown {
    return this.#stateOf?.(name, this.#info) ?? (Object.hasOwn(this.#info.filterState, name) ? this.#info.filterState[name] : undefined);
  }
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
const PSEUDO_HEADERS: Readonly<Record<string, (info: StreamInfo) => string>> = {
  ':path': (info) => info.path,
  ':method': (info) => info.method,
  ':authority': (info) => info.authority,
  ':scheme': (info) => info.scheme,
};

/** Headers, which are looked into by name alone. */
export class CelHeaders {
  readonly block: HeaderBlock | undefined;
  readonly info: StreamInfo | undefined;
  constructor(block: HeaderBlock | undefined, info: StreamInfo | undefined) {
    this.block = block;
    this.info = info;
  }
  get(name: string): string | undefined {
    return this.#pseudo(name) ?? joined(this.block, name.toLowerCase());
  }
  all(): JsonObject {
    const names = [
      ...(this.info === undefined ? [] : [':authority', ':method', ':path', ':scheme']),
      ...new Set(this.block?.entries().map(([name]) => name)),
    ];
    return Object.fromEntries(names.filter((name) => name !== 'host').map((name) => [name, this.get(name) ?? '']));
  }
  #pseudo(name: string): string | undefined {
    const { info } = this;
    if (info === undefined || !name.startsWith(':')) return undefined;
    const value = PSEUDO_HEADERS[name]?.(info) ?? '';
    return value === '' ? undefined : value;
  }
}

const MICROSECONDS = 1000;

/** `2026-01-02T03:04:05.678901+00:00`, without zeros at the end. */
const timeText = (ms: number): string => {
  const seconds = Math.floor(ms / 1000);
  const fraction = Math.floor(ms * MICROSECONDS - seconds * 1e6)
    .toString()
    .padStart(6, '0')
    .replace(/0+$/, '');
  return `${new Date(seconds * 1000).toISOString().slice(0, -5)}${fraction === '' ? '' : `.${fraction}`}+00:00`;
};

/** `1h2m3.5s`, `4.5ms`, `7us`. */
const durationText = (ms: number): string => {
  const nanoseconds = Math.round(Math.abs(ms) * 1e6);
  const sign = ms < 0 ? '-' : '';
  if (nanoseconds === 0) return '0';
  if (nanoseconds < 1e3) return `${sign}${nanoseconds}ns`;
  if (nanoseconds < 1e6) return `${sign}${nanoseconds / 1e3}us`;
  if (nanoseconds < 1e9) return `${sign}${nanoseconds / 1e6}ms`;
  const hours = Math.floor(nanoseconds / 3.6e12);
  const minutes = Math.floor((nanoseconds - hours * 3.6e12) / 6e10);
  const seconds = (nanoseconds - hours * 3.6e12 - minutes * 6e10) / 1e9;
  return `${sign}${hours > 0 ? `${hours}h` : ''}${minutes > 0 ? `${minutes}m` : ''}${seconds > 0 ? `${seconds}s` : ''}`;
};

/** Six digits, as `%g` of C prints them. */
const fractionText = (value: number): string => {
  const [digits = '', exponent] = value.toPrecision(6).split('e');
  const short = digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits;
  const power = Math.floor(Math.log10(Math.abs(value)));
  if (exponent === undefined && power >= -4) return short;
  const [mantissa = ''] = value.toExponential(5).split('e');
  return `${mantissa.replace(/\.?0+$/, '')}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
};

/** A value as text, as Envoy prints it. */
export const celText = (value: unknown): string => {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : fractionText(value);
  if (typeof value === 'boolean') return String(value);
  if (value === null) return 'NULL';
  if (value instanceof CelTime) return timeText(value.ms);
  if (value instanceof CelDuration) return durationText(value.ms);
  return Array.isArray(value) ? 'CelList value' : 'CelMap value';
};

/** A value as JSON, its own type kept. */
export const celJson = (value: unknown): JsonValue | undefined => {
  if (value === undefined || value === null || ['string', 'number', 'boolean'].includes(typeof value))
    return value as JsonValue | undefined;
  if (value instanceof CelTime) return timeText(value.ms).replace('+00:00', 'Z');
  if (value instanceof CelDuration) return celText(value);
  if (value instanceof CelHeaders) return value.all();
  if (value instanceof CelStates) return {};
  if (Array.isArray(value)) return value.map((item) => celJson(item) ?? null);
  return Object.fromEntries(
    Object.entries(value as object).flatMap(([key, item]) => (item === undefined ? [] : [[key, celJson(item) ?? null]])),
  );
};

/** What is known before any request: of the process, and of the place where the expression stands. */
export type CelPlace = Pick<ProcessFacts, 'node' | 'direction' | 'stateOf'>;

type Attribute = (facts: CelFacts, place: CelPlace) => unknown;

const text = (value: string): string | undefined => (value === '' ? undefined : value);
const between = (from: number, to: number): CelDuration | undefined => (from > 0 && to >= from ? new CelDuration(to - from) : undefined);
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
    total_size: ({ info, request }) => info.bytesReceived + requestMapBytes(info, request),
  },
  response: {
    code: ({ info }) => (info.responseCode === 0 ? undefined : info.responseCode),
    code_details: ({ info }) => text(info.responseCodeDetails),
    headers: ({ response }) => new CelHeaders(response, undefined),
    trailers: ({ trailers }) => new CelHeaders(trailers, undefined),
    flags: ({ info }) => info.flagBits(),
    backend_latency: ({ info }) => between(info.lastUpstreamTxByte, info.firstUpstreamRxByte),
    grpc_status: grpcStatus,
    size: ({ info }) => info.bytesSent,
    total_size: ({ info, response, trailers }) => info.bytesSent + responseMapBytes(info, response) + (trailers?.byteSize ?? 0),
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
    transport_failure_reason: ({ info }) => text(info.downstreamTransportFailureReason),
    ...tlsOf((info) => info.downstreamTls),
  },
  upstream: {
    address: ({ info }) => text(info.upstreamHost),
    port: ({ info }) => portOf(info.upstreamHost),
    local_address: ({ info }) => text(info.upstreamLocalAddress),
    locality: ({ info }) => info.upstreamLocality?.locality,
    transport_failure_reason: ({ info }) => info.upstreamTransportFailureReason,
    cx_pool_ready_duration: ({ info }) => between(info.startTime, info.firstUpstreamTxByte),
    request_attempt_count: ({ info }) => info.upstreamRequestAttemptCount,
    ...tlsOf((info) => info.upstreamTls),
  },
  xds: {
    cluster_name: ({ info }) => (info.upstreamCluster === '' ? undefined : text(info.upstreamClusterRaw)),
    cluster_metadata: ({ info }) => filterMetadata(info.clusterMetadata),
    route_name: ({ info }) => text(info.routeName),
    route_metadata: ({ info }) => filterMetadata(info.routeMetadata),
    virtual_host_name: ({ info }) => text(info.virtualHostName),
    virtual_host_metadata: ({ info }) => filterMetadata(info.virtualHostMetadata),
    upstream_host_metadata: ({ info }) => filterMetadata(info.upstreamHostMetadata),
    upstream_host_locality_metadata: ({ info }) =>
      info.upstreamLocality === undefined ? undefined : filterMetadata(info.upstreamLocality.metadata ?? {}),
    listener_direction: (_, { direction }) => direction,
    node: (_, { node }) => node,
    listener_metadata: ({ info }) => filterMetadata(info.listenerMetadata),
    filter_chain_name: ({ info }) => info.filterChainName,
  },
  metadata: { '': ({ info }) => ({ filter_metadata: info.dynamicMetadata }) },
  filter_state: { '': ({ info }, { stateOf }) => new CelStates(info, stateOf) },
  upstream_filter_state: { '': ({ info }) => info.upstreamFilterState },
};

/** Not known where there is no listener: refused there, since what has no value would silently hold for nothing. */
export const OF_THE_PLACE: ReadonlySet<string> = new Set(['xds.listener_direction', 'xds.node']);
