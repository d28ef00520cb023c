import assert from 'node:assert/strict';
import { test } from 'node:test';
import { numberOf, reasonOf, withReason } from '../../src/plan/tracing/request-id.ts';
import { compileSampling, traceReason } from '../../src/plan/tracing/sampling.ts';
import { readB3, readTraceparent, TraceContext, writeB3, writeTraceparent } from '../../src/plan/tracing/trace-context.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';

const block = (headers: Readonly<Record<string, string>>): HeaderBlock => {
  const out = new HeaderBlock();
  for (const [name, value] of Object.entries(headers)) out.add(name, value);
  return out;
};

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';

test('a traceparent is read as W3C has it', () => {
  const rows: readonly (readonly [text: string, found: string, sampled: boolean])[] = [
    [`00-${TRACE}-${SPAN}-01`, 'context', true],
    [`00-${TRACE}-${SPAN}-00`, 'context', false],
    [`00-${TRACE}-${SPAN}-03`, 'context', true],
    [`cc-${TRACE}-${SPAN}-01-later`, 'context', true],
    [`00-${TRACE}-${SPAN}-01-later`, 'broken', false],
    [`ff-${TRACE}-${SPAN}-01`, 'broken', false],
    [`00-${TRACE.toUpperCase()}-${SPAN}-01`, 'broken', false],
    [`00-${'0'.repeat(32)}-${SPAN}-01`, 'broken', false],
    [`00-${TRACE}-${'0'.repeat(16)}-01`, 'broken', false],
    [`00-${TRACE}-${SPAN}`, 'broken', false],
    [` 00-${TRACE}-${SPAN}-01\t`, 'context', true],
    [`cc-${TRACE}-${SPAN}-01later`, 'broken', false],
    [`00-${TRACE}${SPAN}--01`, 'broken', false],
    [`00-${TRACE.slice(1)}g-${SPAN}-01`, 'broken', false],
    ['', 'broken', false],
  ];
  for (const [text, found, sampled] of rows) {
    const context = new TraceContext();
    assert.equal(readTraceparent(block({ traceparent: text }), context), found, text);
    assert.equal(context.sampled, sampled, text);
  }
  assert.equal(readTraceparent(block({}), new TraceContext()), 'nothing');
});

test('a traceparent of 64 bits is made whole, and a tracestate goes with it', () => {
  const context = Object.assign(new TraceContext(), { traceId: SPAN, sampled: true, state: 'a=b' });
  const headers = block({});
  writeTraceparent(headers, context, '05e3ac9a4f6e3b90');
  assert.equal(headers.get('traceparent'), `00-0000000000000000${SPAN}-05e3ac9a4f6e3b90-01`);
  assert.equal(headers.get('tracestate'), 'a=b');
});

test('several fields of a tracestate are one list', () => {
  const headers = block({ traceparent: `00-${TRACE}-${SPAN}-01` });
  headers.add('tracestate', 'a=b');
  headers.add('tracestate', 'c=d');
  const context = new TraceContext();
  readTraceparent(headers, context);
  assert.equal(context.state, 'a=b,c=d');
});

test('ids in several headers of B3 are made whole; high zeros mean 64 bits', () => {
  const context = new TraceContext();
  assert.equal(readB3(block({ 'x-b3-traceid': 'ABC', 'x-b3-spanid': '1' }), context, true), 'context');
  assert.deepEqual([context.traceId, context.spanId, context.sampled], ['0000000000000abc', '0000000000000001', true]);
  readB3(block({ 'x-b3-traceid': `${'0'.repeat(16)}${SPAN}`, 'x-b3-spanid': SPAN }), context, false);
  assert.equal(context.traceId, SPAN);
  assert.equal(readB3(block({ 'x-b3-traceid': `${TRACE}0`, 'x-b3-spanid': SPAN }), new TraceContext(), false), 'broken');
});

test('B3 is written in the form in which it came', () => {
  const context = new TraceContext();
  assert.equal(readB3(block({ b3: `${TRACE}-${SPAN}-d` }), context, false), 'context');
  const single = block({});
  writeB3(single, context, '05e3ac9a4f6e3b90', SPAN);
  assert.equal(single.get('b3'), `${TRACE}-05e3ac9a4f6e3b90-1-${SPAN}`);
  assert.equal(single.has('x-b3-traceid'), false);
});

test('a request id says why it is traced, and only an id of its form', () => {
  const id = '19af2be9-3ef9-4cdc-a329-25489019b42c';
  for (const reason of ['none', 'sampled', 'client', 'forced'] as const) assert.equal(reasonOf(withReason(id, reason)), reason);
  assert.equal(withReason('short', 'sampled'), 'short');
  assert.equal(reasonOf('9'.repeat(35)), 'none');
  assert.equal(numberOf(id), 0x19af2be9);
  assert.equal(numberOf('19af2bex-'), -1);
});

test('a share of requests is taken by their ids', () => {
  const plan = compileSampling({ random_sampling: { value: 12.34 } });
  const wish = { client: false, forced: false };
  let traced = 0;
  for (let i = 0; i < 10_000; i++) {
    const id = `${i.toString(16).padStart(8, '0')}-3ef9-4cdc-a329-25489019b42c`;
    if (traceReason(plan, id, wish, () => 0) === 'sampled') traced++;
  }
  assert.equal(traced, 1234);
});
