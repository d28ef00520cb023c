// What a sidecar tells its control plane of its traffic: per caller, called workload, service and route the number of requests by code, a
// histogram of times and bytes, since it told last. A request costs a look at the row that was used last and a few additions; text is made
// when a row is, and bytes when it is told. Rows are bounded: beyond, all is one row. Only loaded where summaries are on.
import { BOUNDS_MS, BUCKETS, bucketOf } from '../../base/latency-buckets.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { Writer } from '../../xds/wire-format.ts';
import type { ListenerContext, Observer } from '../exchange/observer.ts';
import { encodeLabels, type LabelPairs, writeFamily, writeHistogram, writeValue } from './metrics-message.ts';
import { downstreamPeer, namespaceOf, principal, serviceOf, UNKNOWN_PEER, upstreamPeer } from './parties.ts';
import type { Peer } from './peer-metadata.ts';
import type { RefusedConnections } from './refused-connections.ts';
import type { RequestChoice } from './request-choice.ts';
import { isGrpcRequest, statusOfGrpc } from './telemetry.ts';

/** Of one worker. */
const ROWS_MAX = 1000;
/** Rows that nothing was added to for so many reports are forgotten. */
const IDLE_REPORTS_MAX = 60;
/** Codes of one row that are told apart. */
const CODES_MAX = 16;
const TUNNELS_MAX = 10_000;

interface Row {
  readonly cluster: string;
  readonly route: string;
  readonly peer: Peer | undefined;
  readonly peerPrincipal: string;
  readonly protocol: 'http' | 'grpc' | 'tcp';
  readonly host: string;
  readonly labels: LabelPairs;
  readonly encoded: Uint8Array;
  /** HTTP code, with gRPC's status by the side: 200 and 14 is 20014. */
  readonly codes: number[];
  readonly counts: number[];
  readonly times: Uint32Array;
  timesSum: number;
  bytesIn: number;
  bytesOut: number;
  opened: number;
  closed: number;
  sent: number;
  received: number;
  idle: number;
}

/** Of one listener's place. */
interface Place {
  readonly inbound: boolean;
  readonly rows: Map<string, Row[]>;
  last: Row | undefined;
}

export interface SummaryRecorderOptions {
  readonly own: Peer;
  readonly gateway: boolean;
  readonly choice: RequestChoice | undefined;
  readonly refused?: RefusedConnections;
}

export class SummaryRecorder implements Pick<Observer, 'httpDone' | 'tcpProgress' | 'tcpClosed' | 'connectionClosed'> {
  readonly #options: SummaryRecorderOptions;
  readonly #places = new WeakMap<ListenerContext, Place>();
  readonly #live = new Set<WeakRef<Place>>();
  readonly #tunnels = new Map<StreamInfo, { sent: number; received: number }>();
  #rows = 0;
  /** Requests and connections that found no row of their own. */
  overflowed = 0;

  constructor(options: SummaryRecorderOptions) {
    this.#options = options;
  }

  httpDone(
    info: StreamInfo,
    request: HeaderBlock | undefined,
    response: HeaderBlock | undefined,
    trailers: HeaderBlock | undefined,
    context: ListenerContext,
  ): void {
    const place = this.#place(context);
    if (place === undefined) return;
    const isGrpc = info.grpc !== undefined || isGrpcRequest(request);
    const row = this.#row(place, info, isGrpc ? 'grpc' : 'http');
    const grpcStatus = isGrpc ? Number(statusOfGrpc(info, response, trailers) || 0) : 0;
    countCode(row, info.responseCode * 100 + grpcStatus);
    const ms = Math.max(0, info.endTime - info.startTime);
    const bucket = bucketOf(ms);
    row.times[bucket] = (row.times[bucket] ?? 0) + 1;
    row.timesSum += ms;
    row.bytesIn += info.bytesReceived + info.requestHeadersBytes;
    row.bytesOut += info.bytesSent + info.responseHeadersBytes + info.responseTrailersBytes;
    this.#options.choice?.offer(info, request, ms, isGrpc ? grpcStatus : -1, row);
  }

  tcpProgress(info: StreamInfo, context: ListenerContext): void {
    const place = this.#place(context);
    if (place !== undefined) this.#tunnel(place, info);
  }

  tcpClosed(info: StreamInfo, context: ListenerContext): void {
    const place = this.#place(context);
    if (place === undefined) return;
    this.#tunnel(place, info).closed++;
    this.#tunnels.delete(info);
  }

  connectionClosed(info: StreamInfo, context: ListenerContext): void {
    const place = this.#place(context);
    if (place !== undefined && (place.inbound || this.#options.gateway)) this.#options.refused?.offer(info);
  }

  /** What was added since the last report, as a StreamMetricsMessage; undefined when that is nothing. */
  report(): Uint8Array | undefined {
    const rows: Row[] = [];
    for (const reference of this.#live) {
      const place = reference.deref();
      if (place === undefined) this.#live.delete(reference);
      else this.#collect(place, rows);
    }
    this.#rows = this.#count();
    if (rows.length === 0) return undefined;
    const bytes = encodeRows(rows);
    for (const row of rows) clear(row);
    return bytes;
  }

  #collect(place: Place, into: Row[]): void {
    for (const [key, list] of place.rows) {
      for (const row of list) {
        if (isEmpty(row)) row.idle++;
        else into.push(row);
      }
      if (list.every((row) => row.idle <= IDLE_REPORTS_MAX)) continue;
      const kept = list.filter((row) => row.idle <= IDLE_REPORTS_MAX);
      place.last = undefined;
      if (kept.length > 0) place.rows.set(key, kept);
      else place.rows.delete(key);
    }
  }

  #count(): number {
    let count = 0;
    for (const reference of this.#live) for (const list of reference.deref()?.rows.values() ?? []) count += list.length;
    return count;
  }

  /** Undefined: the sidecar's own listeners, whose traffic is nobody's. */
  #place(context: ListenerContext): Place | undefined {
    let place = this.#places.get(context);
    if (place !== undefined) return place;
    if (context.direction !== 'INBOUND' && context.direction !== 'OUTBOUND') return undefined;
    place = { inbound: context.direction === 'INBOUND' && !this.#options.gateway, rows: new Map(), last: undefined };
    this.#places.set(context, place);
    this.#live.add(new WeakRef(place));
    return place;
  }

  #tunnel(place: Place, info: StreamInfo): Row {
    const row = this.#row(place, info, 'tcp');
    const before = this.#tunnels.get(info);
    if (before === undefined) row.opened++;
    row.sent += info.bytesSent - (before?.sent ?? 0);
    row.received += info.bytesReceived - (before?.received ?? 0);
    if (before !== undefined) {
      before.sent = info.bytesSent;
      before.received = info.bytesReceived;
    } else if (this.#tunnels.size < TUNNELS_MAX) this.#tunnels.set(info, { sent: info.bytesSent, received: info.bytesReceived });
    return row;
  }

  #row(place: Place, info: StreamInfo, protocol: Row['protocol']): Row {
    const peer = place.inbound ? downstreamPeer(info) : upstreamPeer(info);
    const peerPrincipal = principal((place.inbound ? info.downstreamTls : info.upstreamTls)?.peer);
    const cluster = info.upstreamClusterRaw;
    // The host names the service only where nothing better does.
    const host = info.clusterMetadata?.filter_metadata?.['istio'] === undefined && !place.inbound ? info.authority : '';
    const { last } = place;
    if (last !== undefined && isRow(last, cluster, info.routeName, peer, peerPrincipal, protocol, host)) return last;
    let list = place.rows.get(cluster);
    if (list === undefined) {
      list = [];
      place.rows.set(cluster, list);
    }
    let row = list.find((r) => isRow(r, cluster, info.routeName, peer, peerPrincipal, protocol, host));
    if (row === undefined) {
      if (this.#rows >= ROWS_MAX) return this.#overflow(place, protocol);
      const labels = labelsOf(place.inbound, this.#options.own, peer ?? UNKNOWN_PEER, info, protocol, peerPrincipal, host);
      row = newRow({ cluster, route: info.routeName, peer, peerPrincipal, protocol, host, labels });
      list.push(row);
      this.#rows++;
    }
    place.last = row;
    return row;
  }

  #overflow(place: Place, protocol: Row['protocol']): Row {
    this.overflowed++;
    const list = place.rows.get(OTHER) ?? [];
    let row = list.find((r) => r.protocol === protocol);
    if (row === undefined) {
      const labels: LabelPairs = [
        ['reporter', place.inbound ? 'destination' : 'source'],
        ['destination_service', OTHER],
        ['request_protocol', protocol],
      ];
      row = newRow({ cluster: OTHER, route: '', peer: undefined, peerPrincipal: '', protocol, host: '', labels });
      list.push(row);
      place.rows.set(OTHER, list);
    }
    return row;
  }
}

const OTHER = '(other)';

const newRow = (key: Pick<Row, 'cluster' | 'route' | 'peer' | 'peerPrincipal' | 'protocol' | 'host' | 'labels'>): Row => ({
  ...key,
  encoded: encodeLabels(key.labels),
  codes: [],
  counts: [],
  times: new Uint32Array(key.protocol === 'tcp' ? 0 : BUCKETS),
  timesSum: 0,
  bytesIn: 0,
  bytesOut: 0,
  opened: 0,
  closed: 0,
  sent: 0,
  received: 0,
  idle: 0,
});

// Six values in the place of one key: an exchange makes no object to be found by.
const isRow = (
  r: Row,
  cluster: string,
  route: string,
  peer: Peer | undefined,
  peerPrincipal: string,
  protocol: string,
  host: string,
): boolean =>
  r.cluster === cluster &&
  r.route === route &&
  r.peer === peer &&
  r.peerPrincipal === peerPrincipal &&
  r.protocol === protocol &&
  r.host === host;

const countCode = (row: Row, code: number): void => {
  let at = row.codes.indexOf(code);
  if (at < 0) {
    // What finds no place is told as a failure or a success.
    at = row.codes.length < CODES_MAX ? row.codes.length : row.codes.findIndex((c) => c >= 50_000 === code >= 50_000);
    if (at < 0) at = CODES_MAX - 1;
    if (at === row.codes.length) row.codes.push(code);
  }
  row.counts[at] = (row.counts[at] ?? 0) + 1;
};

const isEmpty = (row: Row): boolean => row.counts.every((n) => n === 0) && row.opened + row.closed + row.sent + row.received === 0;

const clear = (row: Row): void => {
  row.codes.length = 0;
  row.counts.length = 0;
  row.times.fill(0);
  row.timesSum = row.bytesIn = row.bytesOut = row.opened = row.closed = row.sent = row.received = row.idle = 0;
};

const labelsOf = (
  inbound: boolean,
  own: Peer,
  peer: Peer,
  info: StreamInfo,
  protocol: string,
  peerPrincipal: string,
  host: string,
): LabelPairs => {
  const service = serviceOf(info, host !== '');
  const ownPrincipal = principal((inbound ? info.downstreamTls : info.upstreamTls)?.local);
  const far = peer.namespace === '' && peerPrincipal !== '' ? { ...peer, namespace: namespaceOf(peerPrincipal) } : peer;
  const [source, destination] = inbound ? [far, own] : [own, far];
  const all: LabelPairs = [
    ['reporter', inbound ? 'destination' : 'source'],
    ['source_workload', source.workload],
    ['source_workload_namespace', source.namespace],
    ['source_principal', inbound ? peerPrincipal : ownPrincipal],
    ['destination_workload', destination.workload],
    ['destination_workload_namespace', destination.namespace],
    ['destination_principal', inbound ? ownPrincipal : peerPrincipal],
    ['destination_canonical_service', destination.canonicalService],
    ['destination_canonical_revision', destination.canonicalRevision],
    ['destination_service', service.host || service.name],
    ['destination_service_namespace', service.namespace || destination.namespace],
    ['request_protocol', protocol],
    // Here the caller knows as well: what it cannot tell is a request that met nobody.
    ['connection_security_policy', peerPrincipal !== '' ? 'mutual_tls' : !inbound && info.upstreamHost === '' ? '' : 'none'],
    ['route', protocol === 'tcp' ? '' : info.routeName],
  ];
  return all.filter(([, value]) => value !== '');
};

const encodeRows = (rows: readonly Row[]): Uint8Array => {
  const w = new Writer();
  const http = rows.filter((row) => row.protocol !== 'tcp');
  const tcp = rows.filter((row) => row.protocol === 'tcp');
  if (http.length > 0) {
    writeFamily(w, 'istio_requests_total', 'counter', () => {
      for (const row of http)
        for (const [i, code] of row.codes.entries()) writeValue(w, 'counter', withCode(row, code), row.counts[i] ?? 0);
    });
    writeFamily(w, 'istio_request_duration_milliseconds', 'histogram', () => {
      for (const row of http) writeHistogram(w, row.encoded, row.timesSum, BOUNDS_MS, row.times, true);
    });
    for (const [name, field] of [
      ['istio_request_bytes', 'bytesIn'],
      ['istio_response_bytes', 'bytesOut'],
    ] as const)
      writeFamily(w, name, 'histogram', () => {
        for (const row of http) writeHistogram(w, row.encoded, row[field], [], [], true);
      });
  }
  for (const [name, field] of TCP_FAMILIES)
    if (tcp.length > 0)
      writeFamily(w, name, 'counter', () => {
        for (const row of tcp) if (row[field] > 0) writeValue(w, 'counter', row.encoded, row[field]);
      });
  return w.finish();
};

const TCP_FAMILIES = [
  ['istio_tcp_sent_bytes_total', 'sent'],
  ['istio_tcp_received_bytes_total', 'received'],
  ['istio_tcp_connections_opened_total', 'opened'],
  ['istio_tcp_connections_closed_total', 'closed'],
] as const;

const withCode = (row: Row, code: number): Uint8Array =>
  Buffer.concat([
    row.encoded,
    encodeLabels([
      ['response_code', String(Math.floor(code / 100))],
      ...(row.protocol === 'grpc' ? ([['grpc_response_status', String(code % 100)]] as const) : []),
    ]),
  ]);
