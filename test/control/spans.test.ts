// Spans that sidecars and applications report to a live control plane: who may, what is kept, what is refused, and the trace that comes of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { SPAN_ATTRIBUTES_MAX, SPAN_BYTES_MAX, SPANS_MAX } from '../../src/control/telemetry/limits.ts';
import { RecentSpans, type ReportedSpan } from '../../src/control/telemetry/recent-spans.ts';
import { TRACE_METHOD } from '../../src/control/telemetry/span-intake.ts';
import type { Trace } from '../../src/control/telemetry/trace.ts';
import type { SpanRecord } from '../../src/plan/tracing/span.ts';
import { encodeSpan, exportRequest } from '../../src/proxy/tracing/otlp-spans.ts';
import { type Rig, startRig } from './rig.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const START_US = 1_900_000_000_000_000;

const span = (spanId: string, parentId: string, more: Partial<SpanRecord> = {}): SpanRecord => ({
  traceId: TRACE,
  spanId,
  parentId,
  state: '',
  remoteParent: false,
  kind: 'server',
  name: spanId,
  startUs: START_US,
  durationUs: 1000,
  tags: new Map(),
  events: [],
  status: 200,
  failed: false,
  ...more,
});

const batch = (service: string, ...spans: readonly SpanRecord[]): Uint8Array =>
  exportRequest(new Map([['service.name', service]]))(spans.map(encodeSpan));

interface Answer {
  readonly code: number;
  readonly message: string;
  readonly bytes: string;
}

const send = (address: string, token: string | undefined, bytes: Uint8Array, node?: string): Promise<Answer> =>
  new Promise((resolve) => {
    const metadata = new Metadata();
    if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
    if (node !== undefined) metadata.set('x-skein-node', node);
    const client = new Client(address, credentials.createInsecure());
    const raw = (b: Buffer): Buffer => b;
    client.makeUnaryRequest(TRACE_METHOD, raw, raw, Buffer.from(bytes), metadata, (error: ServiceError | null, answer?: Buffer) => {
      client.close();
      resolve({ code: error?.code ?? 0, message: error?.details ?? '', bytes: answer?.toString('latin1') ?? '' });
    });
  });

const withRig = async (act: (rig: Rig, address: string) => Promise<void>, over: Parameters<typeof startRig>[1] = {}): Promise<void> => {
  const rig = await startRig({}, over);
  try {
    await act(rig, rig.controlPlane.xds[0] ?? '');
  } finally {
    await rig.close();
  }
};

const nodeId = (name: string): string => `sidecar~10.0.0.1~${name}.default~default.svc.cluster.local`;

const traceOf = async (rig: Rig, id: string): Promise<Trace> => {
  const { status, body } = await rig.admin('GET', `/v1/telemetry/traces/${id}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body as Trace;
};

const shape = (trace: Trace): readonly unknown[] => trace.spans.map((s) => [s.spanId, s.parentSpanId, s.kind, s.service, s.status]);

const [A, B, C] = ['00000000000000a1', '00000000000000b2', '00000000000000c3'];

test('spans of a sidecar and of an application nest by their ids, under the names that each has proven or gives itself', () =>
  withRig(async (rig, address) => {
    const web = await rig.token('web');
    const client = span(A, '', {
      kind: 'client',
      durationUs: 5000,
      tags: new Map([
        ['guid:x-request-id', 'r-1'],
        ['http.status_code', '503'],
      ]),
    });
    assert.deepEqual(await send(address, web, batch('somebody else', client), nodeId('web')), { code: 0, message: '', bytes: '' });
    const inside = span(C, B, {
      startUs: START_US + 2000,
      failed: true,
      tags: new Map([['http.request.header.authorization', 'Bearer s3cret']]),
    });
    await send(address, await rig.token('order'), batch('order-app', span(B, A, { startUs: START_US + 1000 }), inside));
    for (const id of [TRACE, 'r-1']) {
      const trace = await traceOf(rig, id);
      assert.equal(trace.traceId, TRACE);
      assert.equal(trace.partial, false);
      assert.deepEqual(shape(trace), [
        [A, '', 'client', 'web.default', 503],
        [B, A, 'server', 'order-app', 'ok'],
        [C, B, 'server', 'order-app', 'error'],
      ]);
      assert.equal(trace.spans[2]?.attributes['reported.by'], 'order.default');
      assert.doesNotMatch(JSON.stringify(trace), /s3cret/);
    }
  }));

test('a trace with a part that nobody reported is partial, and says at what', () =>
  withRig(async (rig, address) => {
    await send(address, await rig.token('web'), batch('web', span(A, ''), span(C, B, { startUs: START_US + 10 })));
    const trace = await traceOf(rig, TRACE);
    assert.equal(trace.partial, true);
    assert.match(trace.notes.join(), new RegExp(`${C} at web has no parent here`));
  }));

test('a batch that is sent again brings nothing twice', () =>
  withRig(async (rig, address) => {
    const token = await rig.token('web');
    for (let i = 0; i < 2; i++) await send(address, token, batch('web', span(A, ''), span(B, A)));
    assert.equal((await traceOf(rig, TRACE)).spans.length, 2);
  }));

test('strangers are not heard, broken messages are refused, and spans without ids are counted in the answer', () =>
  withRig(async (rig, address) => {
    const token = await rig.token('web');
    assert.equal((await send(address, undefined, batch('web', span(A, '')))).code, 16);
    assert.equal((await send(address, 'nonsense', batch('web', span(A, '')))).code, 16);
    assert.equal((await send(address, token, Uint8Array.of(0x0a, 0xff))).code, 3);
    const answer = await send(address, token, batch('web', span(A, ''), span('0000000000000000', A)));
    assert.match(answer.bytes, /1 spans without a valid trace id and span id/);
    assert.equal((await traceOf(rig, TRACE)).spans.length, 1);
    assert.equal((await rig.admin('GET', '/v1/telemetry/traces/unheard')).status, 404);
  }));

test('who reports faster than it is read is refused for now, and others are not', () =>
  withRig(async (rig, address) => {
    const token = await rig.token('flood');
    const large = batch('flood', ...Array.from({ length: 64 }, () => span(A, '', { name: 'x'.repeat(30_000) })));
    let code = 0;
    for (let i = 0; i < 20 && code === 0; i++) ({ code } = await send(address, token, large));
    assert.equal(code, 8);
    assert.equal((await send(address, await rig.token('web'), batch('web', span(B, '')))).code, 0);
  }));

test('without telemetry there is no such service', () =>
  withRig(async (rig, address) => assert.equal((await send(address, await rig.token('web'), batch('web', span(A, '')))).code, 12), {
    withoutTelemetry: true,
  }));

test('spans are kept up to a number and up to so many bytes, the newest', () => {
  const kept = (i: number, attributes: ReportedSpan['attributes']): ReportedSpan => ({
    traceId: i.toString(16).padStart(32, '0'),
    spanId: i.toString(16).padStart(16, '0'),
    parentSpanId: '',
    kind: 'server',
    name: 'n',
    startUs: 0,
    durationUs: 0,
    failed: false,
    attributes,
    service: 's',
    teller: 't',
    sidecar: true,
  });
  const small = new RecentSpans();
  for (let i = 1; i <= SPANS_MAX + 10; i++) small.add(kept(i, {}));
  assert.equal(small.size, SPANS_MAX);
  assert.equal(small.find('1', 10).length, 0);
  assert.equal(small.find((SPANS_MAX + 10).toString(16), 10).length, 1);
  const large = new RecentSpans();
  const full = Object.fromEntries(Array.from({ length: SPAN_ATTRIBUTES_MAX }, (_, i) => [`k${i}`, 'v'.repeat(1024)]));
  for (let i = 1; i <= 2000; i++) large.add(kept(i, full));
  assert.ok(large.bytes <= SPAN_BYTES_MAX && large.size < 2000, `${large.size} spans, ${large.bytes} bytes`);
});

test('a span that somebody else reports first, under the same id, takes nobody’s place', () => {
  const spans = new RecentSpans();
  const reported = (teller: string, sidecar: boolean): ReportedSpan => ({
    ...{ traceId: '1'.padStart(32, '0'), spanId: '2'.padStart(16, '0'), parentSpanId: '', kind: 'client', name: 'n', service: teller },
    ...{ startUs: 0, durationUs: 0, failed: false, attributes: {}, teller, sidecar },
  });
  for (const teller of ['mallory.evil', 'web-1.shop', 'web-1.shop']) spans.add(reported(teller, true));
  assert.deepEqual(
    spans.find('1', 10).map((s) => s.teller),
    ['mallory.evil', 'web-1.shop'],
  );
});
