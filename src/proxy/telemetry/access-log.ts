// Access logs of one place (a connection manager, a TCP proxy, a listener) compiled once: which lines are written, what
// they say, where they go. File and stream loggers; any other logger is refused by name.
import { compileLogWriter, compileSubstitutionWriter, type LogWriter } from '../../plan/log-format.ts';
import { PlanError } from '../../plan/plan-error.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { typeOfUrl } from '../../xds/codec.ts';
import type { AccessLog, FileAccessLog, StdoutAccessLog } from '../../xds/gen/types.ts';
import type { Clock } from '../clock.ts';
import { PROCESS_FACTS } from '../process-facts.ts';
import { compileLogFilter, type LogPredicate } from './log-filter.ts';
import { LogSink } from './log-sink.ts';

export interface CompiledLog {
  readonly filter: LogPredicate | undefined;
  readonly write: LogWriter;
  readonly sink: LogSink;
}

/** The files that this process writes, each open once. */
export class LogSinks {
  readonly #clock: Clock;
  readonly #flushMs: number | undefined;
  readonly #shared: boolean;
  readonly #byPath = new Map<string, LogSink>();

  /** `shared`: other workers have sinks for the same files. */
  constructor(clock: Clock, flushMs: number | undefined, shared = false) {
    this.#shared = shared;
    this.#clock = clock;
    this.#flushMs = flushMs;
  }

  /** Throws the system's error when the file cannot be opened. */
  at(path: string): LogSink {
    let sink = this.#byPath.get(path);
    if (!sink) {
      sink = new LogSink(path, this.#clock, this.#flushMs, this.#shared);
      this.#byPath.set(path, sink);
    }
    return sink;
  }

  all(): Iterable<[string, LogSink]> {
    return this.#byPath;
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
const STDERR_LOG = 'envoy.extensions.access_loggers.stream.v3.StderrAccessLog';

/** Throws PlanError for a logger, filter, format or file that it must refuse. */
export const compileAccessLogs = (
  logs: readonly AccessLog[],
  path: string,
  sinks: LogSinks,
  random: () => number,
): readonly CompiledLog[] =>
  logs.map((log, i) => {
    const at = `${path}[${i}]`;
    return {
      filter: log.filter ? compileLogFilter(log.filter, `${at}.filter`, random) : undefined,
      ...compileLogger(log, `${at}.typed_config`, sinks),
    };
  });

const compileLogger = (log: AccessLog, path: string, sinks: LogSinks): { write: LogWriter; sink: LogSink } => {
  const config = log.typed_config;
  const url = config && '@type' in config ? config['@type'] : config?.type_url;
  switch (typeOfUrl(typeof url === 'string' ? url : '')) {
    case FILE_LOG: {
      const file = config as unknown as FileAccessLog;
      if (!file.path) throw new PlanError(`${path}.path`, 'is missing');
      return { write: fileFormat(file, path), sink: openSink(sinks, file.path, `${path}.path`) };
    }
    case STDOUT_LOG:
    case STDERR_LOG: {
      const stream = config as unknown as StdoutAccessLog;
      const target = url?.endsWith('.StdoutAccessLog') ? '/dev/stdout' : '/dev/stderr';
      return {
        write: compileSubstitutionWriter(stream.log_format, `${path}.log_format`, PROCESS_FACTS),
        sink: openSink(sinks, target, path),
      };
    }
    default:
      throw new PlanError(path, `access logger ${log.name ?? ''} (${String(url)}) is not supported`);
  }
};

const openSink = (sinks: LogSinks, file: string, path: string): LogSink => {
  try {
    return sinks.at(file);
  } catch (e) {
    throw new PlanError(path, `cannot open ${file}: ${e instanceof Error ? e.message : String(e)}`);
  }
};

const fileFormat = (file: FileAccessLog, path: string): LogWriter => {
  if (file.format !== undefined && file.format !== '')
    return compileLogWriter({ text: file.format }, false, `${path}.format`, PROCESS_FACTS);
  if (file.json_format) return compileLogWriter({ json: file.json_format }, false, `${path}.json_format`, PROCESS_FACTS);
  if (file.typed_json_format) return compileLogWriter({ json: file.typed_json_format }, false, `${path}.typed_json_format`, PROCESS_FACTS);
  return compileSubstitutionWriter(file.log_format, `${path}.log_format`, PROCESS_FACTS);
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
    const line = log.sink.line();
    if (line === undefined) continue;
    log.write(line, info, request, response, trailers);
    log.sink.lineWritten();
  }
};
