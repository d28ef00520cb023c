// A day of golden signals: what rings keep, what a look back adds up, and that a synthetic day stays within its memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOUNDS_MS, bucketOf, percentile } from '../../src/base/latency-buckets.ts';
import { SERIES_PER_PROXY_MAX, SLICE_BYTES_MAX } from '../../src/control/telemetry/limits.ts';
import { OVERFLOW, type SeriesKey } from '../../src/control/telemetry/series-table.ts';
import { SignalStore } from '../../src/control/telemetry/signal-store.ts';
import { type Cells, cellOf, freeze, visit } from '../../src/control/telemetry/slice.ts';

const START = Date.UTC(2030, 0, 1);

const key = (service: string, route = 'default'): SeriesKey => ({
  reporter: 'source',
  sourceWorkload: 'web',
  sourceNamespace: 'shop',
  sourcePrincipal: 'spiffe://cluster.local/ns/shop/sa/web',
  workload: service,
  namespace: 'shop',
  principal: `spiffe://cluster.local/ns/shop/sa/${service}`,
  service: `${service}.shop.svc.cluster.local`,
  serviceNamespace: 'shop',
  version: 'v1',
  route,
  protocol: 'http',
  mtls: 'mutual_tls',
});

const total = (cells: Cells): number => [...cells.values()].reduce((sum, c) => sum + c.requests, 0);

test('a closed slice reads as what was added to it', () => {
  const cells: Cells = new Map();
  const a = cellOf(cells, 7);
  a.requests = 3;
  a.errors = 1;
  a.bytesOut = 5_000_000_000;
  a.time(0, 1);
  a.time(30, 2);
  cellOf(cells, 900_000).opened = 4;
  const read: Record<number, unknown> = {};
  visit(freeze(cells), (id, { requests, errors, bytesIn, bytesOut, opened, times }) => {
    read[id] = { requests, errors, bytesIn, bytesOut, opened, times: times && [times[0], times[30]] };
  });
  assert.deepEqual(read, {
    7: { requests: 3, errors: 1, bytesIn: 0, bytesOut: 5_000_000_000, opened: 0, times: [1, 2] },
    900000: { requests: 0, errors: 0, bytesIn: 0, bytesOut: 0, opened: 4, times: undefined },
  });
});

test('percentiles stand within the bucket of the value', () => {
  const counts = new Float64Array(BOUNDS_MS.length + 1);
  for (let ms = 1; ms <= 100; ms++) counts[bucketOf(ms)] = (counts[bucketOf(ms)] ?? 0) + 1;
  for (const [share, exact] of [
    [0.5, 50],
    [0.95, 95],
    [0.99, 99],
  ] as const) {
    const found = percentile(counts, share) ?? 0;
    const at = bucketOf(exact);
    assert.ok(found > (BOUNDS_MS[at - 1] ?? 0) && found <= (BOUNDS_MS[at] ?? 0), `p${share * 100} is ${found}`);
  }
  assert.equal(percentile(new Float64Array(BOUNDS_MS.length + 1), 0.5), null);
});

test('every look back has exactly what happened since its beginning, whichever ring answers', () => {
  const store = new SignalStore(START);
  const perSecond = 3;
  let now = START;
  for (let s = 0; s < 4 * 3600; s += 5) {
    now = START + s * 1000;
    store.cell(key('order'), 'p', now).requests += 5 * perSecond;
  }
  for (const windowMs of [60_000, 14 * 60_000, 40 * 60_000, 2 * 3600_000, 3.5 * 3600_000]) {
    const look = store.look(windowMs, now);
    const seconds = (now - look.fromMs) / 1000 + 5;
    assert.equal(total(look.cells), seconds * perSecond, `${windowMs} ms`);
    assert.ok(look.fromMs <= now - windowMs + 1 && look.fromMs > now - windowMs - 300_001, `${windowMs} ms begin at ${now - look.fromMs}`);
    assert.equal(look.complete, true);
  }
});

test('a look further back than there is says that it is not complete', () => {
  const store = new SignalStore(START);
  store.cell(key('order'), 'p', START + 1000).requests += 1;
  assert.equal(store.look(3600_000, START + 2000).complete, false);
  assert.equal(total(store.look(3600_000, START + 2000).cells), 1);
});

test('one proxy that names a million routes takes its share, and what is beyond is one series that says so', () => {
  const store = new SignalStore(START);
  for (let i = 0; i < 10_000; i++) store.cell(key('order', `route-${i}`), 'hostile', START).requests += 1;
  store.cell(key('cart'), 'other', START).requests += 1;
  assert.equal(store.table.size, SERIES_PER_PROXY_MAX + 2);
  assert.equal(store.table.overflowed, 10_000 - SERIES_PER_PROXY_MAX);
  const { cells } = store.look(60_000, START);
  const other = [...cells].find(([id]) => store.table.key(id)?.workload === OVERFLOW.workload);
  assert.equal(other?.[1].requests, 10_000 - SERIES_PER_PROXY_MAX);
});

test('a day of 500 requests a second over 60 series stays within its memory', () => {
  globalThis.gc?.();
  const store = new SignalStore(START);
  const keys = Array.from({ length: 60 }, (_, i) => key(`service-${i % 12}`, `route-${i}`));
  const day = 24 * 3600;
  let requests = 0;
  for (let s = 0; s < day; s += 10) {
    const now = START + s * 1000;
    for (const [i, k] of keys.entries()) {
      const cell = store.cell(k, `proxy-${i % 10}`, now);
      const count = 83 + ((s / 10 + i) % 2);
      cell.requests += count;
      cell.bytesIn += count * 300;
      cell.bytesOut += count * 900;
      cell.errors += i % 7 === 0 ? 1 : 0;
      for (let b = 4; b < 12; b++) cell.time(b, 9 + ((s + b) % 3));
      requests += count;
    }
  }
  const { cells, complete } = store.look(24 * 3600_000 - 300_000, START + day * 1000 - 1);
  assert.ok(complete);
  assert.ok(total(cells) > requests * 0.98 && total(cells) <= requests);
  assert.ok(store.bytes < 8 * 1024 * 1024, `closed slices hold ${store.bytes} bytes`);
  assert.ok(store.bytes < SLICE_BYTES_MAX);
});
