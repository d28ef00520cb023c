// The observer of the data plane: access logs and Istio's standard metrics. Everything that configuration decides is
// compiled in `prepare`; a record costs the log line that was asked for and a few additions.
import { MetricRegistry } from '../../base/metrics.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { HistogramBucketSettings, Node } from '../../xds/gen/types.ts';
import type { Clock } from '../clock.ts';
import type { ListenerContext, Observer } from '../exchange/observer.ts';
import { PROCESS_FACTS } from '../process-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { StatsStore } from '../stats-store.ts';
import { type CompiledLog, compileAccessLogs, LogSinks, writeAccessLogs } from './access-log.ts';
import { peerState } from './grpc-access-log.ts';
import { IstioMetrics, type MetricsPlace } from './istio-metrics.ts';
import { LogExports } from './log-exports.ts';
import type { Peer } from './peer-metadata.ts';
import { watchLag } from './process-stats.ts';
import { countRequest, type RequestStats, requestStats } from './request-stats.ts';
import type { TcpSeries } from './series-table.ts';
import { compileBuckets, compileStats } from './stats-config.ts';

export interface TelemetryOptions {
  readonly own: Peer;
  readonly version: string;
  /** Who logs, for services that take logs. */
  readonly node?: Node;
  readonly clock: Clock;
  /** [0, 1) */
  readonly random: () => number;
  /** How long a log line may wait. */
  readonly logFlushMs?: number | undefined;
  /** So many write the same logs; absent: one. */
  readonly workers?: number;
  /** Where Envoy's own counters of downstream requests are kept; absent: they are not. */
  readonly stats?: (() => StatsStore) | undefined;
  /** Of the bootstrap's stats_config. */
  readonly buckets?: readonly HistogramBucketSettings[] | undefined;
  /** Series of Istio's metrics that nothing was added to for so long are forgotten; 0: never. */
  readonly rotateMs?: number | undefined;
}

/** Envoy's numbers of them. */
const DIRECTIONS: Readonly<Record<string, number>> = { INBOUND: 1, OUTBOUND: 2 };

/** How often it looks whether series are to be forgotten. */
const LOOK_MS = 60_000;

interface Observed {
  readonly logs: readonly CompiledLog[];
  readonly metrics: MetricsPlace | undefined;
  readonly requests: RequestStats | undefined;
}

/** What a tunnel has reported so far. */
interface TcpProgress {
  sent: number;
  received: number;
}

export class Telemetry implements Observer {
  readonly registry = new MetricRegistry();
  /** Exchanges, tunnels and connections that have ended: moves while there is work. */
  records = 0;
  readonly sinks: LogSinks;
  /** While somebody taps. */
  tap: Pick<Observer, 'httpDone' | 'tcpOpened' | 'tcpClosed'> | undefined;
  /** Where the control plane is told what happens. */
  summaries: Pick<Observer, 'httpDone' | 'tcpProgress' | 'tcpClosed' | 'connectionClosed'> | undefined;
  /** What leaves for services. */
  readonly exports: LogExports;
  readonly #clock: Clock;
  readonly #metrics: IstioMetrics;
  readonly #random: () => number;
  readonly #stats: (() => StatsStore) | undefined;
  readonly #tunnels = new Map<StreamInfo, TcpProgress | undefined>();

  constructor(options: TelemetryOptions) {
    this.sinks = new LogSinks(options.clock, options.logFlushMs, options.workers);
    this.exports = new LogExports(options.node ?? {});
    this.#clock = options.clock;
    this.#random = options.random;
    this.#stats = options.stats;
    this.#metrics = new IstioMetrics(this.registry, options.own, options.version, compileBuckets(options.buckets));
    watchLag(this.registry, options.clock);
    this.#keepBounded(options.clock, options.rotateMs ?? 0);
  }

  prepare(context: ListenerContext, env?: ProxyEnvironment): void {
    const facts = { ...PROCESS_FACTS, node: this.exports.node, direction: DIRECTIONS[context.direction ?? ''] ?? 0, stateOf: peerState };
    const stats = compileStats(context.filters, facts);
    const observed: Observed = {
      logs: compileAccessLogs(context.accessLog, 'access_log', { sinks: this.sinks, exports: this.exports, env, facts }, this.#random),
      metrics: stats ? this.#metrics.place(stats, context.direction === 'INBOUND') : undefined,
      requests: context.kind === 'http' && this.#stats ? requestStats(this.#stats(), context.statPrefix) : undefined,
    };
    context.observed = observed;
    if (stats?.reportMs !== undefined) context.reportMs = stats.reportMs;
  }

  httpDone(
    info: StreamInfo,
    request: HeaderBlock | undefined,
    response: HeaderBlock | undefined,
    trailers: HeaderBlock | undefined,
    context: ListenerContext,
  ): void {
    this.records++;
    const { logs, metrics, requests } = observedOf(context);
    if (logs.length > 0) {
      info.accessLogType = 'DownstreamEnd';
      writeAccessLogs(logs, info, request, response, trailers);
    }
    if (requests !== undefined) countRequest(requests, info);
    if (this.tap !== undefined) this.tap.httpDone(info, request, response, trailers, context);
    if (this.summaries !== undefined) this.summaries.httpDone(info, request, response, trailers, context);
    if (!metrics) return;
    const isGrpc = info.grpc !== undefined || isGrpcRequest(request);
    if (isGrpc) this.#metrics.messages(metrics, info, true);
    this.#metrics.http(metrics, info, isGrpc, isGrpc ? statusOfGrpc(info, response, trailers) : '', request, response, trailers);
  }

  httpProgress(info: StreamInfo, context: ListenerContext): void {
    const { metrics } = observedOf(context);
    if (metrics) this.#metrics.messages(metrics, info, false);
  }

  tcpOpened(info: StreamInfo, context: ListenerContext): void {
    if (observedOf(context).metrics) this.#tunnels.set(info, undefined);
    if (this.tap !== undefined) this.tap.tcpOpened(info, context);
  }

  tcpProgress(info: StreamInfo, context: ListenerContext): void {
    const { metrics } = observedOf(context);
    if (metrics) this.#report(info, metrics, false);
    if (this.summaries !== undefined) this.summaries.tcpProgress(info, context);
  }

  tcpLog(info: StreamInfo, context: ListenerContext): void {
    const { logs } = observedOf(context);
    if (logs.length > 0) writeAccessLogs(logs, info, undefined, undefined, undefined);
  }

  tcpClosed(info: StreamInfo, context: ListenerContext): void {
    this.records++;
    const { logs, metrics } = observedOf(context);
    if (logs.length > 0) writeAccessLogs(logs, info, undefined, undefined, undefined);
    if (this.tap !== undefined) this.tap.tcpClosed(info, context);
    if (this.summaries !== undefined) this.summaries.tcpClosed(info, context);
    if (!metrics) return;
    const { closed } = this.#report(info, metrics, true);
    if (closed) closed.value++;
    this.#tunnels.delete(info);
  }

  connectionClosed(info: StreamInfo, context: ListenerContext): void {
    this.records++;
    if (this.summaries !== undefined && info.downstreamLocalCloseReason !== '') this.summaries.connectionClosed(info, context);
    const { logs } = observedOf(context);
    if (logs.length > 0) writeAccessLogs(logs, info, undefined, undefined, undefined);
  }

  /** Sends what services that take logs are still to hear, for as long as that may take. Before the data plane closes. */
  async closeExports(withinMs: number): Promise<void> {
    await this.exports.close(this.#clock, withinMs);
  }

  /** Writes what waits and closes the files. */
  close(): Promise<void> {
    return this.sinks.close();
  }

  /** Rotates as often as asked, and by itself when there is no room for further series. */
  #keepBounded(clock: Clock, rotateMs: number): void {
    let next = clock.monotonicMs() + rotateMs;
    const look = (): void => {
      const now = clock.monotonicMs();
      if (this.#metrics.isFull || (rotateMs > 0 && now >= next)) {
        this.#metrics.rotate();
        next = now + rotateMs;
      }
      clock.after(LOOK_MS, look);
    };
    clock.after(LOOK_MS, look);
  }

  /** Who is at the far end is not known when a tunnel opens: the opening is counted with the first report. */
  #report(info: StreamInfo, place: MetricsPlace, ended: boolean): TcpSeries {
    const before = this.#tunnels.get(info);
    const series = this.#metrics.tcp(place, info, ended);
    if (!before && series.opened) series.opened.value++;
    if (series.received) series.received.value += info.bytesReceived - (before?.received ?? 0);
    if (series.sent) series.sent.value += info.bytesSent - (before?.sent ?? 0);
    this.#tunnels.set(info, { sent: info.bytesSent, received: info.bytesReceived });
    return series;
  }
}

const NOTHING: Observed = { logs: [], metrics: undefined, requests: undefined };
const observedOf = (context: ListenerContext): Observed => (context.observed as Observed | undefined) ?? NOTHING;

export const isGrpcRequest = (request: HeaderBlock | undefined): boolean =>
  request?.getById(H.CONTENT_TYPE)?.startsWith('application/grpc') ?? false;

/** Of the trailers or the head; an answer that has none stands for the status that gRPC gives its HTTP code. */
export const statusOfGrpc = (info: StreamInfo, response: HeaderBlock | undefined, trailers: HeaderBlock | undefined): string => {
  const text = trailers?.getById(H.GRPC_STATUS) ?? response?.getById(H.GRPC_STATUS);
  if (text !== undefined) return /^\d{1,2}$/.test(text) ? text : '';
  return info.responseCode === 0 ? '' : (GRPC_OF_HTTP[info.responseCode] ?? '2');
};
const GRPC_OF_HTTP: { readonly [code: number]: string } = {
  400: '13',
  401: '16',
  403: '7',
  404: '12',
  429: '14',
  502: '14',
  503: '14',
  504: '14',
};
