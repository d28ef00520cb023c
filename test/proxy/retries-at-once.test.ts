// The storm's own judgement of retries: what it finds beyond a budget, and that it finds nothing within one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { retriesAtOnce } from '../storm/retries-at-once.ts';

test('retries at one time are counted against what the budget allowed then', () => {
  const budget = { percent: 20, minRetryConcurrency: 2 };
  const requests = Array.from({ length: 15 }, (_, i) => [i, 100] as const);
  assert.deepEqual(retriesAtOnce(requests, [], budget), { most: 0, allowed: 2, beyond: 0 });
  const three = [
    [50, 60],
    [51, 60],
    [52, 60],
  ] as const;
  assert.deepEqual(retriesAtOnce(requests, three, budget), { most: 3, allowed: 3, beyond: 0 });
  assert.deepEqual(retriesAtOnce(requests.slice(0, 10), three, budget), { most: 3, allowed: 2, beyond: 1 });
  const afterEachOther = three.map((_, i) => [50 + i, 51 + i] as const);
  assert.equal(retriesAtOnce(requests, afterEachOther, budget).most, 1);
});
