// What a day of summaries may cost: the heap with every ring full, and the disk however much there is to write.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { REQUEST_BYTES_MAX, REQUESTS_MAX, SLICE_BYTES_MAX, SPAN_BYTES_MAX, SPANS_MAX } from '../../src/control/telemetry/limits.ts';
import { RecentRequests } from '../../src/control/telemetry/recent-requests.ts';
import { RecentSpans } from '../../src/control/telemetry/recent-spans.ts';
import type { SeriesKey } from '../../src/control/telemetry/series-table.ts';
import { SignalStore } from '../../src/control/telemetry/signal-store.ts';
import { SliceFiles } from '../../src/control/telemetry/slice-files.ts';
import { NOBODY } from '../../src/control/telemetry/speaker.ts';

const START = Date.UTC(2030, 0, 1);
const MB = 1024 * 1024;
/** Issue F's budget, with room for what this does not count. */
const HEAP_MAX = 100 * MB;

const key = (i: number): SeriesKey => ({
  reporter: i % 2 === 0 ? 'source' : 'destination',
  sourceWorkload: `caller-${i % 5}`,
  sourceNamespace: 'shop',
  sourcePrincipal: `spiffe://cluster.local/ns/shop/sa/caller-${i % 5}`,
  workload: `service-${i % 12}`,
  namespace: 'shop',
  principal: `spiffe://cluster.local/ns/shop/sa/service-${i % 12}`,
  service: `service-${i % 12}.shop.svc.cluster.local`,
  serviceNamespace: 'shop',
  version: 'v1',
  route: `route-${i}`,
  protocol: 'http',
  mtls: 'mutual_tls',
});

/** After everything that is garbage went. */
const heapUsed = (): number => {
  const bun = (globalThis as { readonly Bun?: { gc(force: boolean): void } }).Bun;
  if (bun === undefined) {
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
  } else bun.gc(true);
  return process.memoryUsage().heapUsed;
};

const fillDay = (store: SignalStore, series: number): void => {
  const keys = Array.from({ length: series }, (_, i) => key(i));
  const perSeries = (500 * 10) / series;
  for (let s = 0; s < 24 * 3600; s += 10)
    for (const [i, k] of keys.entries()) {
      const cell = store.cell(k, `proxy-${i % 10}`, START + s * 1000);
      cell.requests += perSeries;
      cell.bytesIn += perSeries * 300;
      for (let b = 4; b < 12; b++) cell.time(b, perSeries / 8 + ((s + b) % 3));
    }
};

const digits = (i: number, length: number): string => i.toString(16).padStart(length, '0');

const fillRequests = (requests: RecentRequests): void => {
  for (let i = 0; i < REQUESTS_MAX + 100; i++) {
    const [source, destination] = [
      { ...NOBODY, workload: 'web' },
      { ...NOBODY, workload: 'order', service: 'order.shop' },
    ];
    const ids = { requestId: `${digits(i, 36)}`, traceId: digits(i, 32), spanId: digits(i, 16), parentSpanId: digits(i + 1, 16) };
    const answer = { status: 200, flags: '', details: 'via_upstream', durationMs: 3, bytesIn: 1, bytesOut: 2, attempts: 1 };
    const place = { route: 'default', cluster: 'outbound|80||order', protocol: 'http', proxy: `web-${i % 9}.shop` };
    const asked = { method: 'GET', path: `/cart/${i}/${'x'.repeat(80)}`, authority: 'order' };
    requests.add({ atMs: START + i, reporter: 'source', source, destination, ...ids, ...answer, ...place, ...asked });
  }
};

const fillSpans = (spans: RecentSpans): void => {
  for (let i = 1; i <= SPANS_MAX + 100; i++)
    spans.add({
      ...{ traceId: digits(i, 32), spanId: digits(i, 16), parentSpanId: '', kind: 'server', name: `ingress ${i}`, failed: false },
      ...{ startUs: (START + i) * 1000, durationUs: 5, service: 'order.shop', teller: 'order-1.shop', sidecar: true },
      attributes: Object.fromEntries(Array.from({ length: 20 }, (_, a) => [`attribute.number.${a}`, `value ${i} ${a}`])),
    });
};

test('24 hours at 500 requests a second, with requests and spans up to their bounds, stay far below 128 MB of heap', () => {
  const before = heapUsed();
  const [store, requests, spans] = [new SignalStore(START), new RecentRequests(), new RecentSpans()];
  fillDay(store, 60);
  fillRequests(requests);
  fillSpans(spans);
  const heap = heapUsed() - before;
  assert.ok(heap < HEAP_MAX, `${Math.round(heap / MB)} MB of heap`);
  assert.ok(store.look(23 * 3600_000, START + 24 * 3600_000 - 1).complete);
  assert.equal(requests.size, REQUESTS_MAX);
  assert.ok(store.bytes > 0 && store.bytes < 8 * MB, `${store.bytes} bytes of slices`);
  assert.ok(requests.bytes <= REQUEST_BYTES_MAX && spans.bytes <= SPAN_BYTES_MAX);
  // What the bounds allow at worst is within the budget too.
  assert.ok(SLICE_BYTES_MAX + REQUEST_BYTES_MAX + SPAN_BYTES_MAX < 128 * MB);
});

const sizeOf = (folder: string): number => readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

/** The hours of one budget after another, a minute at a time; what is on disk after each. */
const writeHours = (
  folder: string,
  bytesMax: number,
  hours: number,
): { readonly most: number; readonly lost: number; readonly kept: string[] } => {
  const problems: string[] = [];
  const files = new SliceFiles({ folder, bytesMax, failed: (problem) => problems.push(problem) });
  let most = 0;
  for (let hour = 0; hour < hours; hour++) {
    const store = new SignalStore(START + hour * 3600_000);
    // As the last minute of a process is written, which is at once.
    store.onMinute = (slice) => files.appendNow(slice, store.table, slice.atMs);
    for (let minute = 0; minute < 60; minute++)
      for (let i = 0; i < 20; i++) store.cell(key(i), 'p', START + hour * 3600_000 + minute * 60_000).requests += 1;
    store.finish(START + (hour + 1) * 3600_000 - 1);
    most = Math.max(most, sizeOf(folder));
  }
  return { most, lost: files.lost, kept: readdirSync(folder).sort() };
};

test('the disk budget holds: the oldest hours go, and an hour that is larger than all of it loses its minutes, counted', () => {
  const root = mkdtempSync(join(tmpdir(), 'skein-slices-'));
  try {
    const hour = writeHours(join(root, 'one'), 64 * MB, 1).most;
    const few = writeHours(join(root, 'few'), Math.floor(hour * 3.5), 8);
    assert.ok(few.most <= hour * 3.5 && few.most > hour * 2, `${few.most} bytes, an hour has ${hour}`);
    assert.deepEqual(few.kept.length, 3);
    assert.equal(few.kept.at(-1), `signals-${START + 7 * 3600_000}.bin`);
    assert.equal(few.lost, 0);
    const small = writeHours(join(root, 'small'), Math.floor(hour / 2), 2);
    assert.ok(small.most <= hour / 2, `${small.most} bytes`);
    assert.ok(small.lost > 20, `${small.lost} minutes lost`);
    assert.equal(small.kept.length, 1);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
