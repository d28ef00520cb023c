// What may wait for servers of telemetry and for log files is bounded for the sidecar: its workers divide it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LogSink } from '../../src/proxy/telemetry/log-sink.ts';
import { hcm, httpBackend, listener, staticCluster, toCluster } from './harness.ts';
import { HTTP2_CLUSTER } from './http2-peers.ts';
import { startCollector as startLogCollector } from './log-collector.ts';
import { httpLog, otelLog, request, startLogging } from './log-rig.ts';
import { startTracedPlane } from './tracing-plane.ts';
import { startCollector } from './tracing-rig.ts';

test('spans that wait for a collector', async () => {
  await using collector = await startCollector('otlp');
  collector.answer = undefined;
  await using one = await startTracedPlane(collector.port, 'otlp', { max_cache_size: 8 });
  await using ofFour = await startTracedPlane(collector.port, 'otlp', { max_cache_size: 8 }, { workers: 4 });
  for (const [proxy, dropped] of [
    [one, 2],
    [ofFour, 8],
  ] as const) {
    await Promise.all(Array.from({ length: 10 }, (_, i) => proxy.ask(`/${i}`)));
    assert.equal(proxy.stat('tracing.opentelemetry.spans_dropped'), dropped);
  }
});

test('a worker’s share of the spans leaves before it is full', async () => {
  await using collector = await startCollector('otlp');
  await using proxy = await startTracedPlane(collector.port, 'otlp', { max_cache_size: 40 }, { workers: 4 });
  for (let i = 0; i < 30; i++) {
    assert.equal(await proxy.ask(`/${i}`), 200);
    if (i % 5 === 4) await collector.whenSpans(i + 1);
  }
  assert.equal(proxy.stat('tracing.opentelemetry.spans_dropped'), 0);
});

const sinkHolds = (workers: number): number => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-export-limits-'));
  // Time stands still and no write comes back: nothing leaves.
  const clock = { monotonicMs: () => 0, wallMs: () => 0, after: () => () => {} };
  const sink = new LogSink(join(dir, 'log'), clock, 1000, workers);
  const line = 'x'.repeat(1023);
  for (; sink.dropped === 0; ) {
    const out = sink.line();
    if (out === undefined) break;
    out.raw(`${line}\n`);
    sink.lineWritten();
  }
  const held = sink.written;
  void sink.close();
  rmSync(dir, { recursive: true });
  return held;
};

test('lines that wait for a file', () => {
  const [one, ofFour] = [sinkHolds(1), sinkHolds(4)];
  assert.ok(one > 1900 && one < 2200, `${one} lines of 1 kB`);
  assert.ok(ofFour * 4 < one * 1.1, `${ofFour} lines for each of four`);
});

// One of a great many, which may hold less than a single one writes at once.
test('lines are written before there is no room for more, however many workers share it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-export-limits-'));
  // No timer ever comes: only what is full is written.
  const clock = { monotonicMs: () => 0, wallMs: () => 0, after: () => () => {} };
  const sink = new LogSink(join(dir, 'log'), clock, 1000, 128);
  for (let i = 0; i < 14; i++) {
    sink.line()?.raw(`${'x'.repeat(1023)}\n`);
    sink.lineWritten();
  }
  assert.ok(sink.buffered < 14 * 1024, `${sink.buffered} bytes wait`);
  await sink.close();
  rmSync(dir, { recursive: true });
});

const entriesHeld = async (workers: number): Promise<number> => {
  await using web = await httpBackend(() => 'x');
  await using logs = await startLogCollector();
  const { port } = logs;
  await logs[Symbol.asyncDispose]();
  const log = httpLog({ buffer_size_bytes: 1_000_000_000 });
  await using rig = await startLogging(
    {
      clusters: [staticCluster('web', [web.port]), staticCluster('logs', [port], HTTP2_CLUSTER)],
      listeners: [listener('in', hcm([toCluster('web')], { access_log: [log], max_request_headers_kb: 96 }))],
    },
    workers,
  );
  const path = `/${'p'.repeat(50_000)}`;
  for (let i = 0; i < 30; i++) await request(rig.port('in'), path);
  return rig.count('access_logs.grpc_access_log.logs_written');
};

test('entries that wait for a log service', async () => {
  // A megabyte of 50 kB each.
  const [one, ofFour] = [await entriesHeld(1), await entriesHeld(4)];
  assert.ok(one >= 18 && one <= 22, `${one} entries`);
  assert.ok(ofFour >= 4 && ofFour <= 6, `${ofFour} entries`);
});

test('a message of log records is never larger than what may wait', async () => {
  await using web = await httpBackend(() => 'x');
  await using logs = await startLogCollector();
  const log = otelLog({
    grpc_service: { envoy_grpc: { cluster_name: 'logs' } },
    body: { string_value: '%REQ(:PATH)%' },
    buffer_size_bytes: 1_000_000_000,
    buffer_flush_interval: '1s',
  });
  await using rig = await startLogging({
    clusters: [staticCluster('web', [web.port]), staticCluster('logs', [logs.port], HTTP2_CLUSTER)],
    listeners: [listener('in', hcm([toCluster('web')], { access_log: [log], max_request_headers_kb: 96 }))],
  });
  const path = `/${'p'.repeat(50_000)}`;
  for (let i = 0; i < 24; i++) await request(rig.port('in'), path);
  await logs.until((m) => m.reduce((sum, { body }) => sum + body['resource_logs'][0].scope_logs[0].log_records.length, 0) === 24);
  assert.equal(rig.count('access_logs.open_telemetry_access_log.logs_dropped'), 0);
});
