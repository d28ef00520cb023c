// One finished exchange as a tap shows it: who, what, how it ended and how long it took; heads only when they were asked for. Made after a
// tap has matched, never before. Bounded: long values are cut and many headers counted.
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { TAP_HEADERS_MAX, TAP_VALUE_CHARS_MAX } from '../limits.ts';
import { downstreamPeer, principal, serviceOf, upstreamPeer } from '../telemetry/parties.ts';
import type { Peer } from '../telemetry/peer-metadata.ts';
import type { Redaction } from './redaction.ts';

export interface TapParty {
  readonly workload: string;
  readonly namespace: string;
  readonly principal: string;
}

export type TapTarget = TapParty & { readonly service: string; readonly version: string };

export interface TapRecord {
  readonly at: string;
  /** Where the exchange was seen: on its way out of a workload, or into one. */
  readonly side: 'outbound' | 'inbound';
  readonly source: TapParty | null;
  readonly destination: TapTarget | null;
  readonly mtls: boolean;
  readonly protocol: string;
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  /** 0: no answer. */
  readonly status: number;
  readonly grpcStatus: string | null;
  readonly flags: string;
  readonly details: string;
  readonly durationMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly attempts: number;
  readonly route: string;
  readonly cluster: string;
  readonly upstream: string;
  readonly client: string;
  readonly requestId: string;
  readonly traceId: string;
  readonly headers?: TapHeads;
}

interface TapHeads {
  readonly request: readonly (readonly [string, string])[];
  readonly response: readonly (readonly [string, string])[];
  readonly trailers: readonly (readonly [string, string])[];
  /** Left out because there were too many. */
  readonly more: number;
}

/** An exchange with all that is known of it; nothing of it is kept. */
export interface Exchange {
  readonly info: StreamInfo;
  readonly request: HeaderBlock | undefined;
  readonly response: HeaderBlock | undefined;
  readonly trailers: HeaderBlock | undefined;
  readonly inbound: boolean;
}

/** What an exchange and a connection have in common. */
export type Ends = Pick<Exchange, 'info' | 'inbound'>;

export const sourcePeer = ({ info, inbound }: Ends, own: Peer): Peer | undefined => (inbound ? downstreamPeer(info) : own);
export const destinationPeer = ({ info, inbound }: Ends, own: Peer): Peer | undefined => (inbound ? own : upstreamPeer(info));

export const partiesOf = (ends: Ends, own: Peer, service: string) => {
  const { info, inbound } = ends;
  const tls = inbound ? info.downstreamTls : info.upstreamTls;
  const [sourceId, destinationId] = inbound ? [principal(tls?.peer), principal(tls?.local)] : [principal(tls?.local), principal(tls?.peer)];
  const peer = destinationPeer(ends, own);
  const to = party(peer, destinationId);
  return {
    source: party(sourcePeer(ends, own), sourceId),
    destination:
      to === null && service === '' ? null : { ...(to ?? NOBODY), service: cut(service), version: peer?.canonicalRevision ?? '' },
    mtls: sourceId !== '' && destinationId !== '',
  };
};

export const tapRecord = (exchange: Exchange, own: Peer, hide: Redaction, withHeaders: boolean): TapRecord => {
  const { info, request, response, trailers, inbound } = exchange;
  const end = info.endTime || info.lastDownstreamTxByte;
  return {
    at: new Date(info.startTime).toISOString(),
    side: inbound ? 'inbound' : 'outbound',
    ...partiesOf(exchange, own, serviceOf(info, true).host),
    protocol: info.protocol,
    method: cut(info.method),
    authority: cut(info.authority),
    path: cut(hide.path(info.path)),
    status: info.responseCode,
    grpcStatus: trailers?.get('grpc-status') ?? response?.get('grpc-status') ?? null,
    flags: info.flagsShort(),
    details: cut(info.responseCodeDetails),
    durationMs: end > info.startTime ? Math.round((end - info.startTime) * 1000) / 1000 : 0,
    bytesIn: info.bytesReceived,
    bytesOut: info.bytesSent,
    attempts: info.upstreamRequestAttemptCount,
    route: info.routeName,
    cluster: info.upstreamCluster,
    upstream: info.upstreamHost,
    client: info.downstreamRemoteAddress,
    requestId: cut(request?.get('x-request-id') ?? ''),
    traceId: info.traceId || (/^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(request?.get('traceparent') ?? '')?.[1] ?? ''),
    ...(withHeaders ? { headers: heads(request, response, trailers, hide) } : {}),
  };
};

const NOBODY: TapParty = { workload: '', namespace: '', principal: '' };

const party = (peer: Peer | undefined, id: string): TapParty | null =>
  (peer === undefined || peer.workload === '') && id === ''
    ? null
    : { workload: peer?.workload ?? '', namespace: peer?.namespace ?? '', principal: id };

export const cut = (value: string): string => (value.length <= TAP_VALUE_CHARS_MAX ? value : `${value.slice(0, TAP_VALUE_CHARS_MAX)}…`);

const heads = (
  request: HeaderBlock | undefined,
  response: HeaderBlock | undefined,
  trailers: HeaderBlock | undefined,
  hide: Redaction,
): TapHeads => {
  let more = 0;
  const shown = (block: HeaderBlock | undefined): [string, string][] => {
    const entries = block?.entries() ?? [];
    more += Math.max(0, entries.length - TAP_HEADERS_MAX);
    return entries.slice(0, TAP_HEADERS_MAX).map(([name, value]) => [cut(name), cut(hide.header(name, value))]);
  };
  return { request: shown(request), response: shown(response), trailers: shown(trailers), more };
};
