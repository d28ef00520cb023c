// What is kept of a request's body costs about its bytes, however it came.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeptRequest } from '../../src/proxy/exchange/kept-request.ts';

test('pieces of one byte and small parts of large reads are gathered, large ones kept as they are', () => {
  const kept = new KeptRequest();
  let expected = '';
  for (let i = 0; i < 5000; i++) {
    const read = Buffer.alloc(20_000, 97 + (i % 26));
    const bytes = i % 1000 === 0 ? 20_000 : 1 + (i % 5);
    expected += read.toString('latin1', 0, bytes);
    kept.bytes += bytes;
    kept.add(read, 0, bytes);
  }
  assert.equal(Buffer.concat(kept.pieces).toString('latin1'), expected);
  assert.ok(kept.pieces.length < 30, String(kept.pieces.length));
  let held = 0;
  for (const memory of new Set(kept.pieces.map((piece) => piece.buffer))) held += memory.byteLength;
  assert.ok(held < 2 * expected.length, `${held} for ${expected.length}`);
  kept.drop();
  kept.add(Buffer.from('next'), 0, 4);
  assert.deepEqual(kept.pieces.map(String), ['next']);
});
