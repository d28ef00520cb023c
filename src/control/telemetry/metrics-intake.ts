// What proxies count, into the store: Istio's standard metrics with their labels, and a label `route` that our sidecars add. Counters and
// histograms may be differences or totals since the proxy's start: of totals the last is remembered, a smaller one is a restart.
import { BUCKETS, bucketOf } from '../../base/latency-buckets.ts';
import type { Node } from '../../xds/gen/types.ts';
import { CUMULATIVE_MAX, PROXIES_MAX } from './limits.ts';
import { type MetricValue, readMetrics } from './metrics-reader.ts';
import type { Mtls, SeriesKey } from './series-table.ts';
import type { SignalStore } from './signal-store.ts';
import type { Cell } from './slice.ts';
import type { Speaker } from './speaker.ts';

/** Of one proxy that counts from its start on. */
interface Totals {
  readonly last: Map<string, number>;
}

/** Envoy's count of entries that its access log service did not take. */
const LOST_ENTRIES = /^(?:envoy_)?access_logs[._]grpc_access_log[._]logs_dropped$/;

const WANTED = new Set([
  'istio_requests_total',
  'istio_request_duration_milliseconds',
  'istio_request_bytes',
  'istio_response_bytes',
  'istio_tcp_sent_bytes_total',
  'istio_tcp_received_bytes_total',
  'istio_tcp_connections_opened_total',
  'istio_tcp_connections_closed_total',
]);

export interface MetricsIntakeOptions {
  readonly store: SignalStore;
  readonly now: () => number;
  /** Entries that a proxy says it could not send. */
  readonly lost: (entries: number) => void;
}

export class MetricsIntake {
  readonly #options: MetricsIntakeOptions;
  readonly #totals = new Map<string, Totals>();

  constructor(options: MetricsIntakeOptions) {
    this.#options = options;
  }

  /** Who speaks is told by `identified` or by the message itself. Throws WireError. */
  take(bytes: Uint8Array, identified: (node: Node) => Speaker | undefined, known: Speaker | undefined): Speaker | undefined {
    let speaker = known;
    readMetrics(bytes, {
      node: (node) => {
        speaker ??= identified(node);
      },
      wanted: (family) => speaker !== undefined && (WANTED.has(family) || LOST_ENTRIES.test(family)),
      metric: (metric) => {
        if (speaker !== undefined) this.#metric(metric, speaker);
      },
    });
    return speaker;
  }

  #metric(metric: MetricValue, speaker: Speaker): void {
    const since = (what: string, value: number): number =>
      speaker.deltas ? Math.max(0, value) : this.#since(speaker.proxy, `${metric.name}${labelText(metric.labels)}${what}`, value);
    if (!WANTED.has(metric.name)) {
      this.#options.lost(since('', metric.value));
      return;
    }
    const cell = (): Cell => this.#options.store.cell(keyOf(metric.labels, speaker), speaker.proxy, this.#options.now());
    if (metric.histogram !== undefined) addHistogram(metric.name, metric.histogram, since, cell);
    else addCounter(metric, since('', metric.value), cell);
  }

  #since(proxy: string, series: string, value: number): number {
    let totals = this.#totals.get(proxy);
    if (totals === undefined) {
      if (this.#totals.size >= PROXIES_MAX) this.#totals.delete(this.#totals.keys().next().value ?? '');
      totals = { last: new Map() };
      this.#totals.set(proxy, totals);
    }
    const before = totals.last.get(series);
    if (before === undefined && totals.last.size >= CUMULATIVE_MAX) return 0;
    totals.last.set(series, value);
    // What was counted before anybody looked happened at another time.
    if (before === undefined) return 0;
    return value >= before ? value - before : value;
  }
}

const labelText = (labels: ReadonlyMap<string, string>): string => {
  let text = '';
  for (const [name, value] of labels) text += `\n${name}=${value}`;
  return text;
};

/** gRPC's statuses that are the server's fault: unknown, deadline exceeded, unimplemented, internal, unavailable, data loss. */
const GRPC_ERRORS = new Set(['2', '4', '12', '13', '14', '15']);

export const isError = (status: number, grpcStatus: string): boolean => status >= 500 || GRPC_ERRORS.has(grpcStatus);

const addCounter = ({ name, labels }: MetricValue, value: number, cellOf: () => Cell): void => {
  if (value <= 0) return;
  const cell = cellOf();
  if (name === 'istio_requests_total') {
    cell.requests += value;
    if (isError(Number(labels.get('response_code') ?? 0), labels.get('grpc_response_status') ?? '')) cell.errors += value;
  } else if (name === 'istio_tcp_sent_bytes_total') cell.sent += value;
  else if (name === 'istio_tcp_received_bytes_total') cell.received += value;
  else if (name === 'istio_tcp_connections_opened_total') cell.opened += value;
  else if (name === 'istio_tcp_connections_closed_total') cell.closed += value;
};

const addHistogram = (
  name: string,
  { sum, buckets }: NonNullable<MetricValue['histogram']>,
  since: (what: string, value: number) => number,
  cellOf: () => Cell,
): void => {
  if (name === 'istio_request_bytes' || name === 'istio_response_bytes') {
    const bytes = since('#sum', sum);
    if (bytes <= 0) return;
    if (name === 'istio_request_bytes') cellOf().bytesIn += bytes;
    else cellOf().bytesOut += bytes;
    return;
  }
  let before = 0;
  for (const { bound, cumulative } of buckets) {
    const own = since(`#${bound}`, cumulative - before);
    before = cumulative;
    if (own > 0) cellOf().time(Number.isFinite(bound) ? bucketOf(bound) : BUCKETS - 1, own);
  }
};

const UNKNOWN = 'unknown';

const keyOf = (labels: ReadonlyMap<string, string>, { party, gateway }: Speaker): SeriesKey => {
  const label = (name: string): string => {
    const value = labels.get(name) ?? '';
    return value === UNKNOWN ? '' : value;
  };
  const inbound = labels.get('reporter') === 'destination';
  const security = label('connection_security_policy');
  const mtls: Mtls = security === 'mutual_tls' || security === 'none' ? security : 'unknown';
  const source = inbound
    ? {
        sourceWorkload: label('source_workload'),
        sourceNamespace: label('source_workload_namespace'),
        sourcePrincipal: label('source_principal'),
      }
    : { sourceWorkload: party.workload, sourceNamespace: party.namespace, sourcePrincipal: party.principal };
  const far = { workload: label('destination_workload'), namespace: label('destination_workload_namespace') };
  const version = label('destination_canonical_revision') || label('destination_version');
  const { workload, namespace, principal } = inbound ? party : { ...far, principal: label('destination_principal') };
  return {
    reporter: inbound ? 'destination' : gateway ? 'gateway' : 'source',
    ...source,
    workload,
    namespace,
    principal,
    service: label('destination_service') || label('destination_service_name'),
    serviceNamespace: label('destination_service_namespace'),
    version: inbound ? party.version || version : version,
    route: label('route'),
    protocol: label('request_protocol'),
    mtls,
  };
};
