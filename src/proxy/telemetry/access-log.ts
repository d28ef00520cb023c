// Access logs of one place (a connection manager, a TCP proxy, a listener) compiled once: which lines are written, what
// they say, where they go. Files, streams, Envoy's and OpenTelemetry's log services; any other logger is refused by name.

import type { LineBuffer } from '../../plan/line-buffer.ts';
import { compileLogWriter, compileSubstitutionWriter, type LogWriter } from '../../plan/log-format.ts';
import { PlanError } from '../../plan/plan-error.ts';
import type { ProtoBuffer } from '../../plan/proto-buffer.ts';
import type { ProcessFacts, StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { typeOfUrl } from '../../xds/codec.ts';
import type {
  AccessLog,
  FileAccessLog,
  HttpGrpcAccessLogConfig,
  OpenTelemetryAccessLogConfig,
  StdoutAccessLog,
} from '../../xds/gen/types.ts';
import type { Clock } from '../clock.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { StatsStore } from '../stats-store.ts';
import { compileGrpcLog } from './grpc-access-log.ts';
import type { LogExports } from './log-exports.ts';
import { compileLogFilter, type LogPredicate } from './log-filter.ts';
import { LogSink } from './log-sink.ts';
import { compileOtelLog } from './otel-access-log.ts';

export interface CompiledLog {
  readonly filter: LogPredicate | undefined;
  readonly target: LogTarget;
}

export interface LogTarget {
  log(info: StreamInfo, request: HeaderBlock | undefined, response: HeaderBlock | undefined, trailers: HeaderBlock | undefined): void;
}

interface RecordSink<B> {
  /** Undefined: there is no room. */
  line(): B | undefined;
  lineWritten(): void;
}

type RecordWriter<B> = (
  out: B,
  info: StreamInfo,
  request: HeaderBlock | undefined,
  response: HeaderBlock | undefined,
  trailers: HeaderBlock | undefined,
) => void;

/** A sink, and how one record is written into its buffer. */
class Written<B> implements LogTarget {
  readonly #sink: RecordSink<B>;
  readonly #write: RecordWriter<B>;

  constructor(sink: RecordSink<B>, write: RecordWriter<B>) {
    this.#sink = sink;
    this.#write = write;
  }

  log(info: StreamInfo, request: HeaderBlock | undefined, response: HeaderBlock | undefined, trailers: HeaderBlock | undefined): void {
    const out = this.#sink.line();
    if (out === undefined) return;
    this.#write(out, info, request, response, trailers);
    this.#sink.lineWritten();
  }
}

/** The files that this process writes, each open once. */
export class LogSinks {
  readonly #clock: Clock;
  readonly #flushMs: number | undefined;
  readonly #workers: number;
  readonly #byPath = new Map<string, LogSink>();

  /** `workers`: so many have sinks for the same files. */
  constructor(clock: Clock, flushMs: number | undefined, workers = 1) {
    this.#workers = workers;
    this.#clock = clock;
    this.#flushMs = flushMs;
  }

  /** Throws the system's error when the file cannot be opened. */
  at(path: string): LogSink {
    let sink = this.#byPath.get(path);
    if (!sink) {
      sink = new LogSink(path, this.#clock, this.#flushMs, this.#workers);
      this.#byPath.set(path, sink);
    }
    return sink;
  }

  /** What became of lines and writes, where the second under Envoy's names. */
  countInto(stats: StatsStore): void {
    const sums = { dropped: 0, completed: 0, failed: 0, timed: 0, reopen: 0, buffered: 0 };
    for (const sink of this.#byPath.values()) {
      sums.dropped += sink.dropped;
      sums.completed += sink.writesCompleted;
      sums.failed += sink.writesFailed;
      sums.timed += sink.flushedByTimer;
      sums.reopen += sink.reopenFailed;
      sums.buffered += sink.buffered;
    }
    stats.counter('access_logs.file.dropped').value = sums.dropped;
    stats.counter('filesystem.write_completed').value = sums.completed;
    stats.counter('filesystem.write_failed').value = sums.failed;
    stats.counter('filesystem.flushed_by_timer').value = sums.timed;
    stats.counter('filesystem.reopen_failed').value = sums.reopen;
    stats.gauge('filesystem.write_total_buffered').value = sums.buffered;
  }

  flush(): void {
    for (const sink of this.#byPath.values()) sink.flush();
  }

  /** Answers what could not be opened anew, and why. */
  reopen(): string[] {
    return [...this.#byPath].flatMap(([path, sink]) => {
      const problem = sink.reopen();
      return problem === '' ? [] : [`${path}: ${problem}`];
    });
  }

  async close(): Promise<void> {
    const sinks = [...this.#byPath.values()];
    this.#byPath.clear();
    await Promise.all(sinks.map((sink) => sink.close()));
  }
}

const FILE_LOG = 'envoy.extensions.access_loggers.file.v3.FileAccessLog';
const STDOUT_LOG = 'envoy.extensions.access_loggers.stream.v3.StdoutAccessLog';
const HTTP_GRPC_LOG = 'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig';
const TCP_GRPC_LOG = 'envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig';
const OTEL_LOG = 'envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig';
const STDERR_LOG = 'envoy.extensions.access_loggers.stream.v3.StderrAccessLog';

/** Where records may go. */
export interface LogPlaces {
  readonly sinks: LogSinks;
  readonly exports: LogExports;
  /** Whose clusters exports use; undefined: nothing can be exported. */
  readonly env: ProxyEnvironment | undefined;
  /** What formats and expressions can say without a request. */
  readonly facts: ProcessFacts;
}

/** Throws PlanError for a logger, filter, format or file that it must refuse. */
export const compileAccessLogs = (
  logs: readonly AccessLog[],
  path: string,
  places: LogPlaces,
  random: () => number,
): readonly CompiledLog[] =>
  logs.map((log, i) => {
    const at = `${path}[${i}]`;
    return {
      filter: log.filter ? compileLogFilter(log.filter, `${at}.filter`, random, places.facts) : undefined,
      target: compileLogger(log, `${at}.typed_config`, places),
    };
  });

const compileLogger = (log: AccessLog, path: string, { sinks, exports, env, facts }: LogPlaces): LogTarget => {
  const config = log.typed_config;
  const url = config && '@type' in config ? config['@type'] : config?.type_url;
  switch (typeOfUrl(typeof url === 'string' ? url : '')) {
    case FILE_LOG: {
      const file = config as unknown as FileAccessLog;
      if (!file.path) throw new PlanError(`${path}.path`, 'is missing');
      return new Written<LineBuffer>(openSink(sinks, file.path, `${path}.path`), fileFormat(file, path, facts));
    }
    case STDOUT_LOG:
    case STDERR_LOG: {
      const stream = config as unknown as StdoutAccessLog;
      const target = url?.endsWith('.StdoutAccessLog') ? '/dev/stdout' : '/dev/stderr';
      const write = compileSubstitutionWriter(stream.log_format, `${path}.log_format`, facts);
      return new Written<LineBuffer>(openSink(sinks, target, path), write);
    }
    case HTTP_GRPC_LOG:
    case TCP_GRPC_LOG: {
      const kind = url?.endsWith('.HttpGrpcAccessLogConfig') ? 'http' : 'tcp';
      const { sink, write } = compileGrpcLog(config as unknown as HttpGrpcAccessLogConfig, kind, path, exports, needed(env, path));
      return new Written<ProtoBuffer>(sink, write);
    }
    case OTEL_LOG: {
      const { sink, write } = compileOtelLog(config as unknown as OpenTelemetryAccessLogConfig, path, {
        exports,
        env: needed(env, path),
        facts,
      });
      return new Written<ProtoBuffer>(sink, write);
    }
    default:
      throw new PlanError(path, `access logger ${log.name ?? ''} (${String(url)}) is not supported`);
  }
};

const needed = (env: ProxyEnvironment | undefined, path: string): ProxyEnvironment => {
  if (env === undefined) throw new PlanError(path, 'there are no clusters to send logs to');
  return env;
};

const openSink = (sinks: LogSinks, file: string, path: string): LogSink => {
  try {
    return sinks.at(file);
  } catch (e) {
    throw new PlanError(path, `cannot open ${file}: ${e instanceof Error ? e.message : String(e)}`);
  }
};

const fileFormat = (file: FileAccessLog, path: string, facts: ProcessFacts): LogWriter => {
  if (file.format !== undefined && file.format !== '') return compileLogWriter({ text: file.format }, false, `${path}.format`, facts);
  if (file.json_format) return compileLogWriter({ json: file.json_format }, false, `${path}.json_format`, facts);
  if (file.typed_json_format) return compileLogWriter({ json: file.typed_json_format }, false, `${path}.typed_json_format`, facts);
  return compileSubstitutionWriter(file.log_format, `${path}.log_format`, facts);
};

export const writeAccessLogs = (
  logs: readonly CompiledLog[],
  info: StreamInfo,
  request: HeaderBlock | undefined,
  response: HeaderBlock | undefined,
  trailers: HeaderBlock | undefined,
): void => {
  for (const log of logs) {
    if (log.filter && !log.filter(info, request, response, trailers)) continue;
    log.target.log(info, request, response, trailers);
  }
};
