import assert from 'node:assert/strict';
import { test } from 'node:test';
import { added, foreignShare, isClean, median, percentile, type Round, summarize, wantsAnother } from '../../bench/statistics.ts';

const round = (over: Partial<Round>): Round => ({
  units: 10_000,
  perSecond: 5_000,
  cpuSeconds: 1,
  errors: 0,
  rssMb: 50,
  privateMb: 20,
  foreign: 0,
  stolen: 0,
  ...over,
});

test('the median of an even number of figures lies between the middle two', () => {
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([]), undefined);
});

test('percentiles are nearest ranks', () => {
  const list = Array.from({ length: 100 }, (_, i) => i + 1);
  assert.equal(percentile(list, 0.5), 50);
  assert.equal(percentile(list, 0.99), 99);
  assert.equal(percentile([7], 0.99), 7);
  assert.equal(percentile([], 0.5), 0);
});

test('foreign CPU is what is busy beyond our own, as a share of all cores', () => {
  assert.equal(foreignShare(3, 2, 1, 4), 0.25);
  assert.equal(foreignShare(2, 2.01, 1, 2), 0);
  assert.equal(foreignShare(2, 1, 0, 2), 0);
});

test('a round is clean only when neither others nor the hypervisor took part and the generator kept up', () => {
  assert.equal(isClean({ foreign: 0.05, stolen: 0.02 }), true);
  assert.equal(isClean({ foreign: 0.06, stolen: 0 }), false);
  assert.equal(isClean({ foreign: 0, stolen: 0.03 }), false);
  assert.equal(isClean({ foreign: 0, stolen: 0, lateMs: 1.2 }), true);
  assert.equal(isClean({ foreign: 0, stolen: 0, lateMs: 6 }), false);
});

test('dirty rounds are repeated, but not for ever', () => {
  const clean = round({});
  const dirty = round({ foreign: 0.5 });
  assert.equal(wantsAnother([], 5), true);
  assert.equal(wantsAnother([clean, clean, clean, clean, clean], 5), false);
  assert.equal(wantsAnother([clean, clean, clean, clean, dirty], 5), true);
  assert.equal(wantsAnother(Array(8).fill(dirty), 5), false);
});

test('only clean rounds count in the medians, and how many is told', () => {
  const m = summarize([round({ cpuSeconds: 2 }), round({ cpuSeconds: 9, foreign: 0.9 }), round({ cpuSeconds: 4 })], 10_000, false);
  assert.equal(m.cpu, 3);
  assert.equal(m.counted, 2);
  assert.equal(m.measured, 3);
  assert.equal(summarize([round({ cpuSeconds: 9, foreign: 0.9 })], 10_000, true).cpu, 9);
});

test('without a clean round there is no figure', () => {
  const m = summarize([round({ foreign: 0.9 })], 10_000, false);
  assert.equal(m.cpu, undefined);
  assert.equal(m.perSecond, undefined);
});

test('CPU is for the scenario’s units: 10,000 requests, or one GiB', () => {
  assert.equal(summarize([round({ units: 40_000, cpuSeconds: 8 })], 10_000, false).cpu, 2);
  assert.equal(summarize([round({ units: 2, cpuSeconds: 5 })], 1, false).cpu, 2.5);
});

test('latency added over direct needs both figures', () => {
  assert.equal(added(1.5, 0.5), 1);
  assert.equal(added(1.5, undefined), undefined);
});
