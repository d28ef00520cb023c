// Workers that begin later tell the same time: what they count together depends on it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { clockOrigin } from '../../src/proxy/workers/shared-clock.ts';

const CLOCK = new URL('../../src/proxy/workers/shared-clock.ts', import.meta.url).href;

test('a thread that begins later tells the time of the first', async () => {
  await new Promise((resolve) => setTimeout(resolve, 100));
  const code = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(${JSON.stringify(CLOCK)}).then(({ sharedClock }) => {
      const clock = sharedClock(workerData);
      parentPort.on('message', () => parentPort.postMessage(clock.monotonicMs()));
      parentPort.postMessage('ready');
    });`;
  const thread = new Worker(code, { eval: true, workerData: clockOrigin() });
  await once(thread, 'message');
  try {
    for (let i = 0; i < 20; i++) {
      const before = performance.now();
      thread.postMessage('?');
      const [told] = (await once(thread, 'message')) as [number];
      const after = performance.now();
      assert.ok(told >= before - 1 && told <= after + 1, `${told} is not between ${before} and ${after}`);
    }
  } finally {
    await thread.terminate();
  }
});
