// Istio's standard metrics with Istio's names, labels and buckets. Series are bound per (place, cluster, peers, code,
// flags …) and found again without making text; only the first exchange of a kind renders its labels. Their number is bounded:
// what was not used for a while is forgotten, and beyond the bound callers are no longer told apart.
import type { Counter, Family, Histogram, Labels, MetricRegistry } from '../../base/metrics.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import { downstreamPeer, namespaceOf, principal, serviceOf, UNKNOWN_PEER, upstreamPeer } from './parties.ts';
import type { Peer } from './peer-metadata.ts';
import type { BucketsOf, StatsPlan } from './stats-config.ts';

/** Distinct label sets of one process. Beyond, hosts and peers are no longer told: they are the caller's to choose. */
const SERIES_MAX = 10_000;
/** Peers of one cluster whose series are held. */
const PEERS_MAX = 4096;

export type Reporter = 'source' | 'destination' | 'waypoint';

/** What one place (listener context) keeps: how it reports and the series it has bound. */
export interface MetricsPlace {
  readonly plan: StatsPlan;
  readonly reporter: Reporter;
  /** Cluster → peer → code → bound series. */
  readonly bound: Map<string, Map<Peer, Map<number, Bound[]>>>;
  /** The one used last, with what it was found by: exchanges of a kind come in rows. */
  last: { readonly cluster: string; readonly peer: Peer; readonly code: number; readonly bound: Bound } | undefined;
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
  readonly messages: MessageSeries | undefined;
  /** Since the last rotation. */
  used: boolean;
}

interface MessageSeries {
  readonly requests: Counter | undefined;
  readonly responses: Counter | undefined;
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
    readonly requestMessages: Family<Counter>;
    readonly responseMessages: Family<Counter>;
  };
  readonly #places = new Set<WeakRef<MetricsPlace>>();
  #series = 0;

  constructor(registry: MetricRegistry, own: Peer, version: string, buckets: BucketsOf) {
    this.#own = own;
    const histogram = (name: string, help: string): Family<Histogram> => registry.histogram(name, help, buckets(`istiocustom.${name}`));
    registry.gauge('istio_build', 'Istio component build info').series([
      ['component', 'proxy'],
      ['tag', version],
    ]).value = 1;
    this.#families = {
      requests: registry.counter('istio_requests_total', 'Requests'),
      duration: histogram('istio_request_duration_milliseconds', 'Duration of requests'),
      requestBytes: histogram('istio_request_bytes', 'Size of requests, headers and body'),
      responseBytes: histogram('istio_response_bytes', 'Size of responses, headers and body'),
      sent: registry.counter('istio_tcp_sent_bytes_total', 'Bytes sent as responses of TCP connections'),
      received: registry.counter('istio_tcp_received_bytes_total', 'Bytes received as requests of TCP connections'),
      opened: registry.counter('istio_tcp_connections_opened_total', 'TCP connections opened'),
      closed: registry.counter('istio_tcp_connections_closed_total', 'TCP connections closed'),
      requestMessages: registry.counter('istio_request_messages_total', 'gRPC messages sent by clients'),
      responseMessages: registry.counter('istio_response_messages_total', 'gRPC messages sent by servers'),
    };
  }

  place(plan: StatsPlan, isInbound: boolean): MetricsPlace {
    const reporter = plan.waypoint ? 'waypoint' : isInbound ? 'destination' : 'source';
    const place: MetricsPlace = { plan, reporter, bound: new Map(), last: undefined };
    this.#places.add(new WeakRef(place));
    return place;
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

  /** Adds the messages of a gRPC call that were not told yet. Before its end only once it is known who is at the far end. */
  messages(place: MetricsPlace, info: StreamInfo, ended: boolean): void {
    const { grpc } = info;
    if (grpc === undefined || !place.plan.messages) return;
    if (!ended && peerOf(place, info) === undefined) return;
    const series = this.#bound(place, info, MESSAGES, '', '').messages;
    if (series?.requests) series.requests.value += grpc.request.messages - grpc.requestsTold;
    if (series?.responses) series.responses.value += grpc.response.messages - grpc.responsesTold;
    grpc.requestsTold = grpc.request.messages;
    grpc.responsesTold = grpc.response.messages;
  }

  /** No further label sets are made. */
  get isFull(): boolean {
    return this.#series >= SERIES_MAX;
  }

  /** Forgets every series that nothing was added to since the rotation before. */
  rotate(): void {
    const kept = new Set<unknown>();
    this.#series = 0;
    for (const reference of this.#places) {
      const place = reference.deref();
      if (place === undefined) this.#places.delete(reference);
      else this.#series += keepUsed(place, kept);
    }
    for (const family of Object.values(this.#families)) family.keepOnly(kept);
  }

  #bound(place: MetricsPlace, info: StreamInfo, code: number, protocol: string, grpcStatus: string): Bound {
    const inbound = place.reporter !== 'source';
    const full = this.#series >= SERIES_MAX;
    const peer = (full ? undefined : peerOf(place, info)) ?? UNKNOWN_PEER;
    const tls = inbound ? info.downstreamTls : info.upstreamTls;
    const peerPrincipal = full ? '' : principal(tls?.peer);
    const ownPrincipal = peerPrincipal === '' ? '' : principal(tls?.local);
    const flags = code === MESSAGES ? '' : info.hasAnyFlag() ? info.flagsShort() : '-';
    // The host header names the service only where nothing better does: it is part of the key only then.
    const named = info.clusterMetadata?.filter_metadata?.['istio'] !== undefined;
    const host = named || !place.plan.hostFallback || full ? '' : info.authority;
    const cluster = place.reporter === 'waypoint' && !full ? calledBy(info) : info.upstreamClusterRaw;
    const { last } = place;
    let bound: Bound | undefined;
    if (last?.peer === peer && last.code === code && last.cluster === cluster) {
      if (isKey(last.bound, flags, protocol, grpcStatus, host, peerPrincipal, ownPrincipal)) bound = last.bound;
    }
    if (bound === undefined) {
      const list = leaf(place, cluster, peer, code);
      for (const b of list) if (isKey(b, flags, protocol, grpcStatus, host, peerPrincipal, ownPrincipal)) bound = b;
      if (bound === undefined) {
        bound = this.#bind(place, info, peer, code, { flags, protocol, grpcStatus, host, peerPrincipal, ownPrincipal });
        list.push(bound);
        this.#series++;
      }
      place.last = { cluster, peer, code, bound };
    }
    bound.used = true;
    return bound;
  }

  #bind(place: MetricsPlace, info: StreamInfo, peer: Peer, code: number, key: Key): Bound {
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
    const isMessages = code === MESSAGES;
    const isHttp = !isTcp && !isMessages;
    return {
      ...key,
      used: true,
      requests: isHttp ? series(f.requests) : undefined,
      duration: isHttp ? series(f.duration) : undefined,
      requestBytes: isHttp ? series(f.requestBytes) : undefined,
      responseBytes: isHttp ? series(f.responseBytes) : undefined,
      messages: isMessages ? { requests: series(f.requestMessages), responses: series(f.responseMessages) } : undefined,
      tcp: isTcp ? { sent: series(f.sent), received: series(f.received), opened: series(f.opened), closed: series(f.closed) } : undefined,
    };
  }

  #labels(place: MetricsPlace, info: StreamInfo, peer: Peer, code: number, key: Key): Labels {
    const inbound = place.reporter !== 'source';
    const told = withNamespace(peer, key.peerPrincipal);
    const service = serviceOf(info, key.host !== '');
    const waypoint = place.reporter === 'waypoint';
    const destination = waypoint ? this.#behind(info) : inbound ? this.#own : told;
    const fallback = waypoint ? destination.canonicalService : '';
    const ownPrincipal = waypoint ? '' : key.ownPrincipal;
    const security = !inbound ? 'unknown' : key.peerPrincipal === '' ? 'none' : 'mutual_tls';
    return [
      ['reporter', place.reporter],
      ...side('source', inbound ? told : this.#own, inbound ? key.peerPrincipal : key.ownPrincipal),
      ...side('destination', destination, inbound ? ownPrincipal : key.peerPrincipal),
      ['destination_service', service.host || fallback || UNKNOWN],
      ['destination_service_name', service.name || fallback || UNKNOWN],
      ['destination_service_namespace', (waypoint ? this.#own.namespace : service.namespace || destination.namespace) || UNKNOWN],
      ...(code === MESSAGES ? [] : this.#ending(code, key, security)),
    ];
  }

  /** The workload that a waypoint sent it to, in the waypoint's own cluster. */
  #behind(info: StreamInfo): Peer {
    return { ...(upstreamPeer(info) ?? UNKNOWN_PEER), cluster: this.#own.cluster };
  }

  /** What is known of an exchange when it ends; Istio's message counters leave it out. */
  #ending(code: number, key: Key, security: string): Labels {
    return [
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

/** In a status code's place: the messages of gRPC calls. */
const MESSAGES = -2;

type Key = Pick<Bound, 'flags' | 'protocol' | 'grpcStatus' | 'host' | 'peerPrincipal' | 'ownPrincipal'>;

// Six texts in the place of one key: an exchange makes no object to be found by.
const isKey = (
  b: Bound,
  flags: string,
  protocol: string,
  grpcStatus: string,
  host: string,
  peerPrincipal: string,
  ownPrincipal: string,
): boolean =>
  b.flags === flags &&
  b.protocol === protocol &&
  b.grpcStatus === grpcStatus &&
  b.host === host &&
  b.peerPrincipal === peerPrincipal &&
  b.ownPrincipal === ownPrincipal;

const peerOf = (place: MetricsPlace, info: StreamInfo): Peer | undefined =>
  place.reporter === 'source' ? upstreamPeer(info) : downstreamPeer(info);

/** A waypoint's series differ by the workload as well as by the cluster. */
const calledBy = (info: StreamInfo): string => {
  const peer = upstreamPeer(info) ?? UNKNOWN_PEER;
  return `${info.upstreamClusterRaw}|${peer.workload}|${peer.namespace}|${peer.canonicalService}|${peer.canonicalRevision}`;
};

/** Drops what was not used, adds the series of the rest to `kept` and answers how many there are. */
const keepUsed = (place: MetricsPlace, kept: Set<unknown>): number => {
  let count = 0;
  place.last = undefined;
  for (const [cluster, peers] of place.bound) {
    for (const [peer, codes] of peers) {
      for (const [code, list] of codes) {
        const rest = list.filter((b) => b.used);
        for (const b of rest) {
          b.used = false;
          for (const series of [b.requests, b.duration, b.requestBytes, b.responseBytes]) if (series) kept.add(series);
          for (const series of Object.values({ ...b.tcp, ...b.messages })) if (series) kept.add(series);
        }
        count += rest.length;
        if (rest.length > 0) codes.set(code, rest);
        else codes.delete(code);
      }
      if (codes.size === 0) peers.delete(peer);
    }
    if (peers.size === 0) place.bound.delete(cluster);
  }
  return count;
};

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
