// One token bucket for all workers: nothing is taken twice, time fills it for all, and nobody holds what is not used any more.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { compileLocalLimits } from '../../src/plan/rate-limit/local-limits.ts';
import type { BucketSize } from '../../src/plan/rate-limit/token-bucket.ts';
import { LocalLimiter } from '../../src/proxy/filters/local-limiter.ts';
import { LocalBucket } from '../../src/proxy/shared-counts.ts';
import { AllWorkers } from '../../src/proxy/workers/all-workers.ts';
import { SharedBuckets } from '../../src/proxy/workers/shared-bucket.ts';
import { SharedSlots } from '../../src/proxy/workers/shared-slots.ts';
import { Signals } from '../../src/proxy/workers/signals.ts';
import type { Route } from '../../src/xds/gen/types.ts';
import { fetchOnce, hcm, listener, type Plane, ROUTER, startPlane } from './harness.ts';

const BUCKETS = new URL('../../src/proxy/workers/shared-bucket.ts', import.meta.url).href;
const SLOTS = new URL('../../src/proxy/workers/shared-slots.ts', import.meta.url).href;
const TEN_A_SECOND: BucketSize = { max: 10, tokensPerMs: 0.01 };

test('two ends of a bucket take from the same tokens, and time fills it for both', () => {
  const slots = new SharedSlots(undefined, 64);
  const [a, b] = [new SharedBuckets(slots), new SharedBuckets(slots)].map((ends) => ends.take('k', TEN_A_SECOND));
  const other = new SharedBuckets(slots).take('other', TEN_A_SECOND);
  assert.ok(a && b);
  assert.equal(a.tokens(5000), 10);
  for (let i = 0; i < 10; i++) assert.equal((i % 2 === 0 ? a : b).take(1, 5000), true);
  assert.deepEqual([a.take(1, 5000), b.take(1, 5000), other.take(1, 5000)], [false, false, true]);
  assert.deepEqual([b.take(1, 5099), a.take(1, 5101), b.take(1, 5102)], [false, true, false]);
  assert.deepEqual([a.take(11, 99_000), b.take(10, 99_000), a.take(0, 200_000)], [false, true, false]);
  assert.equal(Math.round(a.tokens(99_250) * 10), 25);
});

test('one worker’s bucket and all workers’ decide alike', () => {
  const shared = new SharedBuckets(new SharedSlots(undefined, 64)).take('k', TEN_A_SECOND);
  const local = new LocalBucket(TEN_A_SECOND);
  let now = 1000;
  for (let i = 0; i < 500; i++) {
    now += (i * 7919) % 211;
    const tokens = (i % 4) - 1;
    assert.equal(shared.take(tokens, now), local.take(tokens, now), `step ${i}`);
    assert.equal(shared.tokens(now), local.tokens(now));
  }
});

test('threads that all ask at once are given no token twice', async () => {
  const slots = new SharedSlots(undefined, 64);
  const size = { max: 30_000, tokensPerMs: 1e-9 };
  const code = `
    const { workerData, parentPort } = require('node:worker_threads');
    Promise.all([import(${JSON.stringify(SLOTS)}), import(${JSON.stringify(BUCKETS)})]).then(([{ SharedSlots }, { SharedBuckets }]) => {
      const bucket = new SharedBuckets(new SharedSlots(workerData)).take('k', ${JSON.stringify(size)});
      let taken = 0;
      for (let i = 0; i < 20000; i++) if (bucket.take(1, 1000)) taken++;
      parentPort.postMessage(taken);
    });`;
  const threads = Array.from({ length: 2 }, () => new Worker(code, { eval: true, workerData: slots.memory }));
  const taken = await Promise.all(threads.map(async (t) => ((await once(t, 'message')) as [number])[0]));
  await Promise.all(threads.map((t) => t.terminate()));
  // A rounding error of the double at a time is less than a token in thirty thousand.
  const sum = taken.reduce((a, b) => a + b, 0);
  assert.ok(Math.abs(sum - 30_000) <= 1, String(sum));
});

test('a bucket that nobody can reach gives its slot back', async () => {
  const collect = (globalThis as { Bun?: { gc(sync: boolean): void }; gc?: () => void }).Bun?.gc.bind(undefined, true) ?? globalThis.gc;
  if (collect === undefined) return;
  const slots = new SharedSlots(undefined, 64);
  const buckets = new SharedBuckets(slots);
  for (let i = 0; i < 40; i++) buckets.take(`k${i}`, TEN_A_SECOND);
  assert.equal(slots.size, 40);
  const until = performance.now() + 20_000;
  while (slots.size > 5 && performance.now() < until) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.ok(slots.size <= 5, `${slots.size} are held`);
});

test('values that requests bring do not use up what all workers share', () => {
  const slots = new SharedSlots(undefined, 64);
  const buckets = new SharedBuckets(slots);
  const limits = compileLocalLimits({
    max_dynamic_descriptors: 2,
    descriptors: [{ entries: [{ key: 'user' }], token_bucket: { max_tokens: 1, fill_interval: '600s' } }],
  });
  const limiter = new LocalLimiter(limits, (key, size) => buckets.take(key, size));
  const ask = (...users: string[]): boolean => {
    const descriptors = users.map((value) => ({
      entries: [{ key: 'user', value }],
      limit: undefined,
      hits: undefined,
      headers: undefined,
    }));
    return limiter.decide(descriptors, 1000).allowed;
  };
  for (let i = 0; i < 200; i++) assert.equal(ask(`u${i}`), true);
  assert.equal(slots.size, 2);
  assert.deepEqual([ask('u199'), ask('u198'), ask('new'), ask('u198')], [false, false, true, false]);
  assert.deepEqual([ask('a', 'b', 'c', 'd'), slots.size], [true, 2], 'one that makes room for its own');
});

test('routes that stand in two listeners under one name have buckets of their own; two workers share each', async () => {
  const slots = new SharedSlots();
  const limit = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
    stat_prefix: 'rl',
    token_bucket: { max_tokens: 2, tokens_per_fill: 1, fill_interval: '600s' },
    filter_enabled: { default_value: { numerator: 100 } },
    filter_enforced: { default_value: { numerator: 100 } },
  };
  const filters = { http_filters: [{ name: 'rl', typed_config: { ...limit, token_bucket: undefined } }, ROUTER] };
  const route: Route = { match: { prefix: '/' }, direct_response: { status: 204 }, typed_per_filter_config: { rl: limit } };
  const listeners = ['a', 'b'].map((name) => structuredClone(listener(name, hcm([route], filters))));
  const worker = (first: boolean): Promise<Plane> =>
    startPlane({ listeners }, { sharing: new AllWorkers(slots, new Signals(() => {}), first, () => performance.now()) });
  await using one = await worker(true);
  await using other = await worker(false);
  const ask = async (plane: Plane, name: string): Promise<number> => (await fetchOnce(plane.port(name), '/')).status;
  assert.deepEqual([await ask(one, 'a'), await ask(other, 'a'), await ask(one, 'a'), await ask(other, 'a')], [204, 204, 429, 429]);
  assert.deepEqual([await ask(other, 'b'), await ask(one, 'b'), await ask(one, 'b')], [204, 204, 429]);
});
