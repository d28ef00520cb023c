// What the data plane tells about finished and running work: access log and metrics are observers. An observer never
// changes what happens to a request; it may keep nothing it is given beyond the call, because every object is reused.

import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { AccessLog, AnyMessage, TrafficDirection } from '../../xds/gen/types.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';

/** One place that produces records: an HTTP connection manager, a tcp_proxy or a listener itself. Made when a listener is compiled. */
export interface ListenerContext {
  readonly kind: 'http' | 'tcp' | 'listener';
  readonly listenerName: string;
  /** Listener.traffic_direction; absent is UNSPECIFIED. */
  readonly direction: TrafficDirection | undefined;
  readonly statPrefix: string;
  /** The access logs of this place (`kind: 'listener'`: Listener.access_log, written for connections without a filter chain and closed connections). */
  readonly accessLog: readonly AccessLog[];
  /** Every filter of the chain with its typed_config, in order: an observer finds its own configuration (istio.stats, grpc_stats) here. */
  readonly filters: readonly { readonly name: string; readonly typedConfig: AnyMessage | undefined }[];
  /** HCM only: the Listener.access_log of the listener it sits in is written by the `listener` context. */
  /** How often work that goes on is to be told of, as `prepare` found it; 0: never, absent: every 5 s. */
  reportMs?: number | undefined;
  /** For the observer alone: what it compiled in `prepare`. */
  observed: unknown;
}

export interface Observer {
  /** Once per context when a listener is compiled, before it serves. Throws PlanError for a log or filter it must refuse (→ NACK). */
  prepare(context: ListenerContext, env: ProxyEnvironment): void;
  /** Every HTTP exchange, exactly once, at its very end. `requestHeaders` are as received and mutated by HCM and filters. */
  httpDone(
    info: StreamInfo,
    requestHeaders: HeaderBlock | undefined,
    responseHeaders: HeaderBlock | undefined,
    responseTrailers: HeaderBlock | undefined,
    context: ListenerContext,
  ): void;
  /** Now and then while a gRPC call lives: `info.grpc` has the running totals. */
  httpProgress?(info: StreamInfo, context: ListenerContext): void;
  /** A TCP tunnel has been accepted (before any upstream is dialled). */
  tcpOpened(info: StreamInfo, context: ListenerContext): void;
  /** Now and then while a tunnel lives (about every 5 s): byte counts in `info` are running totals. */
  tcpProgress(info: StreamInfo, context: ListenerContext): void;
  /** A tunnel that goes on writes its access log now (`info.accessLogType` says why). */
  tcpLog(info: StreamInfo, context: ListenerContext): void;
  tcpClosed(info: StreamInfo, context: ListenerContext): void;
  /** A connection ended on listener level: no filter chain, failed TLS handshake, or a normal close; context.kind is 'listener'. */
  connectionClosed(info: StreamInfo, context: ListenerContext): void;
}

/** Sees nothing: for tests and before telemetry is set up. */
export const silentObserver: Observer = {
  prepare: () => {},
  httpDone: () => {},
  tcpOpened: () => {},
  tcpProgress: () => {},
  tcpLog: () => {},
  tcpClosed: () => {},
  connectionClosed: () => {},
};
