// Messages that cost much are served in turns: the event loop comes to others between them, in order, and nothing is served after the end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PacedMessages } from '../../../src/control/xds/paced-messages.ts';

const burn = (ms: number): void => {
  for (const until = performance.now() + ms; performance.now() < until; );
};
const message = (n: number): Uint8Array => Uint8Array.of(n);

test('a burst of costly messages lets others have their turn, and comes in order', async () => {
  const events: string[] = [];
  const turns = { held: 0 };
  const idle = Promise.withResolvers<void>();
  const paced = new PacedMessages(
    turns,
    ([n]) => {
      events.push(`m${n}`);
      burn(12);
    },
    () => idle.resolve(),
  );
  for (let n = 0; n < 4; n++) paced.push(message(n));
  assert.deepEqual(events, ['m0']);
  assert.equal(turns.held, 1);
  setImmediate(() => events.push('other'));
  await idle.promise;
  assert.deepEqual(
    events.filter((e) => e !== 'other'),
    ['m0', 'm1', 'm2', 'm3'],
  );
  assert.ok(events.indexOf('other') < events.indexOf('m3'), events.join(' '));
  assert.deepEqual([turns.held, paced.held], [0, false]);
});

test('what still waits at the end is not served, and is no more counted', async () => {
  const served: number[] = [];
  const turns = { held: 0 };
  const paced: PacedMessages = new PacedMessages(
    turns,
    ([n = 0]) => {
      served.push(n);
      burn(12);
      if (n === 1) paced.close();
    },
    () => assert.fail('nobody waits any more'),
  );
  for (let n = 0; n < 4; n++) paced.push(message(n));
  for (const until = Date.now() + 5000; served.length < 2 && Date.now() < until; ) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 50));
  paced.push(message(9));
  assert.deepEqual([served, turns.held], [[0, 1], 0]);
});

test('a message that ends its own call does not hold it', () => {
  const turns = { held: 0 };
  const paced: PacedMessages = new PacedMessages(
    turns,
    () => {
      burn(12);
      paced.close();
    },
    () => undefined,
  );
  paced.push(message(1));
  assert.deepEqual([turns.held, paced.held], [0, false]);
});
