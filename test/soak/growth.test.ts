// The soak's verdict: what it calls growth, and what it forgives.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { growthOf } from './growth.ts';

const series = (n: number, of: (i: number) => number): number[] => Array.from({ length: n }, (_, i) => of(i));

test('a steady rise beyond the allowance is growth', () => {
  assert.equal(
    growthOf(
      series(150, (i) => 60 + i * 0.1),
      8,
    ).grew,
    true,
  );
});

test('a rise within the allowance is not', () => {
  assert.equal(
    growthOf(
      series(150, (i) => 60 + i * 0.04),
      8,
    ).grew,
    false,
  );
});

test('a sawtooth without trend is not growth however high its teeth', () => {
  const { grew, spread } = growthOf(
    series(150, (i) => 60 + (i % 25)),
    8,
  );
  assert.equal(grew, false);
  assert.equal(spread, 24);
});

test('one peak at the end is not growth', () => {
  assert.equal(
    growthOf(
      series(150, (i) => (i > 145 ? 120 : 60)),
      8,
    ).grew,
    false,
  );
});
