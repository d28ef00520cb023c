// Traces from requests that sidecars told of, and the summary of a Prometheus.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { PrometheusError, PrometheusSummary } from '../../src/control/telemetry/prometheus-summary.ts';
import type { RecentRequest } from '../../src/control/telemetry/recent-requests.ts';
import type { ReportedSpan } from '../../src/control/telemetry/recent-spans.ts';
import { NOBODY } from '../../src/control/telemetry/speaker.ts';
import { summaryRows } from '../../src/control/telemetry/summary.ts';
import { buildTrace, type Trace } from '../../src/control/telemetry/trace.ts';

const T = Date.UTC(2030, 0, 1);
const party = (workload: string) => ({ ...NOBODY, workload, namespace: 'shop' });

const told = (
  reporter: RecentRequest['reporter'],
  [from, to]: readonly [string, string],
  [startMs, durationMs]: readonly [number, number],
  more: Partial<RecentRequest> = {},
): RecentRequest => ({
  atMs: T + startMs,
  reporter,
  proxy: `${reporter === 'destination' ? to : from}-1.shop`,
  source: party(from),
  destination: party(to),
  method: 'GET',
  path: `/${to}`,
  authority: to,
  status: 200,
  flags: '',
  details: '',
  durationMs,
  bytesIn: 0,
  bytesOut: 0,
  route: '',
  cluster: '',
  protocol: 'http',
  requestId: 'r1',
  traceId: '',
  spanId: '',
  parentSpanId: '',
  attempts: 1,
  ...more,
});

const chain = (): RecentRequest[] => [
  told('destination', ['order', 'payment'], [23, 4]),
  told('source', ['order', 'payment'], [22, 6]),
  told('destination', ['web', 'order'], [12, 30]),
  told('source', ['web', 'order'], [11, 32]),
  told('gateway', ['edge', 'web'], [0, 60]),
  told('destination', ['edge', 'web'], [1, 58]),
];

test('without spans of their own, requests nest by who called whom and when', () => {
  const trace = buildTrace('r1', chain(), [], chain());
  assert.ok(trace);
  const name = new Map(trace.spans.map((s) => [s.spanId, `${s.kind} ${s.service}`]));
  assert.deepEqual(
    trace.spans.map((s) => [name.get(s.spanId), name.get(s.parentSpanId) ?? '']),
    [
      ['client edge.shop', ''],
      ['server web.shop', 'client edge.shop'],
      ['client web.shop', 'server web.shop'],
      ['server order.shop', 'client web.shop'],
      ['client order.shop', 'server order.shop'],
      ['server payment.shop', 'client order.shop'],
    ],
  );
  assert.equal(trace.partial, false);
  assert.match(trace.notes.join(), /no spans of their own/);
});

test('ids that sidecars say are kept, and their parents', () => {
  const traced = { traceId: 'a'.repeat(32) };
  const spans = [
    told('source', ['web', 'order'], [0, 10], { ...traced, spanId: '01' }),
    told('destination', ['web', 'order'], [1, 8], { ...traced, spanId: '02', parentSpanId: '01' }),
  ];
  const trace = buildTrace('a'.repeat(32), spans, [], spans);
  assert.deepEqual(
    trace?.spans.map((s) => [s.spanId, s.parentSpanId]),
    [
      ['01', ''],
      ['02', '01'],
    ],
  );
  assert.deepEqual([trace?.partial, trace?.notes], [false, []]);
});

test('an application that does not hand its headers on is named, and its trace is partial', () => {
  const whole = chain();
  const own = whole.filter((r) => r.destination.workload === 'web');
  const others = whole.map((r) => (own.includes(r) ? r : { ...r, requestId: 'r2' }));
  const trace = buildTrace('r1', own, [], others);
  assert.equal(trace?.partial, true);
  assert.match(trace?.notes.join() ?? '', /web\.shop made a request with another trace meanwhile/);
  assert.equal(buildTrace('nobody', [], [], others), undefined);
});

test('a Prometheus answers the same rows', async () => {
  const labels = {
    reporter: 'source',
    source_workload: 'web',
    source_workload_namespace: 'shop',
    destination_workload: 'order',
    destination_workload_namespace: 'shop',
    destination_service: 'order.shop.svc.cluster.local',
    request_protocol: 'http',
  };
  const value = (more: object, n: number) => ({ metric: { ...labels, ...more }, value: [0, String(n)] });
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const query = new URLSearchParams(body).get('query') ?? '';
      const result = query.includes('istio_requests_total')
        ? [value({ response_code: '200' }, 90), value({ response_code: '503' }, 10)]
        : query.includes('_bucket')
          ? [value({ le: '5' }, 0), value({ le: '10' }, 50), value({ le: '25' }, 100), value({ le: '+Inf' }, 100)]
          : [];
      response.end(JSON.stringify({ status: 'success', data: { resultType: 'vector', result } }));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const [row, ...rest] = summaryRows(await new PrometheusSummary(`http://127.0.0.1:${port}/`).signals(60), 'edge', {}, 60);
  assert.equal(rest.length, 0);
  assert.deepEqual([row?.source?.workload, row?.requests, row?.errors], ['web', 100, 10]);
  assert.ok(row?.p50 === 10 && (row.p99 ?? 0) > 20 && (row.p99 ?? 99) <= 25, JSON.stringify(row));
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
  await assert.rejects(() => new PrometheusSummary(`http://127.0.0.1:${port}`).signals(60), PrometheusError);
});

test('a request and the span that its sidecar reported of it are one; nobody else’s span takes its place', () => {
  const traceId = 'a'.repeat(32);
  const span = (spanId: string, teller: string, more: Partial<ReportedSpan> = {}): ReportedSpan => ({
    ...{ traceId, spanId, parentSpanId: '', kind: 'client', name: 'egress order', service: 'web.shop', teller },
    ...{ sidecar: true, startUs: T * 1000, durationUs: 9000, failed: false, attributes: { own: 'x' } },
    ...more,
  });
  const requests = [
    told('source', ['web', 'order'], [0, 10], { traceId, spanId: '01' }),
    told('destination', ['web', 'order'], [1, 8], { traceId, spanId: '02', parentSpanId: '01' }),
  ];
  const trace = buildTrace(traceId, requests, [span('01', 'web-1.shop'), span('02', 'mallory.evil', { parentSpanId: '01' })], requests);
  assert.deepEqual(
    trace?.spans.map((s) => [s.spanId, s.parentSpanId, s.name, s.durationUs, s.attributes['own'], s.attributes['http.path']]),
    [
      ['01', '', 'GET /order', 9000, 'x', '/order'],
      ['02-of-mallory.evil', '01', 'egress order', 9000, 'x', undefined],
      ['02', '01', 'GET /order', 8000, undefined, '/order'],
    ],
  );
});

test('an application whose account has the name of a replica reports nothing in its sidecar’s place', () => {
  const traceId = 'c'.repeat(32);
  const requests = [told('destination', ['edge', 'web'], [0, 50], { traceId, spanId: '01' })];
  const forged: ReportedSpan = {
    ...{ traceId, spanId: '01', parentSpanId: '', kind: 'server', name: 'forged', service: 'web.shop', teller: 'web-1.shop' },
    ...{ sidecar: false, startUs: T * 1000 - 5000, durationUs: 1, failed: false, attributes: { 'http.path': '/forged' } },
  };
  const trace = buildTrace(traceId, requests, [forged], requests);
  assert.deepEqual(
    trace?.spans.map((s) => [s.spanId, s.durationUs, s.attributes['http.path']]),
    [
      ['01-of-web-1.shop', 1, '/forged'],
      ['01', 50_000, '/web'],
    ],
  );
});

test('what an application reports elsewhere is told of as missing, and its calls stand below its request', () => {
  const traceId = 'b'.repeat(32);
  const requests = [
    told('destination', ['edge', 'web'], [0, 50], { traceId, spanId: '01' }),
    told('source', ['web', 'order'], [5, 10], { traceId, spanId: '03', parentSpanId: '02' }),
  ];
  const reported = requests.map(
    (r, i): ReportedSpan => ({
      ...{ traceId, spanId: r.spanId, parentSpanId: r.parentSpanId, kind: i === 0 ? 'server' : 'client', name: 'n', service: 'web.shop' },
      ...{ teller: 'web-1.shop', sidecar: true, startUs: r.atMs * 1000, durationUs: r.durationMs * 1000, failed: false, attributes: {} },
    }),
  );
  const trace = buildTrace(traceId, requests, reported, requests);
  assert.deepEqual([trace?.spans[1]?.parentSpanId, trace?.partial], ['01', false]);
  assert.match(trace?.notes.join() ?? '', /a span of web\.shop itself was not told of/);
});

const reportedSpan = (spanId: string, parentSpanId: string, startMs: number, durationMs = 10): ReportedSpan => ({
  ...{ traceId: 'd'.repeat(32), spanId, parentSpanId, kind: 'internal', name: spanId, service: 'web.shop', teller: 'web.shop' },
  ...{ sidecar: false, startUs: (T + startMs) * 1000, durationUs: durationMs * 1000, failed: false, attributes: {} },
});

/** Every span has at most one parent, which is there, and none is its own ancestor. */
const assertForest = (trace: Trace | undefined): void => {
  const byId = new Map((trace?.spans ?? []).map((s) => [s.spanId, s]));
  for (const span of trace?.spans ?? []) {
    const seen = new Set<string>();
    for (let at = byId.get(span.spanId); at !== undefined; at = byId.get(at.parentSpanId)) {
      assert.ok(!seen.has(at.spanId), `${span.spanId} is its own ancestor`);
      seen.add(at.spanId);
      assert.ok(at.parentSpanId === '' || byId.has(at.parentSpanId), `${at.spanId} hangs in the air`);
    }
  }
};

test('spans that name each other as parents, or themselves, are a trace that begins with the first, and says so', () => {
  const circle = [reportedSpan('a', 'c', 5), reportedSpan('b', 'a', 1), reportedSpan('c', 'b', 3)];
  const trace = buildTrace('d'.repeat(32), [], [...circle, reportedSpan('leaf', 'b', 8), reportedSpan('own', 'own', 9)], []);
  assertForest(trace);
  assert.deepEqual(
    trace?.spans.map((s) => [s.spanId, s.parentSpanId]),
    [
      ['b', ''],
      ['c', 'b'],
      ['a', 'c'],
      ['leaf', 'b'],
      ['own', ''],
    ],
  );
  assert.equal(trace?.partial, true);
  assert.match(trace?.notes.join() ?? '', /a span of web\.shop named its own descendant as parent/);
});

test('a workload that calls itself causes its own call, and not the other way round', () => {
  const requests = [
    told('destination', ['edge', 'web'], [9, 12]),
    told('source', ['web', 'web'], [10, 10]),
    told('destination', ['web', 'web'], [10, 8]),
  ];
  const trace = buildTrace('r1', requests, [], requests);
  assertForest(trace);
  assert.deepEqual(
    trace?.spans.map((s) => [s.kind, s.durationUs, trace.spans.findIndex((other) => other.spanId === s.parentSpanId)]),
    [
      ['server', 12_000, -1],
      ['client', 10_000, 0],
      ['server', 8000, 1],
    ],
  );
  assert.equal(trace?.partial, false);
});

test('a server’s clock that is a little early hides nobody’s caller', () => {
  const requests = [told('source', ['web', 'order'], [10, 10]), told('destination', ['web', 'order'], [7, 9])];
  const trace = buildTrace('r1', requests, [], requests);
  assert.deepEqual(
    trace?.spans.map((s) => [s.kind, s.parentSpanId === '']),
    [
      ['server', false],
      ['client', true],
    ],
  );
});

test('many spans without a parent are counted, not listed', () => {
  const trace = buildTrace(
    'd'.repeat(32),
    [],
    Array.from({ length: 500 }, (_, i) => reportedSpan(`s${i}`, `lost${i}`, i)),
    [],
  );
  assertForest(trace);
  assert.ok((trace?.notes.length ?? 0) < 30);
  assert.match(trace?.notes.join() ?? '', /479 more have no parent here/);
});

test('calls of other traces are counted once, however many requests were being served', () => {
  const own = [told('destination', ['edge', 'web'], [0, 50]), told('destination', ['edge', 'web'], [5, 100])];
  const calls = [
    told('source', ['web', 'order'], [10, 5]),
    told('source', ['web', 'order'], [60, 5]),
    told('source', ['web', 'order'], [120, 5]),
  ];
  const trace = buildTrace('r1', own, [], [...own, ...calls.map((r) => ({ ...r, requestId: 'r2' }))]);
  assert.deepEqual(
    trace?.notes.filter((n) => n.includes('another trace')),
    ['web.shop made 2 requests with another trace meanwhile: does it hand x-request-id and traceparent on?'],
  );
});

test('the work for a trace grows with its spans, not with their square', () => {
  let looks = 0;
  const watched = (request: RecentRequest): RecentRequest =>
    new Proxy(request, {
      get: (target, name) => {
        looks++;
        return Reflect.get(target, name);
      },
    });
  /** All of the same workloads at the same time; `apart`: calls of other traces besides. */
  const work = (n: number, ids: boolean, apart: boolean): number => {
    const own = Array.from({ length: n }, (_, i) => {
      const named = ids ? { spanId: `s${i}`, parentSpanId: `s${i + 1}` } : {};
      return watched(told(i % 2 === 0 ? 'source' : 'destination', ['web', apart ? 'web' : 'order'], [i / n, 50], named));
    });
    const others = own.map((r) => watched({ ...r, requestId: 'r2', reporter: 'source', parentSpanId: '' }));
    looks = 0;
    assertForest(buildTrace('r1', own, [], others));
    return looks;
  };
  for (const ids of [false, true])
    for (const apart of [false, true]) {
      const ratio = work(2000, ids, apart) / work(250, ids, apart);
      assert.ok(ratio < 16, `eight times the spans, ${ratio} times the work`);
    }
});
