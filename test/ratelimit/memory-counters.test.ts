// Counts kept in memory: bounded, and no dearer when they are at their bound.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryCounters } from '../../src/ratelimit/memory-counters.ts';

const MOST = 20_000;
const hit = (key: string, expireSeconds = 60) => [{ key, hits: 1, expireSeconds }];

test('a key more than are kept costs about what the others did, and only the oldest is forgotten', async () => {
  const counters = new MemoryCounters(() => 0, MOST);
  const spent = (from: number, to: number): number => {
    const before = performance.now();
    for (let i = from; i < to; i++) void counters.add(hit(`k${i}`));
    return (performance.now() - before) / (to - from);
  };
  const filling = spent(0, MOST);
  const beyond = spent(MOST, MOST + 1000);
  assert.ok(beyond < 20 * filling + 0.005, `${beyond} ms a key, ${filling} before`);
  assert.deepEqual(await counters.add(hit(`k${MOST}`)), [2]);
  assert.deepEqual(await counters.add(hit('k0')), [1]);
});

test('what has ended makes room first', async () => {
  let now = 0;
  const counters = new MemoryCounters(() => now, 2);
  await counters.add(hit('long'));
  await counters.add(hit('short', 1));
  now = 2000;
  await counters.add(hit('new'));
  assert.deepEqual(await counters.add(hit('long')), [2]);
});
