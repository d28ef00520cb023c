// Istio's standard metrics with Istio's names, labels and buckets. Series are bound per (place, cluster, peers, code,
// flags …) and found again without making text; only the first exchange of a kind renders its labels.
import type { Counter, Family, Histogram, Labels, MetricRegistry } from '../../base/metrics.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import { downstreamPeer, namespaceOf, principal, serviceOf, UNKNOWN_PEER, upstreamPeer } from './parties.ts';
import type { Peer } from './peer-metadata.ts';
import type { StatsPlan } from './stats-config.ts';

/** Envoy's default histogram buckets; for bytes as for milliseconds. */
export const ISTIO_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
];
/** Distinct label sets of one process. Beyond, the host header is no longer told: it is the caller's to choose. */
const SERIES_MAX = 10_000;
/** Peers of one cluster whose series are held. */
const PEERS_MAX = 4096;

export type Reporter = 'source' | 'destination';

/** What one place (listener context) keeps: how it reports and the series it has bound. */
export interface MetricsPlace {
  readonly plan: StatsPlan;
  readonly reporter: Reporter;
  /** Cluster → peer → code → bound series. */
  readonly bound: Map<string, Map<Peer, Map<number, Bound[]>>>;
}

/** The rest of a key, compared field by field, and its series. */
interface Bound {
  readonly flags: string;
  readonly protocol: string;
  readonly grpcStatus: string;
  readonly host: string;
  readonly peerPrincipal: string;
  readonly ownPrincipal: string;
  readonly requests: Counter | undefined;
  readonly duration: Histogram | undefined;
  readonly requestBytes: Histogram | undefined;
  readonly responseBytes: Histogram | undefined;
  readonly tcp: TcpSeries | undefined;
}

export interface TcpSeries {
  readonly sent: Counter | undefined;
  readonly received: Counter | undefined;
  readonly opened: Counter | undefined;
  readonly closed: Counter | undefined;
}

export class IstioMetrics {
  readonly #own: Peer;
  readonly #families: {
    readonly requests: Family<Counter>;
    readonly duration: Family<Histogram>;
    readonly requestBytes: Family<Histogram>;
    readonly responseBytes: Family<Histogram>;
    readonly sent: Family<Counter>;
    readonly received: Family<Counter>;
    readonly opened: Family<Counter>;
    readonly closed: Family<Counter>;
  };
  #series = 0;

  constructor(registry: MetricRegistry, own: Peer, version: string) {
    this.#own = own;
    registry.gauge('istio_build', 'Istio component build info').series([
      ['component', 'proxy'],
      ['tag', version],
    ]).value = 1;
    this.#families = {
      requests: registry.counter('istio_requests_total', 'Requests'),
      duration: registry.histogram('istio_request_duration_milliseconds', 'Duration of requests', ISTIO_BUCKETS),
      requestBytes: registry.histogram('istio_request_bytes', 'Size of requests, headers and body', ISTIO_BUCKETS),
      responseBytes: registry.histogram('istio_response_bytes', 'Size of responses, headers and body', ISTIO_BUCKETS),
      sent: registry.counter('istio_tcp_sent_bytes_total', 'Bytes sent as responses of TCP connections'),
      received: registry.counter('istio_tcp_received_bytes_total', 'Bytes received as requests of TCP connections'),
      opened: registry.counter('istio_tcp_connections_opened_total', 'TCP connections opened'),
      closed: registry.counter('istio_tcp_connections_closed_total', 'TCP connections closed'),
    };
  }

  place(plan: StatsPlan, isInbound: boolean): MetricsPlace {
    return { plan, reporter: isInbound && !plan.gateway ? 'destination' : 'source', bound: new Map() };
  }

  http(place: MetricsPlace, info: StreamInfo, isGrpc: boolean, grpcStatus: string): void {
    const bound = this.#bound(place, info, info.responseCode, isGrpc ? 'grpc' : 'http', grpcStatus);
    if (bound.requests) bound.requests.value++;
    bound.duration?.observe(Math.max(0, info.endTime - info.startTime));
    bound.requestBytes?.observe(info.bytesReceived + info.requestHeadersBytes);
    bound.responseBytes?.observe(info.bytesSent + info.responseHeadersBytes + info.responseTrailersBytes);
  }

  tcp(place: MetricsPlace, info: StreamInfo): TcpSeries {
    return this.#bound(place, info, -1, 'tcp', '').tcp ?? NO_SERIES;
  }

  #bound(place: MetricsPlace, info: StreamInfo, code: number, protocol: string, grpcStatus: string): Bound {
    const inbound = place.reporter === 'destination';
    const peer = (inbound ? downstreamPeer(info) : upstreamPeer(info)) ?? UNKNOWN_PEER;
    const tls = inbound ? info.downstreamTls : info.upstreamTls;
    const peerPrincipal = principal(tls?.peer);
    const ownPrincipal = peerPrincipal === '' ? '' : principal(tls?.local);
    const flags = info.hasAnyFlag() ? info.flagsShort() : '-';
    // The host header names the service only where nothing better does: it is part of the key only then.
    const named = info.clusterMetadata?.filter_metadata?.['istio'] !== undefined;
    const host = named || !place.plan.hostFallback || this.#series >= SERIES_MAX ? '' : info.authority;
    const list = leaf(place, info.upstreamClusterRaw, peer, code);
    for (const b of list) {
      if (
        b.flags === flags &&
        b.protocol === protocol &&
        b.grpcStatus === grpcStatus &&
        b.host === host &&
        b.peerPrincipal === peerPrincipal &&
        b.ownPrincipal === ownPrincipal
      )
        return b;
    }
    const key = { flags, protocol, grpcStatus, host, peerPrincipal, ownPrincipal };
    const made = this.#bind(place, info, peer, code, key);
    list.push(made);
    this.#series++;
    return made;
  }

  #bind(
    place: MetricsPlace,
    info: StreamInfo,
    peer: Peer,
    code: number,
    key: Pick<Bound, 'flags' | 'protocol' | 'grpcStatus' | 'host' | 'peerPrincipal' | 'ownPrincipal'>,
  ): Bound {
    const labels = this.#labels(place, info, peer, code, key);
    const series = <S extends Counter | Histogram>(family: Family<S>): S | undefined => {
      const name = family.name.slice('istio_'.length);
      const { dropped, removedTags } = place.plan;
      if (dropped.has('*') || dropped.has(name) || dropped.has(name.replace(/_total$/, ''))) return undefined;
      const removed = new Set(['*', name, name.replace(/_total$/, '')].flatMap((n) => removedTags.get(n) ?? []));
      return family.series(removed.size === 0 ? labels : labels.filter(([label]) => !removed.has(label)));
    };
    const f = this.#families;
    const isTcp = key.protocol === 'tcp';
    return {
      ...key,
      requests: isTcp ? undefined : series(f.requests),
      duration: isTcp ? undefined : series(f.duration),
      requestBytes: isTcp ? undefined : series(f.requestBytes),
      responseBytes: isTcp ? undefined : series(f.responseBytes),
      tcp: isTcp ? { sent: series(f.sent), received: series(f.received), opened: series(f.opened), closed: series(f.closed) } : undefined,
    };
  }

  #labels(
    place: MetricsPlace,
    info: StreamInfo,
    peer: Peer,
    code: number,
    key: Pick<Bound, 'flags' | 'protocol' | 'grpcStatus' | 'host' | 'peerPrincipal' | 'ownPrincipal'>,
  ): Labels {
    const inbound = place.reporter === 'destination';
    const told = withNamespace(peer, key.peerPrincipal);
    const service = serviceOf(info, key.host !== '');
    const destination = inbound ? this.#own : told;
    const security = !inbound ? 'unknown' : key.peerPrincipal === '' ? 'none' : 'mutual_tls';
    return [
      ['reporter', place.reporter],
      ...side('source', inbound ? told : this.#own, inbound ? key.peerPrincipal : key.ownPrincipal),
      ...side('destination', destination, inbound ? key.ownPrincipal : key.peerPrincipal),
      ['destination_service', service.host || UNKNOWN],
      ['destination_service_name', service.name || UNKNOWN],
      ['destination_service_namespace', service.namespace || destination.namespace || UNKNOWN],
      ['request_protocol', key.protocol],
      ...(key.protocol === 'tcp'
        ? []
        : ([
            ['response_code', String(code)],
            ['grpc_response_status', key.grpcStatus],
          ] as const)),
      ['response_flags', key.flags],
      ['connection_security_policy', security],
    ];
  }
}

const UNKNOWN = 'unknown';
const NO_SERIES: TcpSeries = { sent: undefined, received: undefined, opened: undefined, closed: undefined };

const withNamespace = (peer: Peer, spiffeId: string): Peer =>
  peer.namespace === '' && spiffeId !== '' ? { ...peer, namespace: namespaceOf(spiffeId) } : peer;

const side = (name: 'source' | 'destination', peer: Peer, spiffeId: string): Labels => [
  [`${name}_workload`, peer.workload || UNKNOWN],
  [`${name}_canonical_service`, peer.canonicalService || UNKNOWN],
  [`${name}_canonical_revision`, peer.canonicalRevision || (peer.canonicalService === '' ? UNKNOWN : 'latest')],
  [`${name}_workload_namespace`, peer.namespace || UNKNOWN],
  [`${name}_principal`, spiffeId || UNKNOWN],
  [`${name}_app`, peer.app || UNKNOWN],
  [`${name}_version`, peer.version || UNKNOWN],
  [`${name}_cluster`, peer.cluster || UNKNOWN],
];

const leaf = (place: MetricsPlace, cluster: string, peer: Peer, code: number): Bound[] => {
  let peers = place.bound.get(cluster);
  if (!peers) {
    peers = new Map();
    place.bound.set(cluster, peers);
  }
  let codes = peers.get(peer);
  if (!codes) {
    if (peers.size >= PEERS_MAX) peers.clear(); // peers of days gone by; the series themselves stay
    codes = new Map();
    peers.set(peer, codes);
  }
  let list = codes.get(code);
  if (!list) {
    list = [];
    codes.set(code, list);
  }
  return list;
};
