// A collector that takes a request and says that it did not take all that is in it: spans and log records are counted as rejected.
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { rejectedItems } from '../../src/proxy/export/partial-success.ts';
import { hcm, httpBackend, listener, staticCluster, toCluster } from './harness.ts';
import { HTTP2_CLUSTER } from './http2-peers.ts';
import { startCollector as startLogCollector } from './log-collector.ts';
import { otelLog, request, startLogging } from './log-rig.ts';
import { startTracedPlane } from './tracing-plane.ts';
import { type Collector, startCollector, startGrpcCollector } from './tracing-rig.ts';

const until = async (holds: () => boolean): Promise<void> => {
  for (const end = Date.now() + 8000; !holds(); ) {
    if (Date.now() > end) throw new Error('not within 8 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

/** ExportTraceServiceResponse or ExportLogsServiceResponse. */
const partly = (rejected: number, message = ''): Buffer => {
  const inner = [0x08, rejected, ...(message === '' ? [] : [0x12, message.length, ...Buffer.from(message)])];
  return Buffer.from([0x0a, inner.length, ...inner]);
};

test('the number is read, whatever stands around it', () => {
  assert.equal(rejectedItems(partly(3, 'too old')), 3);
  assert.equal(rejectedItems(Buffer.concat([Buffer.from([0x10, 0x07]), partly(3), Buffer.from([0x1a, 0x01, 0x78])])), 3);
  assert.equal(rejectedItems(Buffer.from([0x0a, 0x03, 0x08, 0xac, 0x02])), 300);
});

test('an answer without the number, or that is no such message, rejects nothing', () => {
  for (const bytes of [[], [0x0a, 0x00], [0x0a, 0x03, 0x12, 0x01, 0x78], [0x0a, 0x09, 0x08], [0xff], [0x0a, 0x02, 0x08, 0x00]])
    assert.equal(rejectedItems(Buffer.from(bytes)), 0, `${bytes}`);
  assert.equal(rejectedItems(Buffer.from('{}')), 0);
  assert.equal(rejectedItems(Buffer.from('<html>')), 0);
  const minusOne = Buffer.from([0x0a, 0x0b, 0x08, ...Array(9).fill(0xff), 0x01]);
  assert.equal(rejectedItems(minusOne), 0);
});

const rejectsSpans = async (collector: Collector, tracer: 'otlp' | 'grpc'): Promise<void> => {
  await using proxy = await startTracedPlane(collector.port, tracer);
  const stat = (name: string): number => proxy.stat(`tracing.opentelemetry.${name}`);
  collector.said = partly(2, 'too old');
  await Promise.all(['/a', '/b', '/c'].map((path) => proxy.ask(path)));
  await until(() => stat('spans_sent') + stat('spans_rejected') === 3);
  // Two of each report, or its only one.
  assert.equal(stat('spans_rejected'), 3 - stat('spans_sent'));
  assert.ok(stat('spans_rejected') >= 2);
  assert.equal(stat('spans_failed') + stat('spans_dropped') + stat('reports_failed') + stat('reports_dropped'), 0);
};

test('spans over HTTP', async () => {
  await using collector = await startCollector('otlp');
  await rejectsSpans(collector, 'otlp');
});

test('spans over gRPC', async () => {
  await using collector = await startGrpcCollector();
  await rejectsSpans(collector, 'grpc');
});

const LOGS = 'access_logs.open_telemetry_access_log.';

const rejectsRecords = async (port: number, log: object, more: object): Promise<void> => {
  await using web = await httpBackend(() => 'x');
  await using rig = await startLogging({
    clusters: [staticCluster('web', [web.port]), staticCluster('logs', [port], more)],
    listeners: [listener('in', hcm([toCluster('web')], { access_log: [otelLog({ ...log, buffer_size_bytes: 0 })] }))],
  });
  const count = (name: string): number => rig.count(`${LOGS}${name}`);
  assert.equal(await request(rig.port('in'), '/a'), 200);
  await until(() => count('logs_rejected') === 1);
  assert.deepEqual([count('logs_written'), count('logs_dropped')], [0, 0]);
};

test('log records over gRPC', async () => {
  await using logs = await startLogCollector({ said: partly(1) });
  await rejectsRecords(logs.port, { grpc_service: { envoy_grpc: { cluster_name: 'logs' } } }, HTTP2_CLUSTER);
});

test('log records over HTTP', async () => {
  const server: Server = createServer((asked, answer) => {
    asked.resume();
    asked.on('end', () => answer.end(partly(1)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await rejectsRecords(port, { http_service: { http_uri: { uri: 'http://logs/v1/logs', cluster: 'logs', timeout: '1s' } } }, {});
  server.closeAllConnections();
  server.close();
});
