// All facts of one exchange or connection that access logs, header operations and metrics read. Plain fields, one
// object per exchange, reusable through `reset()`. It holds what the proxy puts in; it reads no clock and no socket.
// Times are milliseconds since the epoch as the caller's clock gives them (fractions allowed); 0 is "did not happen".
import type { JsonObject, Locality, Metadata, Node } from '../xds/gen/types.ts';
import type { GrpcMessages } from './grpc-messages.ts';
import { FLAG_NAMES, type ResponseFlag } from './response-flag.ts';

/** What is said of the process itself, and of the place that says it: the same for every exchange. */
export interface ProcessFacts {
  readonly hostname: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Undefined: whoever asks is at no place that knows it. */
  readonly node?: Node;
  /** Envoy's number of the listener's direction: 0 is told of none. */
  readonly direction?: number;
  /** An object of the filter state as Envoy's own would be told; undefined: as it is. */
  readonly stateOf?: (key: string, info: StreamInfo) => JsonObject | string | undefined;
}

/** Where a host stands, and what its configuration says of that. */
export interface HostLocality {
  readonly locality: Locality | undefined;
  readonly metadata: Metadata | undefined;
}

export class StreamInfo {
  readonly #process: ProcessFacts | undefined;
  // Request as it is now: after normalisation and the route's rewrites.
  method = '';
  path = '';
  authority = '';
  scheme = '';
  /** 'HTTP/1.0' 'HTTP/1.1' 'HTTP/2' 'HTTP/3'; '' for TCP. */
  protocol = '';
  /** Protocol spoken upstream, same words. */
  upstreamProtocol = '';

  // Times.
  startTime = 0;
  /** Last byte of the request came from downstream. */
  lastDownstreamRxByte = 0;
  firstUpstreamTxByte = 0;
  lastUpstreamTxByte = 0;
  firstUpstreamRxByte = 0;
  lastUpstreamRxByte = 0;
  firstDownstreamTxByte = 0;
  lastDownstreamTxByte = 0;
  /** The exchange is over. */
  endTime = 0;
  downstreamHandshakeComplete = 0;
  upstreamConnectStart = 0;
  upstreamConnectComplete = 0;
  upstreamHandshakeComplete = 0;

  // Outcome. 0: none was sent.
  responseCode = 0;
  responseCodeDetails = '';
  connectionTerminationDetails = '';
  upstreamTransportFailureReason = '';
  /** Of an answer given here, before it is formatted. */
  localReplyBody = '';
  /** Of an answer given here, while its head is made: `responseCode` is said once it is sent. */
  localReplyStatus = 0;
  downstreamTransportFailureReason = '';
  upstreamLocalCloseReason = '';
  upstreamDetectedCloseType = '';
  downstreamLocalCloseReason = '';
  #flags = 0; // bit set of ResponseFlag: there are 30
  #flagsShort = '';
  #flagsLong = '';

  // Sizes in bytes: bodies, then heads as they were on the wire, then all that went over it where that was counted.
  bytesReceived = 0;
  bytesSent = 0;
  requestHeadersBytes = 0;
  responseHeadersBytes = 0;
  responseTrailersBytes = 0;
  upstreamWireBytesSent = 0;
  upstreamWireBytesReceived = 0;
  upstreamHeaderBytesSent = 0;
  upstreamHeaderBytesReceived = 0;
  downstreamWireBytesSent = 0;
  downstreamWireBytesReceived = 0;
  /** Fields of the request as it came, and of the answer from upstream. */
  requestFields = 0;
  upstreamFields = 0;
  /** The answer says that it is the connection's last. */
  lastAnswer = false;

  // Decisions.
  routeName = '';
  virtualHostName = '';
  virtualClusterName = '';
  /** `alt_stat_name` when the cluster has one (what %UPSTREAM_CLUSTER% prints), else its name. */
  upstreamCluster = '';
  upstreamClusterRaw = '';
  /** Attempts made upstream; 0: none. */
  upstreamRequestAttemptCount = 0;
  filterChainName = '';
  listenerName = '';
  routeMetadata: Metadata | undefined = undefined;
  clusterMetadata: Metadata | undefined = undefined;
  upstreamHostMetadata: Metadata | undefined = undefined;
  upstreamLocality: HostLocality | undefined = undefined;
  listenerMetadata: Metadata | undefined = undefined;
  listenerFilterChainMetadata: Metadata | undefined = undefined;
  virtualHostMetadata: Metadata | undefined = undefined;

  // Addresses as `ip:port` (`[ip]:port`), or a pipe's path. '' unknown.
  downstreamLocalAddress = '';
  downstreamRemoteAddress = '';
  /** The TCP peer; `downstreamRemoteAddress` may come from x-forwarded-for. */
  downstreamDirectRemoteAddress = '';
  /** Direct local address before original-destination restoring. */
  downstreamDirectLocalAddress = '';
  upstreamLocalAddress = '';
  upstreamHost = '';
  upstreamHostName = '';
  upstreamHostsAttempted: string[] = [];
  upstreamHostNamesAttempted: string[] = [];
  requestedServerName = '';
  upstreamRequestedServerName = '';

  // Ids.
  connectionId = 0;
  upstreamConnectionId = 0;
  upstreamConnectionIdsAttempted: number[] = [];
  /** Downstream stream id: the request id header when there is one, else a unique text. */
  streamId = '';
  uniqueId = '';
  traceId = '';
  spanId = '';
  /** The span of whoever called, where a trace goes on here. */
  parentSpanId = '';

  // TLS facts; undefined on plain text.
  downstreamTls: TlsFacts | undefined = undefined;
  upstreamTls: TlsFacts | undefined = undefined;
  ja3Fingerprint = '';
  ja4Fingerprint = '';
  downstreamTransportIsTls = false;

  /** Set on a gRPC call: its messages are counted. */
  grpc: GrpcMessages | undefined = undefined;
  /** Dynamic metadata by namespace. */
  dynamicMetadata: { [namespace: string]: JsonObject } = {};
  /** Filter state by key, as what %FILTER_STATE(key:PLAIN)% prints: text or JSON. */
  filterState: { [key: string]: string | JsonObject } = {};
  upstreamFilterState: { [key: string]: string | JsonObject } = {};
  /** Access log type of this record: 'DownstreamEnd', 'TcpConnectionEnd', … */
  accessLogType = 'NotSet';
  customFlags = '';
  healthCheck = false;

  setFlag(flag: ResponseFlag): void {
    if (this.hasFlag(flag)) return;
    const names = FLAG_NAMES[flag] as readonly [string, string];
    const comma = this.#flags === 0 ? '' : ',';
    this.#flags |= 1 << flag;
    this.#flagsShort += comma + names[0];
    this.#flagsLong += comma + names[1];
  }

  hasFlag(flag: ResponseFlag): boolean {
    return (this.#flags & (1 << flag)) !== 0;
  }

  /** All of them: bit n is flag n. */
  flagBits(): number {
    return this.#flags;
  }

  hasAnyFlag(): boolean {
    return this.#flags !== 0;
  }

  /** Comma-joined short names in the order in which they were set, as Envoy prints them; '' when none is. */
  flagsShort(): string {
    return this.#flagsShort;
  }

  flagsLong(): string {
    return this.#flagsLong;
  }

  constructor(process?: ProcessFacts) {
    this.#process = process;
  }

  /** Stays when the rest is reset. */
  get process(): ProcessFacts | undefined {
    return this.#process;
  }

  /**
   * As new: for the next exchange on the same object. Facts of the connection are the caller's to set again.
   * Written out, because it runs once per exchange; a test holds it to the list of fields.
   */
  reset(): void {
    this.#resetOutcome();
    this.#resetDecisions();
  }

  #resetOutcome(): void {
    this.method = '';
    this.path = '';
    this.authority = '';
    this.scheme = '';
    this.protocol = '';
    this.upstreamProtocol = '';
    this.startTime = 0;
    this.lastDownstreamRxByte = 0;
    this.firstUpstreamTxByte = 0;
    this.lastUpstreamTxByte = 0;
    this.firstUpstreamRxByte = 0;
    this.lastUpstreamRxByte = 0;
    this.firstDownstreamTxByte = 0;
    this.lastDownstreamTxByte = 0;
    this.endTime = 0;
    this.downstreamHandshakeComplete = 0;
    this.upstreamConnectStart = 0;
    this.upstreamConnectComplete = 0;
    this.upstreamHandshakeComplete = 0;
    this.responseCode = 0;
    this.responseCodeDetails = '';
    this.connectionTerminationDetails = '';
    this.upstreamTransportFailureReason = '';
    this.localReplyBody = '';
    this.localReplyStatus = 0;
    this.downstreamTransportFailureReason = '';
    this.upstreamLocalCloseReason = '';
    this.upstreamDetectedCloseType = '';
    this.downstreamLocalCloseReason = '';
    this.#flags = 0;
    this.#flagsShort = '';
    this.#flagsLong = '';
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.requestHeadersBytes = 0;
    this.responseHeadersBytes = 0;
    this.responseTrailersBytes = 0;
    this.upstreamWireBytesSent = 0;
    this.upstreamWireBytesReceived = 0;
    this.upstreamHeaderBytesSent = 0;
    this.upstreamHeaderBytesReceived = 0;
    this.downstreamWireBytesSent = 0;
    this.downstreamWireBytesReceived = 0;
    this.requestFields = 0;
    this.upstreamFields = 0;
    this.lastAnswer = false;
  }

  #resetDecisions(): void {
    this.routeName = '';
    this.virtualHostName = '';
    this.virtualClusterName = '';
    this.upstreamCluster = '';
    this.upstreamClusterRaw = '';
    this.upstreamRequestAttemptCount = 0;
    this.filterChainName = '';
    this.listenerName = '';
    this.routeMetadata = undefined;
    this.clusterMetadata = undefined;
    this.upstreamHostMetadata = undefined;
    this.upstreamLocality = undefined;
    this.listenerMetadata = undefined;
    this.listenerFilterChainMetadata = undefined;
    this.virtualHostMetadata = undefined;
    this.downstreamLocalAddress = '';
    this.downstreamRemoteAddress = '';
    this.downstreamDirectRemoteAddress = '';
    this.downstreamDirectLocalAddress = '';
    this.upstreamLocalAddress = '';
    this.upstreamHost = '';
    this.upstreamHostName = '';
    if (this.upstreamHostsAttempted.length > 0) this.upstreamHostsAttempted.length = 0;
    if (this.upstreamHostNamesAttempted.length > 0) this.upstreamHostNamesAttempted.length = 0;
    this.requestedServerName = '';
    this.upstreamRequestedServerName = '';
    this.connectionId = 0;
    this.upstreamConnectionId = 0;
    if (this.upstreamConnectionIdsAttempted.length > 0) this.upstreamConnectionIdsAttempted.length = 0;
    this.streamId = '';
    this.uniqueId = '';
    this.traceId = '';
    this.spanId = '';
    this.parentSpanId = '';
    this.downstreamTls = undefined;
    this.upstreamTls = undefined;
    this.ja3Fingerprint = '';
    this.ja4Fingerprint = '';
    this.downstreamTransportIsTls = false;
    this.grpc = undefined;
    if (!isEmpty(this.dynamicMetadata)) this.dynamicMetadata = {};
    if (!isEmpty(this.filterState)) this.filterState = {};
    if (!isEmpty(this.upstreamFilterState)) this.upstreamFilterState = {};
    this.accessLogType = 'NotSet';
    this.customFlags = '';
    this.healthCheck = false;
  }
}

const isEmpty = (object: object): boolean => {
  for (const _ in object) return false;
  return true;
};

/** One side's certificates and session. SANs of the peer's leaf, in certificate order. */
export interface TlsFacts {
  readonly version: string;
  readonly cipher: string;
  readonly sessionId: string;
  readonly peer: CertificateFacts | undefined;
  readonly local: CertificateFacts | undefined;
  /** Peer certificate was verified against the trust bundle. */
  readonly validated: boolean;
  readonly alpn?: string;
}

export interface CertificateFacts {
  /** RFC 2253 text as Envoy prints it. */
  readonly subject: string;
  readonly issuer: string;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly ipSans: readonly string[];
  readonly emailSans: readonly string[];
  readonly othernameSans?: readonly string[];
  readonly oids?: readonly string[];
  /** Hex, lower case. */
  readonly serial: string;
  readonly sha256Fingerprint: string;
  readonly sha1Fingerprint: string;
  /** URL-encoded PEM. Computed by whoever builds the facts, may be lazy. */
  readonly pem: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}
