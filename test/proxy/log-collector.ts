// A server that takes access logs over gRPC (Envoy's service and OpenTelemetry's), read by another implementation of Protocol Buffers.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import * as http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { frameMessage, GrpcUnframer } from '../../src/wire/grpc-frames.ts';

const DEPS = join(import.meta.dirname, '../../node_modules/@grpc/grpc-js-xds/deps');
const root = new protobuf.Root();
root.resolvePath = (_origin, target) => {
  if (/^(validate\/|google\/api\/|envoy\/annotations\/|udpa\/annotations\/|xds\/annotations\/)/.test(target)) return null;
  for (const dir of ['envoy-api', 'googleapis', 'xds']) {
    const path = join(DEPS, dir, target);
    if (existsSync(path)) return path;
  }
  return target;
};
root.loadSync('envoy/service/accesslog/v3/als.proto', { keepCase: true });
// As much of OpenTelemetry's as logs need.
protobuf.parse(
  `syntax = "proto3"; package otlp;
  message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4;
    ArrayValue array_value = 5; KeyValueList kvlist_value = 6; bytes bytes_value = 7; } }
  message ArrayValue { repeated AnyValue values = 1; }
  message KeyValueList { repeated KeyValue values = 1; }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message Scope { string name = 1; string version = 2; }
  message LogRecord { fixed64 time_unix_nano = 1; int32 severity_number = 2; string severity_text = 3; AnyValue body = 5;
    repeated KeyValue attributes = 6; uint32 dropped_attributes_count = 7; fixed32 flags = 8; bytes trace_id = 9; bytes span_id = 10;
    fixed64 observed_time_unix_nano = 11; }
  message ScopeLogs { Scope scope = 1; repeated LogRecord log_records = 2; string schema_url = 3; }
  message ResourceLogs { Resource resource = 1; repeated ScopeLogs scope_logs = 2; string schema_url = 3; }
  message Export { repeated ResourceLogs resource_logs = 1; }`,
  root,
  { keepCase: true },
);
// As much of Prometheus' client model as metrics services are sent.
protobuf.parse(
  `syntax = "proto3"; package metrics;
  message Label { string name = 1; string value = 2; }
  message Value { double value = 1; }
  message Quantile { double quantile = 1; double value = 2; }
  message Summary { uint64 sample_count = 1; double sample_sum = 2; repeated Quantile quantile = 3; }
  message Bucket { uint64 cumulative_count = 1; double upper_bound = 2; }
  message Histogram { uint64 sample_count = 1; double sample_sum = 2; repeated Bucket bucket = 3; }
  message Metric { repeated Label label = 1; Value gauge = 2; Value counter = 3; Summary summary = 4; int64 timestamp_ms = 6; Histogram histogram = 7; }
  enum Type { COUNTER = 0; GAUGE = 1; SUMMARY = 2; UNTYPED = 3; HISTOGRAM = 4; }
  message Family { string name = 1; string help = 2; Type type = 3; repeated Metric metric = 4; }
  message Identifier { envoy.config.core.v3.Node node = 1; }
  message Message { Identifier identifier = 1; repeated Family envoy_metrics = 2; }`,
  root,
  { keepCase: true },
);

export const ALS_PATH = '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs';
export const METRICS_PATH = '/envoy.service.metrics.v3.MetricsService/StreamMetrics';
export const OTLP_PATH = '/opentelemetry.proto.collector.logs.v1.LogsService/Export';

// biome-ignore lint/suspicious/noExplicitAny: whatever was sent
export type Sent = Record<string, any>;
const TYPES: Readonly<Record<string, string>> = {
  [METRICS_PATH]: 'metrics.Message',
  [ALS_PATH]: 'envoy.service.accesslog.v3.StreamAccessLogsMessage',
  [OTLP_PATH]: 'otlp.Export',
};

export const decoded = (path: string, bytes: Uint8Array): Sent => {
  const type = root.lookupType(TYPES[path] ?? '');
  return type.toObject(type.decode(bytes), { longs: Number, enums: String, bytes: String });
};

export interface LogCollector extends AsyncDisposable {
  readonly port: number;
  /** Messages as they came, all streams mixed. */
  readonly messages: { readonly path: string; readonly stream: number; readonly headers: http2.IncomingHttpHeaders; readonly body: Sent }[];
  /** Resolves when `holds` does; rejects after some seconds. */
  until(holds: (messages: LogCollector['messages']) => boolean): Promise<void>;
  readonly sessions: http2.ServerHttp2Session[];
}

export interface CollectorOptions {
  readonly port?: number;
  /** Streams are not read. */
  readonly deaf?: boolean;
  /** Answers every call with this status. */
  readonly refuse?: number;
  /** What a unary call is answered. */
  readonly said?: Uint8Array;
}

export const startCollector = async ({
  port = 0,
  deaf = false,
  refuse,
  said = new Uint8Array(0),
}: CollectorOptions = {}): Promise<LogCollector> => {
  const messages: LogCollector['messages'] = [];
  const sessions: http2.ServerHttp2Session[] = [];
  const waiting = new Set<() => void>();
  let streams = 0;
  const server = http2.createServer();
  server.on('session', (session) => {
    sessions.push(session);
    session.on('error', () => {});
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    const path = String(headers[':path']);
    const number = streams++;
    if (refuse !== undefined) {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(refuse) }, { endStream: true });
      return;
    }
    if (deaf) return;
    const isUnary = path === OTLP_PATH;
    const unframer = new GrpcUnframer((bytes) => {
      messages.push({ path, stream: number, headers, body: decoded(path, bytes) });
      for (const look of waiting) look();
    }, 1 << 26);
    stream.on('data', (piece: Buffer) => unframer.push(piece));
    stream.on('end', () => {
      if (stream.destroyed || stream.closed) return;
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(isUnary ? Buffer.from(frameMessage(said)) : undefined);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    messages,
    sessions,
    until: (holds) =>
      new Promise((resolve, reject) => {
        const end = (): void => {
          clearTimeout(timer);
          waiting.delete(look);
        };
        const look = (): void => {
          if (!holds(messages)) return;
          end();
          resolve();
        };
        const timer = setTimeout(() => {
          end();
          reject(new Error(`the collector has ${JSON.stringify(messages.map((m) => m.body)).slice(0, 4000)}`));
        }, 8000);
        waiting.add(look);
        look();
      }),
    [Symbol.asyncDispose]: async () => {
      for (const session of sessions) session.destroy();
      server.close();
      await once(server, 'close').catch(() => {});
    },
  };
};

/** Entries of all messages so far. */
export const httpEntries = (messages: LogCollector['messages']): Sent[] => messages.flatMap((m) => m.body['http_logs']?.log_entry ?? []);
export const tcpEntries = (messages: LogCollector['messages']): Sent[] => messages.flatMap((m) => m.body['tcp_logs']?.log_entry ?? []);
export const logRecords = (messages: LogCollector['messages']): Sent[] =>
  messages.flatMap((m) =>
    (m.body['resource_logs'] ?? []).flatMap((r: Sent) => r['scope_logs'].flatMap((s: Sent) => s['log_records'] ?? [])),
  );
