// gRPC frames cut anywhere come out whole; what must be refused is refused; status and message text as on the wire.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeGrpcMessage,
  encodeGrpcMessage,
  frameMessage,
  GRPC,
  GrpcUnframer,
  grpcStatusOf,
  grpcStatusOfHttp,
} from '../../src/wire/grpc-frames.ts';

test('messages survive any cutting of the byte stream', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 17 }), { minLength: 1 }),
      (messages, cuts) => {
        const wire = Buffer.concat(messages.map(frameMessage));
        const got: Buffer[] = [];
        const unframer = new GrpcUnframer((m) => got.push(Buffer.from(m)), 1_000);
        for (let at = 0, i = 0; at < wire.length; i++) {
          const size = cuts[i % cuts.length] ?? 1;
          assert.equal(unframer.push(wire.subarray(at, at + size)), undefined);
          at += size;
        }
        assert.deepEqual(
          got,
          messages.map((m) => Buffer.from(m)),
        );
        assert.equal(unframer.idle, true);
      },
    ),
  );
});

test('too long and compressed messages are refused before they are read', () => {
  const long = new GrpcUnframer(() => assert.fail('delivered'), 10);
  assert.equal(long.push(Uint8Array.of(0, 0, 0, 0, 11))?.code, GRPC.RESOURCE_EXHAUSTED);
  assert.equal(long.push(frameMessage(Uint8Array.of(1)))?.code, GRPC.RESOURCE_EXHAUSTED, 'nothing after a problem');
  const compressed = new GrpcUnframer(() => assert.fail('delivered'), 10);
  assert.equal(compressed.push(Uint8Array.of(1, 0, 0, 0, 0))?.code, GRPC.UNIMPLEMENTED);
});

test('a truncated stream is not idle', () => {
  const unframer = new GrpcUnframer(() => {}, 10);
  unframer.push(Uint8Array.of(0, 0));
  assert.equal(unframer.idle, false);
});

test('status and message', () => {
  assert.deepEqual(grpcStatusOf({ 'grpc-status': '7', 'grpc-message': 'no%20way%3A 50%25' }), { code: 7, message: 'no way: 50%' });
  assert.deepEqual(grpcStatusOf({ 'grpc-status': 'x' }), { code: GRPC.UNKNOWN, message: '' });
  assert.equal(grpcStatusOf({}), undefined);
  assert.equal(grpcStatusOfHttp(503).code, GRPC.UNAVAILABLE);
  assert.equal(grpcStatusOfHttp(401).code, GRPC.UNAUTHENTICATED);
  assert.equal(decodeGrpcMessage('100% wrong'), '100% wrong');
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme' }),
      (text) => decodeGrpcMessage(encodeGrpcMessage(text)) === text && /^[ -~]*$/.test(encodeGrpcMessage(text)),
    ),
  );
});
