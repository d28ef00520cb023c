// What a sidecar tells its control plane: recorded, sent as Envoy's messages, and read by the control plane's own readers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogIntake } from '../../src/control/telemetry/log-intake.ts';
import { MetricsIntake } from '../../src/control/telemetry/metrics-intake.ts';
import { RecentRequests } from '../../src/control/telemetry/recent-requests.ts';
import { SignalStore } from '../../src/control/telemetry/signal-store.ts';
import { Directory, NOBODY, type Speaker } from '../../src/control/telemetry/speaker.ts';
import { summaryRows } from '../../src/control/telemetry/summary.ts';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import { systemClock } from '../../src/proxy/clock.ts';
import type { ListenerContext } from '../../src/proxy/exchange/observer.ts';
import { UNKNOWN_PEER, UPSTREAM_PEER } from '../../src/proxy/telemetry/parties.ts';
import { RequestChoice } from '../../src/proxy/telemetry/request-choice.ts';
import { SummaryLink } from '../../src/proxy/telemetry/summary-link.ts';
import { SummaryRecorder } from '../../src/proxy/telemetry/summary-recorder.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';
import type { StreamEvents } from '../../src/xds/transport.ts';

const own = { ...UNKNOWN_PEER, workload: 'web', namespace: 'shop', canonicalService: 'web', canonicalRevision: 'v1' };
const order = { ...UNKNOWN_PEER, workload: 'order', namespace: 'shop', canonicalService: 'order', canonicalRevision: 'v2' };
const NOW = Date.UTC(2030, 0, 1);

const context = (direction: 'INBOUND' | 'OUTBOUND' | undefined): ListenerContext => ({
  kind: 'http',
  listenerName: '',
  direction,
  statPrefix: '',
  accessLog: [],
  filters: [],
  observed: undefined,
});

const exchange = (status: number, ms: number, route = 'default'): StreamInfo => {
  const info = new StreamInfo();
  info.method = 'GET';
  info.path = '/items?secret=1';
  info.authority = 'order';
  info.responseCode = status;
  info.startTime = NOW;
  info.endTime = NOW + ms;
  info.routeName = route;
  info.upstreamCluster = info.upstreamClusterRaw = 'outbound|80||order.shop.svc.cluster.local';
  info.upstreamHost = '10.0.0.2:80';
  info.bytesSent = 100;
  info.bytesReceived = 10;
  info.clusterMetadata = {
    filter_metadata: { istio: { services: [{ host: 'order.shop.svc.cluster.local', name: 'order', namespace: 'shop' }] } },
  };
  info.filterState[UPSTREAM_PEER] = order as never;
  return info;
};

const request = (id: string, more: Record<string, string> = {}): HeaderBlock => {
  const headers = new HeaderBlock();
  headers.add('x-request-id', id);
  for (const [name, value] of Object.entries(more)) headers.add(name, value);
  return headers;
};

const speaker: Speaker = {
  proxy: 'web-1.shop',
  party: { ...NOBODY, workload: 'web', namespace: 'shop', version: 'v1' },
  gateway: false,
  addresses: ['10.0.0.1'],
  deltas: true,
};

const now = (): number => NOW + 1000;
const directory = new Directory({ instances: { list: () => [] }, trustDomain: () => 'cluster.local', now });

test('what a recorder reports reads as what was recorded, and is told once', () => {
  const choice = new RequestChoice();
  const recorder = new SummaryRecorder({ own, gateway: false, choice });
  const place = context('OUTBOUND');
  for (let i = 0; i < 8; i++) recorder.httpDone(exchange(200, 4), request(`r${i}`), undefined, undefined, place);
  recorder.httpDone(exchange(503, 700, 'other'), request('bad'), undefined, undefined, place);
  recorder.httpDone(exchange(200, 1), undefined, undefined, undefined, context(undefined));
  const store = new SignalStore(NOW);
  const intake = new MetricsIntake({ store, now, lost: () => undefined });
  const bytes = recorder.report();
  assert.ok(bytes);
  intake.take(bytes, () => undefined, speaker);
  assert.equal(recorder.report(), undefined);
  const signals = [...store.look(60_000, now()).cells].flatMap(([id, cell]) => {
    const key = store.table.key(id);
    return key ? [{ key, cell }] : [];
  });
  const rows = summaryRows(signals, 'route', {}, 1);
  assert.deepEqual(
    rows.map((r) => [r.route, r.destination?.service, r.requests, r.errors, r.bytesIn, r.bytesOut]),
    [
      ['default', 'order.shop.svc.cluster.local', 8, 0, 80, 800],
      ['other', 'order.shop.svc.cluster.local', 1, 1, 10, 100],
    ],
  );
  assert.ok((rows[0]?.p99 ?? 0) > 3 && (rows[0]?.p99 ?? 9) <= 4);
  const [edge] = summaryRows(signals, 'edge', {}, 1);
  assert.deepEqual([edge?.source?.workload, edge?.destination?.workload, edge?.requests, edge?.mtls], ['web', 'order', 9, 'none']);
});

test('requests told of one by one have no query, know their trace, and failures come before the rest', () => {
  const choice = new RequestChoice();
  const recorder = new SummaryRecorder({ own, gateway: false, choice });
  const place = context('OUTBOUND');
  const trace = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' };
  for (let i = 0; i < 500; i++) recorder.httpDone(exchange(200, 4), request(`id-${i}`), undefined, undefined, place);
  const failed = exchange(503, 4);
  failed.setFlag(2);
  recorder.httpDone(failed, request('bad', trace), undefined, undefined, place);
  const bytes = choice.report();
  assert.ok(bytes);
  const requests = new RecentRequests();
  const intake = new LogIntake({ store: new SignalStore(NOW), requests, directory, now, counts: true });
  intake.take(
    bytes,
    () => undefined,
    { ...speaker, counts: false },
    () => true,
  );
  assert.equal(requests.size, 100);
  const [found] = requests.find({ status: '503' }, 10);
  assert.deepEqual(
    [found?.path, found?.requestId, found?.traceId, found?.parentSpanId, found?.source.workload, found?.destination.workload],
    ['/items', 'bad', '0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', 'web', 'order'],
  );
  assert.equal(found?.destination.version, 'v2');
  assert.equal(found?.flags, failed.flagsShort());
  assert.equal(choice.report(), undefined);
});

test('two sidecars choose the same requests', () => {
  const chosen = (): string[] => {
    const choice = new RequestChoice();
    const recorder = new SummaryRecorder({ own, gateway: false, choice });
    for (let i = 0; i < 400; i++) recorder.httpDone(exchange(200, 4), request(`id-${i}`), undefined, undefined, context('OUTBOUND'));
    const requests = new RecentRequests();
    const intake = new LogIntake({ store: new SignalStore(NOW), requests, directory, now, counts: false });
    intake.take(
      choice.report() ?? new Uint8Array(),
      () => undefined,
      { ...speaker, counts: false },
      () => true,
    );
    return requests
      .find({}, 1000)
      .map((r) => r.requestId)
      .sort();
  };
  assert.deepEqual(chosen(), chosen());
});

test('a million routes take a bounded number of rows', () => {
  const recorder = new SummaryRecorder({ own, gateway: false, choice: undefined });
  const place = context('OUTBOUND');
  for (let i = 0; i < 3000; i++) recorder.httpDone(exchange(200, 1, `route-${i}`), undefined, undefined, undefined, place);
  assert.equal(recorder.overflowed, 2000);
  const store = new SignalStore(NOW);
  new MetricsIntake({ store, now, lost: () => undefined }).take(recorder.report() ?? new Uint8Array(), () => undefined, speaker);
  const all = [...store.look(60_000, now()).cells.values()].reduce((n, c) => n + c.requests, 0);
  assert.equal(all, 3000);
});

test('a link says who it is on each stream, comes back after one ended, and leaves a control plane alone that has no such service', () => {
  const opened: { method: string; events: StreamEvents; sent: number }[] = [];
  const transport = {
    open: (method: string, events: StreamEvents) => {
      const stream = { method, events, sent: 0 };
      opened.push(stream);
      return { send: () => void stream.sent++, close: () => undefined };
    },
  };
  const link = new SummaryLink(transport, { id: 'sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local' }, systemClock);
  const report = { metrics: Uint8Array.of(1), requests: undefined };
  link.tell(report);
  link.tell(report);
  assert.deepEqual(
    opened.map((s) => s.sent),
    [3],
  );
  opened[0]?.events.end({ code: 14, message: '' });
  link.tell(report);
  assert.deepEqual(
    opened.map((s) => s.sent),
    [3, 2],
  );
  opened[1]?.events.end({ code: 12, message: '' });
  link.tell(report);
  assert.equal(opened.length, 2);
});
