// gRPC messages are counted alike however their bytes are cut.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GrpcMessageCount } from '../../src/plan/grpc-messages.ts';

const message = (length: number): Buffer => {
  const bytes = Buffer.alloc(5 + length, 7);
  bytes[0] = 0;
  bytes.writeUInt32BE(length, 1);
  return bytes;
};

test('every split of a stream of messages gives their number', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(300), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 30 }),
      (lengths, cuts) => {
        const bytes = Buffer.concat(lengths.map(message));
        const count = new GrpcMessageCount();
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const end = Math.min(bytes.length, at + (cuts[i % cuts.length] ?? 1));
          count.feed(bytes, at, end);
          at = end;
        }
        assert.equal(count.messages, lengths.length);
      },
    ),
  );
});

test('a message counts from its first byte on', () => {
  const count = new GrpcMessageCount();
  count.feed(message(10), 0, 1);
  assert.equal(count.messages, 1);
});
