// The observer of the data plane: access logs and Istio's standard metrics. Everything that configuration decides is
// compiled in `prepare`; a record costs the log line that was asked for and a few additions.
import { MetricRegistry } from '../../base/metrics.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { Clock } from '../clock.ts';
import type { ListenerContext, Observer } from '../observer.ts';
import { type CompiledLog, compileAccessLogs, LogSinks, writeAccessLogs } from './access-log.ts';
import { IstioMetrics, type MetricsPlace, type TcpSeries } from './istio-metrics.ts';
import type { Peer } from './peer-metadata.ts';
import { compileStats } from './stats-config.ts';

export interface TelemetryOptions {
  readonly own: Peer;
  readonly version: string;
  readonly clock: Clock;
  /** [0, 1) */
  readonly random: () => number;
  /** How long a log line may wait. */
  readonly logFlushMs?: number | undefined;
}

interface Observed {
  readonly logs: readonly CompiledLog[];
  readonly metrics: MetricsPlace | undefined;
}

/** What a tunnel has reported so far. */
interface TcpProgress {
  sent: number;
  received: number;
}

export class Telemetry implements Observer {
  readonly registry = new MetricRegistry();
  readonly sinks: LogSinks;
  readonly #metrics: IstioMetrics;
  readonly #random: () => number;
  readonly #tunnels = new Map<StreamInfo, TcpProgress | undefined>();

  constructor(options: TelemetryOptions) {
    this.sinks = new LogSinks(options.clock, options.logFlushMs);
    this.#random = options.random;
    this.#metrics = new IstioMetrics(this.registry, options.own, options.version);
  }

  prepare(context: ListenerContext): void {
    const stats = compileStats(context.filters);
    const observed: Observed = {
      logs: compileAccessLogs(context.accessLog, 'access_log', this.sinks, this.#random),
      metrics: stats ? this.#metrics.place(stats, context.direction === 'INBOUND') : undefined,
    };
    context.observed = observed;
  }

  httpDone(
    info: StreamInfo,
    request: HeaderBlock | undefined,
    response: HeaderBlock | undefined,
    trailers: HeaderBlock | undefined,
    context: ListenerContext,
  ): void {
    const { logs, metrics } = observedOf(context);
    if (logs.length > 0) writeAccessLogs(logs, info, request, response, trailers);
    if (!metrics) return;
    const isGrpc = request?.get('content-type')?.startsWith('application/grpc') ?? false;
    const status = isGrpc ? (trailers?.get('grpc-status') ?? response?.get('grpc-status') ?? '') : '';
    this.#metrics.http(metrics, info, isGrpc, /^\d{1,2}$/.test(status) ? status : '');
  }

  tcpOpened(info: StreamInfo, context: ListenerContext): void {
    if (observedOf(context).metrics) this.#tunnels.set(info, undefined);
  }

  tcpProgress(info: StreamInfo, context: ListenerContext): void {
    const { metrics } = observedOf(context);
    if (metrics) this.#report(info, metrics);
  }

  tcpClosed(info: StreamInfo, context: ListenerContext): void {
    const { logs, metrics } = observedOf(context);
    if (logs.length > 0) writeAccessLogs(logs, info, undefined, undefined, undefined);
    if (!metrics) return;
    const { closed } = this.#report(info, metrics);
    if (closed) closed.value++;
    this.#tunnels.delete(info);
  }

  connectionClosed(info: StreamInfo, context: ListenerContext): void {
    const { logs } = observedOf(context);
    if (logs.length > 0) writeAccessLogs(logs, info, undefined, undefined, undefined);
  }

  /** Writes what waits and closes the files. */
  close(): void {
    this.sinks.close();
  }

  /** Who is at the far end is not known when a tunnel opens: the opening is counted with the first report. */
  #report(info: StreamInfo, place: MetricsPlace): TcpSeries {
    const before = this.#tunnels.get(info);
    const series = this.#metrics.tcp(place, info);
    if (!before && series.opened) series.opened.value++;
    if (series.received) series.received.value += info.bytesReceived - (before?.received ?? 0);
    if (series.sent) series.sent.value += info.bytesSent - (before?.sent ?? 0);
    this.#tunnels.set(info, { sent: info.bytesSent, received: info.bytesReceived });
    return series;
  }
}

const NOTHING: Observed = { logs: [], metrics: undefined };
const observedOf = (context: ListenerContext): Observed => (context.observed as Observed | undefined) ?? NOTHING;
