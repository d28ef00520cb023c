import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../src/proxy/clock.ts';
import { type BatchDone, BatchQueue, type BatchQueueOptions } from '../../src/proxy/export/batch-queue.ts';
import { TimerWheel } from '../../src/proxy/timer-wheel.ts';

/** Time that moves when it is told to. */
const virtualTime = () => {
  let now = 0;
  let pending: { readonly at: number; readonly fire: () => void }[] = [];
  const clock: Clock = {
    monotonicMs: () => now,
    wallMs: () => now,
    after: (delayMs, fire) => {
      const call = { at: now + delayMs, fire };
      pending.push(call);
      return () => {
        pending = pending.filter((p) => p !== call);
      };
    },
  };
  const pass = (ms: number): void => {
    for (const end = now + ms; ; ) {
      const due = pending.filter((p) => p.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) {
        now = end;
        return;
      }
      pending = pending.filter((p) => p !== due);
      now = due.at;
      due.fire();
    }
  };
  return { clock, pass };
};

interface Sent {
  readonly items: readonly string[];
  readonly done: BatchDone;
}

const rig = (more: Partial<BatchQueueOptions<string>> = {}) => {
  const { clock, pass } = virtualTime();
  const sent: Sent[] = [];
  let cancelled = 0;
  const counts = { sent: { value: 0 }, dropped: { value: 0 }, failed: { value: 0 }, rejected: { value: 0 } };
  const queue = new BatchQueue<string>({
    wheel: new TimerWheel(clock),
    random: () => 0.5,
    counts,
    itemsMax: 10,
    bytesMax: 1000,
    batchItems: 3,
    batchBytes: 100,
    flushMs: 1000,
    attempts: 2,
    backoffMs: 200,
    backoffMaxMs: 1000,
    send: (batch, done) => {
      sent.push({ items: [...batch], done });
      return () => {
        cancelled++;
      };
    },
    ...more,
  });
  const told = () => [counts.sent.value, counts.dropped.value, counts.failed.value];
  const at = (i: number): Sent => {
    const call = sent[i];
    assert.ok(call !== undefined, `there is a call ${i}`);
    return call;
  };
  return { queue, sent, at, pass, told, counts, cancelled: () => cancelled };
};

test('a batch goes when it has enough items', () => {
  const { queue, sent, at } = rig();
  for (const item of ['a', 'b']) assert.equal(queue.push(item), true);
  assert.equal(sent.length, 0);
  queue.push('c');
  assert.deepEqual(at(0).items, ['a', 'b', 'c']);
});

test('a batch goes when it has enough bytes', () => {
  const { queue, at } = rig();
  queue.push('a', 99);
  queue.push('b', 1);
  assert.deepEqual(at(0).items, ['a', 'b']);
});

test('a batch goes when its first item has waited long enough', () => {
  const { queue, sent, at, pass } = rig();
  queue.push('a');
  pass(990);
  assert.equal(sent.length, 0);
  pass(30);
  assert.deepEqual(at(0).items, ['a']);
});

test('one batch is on its way at a time', () => {
  const { queue, sent, at, told } = rig();
  for (const item of 'abcdef') queue.push(item);
  assert.equal(sent.length, 1);
  at(0).done(true);
  assert.deepEqual(at(1).items, ['d', 'e', 'f']);
  at(1).done(true);
  assert.deepEqual(told(), [6, 0, 0]);
  assert.equal(queue.length, 0);
});

test('what finds the queue full is dropped and counted', () => {
  const { queue, told, at } = rig();
  for (let i = 0; i < 10; i++) assert.equal(queue.push(String(i)), true);
  assert.equal(queue.push('late'), false);
  assert.deepEqual(told(), [0, 1, 0]);
  at(0).done(true);
  assert.equal(queue.push('again'), true);
});

test('what holds more bytes than the queue may have is dropped', () => {
  const { queue, told } = rig();
  assert.equal(queue.push('big', 1001), false);
  assert.deepEqual(told(), [0, 1, 0]);
});

test('a batch that failed is sent again after a wait, then given up', () => {
  const { queue, sent, at, pass, told } = rig();
  for (const item of 'abc') queue.push(item);
  at(0).done(false);
  assert.equal(sent.length, 1);
  pass(80);
  assert.equal(sent.length, 1);
  pass(50);
  assert.deepEqual(at(1).items, ['a', 'b', 'c']);
  at(1).done(false);
  assert.deepEqual(told(), [0, 0, 3]);
  assert.equal(queue.length, 0);
});

test('a server that fails is asked less and less often, until it answers again', () => {
  const { queue, sent, at, pass } = rig({ attempts: 1 });
  const waits: number[] = [];
  for (let round = 0; round < 4; round++) {
    for (const item of 'abc') queue.push(item);
    let waited = 0;
    for (; sent.length <= round; waited += 10) pass(10);
    waits.push(waited);
    at(round).done(false);
  }
  assert.deepEqual(
    waits.map((ms) => Math.round(ms / 100)),
    [0, 1, 2, 4],
  );
  for (const item of 'abc') queue.push(item);
  pass(600);
  at(4).done(true);
  for (const item of 'abc') queue.push(item);
  assert.equal(sent.length, 6);
});

test('a batch that the server will never take is given up at once', () => {
  const { queue, sent, at, told } = rig();
  for (const item of 'abcdef') queue.push(item);
  at(0).done(false, false);
  assert.deepEqual(told(), [0, 0, 3]);
  assert.equal(sent.length, 2);
});

test('what a server did not take of a batch that it took is counted apart, never beyond the batch', () => {
  const { queue, at, told, counts } = rig();
  for (const item of ['a', 'b', 'c']) queue.push(item);
  at(0).done(true, false, 2);
  assert.deepEqual([...told(), counts.rejected.value], [1, 0, 0, 2]);
  for (const item of ['d', 'e', 'f']) queue.push(item);
  at(1).done(true, false, 99);
  assert.deepEqual([...told(), counts.rejected.value], [1, 0, 0, 5]);
});

test('an answer that comes twice counts once', () => {
  const { queue, at, told } = rig();
  for (const item of 'abcdef') queue.push(item);
  at(0).done(true);
  at(0).done(false);
  assert.deepEqual(told(), [3, 0, 0]);
});

test('a sender that throws loses its batch and nothing else', () => {
  let calls = 0;
  const { queue, told } = rig({
    send: (_, done) => {
      if (calls++ === 0) throw new Error('broken');
      done(true);
      return undefined;
    },
  });
  for (const item of 'abcdef') queue.push(item);
  assert.deepEqual(told(), [3, 0, 3]);
});

test('closing sends what waits and ends when it is gone', async () => {
  const { queue, at, told } = rig();
  queue.push('a');
  const closed = queue.close(1000);
  assert.deepEqual(at(0).items, ['a']);
  assert.equal(queue.push('b'), false);
  at(0).done(true);
  await closed;
  assert.deepEqual(told(), [1, 1, 0]);
});

test('closing gives up what is not gone in time', async () => {
  const { queue, pass, told, cancelled } = rig();
  for (const item of 'abcd') queue.push(item);
  const closed = queue.close(500);
  pass(600);
  await closed;
  assert.deepEqual(told(), [0, 0, 4]);
  assert.equal(cancelled(), 1);
});

test('closing does not wait for a batch to be sent again', async () => {
  const { queue, sent, at, told } = rig();
  for (const item of 'abc') queue.push(item);
  at(0).done(false);
  const closed = queue.close(1000);
  assert.equal(sent.length, 2);
  at(1).done(true);
  await closed;
  assert.deepEqual(told(), [3, 0, 0]);
});
