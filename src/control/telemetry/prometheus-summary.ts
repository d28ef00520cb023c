// The summary from a Prometheus that scrapes the mesh: the same rows, of Istio's standard metrics, by instant queries of its HTTP API.
// Nothing of what it answers is kept. Routes are not in those metrics.
import { BUCKETS, bucketOf } from '../../base/latency-buckets.ts';
import type { Mtls, SeriesKey } from './series-table.ts';
import { Cell } from './slice.ts';
import type { Signal } from './summary.ts';

const LABELS = [
  'reporter',
  'source_workload',
  'source_workload_namespace',
  'source_principal',
  'destination_workload',
  'destination_workload_namespace',
  'destination_principal',
  'destination_service',
  'destination_service_namespace',
  'destination_canonical_revision',
  'request_protocol',
  'connection_security_policy',
] as const;
const BY = LABELS.join(', ');
const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 32 * 1024 * 1024;

/** Why it did not answer; the message is for people. */
export class PrometheusError extends Error {}

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

export class PrometheusSummary {
  readonly #base: string;

  constructor(url: string) {
    this.#base = url.replace(/\/+$/, '');
  }

  async signals(windowS: number): Promise<Signal[]> {
    const since = (metric: string, more = ''): string => `sum by (${BY}${more}) (increase(${metric}[${windowS}s]))`;
    const found = new Map<string, Signal>();
    const cellOf = (labels: Readonly<Record<string, string>>): Cell => {
      const key = keyOf(labels);
      const text = JSON.stringify(key);
      const known = found.get(text) ?? { key, cell: new Cell() };
      found.set(text, known);
      return known.cell;
    };
    const each = async (
      query: string,
      take: (cell: Cell, value: number, labels: Readonly<Record<string, string>>) => void,
    ): Promise<void> => {
      for (const { metric, value } of await this.#query(query)) if (value > 0) take(cellOf(metric), value, metric);
    };
    await each(since('istio_requests_total', ', response_code'), (cell, value, labels) => {
      cell.requests += value;
      if (Number(labels['response_code']) >= 500) cell.errors += value;
    });
    await each(since('istio_request_duration_milliseconds_bucket', ', le'), (cell, value, { le = '' }) => {
      const bound = Number(le);
      cell.time(le === '+Inf' || !Number.isFinite(bound) ? BUCKETS - 1 : bucketOf(bound), value);
    });
    for (const { cell } of found.values()) if (cell.times !== undefined) notCumulative(cell.times);
    await each(since('istio_request_bytes_sum'), adding('bytesIn'));
    await each(since('istio_response_bytes_sum'), adding('bytesOut'));
    await each(since('istio_tcp_connections_opened_total'), adding('opened'));
    await each(since('istio_tcp_connections_closed_total'), adding('closed'));
    await each(since('istio_tcp_sent_bytes_total'), adding('sent'));
    await each(since('istio_tcp_received_bytes_total'), adding('received'));
    return [...found.values()];
  }

  async #query(query: string): Promise<Sample[]> {
    let text: string;
    try {
      const response = await fetch(`${this.#base}/api/v1/query`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({ query }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (!response.ok) throw new PrometheusError(`it answered ${response.status}`);
      text = await response.text();
    } catch (error) {
      throw error instanceof PrometheusError ? error : new PrometheusError(error instanceof Error ? error.message : String(error));
    }
    if (text.length > ANSWER_BYTES_MAX) throw new PrometheusError('its answer is too large');
    return samplesOf(text);
  }
}

const samplesOf = (text: string): Sample[] => {
  let answer: { readonly data?: { readonly result?: unknown } } | null;
  try {
    answer = JSON.parse(text) as typeof answer;
  } catch {
    throw new PrometheusError('its answer is not JSON');
  }
  const result = answer?.data?.result;
  if (!Array.isArray(result)) throw new PrometheusError('its answer has no result');
  return result.flatMap((one: { readonly metric?: Record<string, string>; readonly value?: readonly unknown[] }) => {
    const value = Number(one.value?.[1]);
    return one.metric === undefined || !Number.isFinite(value) ? [] : [{ metric: one.metric, value }];
  });
};

const adding =
  (field: 'bytesIn' | 'bytesOut' | 'opened' | 'closed' | 'sent' | 'received') =>
  (cell: Cell, value: number): void => {
    cell[field] += value;
  };

/** Prometheus' buckets have everything below their bound. */
const notCumulative = (times: Float64Array): void => {
  let before = 0;
  for (let i = 0; i < times.length; i++) {
    const seen = times[i] ?? 0;
    // A bound that it does not have.
    if (seen === 0) continue;
    times[i] = Math.max(0, seen - before);
    before = seen;
  }
};

const keyOf = (labels: Readonly<Record<string, string>>): SeriesKey => {
  const label = (name: (typeof LABELS)[number]): string => (labels[name] === 'unknown' ? '' : (labels[name] ?? ''));
  const security = label('connection_security_policy');
  const mtls: Mtls = security === 'mutual_tls' || security === 'none' ? security : 'unknown';
  return {
    reporter: labels['reporter'] === 'destination' ? 'destination' : 'source',
    sourceWorkload: label('source_workload'),
    sourceNamespace: label('source_workload_namespace'),
    sourcePrincipal: label('source_principal'),
    workload: label('destination_workload'),
    namespace: label('destination_workload_namespace'),
    principal: label('destination_principal'),
    service: label('destination_service'),
    serviceNamespace: label('destination_service_namespace'),
    version: label('destination_canonical_revision'),
    route: '',
    protocol: label('request_protocol'),
    mtls,
  };
};
