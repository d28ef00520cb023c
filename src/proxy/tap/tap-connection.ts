// One TCP connection as a tap shows it, when it has ended or, where asked for, has begun: who, with whom, how much, for how long. What it
// carries is nobody's. Made after a tap has matched, never before.
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import { serviceOf } from '../telemetry/parties.ts';
import type { Peer } from '../telemetry/peer-metadata.ts';
import { cut, partiesOf, type TapParty, type TapTarget } from './tap-record.ts';

export interface TapConnection {
  readonly at: string;
  /** At `open` there are no bytes yet, and of an inbound one its caller is known by its certificate alone. */
  readonly event: 'open' | 'close';
  readonly side: 'outbound' | 'inbound';
  readonly source: TapParty | null;
  readonly destination: TapTarget | null;
  /** Null: not known yet. */
  readonly mtls: boolean | null;
  readonly protocol: 'TCP';
  readonly durationMs: number;
  /** From the caller, and to it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly flags: string;
  readonly details: string;
  readonly cluster: string;
  readonly upstream: string;
  readonly client: string;
  /** Asked for in a TLS handshake; '' without one. */
  readonly serverName: string;
}

/** Before a connection has chosen, what its filter chain leads to alone; '' where that is several. */
export const clusterAhead = ({ filters }: Pick<ListenerContext, 'filters'>): string => {
  for (const { typedConfig } of filters)
    if (typedConfig !== undefined && 'cluster' in typedConfig && typeof typedConfig['cluster'] === 'string') return typedConfig['cluster'];
  return '';
};

/** `stock.production.svc.cluster.local` of `outbound|6379||stock.production.svc.cluster.local`. */
export const hostOfCluster = (cluster: string): string => cluster.split('|')[3] ?? '';

export const tapConnection = (
  info: StreamInfo,
  inbound: boolean,
  event: TapConnection['event'],
  own: Peer,
  ahead: string,
): TapConnection => {
  const service = serviceOf(info, false).host || hostOfCluster(ahead);
  const { source, destination, mtls } = partiesOf({ info, inbound }, own, service);
  return {
    at: new Date(info.startTime).toISOString(),
    event,
    side: inbound ? 'inbound' : 'outbound',
    source,
    destination,
    mtls: event === 'open' && !inbound ? null : mtls,
    protocol: 'TCP',
    durationMs: event === 'close' && info.endTime > info.startTime ? Math.round((info.endTime - info.startTime) * 1000) / 1000 : 0,
    bytesIn: info.bytesReceived,
    bytesOut: info.bytesSent,
    flags: info.flagsShort(),
    details: cut(info.connectionTerminationDetails || info.upstreamTransportFailureReason || info.downstreamTransportFailureReason),
    cluster: info.upstreamCluster || ahead,
    upstream: info.upstreamHost,
    client: info.downstreamRemoteAddress,
    serverName: cut(info.requestedServerName),
  };
};
