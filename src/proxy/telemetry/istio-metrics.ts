// Istio's standard metrics with Istio's names, labels and buckets, changed as the stats filter's configuration says. Series are bound per
// (place, cluster, peers, code, flags …) and found again without making text; only the first exchange of a kind renders its labels. Their
// number is bounded (series-table.ts); what was not used for a while is forgotten.
import { type Counter, type Family, Histogram, type Labels, labelText, type MetricRegistry } from '../../base/metrics.ts';
import type { CelFacts } from '../../plan/cel/attributes.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { OVERFLOW, type Reporter, standardLabels, type Telling } from './istio-labels.ts';
import { amountOf, bounded, evaluate, LABEL_LENGTH_MAX, type LabelValues, type MetricChanges, type OwnMetric } from './metric-changes.ts';
import { downstreamPeer, principal, UNKNOWN_PEER, upstreamPeer } from './parties.ts';
import type { Peer } from './peer-metadata.ts';
import { type Bound, isKey, SERIES_MAX, SeriesCount, type SeriesKey, SeriesTable, type TcpSeries } from './series-table.ts';
import type { BucketsOf, StatsPlan } from './stats-config.ts';

/** Metrics of configuration's own, of one process. */
const OWN_METRICS_MAX = 500;

/** What one place (listener context) keeps: how it reports and the series it has bound. */
export interface MetricsPlace {
  readonly plan: StatsPlan;
  readonly reporter: Reporter;
  readonly table: SeriesTable;
  /** The one used last, with what it was found by: exchanges of a kind come in rows. */
  last: { readonly cluster: string; readonly peer: Peer; readonly code: number; readonly bound: Bound } | undefined;
}

/** A key that is filled anew for every look-up. */
type Wanted = { -readonly [K in keyof SeriesKey]: SeriesKey[K] };

interface Families {
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
}

export class IstioMetrics {
  readonly #own: Peer;
  readonly #registry: MetricRegistry;
  readonly #buckets: BucketsOf;
  readonly #families: Families;
  readonly #ownFamilies = new Map<string, Family>();
  readonly #places = new Set<WeakRef<MetricsPlace>>();
  readonly #count = new SeriesCount();
  readonly #held: Counter;
  readonly #overflowed: Counter;
  readonly #wanted: Wanted = { flags: '', protocol: '', grpcStatus: '', host: '', peerPrincipal: '', ownPrincipal: '', values: '' };

  constructor(registry: MetricRegistry, own: Peer, version: string, buckets: BucketsOf) {
    this.#own = own;
    this.#registry = registry;
    this.#buckets = buckets;
    const histogram = (name: string, help: string): Family<Histogram> => registry.histogram(name, help, buckets(`istiocustom.${name}`));
    registry.gauge('istio_build', 'Istio component build info').series([
      ['component', 'proxy'],
      ['tag', version],
    ]).value = 1;
    this.#held = registry.gauge('skein_metric_label_sets', "Label sets of Istio's metrics that are held").series();
    registry.gauge('skein_metric_label_sets_limit', 'Label sets that may be told in full').series().value = SERIES_MAX;
    this.#overflowed = registry
      .counter(
        'skein_metric_overflow_total',
        'Reports counted under labels that say overflow, because there was no room for a further label set',
      )
      .series();
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
    const place: MetricsPlace = { plan, reporter, table: new SeriesTable(this.#count), last: undefined };
    this.#places.add(new WeakRef(place));
    return place;
  }

  http(
    place: MetricsPlace,
    info: StreamInfo,
    isGrpc: boolean,
    grpcStatus: string,
    request?: HeaderBlock,
    response?: HeaderBlock,
    trailers?: HeaderBlock,
  ): void {
    const facts = place.plan.changes === undefined ? undefined : { info, request, response, trailers };
    const bound = this.#bound(place, info, info.responseCode, isGrpc ? 'grpc' : 'http', grpcStatus, facts);
    if (bound.requests) bound.requests.value++;
    bound.duration?.observe(Math.max(0, info.endTime - info.startTime));
    bound.requestBytes?.observe(info.bytesReceived + info.requestHeadersBytes);
    bound.responseBytes?.observe(info.bytesSent + info.responseHeadersBytes + info.responseTrailersBytes);
    if (facts !== undefined) recordOwn(place, bound, facts);
  }

  tcp(place: MetricsPlace, info: StreamInfo, ended: boolean): TcpSeries {
    const facts = place.plan.changes === undefined ? undefined : withoutHeaders(info);
    const bound = this.#bound(place, info, -1, 'tcp', '', facts);
    if (ended && facts !== undefined) recordOwn(place, bound, facts);
    return bound.tcp ?? NO_SERIES;
  }

  /** Adds the messages of a gRPC call that were not told yet. Before its end only once it is known who is at the far end. */
  messages(place: MetricsPlace, info: StreamInfo, ended: boolean): void {
    const { grpc } = info;
    if (grpc === undefined || !place.plan.messages) return;
    if (!ended && peerOf(place, info) === undefined) return;
    const facts = place.plan.changes === undefined ? undefined : withoutHeaders(info);
    const series = this.#bound(place, info, MESSAGES, '', '', facts).messages;
    if (series?.requests) series.requests.value += grpc.request.messages - grpc.requestsTold;
    if (series?.responses) series.responses.value += grpc.response.messages - grpc.responsesTold;
    grpc.requestsTold = grpc.request.messages;
    grpc.responsesTold = grpc.response.messages;
  }

  /** No further label sets are made. */
  get isFull(): boolean {
    return this.#count.full >= SERIES_MAX;
  }

  /** Forgets every series that nothing was added to since the rotation before. */
  rotate(): void {
    const kept = new Set<unknown>();
    this.#count.full = 0;
    this.#count.plain = 0;
    for (const reference of this.#places) {
      const place = reference.deref();
      if (place === undefined) {
        this.#places.delete(reference);
        continue;
      }
      place.last = undefined;
      place.table.keepUsed(kept);
    }
    for (const family of [...Object.values(this.#families), ...this.#ownFamilies.values()]) family.keepOnly(kept);
    this.#held.value = this.#count.full + this.#count.plain;
  }

  #bound(place: MetricsPlace, info: StreamInfo, code: number, protocol: string, grpcStatus: string, facts: CelFacts | undefined): Bound {
    const inbound = place.reporter !== 'source';
    const peer = peerOf(place, info) ?? UNKNOWN_PEER;
    const tls = inbound ? info.downstreamTls : info.upstreamTls;
    const wanted = this.#wanted;
    wanted.protocol = protocol;
    wanted.grpcStatus = grpcStatus;
    wanted.peerPrincipal = principal(tls?.peer);
    wanted.ownPrincipal = principal(tls?.local);
    wanted.flags = code === MESSAGES ? '' : info.hasAnyFlag() ? info.flagsShort() : '-';
    // The host header names the service only where nothing better does: it is part of the key only then.
    const named = info.clusterMetadata?.filter_metadata?.['istio'] !== undefined;
    const host = named || !place.plan.hostFallback ? '' : info.authority;
    wanted.host = host.length > LABEL_LENGTH_MAX ? bounded(host) : host;
    const values = facts === undefined ? undefined : valuesOf(place, facts);
    wanted.values = values === undefined ? '' : values.key;
    const cluster = place.reporter === 'waypoint' ? calledBy(info) : info.upstreamClusterRaw;
    const { last } = place;
    if (last !== undefined && last.peer === peer && last.code === code && last.cluster === cluster && isKey(last.bound, wanted)) {
      last.bound.used = true;
      return last.bound;
    }
    const found = place.table.find(cluster, peer, code, wanted);
    const bound =
      found ?? (place.table.hasRoom ? this.#add(place, info, peer, cluster, code, values) : this.#plain(place, info, code, values));
    // One that stands for many is not taken for the next by itself.
    if (isKey(bound, wanted)) place.last = { cluster, peer, code, bound };
    bound.used = true;
    return bound;
  }

  #add(place: MetricsPlace, info: StreamInfo, peer: Peer, cluster: string, code: number, values: LabelValues | undefined): Bound {
    const bound = this.#bind(place, info, peer, code, { ...this.#wanted }, values, 'all');
    place.table.add(cluster, peer, code, bound);
    this.#held.value++;
    return bound;
  }

  /** There is no room to tell callers apart. */
  #plain(place: MetricsPlace, info: StreamInfo, code: number, values: LabelValues | undefined): Bound {
    const { flags, protocol, grpcStatus } = this.#wanted;
    this.#overflowed.value++;
    const overflow = values && { texts: values.texts.map(() => OVERFLOW), key: OVERFLOW };
    const plain: SeriesKey = {
      ...this.#wanted,
      peerPrincipal: this.#wanted.peerPrincipal === '' ? '' : OVERFLOW,
      values: overflow?.key ?? '',
    };
    const rest = `${protocol}|${code === MESSAGES ? 'messages' : ''}`;
    return place.table.plain(`${info.upstreamClusterRaw}|${code}|${flags}|${grpcStatus}|${plain.peerPrincipal}|${rest}`, rest, (told) => {
      this.#held.value++;
      const key = told ? plain : { ...plain, flags: OVERFLOW, grpcStatus: OVERFLOW, peerPrincipal: '' };
      return this.#bind(place, info, UNKNOWN_PEER, code, key, overflow, told ? 'without callers' : 'nothing');
    });
  }

  #bind(
    place: MetricsPlace,
    info: StreamInfo,
    peer: Peer,
    code: number,
    key: SeriesKey,
    values: LabelValues | undefined,
    telling: Telling,
  ): Bound {
    const isMessages = code === MESSAGES;
    const isTcp = key.protocol === 'tcp';
    const isHttp = !isTcp && !isMessages;
    const told = isMessages ? undefined : telling === 'nothing' ? OVERFLOW : String(code);
    const labels = standardLabels(this.#own, place.reporter, info, peer, told, key, telling);
    const { changes } = place.plan;
    // Made once for all metrics that change the same of it, mostly nothing.
    const texts = new Map<string, string>();
    const series = <S extends Counter | Histogram>(family: Family<S>): S | undefined => {
      const name = family.name.slice('istio_'.length);
      if (changes?.dropped.has(name) === true) return undefined;
      const alike = changes === undefined ? '' : changes.alike(name);
      let text = texts.get(alike);
      if (text === undefined) {
        text = labelText((changes && changedLabels(changes, name, labels, values)) ?? labels);
        texts.set(alike, text);
      }
      return family.at(text);
    };
    const f = this.#families;
    return {
      ...key,
      used: true,
      requests: isHttp ? series(f.requests) : undefined,
      duration: isHttp ? series(f.duration) : undefined,
      requestBytes: isHttp ? series(f.requestBytes) : undefined,
      responseBytes: isHttp ? series(f.responseBytes) : undefined,
      messages: isMessages ? { requests: series(f.requestMessages), responses: series(f.responseMessages) } : undefined,
      tcp: isTcp ? { sent: series(f.sent), received: series(f.received), opened: series(f.opened), closed: series(f.closed) } : undefined,
      own: changes === undefined || isMessages ? NONE : changes.own.map((metric) => this.#ownSeries(changes, metric, values)),
    };
  }

  /** Undefined: another configuration gave the name another meaning, or there are too many. */
  #ownSeries(changes: MetricChanges, { name, key, kind }: OwnMetric, values: LabelValues | undefined): Counter | Histogram | undefined {
    let family = this.#ownFamilies.get(name);
    if (family === undefined) {
      if (this.#ownFamilies.size >= OWN_METRICS_MAX) return undefined;
      const help = 'Defined by the configuration of the stats filter';
      if (kind === 'histogram') family = this.#registry.histogram(name, help, this.#buckets(`istiocustom.${name}`));
      else family = kind === 'gauge' ? this.#registry.gauge(name, help) : this.#registry.counter(name, help);
      this.#ownFamilies.set(name, family);
    }
    if (family.kind !== kind) return undefined;
    return family.at(labelText(changedLabels(changes, key, [], values) ?? []));
  }
}

/** In a status code's place: the messages of gRPC calls. */
const MESSAGES = -2;
const NONE: Bound['own'] = [];
const NO_SERIES: TcpSeries = { sent: undefined, received: undefined, opened: undefined, closed: undefined };

const withoutHeaders = (info: StreamInfo): CelFacts => ({ info, request: undefined, response: undefined, trailers: undefined });

const valuesOf = ({ plan }: MetricsPlace, facts: CelFacts): LabelValues | undefined =>
  plan.changes === undefined || plan.changes.texts.length === 0 ? undefined : evaluate(plan.changes, facts);

const recordOwn = ({ plan }: MetricsPlace, bound: Bound, facts: CelFacts): void => {
  plan.changes?.own.forEach((metric, i) => {
    const series = bound.own[i];
    if (series instanceof Histogram) series.observe(amountOf(metric, facts));
    else if (series !== undefined) series.value = amountOf(metric, facts) + (metric.kind === 'gauge' ? 0 : series.value);
  });
};

/** Undefined: as they are. */
const changedLabels = (changes: MetricChanges, metric: string, labels: Labels, values: LabelValues | undefined): Labels | undefined => {
  const changed = changes.changed.get(metric);
  const added = changes.added.get(metric);
  if (changed === undefined && added === undefined) return undefined;
  const textAt = (place: number): string => values?.texts[place] ?? '';
  const out: [string, string][] = [];
  for (const [label, value] of labels) {
    if (changed?.has(label) !== true) out.push([label, value]);
    else {
      const place = changed.get(label);
      if (place !== undefined) out.push([label, textAt(place)]);
    }
  }
  for (const [label, place] of added ?? []) out.push([label, textAt(place)]);
  return out;
};

const peerOf = (place: MetricsPlace, info: StreamInfo): Peer | undefined =>
  place.reporter === 'source' ? upstreamPeer(info) : downstreamPeer(info);

/** A waypoint's series differ by the workload as well as by the cluster. */
const calledBy = (info: StreamInfo): string => {
  const peer = upstreamPeer(info) ?? UNKNOWN_PEER;
  return `${info.upstreamClusterRaw}|${peer.workload}|${peer.namespace}|${peer.canonicalService}|${peer.canonicalRevision}`;
};
