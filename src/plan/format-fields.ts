// The operators without arguments, as tables: what each prints of a StreamInfo. '' and absence are "not set".
import type { HeaderBlock } from '../wire/header-block.ts';
import type { Operator, OperatorValue } from './format-operator.ts';
import {
  headerReceived,
  headerSent,
  requestMapBytes,
  responseMapBytes,
  upstreamHeaderReceived,
  upstreamHeaderSent,
  upstreamWireReceived,
  upstreamWireSent,
  wireReceived,
  wireSent,
} from './message-sizes.ts';
import type { CertificateFacts, StreamInfo, TlsFacts } from './stream-info.ts';

type Field = (info: StreamInfo, request?: HeaderBlock, response?: HeaderBlock, trailers?: HeaderBlock) => OperatorValue;
const text = (value: string | undefined): string | undefined => (value === '' ? undefined : value);

/** Whole milliseconds between two times; undefined unless both happened. */
export const elapsed = (start: number, end: number, whole = 0): number | undefined => {
  if (start <= 0 || end <= 0 || end < start) return undefined;
  return whole === 0 ? Math.floor(end - start) : end - start;
};
const finish = (info: StreamInfo): number => info.endTime || info.lastDownstreamTxByte;

export const DURATION_POINTS: Readonly<Record<string, (info: StreamInfo) => number>> = {
  DS_RX_BEG: (info) => info.startTime,
  DS_RX_END: (info) => info.lastDownstreamRxByte,
  US_CX_BEG: (info) => info.upstreamConnectStart,
  US_CX_END: (info) => info.upstreamConnectComplete,
  US_HS_END: (info) => info.upstreamHandshakeComplete,
  US_TX_BEG: (info) => info.firstUpstreamTxByte,
  US_TX_END: (info) => info.lastUpstreamTxByte,
  US_RX_BEG: (info) => info.firstUpstreamRxByte,
  US_RX_END: (info) => info.lastUpstreamRxByte,
  DS_TX_BEG: (info) => info.firstDownstreamTxByte,
  DS_TX_END: (info) => info.lastDownstreamTxByte,
};

export const PLAIN_OPERATORS: Readonly<Record<string, Operator & Field>> = {
  PROTOCOL: (info) => text(info.protocol),
  UPSTREAM_PROTOCOL: (info) => text(info.upstreamProtocol),
  RESPONSE_CODE: (info) => info.responseCode,
  CONNECTION_TERMINATION_DETAILS: (info) => text(info.connectionTerminationDetails),
  RESPONSE_FLAGS: (info) => info.flagsShort() || '-',
  RESPONSE_FLAGS_LONG: (info) => info.flagsLong() || '-',
  BYTES_RECEIVED: (info) => info.bytesReceived,
  BYTES_SENT: (info) => info.bytesSent,
  REQUEST_HEADERS_BYTES: requestMapBytes,
  RESPONSE_HEADERS_BYTES: (info, _, response) => responseMapBytes(info, response),
  RESPONSE_TRAILERS_BYTES: (_info, _request, _response, trailers) => trailers?.byteSize ?? 0,
  UPSTREAM_WIRE_BYTES_SENT: upstreamWireSent,
  UPSTREAM_WIRE_BYTES_RECEIVED: upstreamWireReceived,
  UPSTREAM_HEADER_BYTES_SENT: upstreamHeaderSent,
  UPSTREAM_HEADER_BYTES_RECEIVED: upstreamHeaderReceived,
  DOWNSTREAM_WIRE_BYTES_SENT: wireSent,
  DOWNSTREAM_WIRE_BYTES_RECEIVED: wireReceived,
  DOWNSTREAM_HEADER_BYTES_SENT: headerSent,
  DOWNSTREAM_HEADER_BYTES_RECEIVED: headerReceived,
  // In a response's headers: until its head came.
  DURATION: (info) => elapsed(info.startTime, finish(info) || info.firstUpstreamRxByte),
  REQUEST_DURATION: (info) => elapsed(info.startTime, info.lastDownstreamRxByte),
  REQUEST_TX_DURATION: (info) => elapsed(info.startTime, info.lastUpstreamTxByte),
  RESPONSE_DURATION: (info) => elapsed(info.startTime, info.firstUpstreamRxByte),
  RESPONSE_TX_DURATION: (info) => elapsed(info.firstUpstreamRxByte, info.lastDownstreamTxByte),
  DOWNSTREAM_HANDSHAKE_DURATION: (info) => elapsed(info.startTime, info.downstreamHandshakeComplete),
  UPSTREAM_CONNECTION_POOL_READY_DURATION: (info) => elapsed(info.startTime, info.firstUpstreamTxByte),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: (info) => info.upstreamRequestAttemptCount,
  UPSTREAM_TRANSPORT_FAILURE_REASON: (info) => text(info.upstreamTransportFailureReason.replaceAll(' ', '_')),
  DOWNSTREAM_TRANSPORT_FAILURE_REASON: (info) => text(info.downstreamTransportFailureReason.replaceAll(' ', '_')),
  UPSTREAM_LOCAL_CLOSE_REASON: (info) => text(info.upstreamLocalCloseReason),
  DOWNSTREAM_LOCAL_CLOSE_REASON: (info) => text(info.downstreamLocalCloseReason),
  // In HTTP nothing else is told of them.
  UPSTREAM_DETECTED_CLOSE_TYPE: (info) =>
    text(info.upstreamDetectedCloseType) ?? (isHttp(info) && info.upstreamHost !== '' ? 'Normal' : undefined),
  DOWNSTREAM_DETECTED_CLOSE_TYPE: (info) => (isHttp(info) ? 'Normal' : undefined),
  UPSTREAM_CLUSTER: (info) => text(info.upstreamCluster),
  UPSTREAM_CLUSTER_RAW: (info) => text(info.upstreamClusterRaw),
  UPSTREAM_HOST_NAME: (info) => text(info.upstreamHostName || info.upstreamHost),
  UPSTREAM_HOST_NAME_WITHOUT_PORT: (info) => text(withoutPort(info.upstreamHostName || info.upstreamHost)),
  UPSTREAM_HOSTS_ATTEMPTED: (info) => text(info.upstreamHostsAttempted.join(',')),
  UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT: (info) => text(info.upstreamHostsAttempted.map(withoutPort).join(',')),
  UPSTREAM_HOST_NAMES_ATTEMPTED: (info) => text(namesAttempted(info).join(',')),
  UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT: (info) => text(namesAttempted(info).map(withoutPort).join(',')),
  UPSTREAM_CONNECTION_ID: (info) => info.upstreamConnectionId || undefined,
  UPSTREAM_CONNECTION_IDS_ATTEMPTED: (info) => text(info.upstreamConnectionIdsAttempted.join(',')),
  CONNECTION_ID: (info) => info.connectionId,
  STREAM_ID: (info) => text(info.streamId),
  UNIQUE_ID: (info) => text(info.uniqueId),
  TRACE_ID: (info) => text(info.traceId),
  SPAN_ID: (info) => text(info.spanId),
  REQUESTED_SERVER_NAME: (info) => text(info.requestedServerName),
  UPSTREAM_REQUESTED_SERVER_NAME: (info) => text(info.upstreamRequestedServerName),
  ROUTE_NAME: (info) => text(info.routeName),
  VIRTUAL_HOST_NAME: (info) => text(info.virtualHostName),
  VIRTUAL_CLUSTER_NAME: (info) => text(info.virtualClusterName),
  FILTER_CHAIN_NAME: (info) => text(info.filterChainName),
  LISTENER_NAME: (info) => text(info.listenerName),
  ACCESS_LOG_TYPE: (info) => info.accessLogType,
  CUSTOM_FLAGS: (info) => info.customFlags,
  TLS_JA3_FINGERPRINT: (info) => text(info.ja3Fingerprint),
  TLS_JA4_FINGERPRINT: (info) => text(info.ja4Fingerprint),
  LOCAL_REPLY_BODY: (info) => info.localReplyBody,
  UPSTREAM_SERVER_NAME: (info) => text(info.upstreamRequestedServerName),
  // Addresses of another kind alone have one.
  DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID: () => '',
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID: () => '',
  UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID: () => '',
  // Of HTTP/1, which compresses none.
  UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT: (info) => (info.upstreamProtocol === 'HTTP/2' ? undefined : upstreamHeaderSent(info)),
  UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED: (info) => (info.upstreamProtocol === 'HTTP/2' ? undefined : upstreamHeaderReceived(info)),
  DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT: (info) => (info.protocol === 'HTTP/2' ? undefined : headerSent(info)),
  DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED: (info, request) =>
    info.protocol === 'HTTP/2' ? undefined : headerReceived(info, request),
  // The kernel tells it to no runtime that this one runs on.
  DOWNSTREAM_CX_RTT: () => undefined,
  ROUNDTRIP_DURATION: () => undefined,
  BYTES_RETRANSMITTED: () => 0,
  PACKETS_RETRANSMITTED: () => 0,
};

const isHttp = (info: StreamInfo): boolean => info.protocol !== '';
/** A host without a name goes by its address. */
const namesAttempted = (info: StreamInfo): readonly string[] =>
  info.upstreamHostNamesAttempted.length > 0 ? info.upstreamHostNamesAttempted : info.upstreamHostsAttempted;

export const withoutPort = (address: string): string => {
  const colon = address.lastIndexOf(':');
  if (colon < 0 || address.indexOf(']', colon) >= 0) return address;
  return address.startsWith('[') ? address.slice(1, colon - 1) : address.slice(0, colon);
};
const portOf = (address: string): number | undefined => {
  const colon = address.lastIndexOf(':');
  return colon < 0 ? undefined : Number(address.slice(colon + 1));
};

const ADDRESSES: Readonly<Record<string, (info: StreamInfo) => string>> = {
  UPSTREAM_LOCAL: (info) => info.upstreamLocalAddress,
  UPSTREAM_REMOTE: (info) => info.upstreamHost,
  DOWNSTREAM_LOCAL: (info) => info.downstreamLocalAddress,
  DOWNSTREAM_REMOTE: (info) => info.downstreamRemoteAddress,
  DOWNSTREAM_DIRECT_REMOTE: (info) => info.downstreamDirectRemoteAddress,
  DOWNSTREAM_DIRECT_LOCAL: (info) => info.downstreamDirectLocalAddress,
};
/** Those that may be cut down to a network. */
export const NETWORK_OPERATORS: Readonly<Record<string, (info: StreamInfo) => string>> = Object.fromEntries(
  Object.entries(ADDRESSES).map(([name, of]) => [`${name}_ADDRESS_WITHOUT_PORT`, of]),
);

const addressOperators = (): Record<string, Operator & Field> => {
  const out: Record<string, Operator & Field> = {};
  for (const [name, of] of Object.entries(ADDRESSES)) {
    out[`${name}_ADDRESS`] = (info) => text(of(info));
    out[`${name}_ADDRESS_WITHOUT_PORT`] = (info) => text(withoutPort(of(info)));
    out[`${name}_PORT`] = (info) => portOf(of(info));
  }
  out['UPSTREAM_HOST'] = (info) => text(info.upstreamHost);
  return out;
};
export const ADDRESS_OPERATORS: Readonly<Record<string, Operator & Field>> = addressOperators();

const certificateOperators = (): Record<string, Operator & Field> => {
  const out: Record<string, Operator & Field> = {};
  const sides: readonly (readonly [string, (info: StreamInfo) => TlsFacts | undefined])[] = [
    ['DOWNSTREAM', (info) => info.downstreamTls],
    ['UPSTREAM', (info) => info.upstreamTls],
  ];
  const joined: Readonly<Record<string, (c: CertificateFacts) => string | undefined>> = {
    SUBJECT: (c) => c.subject,
    ISSUER: (c) => c.issuer,
    URI_SAN: (c) => c.uriSans.join(','),
    DNS_SAN: (c) => c.dnsSans.join(','),
    IP_SAN: (c) => c.ipSans.join(','),
    EMAIL_SAN: (c) => c.emailSans.join(','),
    OTHERNAME_SAN: (c) => c.othernameSans?.join(','),
    SERIAL: (c) => c.serial,
    FINGERPRINT_256: (c) => c.sha256Fingerprint,
    FINGERPRINT_1: (c) => c.sha1Fingerprint,
    CERT: (c) => c.pem,
    OID: (c) => c.oids?.join(','),
  };
  for (const [side, tls] of sides) {
    for (const [name, of] of Object.entries(joined)) {
      for (const [whose, pick] of [
        ['PEER', 'peer'],
        ['LOCAL', 'local'],
      ] as const) {
        out[`${side}_${whose}_${name}`] = (info) => {
          const facts = tls(info)?.[pick];
          return facts === undefined ? undefined : text(of(facts));
        };
      }
    }
    out[`${side}_TLS_VERSION`] = (info) => text(tls(info)?.version);
    out[`${side}_TLS_CIPHER`] = (info) => text(tls(info)?.cipher);
    out[`${side}_TLS_SESSION_ID`] = (info) => text(tls(info)?.sessionId);
  }
  return out;
};
export const CERTIFICATE_OPERATORS: Readonly<Record<string, Operator & Field>> = certificateOperators();
