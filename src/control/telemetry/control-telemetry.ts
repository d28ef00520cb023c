// The embedded summaries put together: what proxies tell comes in by `streams`, is kept for a day in memory and on disk, and is asked for by
// `summary` and `requests`. With a Prometheus at hand it keeps no metrics and asks that one instead. Says with every answer what it cannot
// know.
import { join } from 'node:path';
import type { Log } from '../../base/log.ts';
import { AdminError } from '../admin/http.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import { IntakeBudgets } from './intake-budgets.ts';
import { LogIntake } from './log-intake.ts';
import { MetricsIntake } from './metrics-intake.ts';
import { PrometheusError, PrometheusSummary } from './prometheus-summary.ts';
import { type OpenTelemetryStream, telemetryMethods } from './receivers.ts';
import { RecentRequests } from './recent-requests.ts';
import { RecentSpans } from './recent-spans.ts';
import { RefusedConnections } from './refused-connections.ts';
import { SignalStore } from './signal-store.ts';
import { SliceFiles } from './slice-files.ts';
import { type SpanIntake, spanIntake } from './span-intake.ts';
import { Directory, type DirectoryOptions } from './speaker.ts';
import { type GroupBy, type Signal, type SummaryFilter, type SummaryRow, summaryRows } from './summary.ts';

export interface ControlTelemetryOptions {
  readonly stateDir: string;
  /** Of a Prometheus that scrapes the mesh. */
  readonly prometheus: string | undefined;
  readonly instances: DirectoryOptions['instances'];
  readonly trustDomain: () => string;
  readonly metrics: ControlMetrics;
  readonly log: Log;
  readonly now: () => number;
}

export interface Summary {
  readonly from: string;
  readonly to: string;
  readonly source: 'embedded' | 'prometheus';
  readonly complete: boolean;
  readonly notes: readonly string[];
  readonly rows: readonly SummaryRow[];
}

/** A quiet mesh closes its slices too. */
const TURN_MS = 10_000;
/** A disk that is full says so once in a while. */
const COMPLAIN_MS = 10 * 60_000;

export class ControlTelemetry {
  readonly streams: ReadonlyMap<string, OpenTelemetryStream>;
  /** Batches of spans. */
  readonly takeSpans: SpanIntake;
  readonly requests: RecentRequests = new RecentRequests();
  readonly spans: RecentSpans = new RecentSpans();
  readonly refused: RefusedConnections = new RefusedConnections();
  readonly #options: ControlTelemetryOptions;
  readonly #store: SignalStore;
  readonly #files: SliceFiles;
  readonly #prometheus: PrometheusSummary | undefined;
  readonly #timer: NodeJS.Timeout;
  #dropped = 0;
  #droppedMs = 0;
  #lost = 0;
  #complainedMs = Number.NEGATIVE_INFINITY;

  constructor(options: ControlTelemetryOptions) {
    const { stateDir, instances, trustDomain, metrics, now } = options;
    this.#options = options;
    this.#prometheus = options.prometheus === undefined ? undefined : new PrometheusSummary(options.prometheus);
    this.#store = new SignalStore(now());
    this.#files = new SliceFiles({ folder: join(stateDir, 'telemetry'), failed: (problem) => this.#complain(problem) });
    this.#files.read(now(), (atMs, cells) => this.#store.restore(atMs, cells, now()));
    this.#store.onMinute = (slice) => this.#files.append(slice, this.#store.table, now());
    const directory = new Directory({ instances, trustDomain, now });
    const store = this.#store;
    const budgets = new IntakeBudgets(now());
    this.takeSpans = spanIntake({ spans: this.spans, directory, budgets, counters: metrics, now });
    this.streams = telemetryMethods({
      logs: new LogIntake({
        store,
        requests: this.requests,
        refused: this.refused,
        directory,
        now,
        counts: this.#prometheus === undefined,
      }),
      metrics: this.#prometheus === undefined ? new MetricsIntake({ store, now, lost: (entries) => this.#lose(entries) }) : undefined,
      directory,
      budgets,
      counters: metrics,
      now,
      dropped: (entries) => {
        this.#dropped += entries;
        this.#droppedMs = now();
      },
    });
    metrics.gauge('skein_telemetry_series', () => store.table.size);
    metrics.gauge('skein_telemetry_bytes', () => store.bytes + this.requests.bytes + this.spans.bytes);
    metrics.gauge('skein_telemetry_requests', () => this.requests.size);
    metrics.gauge('skein_telemetry_spans', () => this.spans.size);
    metrics.gauge('skein_telemetry_slices_lost', () => this.#files.lost);
    this.#timer = setInterval(() => store.turn(now()), TURN_MS);
    this.#timer.unref();
  }

  async summary(windowS: number, by: GroupBy, filter: SummaryFilter): Promise<Summary> {
    return this.#prometheus === undefined ? this.#embedded(windowS, by, filter) : await this.#asked(this.#prometheus, windowS, by, filter);
  }

  /** What is not on disk yet is written. */
  close(): void {
    clearInterval(this.#timer);
    const now = this.#options.now();
    this.#store.onMinute = (slice) => this.#files.appendNow(slice, this.#store.table, now);
    this.#store.finish(now);
  }

  #embedded(windowS: number, by: GroupBy, filter: SummaryFilter): Summary {
    const now = this.#options.now();
    const { fromMs, cells, complete } = this.#store.look(windowS * 1000, now);
    const signals: Signal[] = [];
    for (const [id, cell] of cells) {
      const key = this.#store.table.key(id);
      if (key !== undefined) signals.push({ key, cell });
    }
    const notes: string[] = [];
    if (!complete) notes.push(`counting since ${new Date(this.#store.sinceMs).toISOString()}: the window reaches further back`);
    const { overflowed } = this.#store.table;
    if (overflowed > 0) notes.push('there are more routes and peers than are kept apart: the rest is in one row, (other)');
    if (this.#lost > 0) notes.push(`Envoy sidecars could not send ${this.#lost} log entries: what they are of is not counted`);
    if (this.#dropped > 0)
      notes.push(`${this.#dropped} messages or entries came faster than they are read, last at ${new Date(this.#droppedMs).toISOString()}`);
    if (signals.some(({ key }) => key.mtls === 'unknown' && key.reporter !== 'destination'))
      notes.push(
        'mtls is unknown where neither side could tell: a stock Envoy does not say how it connected to a workload without a sidecar',
      );
    const isWhole = complete && overflowed === 0 && this.#lost === 0 && this.#dropped === 0;
    const rows = summaryRows(signals, by, filter, Math.max(1, (now - fromMs) / 1000));
    return { from: iso(fromMs), to: iso(now), source: 'embedded', complete: isWhole, notes, rows };
  }

  async #asked(prometheus: PrometheusSummary, windowS: number, by: GroupBy, filter: SummaryFilter): Promise<Summary> {
    const now = this.#options.now();
    const notes = ['from Prometheus: numbers are what it scraped, extrapolated over the window'];
    if (by === 'route') notes.push("Istio's metrics have no routes: rows are by service");
    try {
      const rows = summaryRows(await prometheus.signals(Math.ceil(windowS)), by, filter, windowS);
      return { from: iso(now - windowS * 1000), to: iso(now), source: 'prometheus', complete: by !== 'route', notes, rows };
    } catch (error) {
      if (!(error instanceof PrometheusError)) throw error;
      throw new AdminError(502, 'PROMETHEUS', `the Prometheus of --prometheus does not answer the query: ${error.message}`);
    }
  }

  #lose(entries: number): void {
    this.#lost += entries;
  }

  #complain(problem: string): void {
    const now = this.#options.now();
    if (now - this.#complainedMs < COMPLAIN_MS) return;
    this.#complainedMs = now;
    this.#options.log.warning('summaries are not written to disk', { problem });
  }
}

const iso = (ms: number): string => new Date(ms).toISOString();
