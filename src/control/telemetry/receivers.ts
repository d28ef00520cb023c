// The two streams by which proxies tell what they did: Envoy's access log service and its metrics service. A stream speaks for the proxy
// that its caller may be, and for no other. Who sends more or faster than a proxy can have to tell is not read on, and counted. Nothing is
// answered: these services have no answer but the end.
import type { ProxyNode } from '../../translate/proxy-node.ts';
import { GRPC, type GrpcStatus } from '../../wire/grpc-frames.ts';
import type { Node } from '../../xds/gen/types.ts';
import { WireError } from '../../xds/wire-format.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import type { IntakeBudgets } from './intake-budgets.ts';
import { CHOSEN_LOG, type LogIntake, type LogSpeaker } from './log-intake.ts';
import type { MetricsIntake } from './metrics-intake.ts';
import type { Directory, Speaker } from './speaker.ts';

export const ACCESS_LOG_METHOD = '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs';
export const METRICS_METHOD = '/envoy.service.metrics.v3.MetricsService/StreamMetrics';

/** One call. `message` answers why the call must end. */
export interface TelemetryStream {
  message(bytes: Uint8Array): GrpcStatus | undefined;
}

/** `admit`: the node as the caller may be it; undefined: it may not. */
export type OpenTelemetryStream = (admit: (node: Node) => ProxyNode | undefined) => TelemetryStream;

export interface ReceiversOptions {
  readonly logs: LogIntake;
  /** Undefined: somebody else keeps the metrics, and they are not taken. */
  readonly metrics: MetricsIntake | undefined;
  readonly directory: Directory;
  readonly budgets: IntakeBudgets;
  readonly counters: ControlMetrics;
  readonly now: () => number;
  /** Told of what is not read. */
  readonly dropped: (entries: number) => void;
}

export const telemetryMethods = (o: ReceiversOptions): ReadonlyMap<string, OpenTelemetryStream> => {
  const { budgets } = o;
  const drop = (what: 'entries' | 'messages'): void => {
    o.counters.count(`skein_telemetry_${what}_dropped`);
    o.dropped(1);
  };
  const methods = new Map<string, OpenTelemetryStream>([[ACCESS_LOG_METHOD, (admit) => logStream(o, admit, { budgets, drop })]]);
  const { metrics } = o;
  if (metrics !== undefined) methods.set(METRICS_METHOD, (admit) => metricsStream(metrics, o, admit, { budgets, drop }));
  return methods;
};

interface Bounds {
  readonly budgets: IntakeBudgets;
  readonly drop: (what: 'entries' | 'messages') => void;
}

const NOT_THE_CALLER: GrpcStatus = { code: GRPC.PERMISSION_DENIED, message: 'the node of this stream is not the caller’s' };
const UNIDENTIFIED: GrpcStatus = { code: GRPC.INVALID_ARGUMENT, message: 'the first message of a stream says who sends it' };

const malformed = (error: unknown): GrpcStatus => {
  if (error instanceof WireError) return { code: GRPC.INVALID_ARGUMENT, message: `malformed message: ${error.message}` };
  throw error;
};

const logStream = (o: ReceiversOptions, admit: (node: Node) => ProxyNode | undefined, { budgets, drop }: Bounds): TelemetryStream => {
  let speaker: LogSpeaker | undefined;
  let refused = false;
  const identified = (node: Node, logName: string): LogSpeaker | undefined => {
    const admitted = admit(node);
    refused = admitted === undefined;
    return admitted && { ...o.directory.speaker(admitted), counts: logName !== CHOSEN_LOG };
  };
  return {
    message: (bytes) => {
      if (speaker && !budgets.bytes(speaker.proxy, bytes.length, o.now())) {
        drop('messages');
        return undefined;
      }
      const more = (): boolean => {
        if (budgets.entry(speaker?.proxy, o.now())) return true;
        drop('entries');
        return false;
      };
      try {
        speaker = o.logs.take(bytes, identified, speaker, more);
      } catch (error) {
        return malformed(error);
      }
      o.counters.count('skein_telemetry_messages', { stream: 'access_logs' });
      return speaker ? undefined : refused ? NOT_THE_CALLER : UNIDENTIFIED;
    },
  };
};

const metricsStream = (
  metrics: MetricsIntake,
  o: ReceiversOptions,
  admit: (node: Node) => ProxyNode | undefined,
  { budgets, drop }: Bounds,
): TelemetryStream => {
  let speaker: Speaker | undefined;
  let refused = false;
  const identified = (node: Node): Speaker | undefined => {
    const admitted = admit(node);
    refused = admitted === undefined;
    return admitted && o.directory.speaker(admitted);
  };
  return {
    message: (bytes) => {
      if (speaker && !budgets.bytes(speaker.proxy, bytes.length, o.now())) {
        drop('messages');
        return undefined;
      }
      try {
        speaker = metrics.take(bytes, identified, speaker);
      } catch (error) {
        return malformed(error);
      }
      o.counters.count('skein_telemetry_messages', { stream: 'metrics' });
      return speaker ? undefined : refused ? NOT_THE_CALLER : UNIDENTIFIED;
    },
  };
};
