// Collectors that are down, slow, refusing: requests go on, what is lost is counted, and spans come again by themselves.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePort } from '../free-port.ts';
import { startTracedPlane } from './tracing-plane.ts';
import { type Collector, startCollector, startGrpcCollector } from './tracing-rig.ts';

const until = async (what: string, holds: () => boolean): Promise<void> => {
  for (const end = Date.now() + 20_000; !holds(); ) {
    if (Date.now() > end) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

const recovers = async (collector: Collector, tracer: 'otlp' | 'grpc', bad: number | undefined, counter: string): Promise<void> => {
  await using proxy = await startTracedPlane(collector.port, tracer);
  collector.answer = bad;
  assert.equal(await proxy.ask('/first'), 200);
  await until(`${counter} counts`, () => proxy.stat(`tracing.opentelemetry.${counter}`) > 0);
  assert.equal(await proxy.ask('/second'), 200);
  collector.answer = 200;
  await collector.whenSpans(1, 10_000);
};

test('a collector that answers 503 is asked again and loses nothing', async () => {
  await using collector = await startCollector('otlp');
  await recovers(collector, 'otlp', 503, 'reports_failed');
  assert.deepEqual(new Set(collector.spans().map((span) => new URL(span.tags['http.url'] ?? '').pathname)).has('/first'), true);
});

test('a collector that refuses with 400 is not asked again for the same spans', async () => {
  await using collector = await startCollector('otlp');
  await recovers(collector, 'otlp', 400, 'spans_failed');
  assert.deepEqual(
    collector.spans().map((span) => new URL(span.tags['http.url'] ?? '').pathname),
    ['/second'],
  );
});

test('a collector that never answers is given up in time and asked again', async () => {
  await using collector = await startCollector('otlp');
  await recovers(collector, 'otlp', undefined, 'reports_failed');
});

test('a gRPC collector that is unavailable is asked again', async () => {
  await using collector = await startGrpcCollector();
  await recovers(collector, 'grpc', 14, 'reports_failed');
});

test('spans wait for a collector that is not there yet', async () => {
  const port = await freePort();
  await using proxy = await startTracedPlane(port, 'otlp');
  assert.equal(await proxy.ask('/x'), 200);
  await until('a report failed', () => proxy.stat('tracing.opentelemetry.reports_failed') > 0);
  await using collector = await startCollector('otlp', port);
  assert.equal((await collector.whenSpans(1, 10_000)).length, 1);
});

test('a cluster that is missing is counted, and spans go when it comes', async () => {
  await using collector = await startCollector('otlp');
  await using proxy = await startTracedPlane(undefined, 'otlp');
  assert.equal(await proxy.ask('/x'), 200);
  await until('it is missed', () => proxy.stat('tracing.opentelemetry.reports_skipped_no_cluster') > 0);
  proxy.lead(collector.port);
  assert.equal((await collector.whenSpans(1, 10_000)).length, 1);
});

test('more spans than the queue holds are dropped and counted, and every request is answered', async () => {
  await using collector = await startCollector('otlp');
  await using proxy = await startTracedPlane(collector.port, 'otlp', { max_cache_size: 5 });
  collector.answer = undefined;
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => proxy.ask(`/${i}`)));
  assert.deepEqual(new Set(answers), new Set([200]));
  assert.equal(proxy.stat('tracing.opentelemetry.spans_dropped'), 15);
});

test('a proxy that closes waits no longer for its collector than a second', async () => {
  await using collector = await startCollector('otlp');
  await using proxy = await startTracedPlane(collector.port, 'otlp');
  collector.answer = undefined;
  await proxy.ask('/x');
  const start = Date.now();
  await proxy.plane.close();
  assert.ok(Date.now() - start < 8000, `${Date.now() - start} ms`);
  assert.equal(proxy.stat('tracing.opentelemetry.spans_failed'), 1);
});
