// The ring under recent requests, spans and refused connections: its bounds, and both orders.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Newest } from '../../src/control/telemetry/newest.ts';

const ring = (countMax: number, bytesMax = Number.POSITIVE_INFINITY) =>
  new Newest<{ readonly n: number }>({ countMax, bytesMax, bytesOf: ({ n }) => n });

const of = (items: Iterable<{ readonly n: number }>): readonly number[] => [...items].map(({ n }) => n);

test('the newest are kept, in number, and told in both orders', () => {
  const three = ring(3);
  assert.deepEqual([of(three.oldestFirst()), three.size, three.bytes], [[], 0, 0]);
  for (let n = 1; n <= 8; n++) {
    three.add({ n });
    const kept = [n - 2, n - 1, n].filter((k) => k > 0);
    assert.deepEqual([of(three.oldestFirst()), of(three.newestFirst()), three.size], [kept, kept.toReversed(), kept.length]);
    assert.equal(
      three.bytes,
      kept.reduce((sum, k) => sum + k, 0),
    );
  }
});

test('as many go as the bytes of one more ask for; one too large for all is held alone', () => {
  const ten = ring(100, 10);
  for (const n of [3, 3, 3, 1]) ten.add({ n });
  assert.deepEqual([of(ten.oldestFirst()), ten.bytes], [[3, 3, 3, 1], 10]);
  ten.add({ n: 5 });
  assert.deepEqual([of(ten.oldestFirst()), ten.bytes], [[3, 1, 5], 9]);
  ten.add({ n: 50 });
  assert.deepEqual([of(ten.oldestFirst()), ten.bytes], [[50], 50]);
  ten.add({ n: 2 });
  assert.deepEqual([of(ten.oldestFirst()), ten.bytes], [[2], 2]);
});
