// The frame of Istio's TCP metadata exchange, byte for byte.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { readPeerFrame, writePeerFrame } from '../../src/wire/peer-exchange.ts';

describe('the frame of peer metadata', () => {
  test('is magic, length and a serialized Any', () => {
    assert.equal(writePeerFrame('t/x', new Uint8Array([1, 2])).toString('hex'), `3d230467${'00000009'}0a03742f7812020102`);
  });

  test('is read back from any number of bytes with what follows left alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.uint8Array({ maxLength: 20 }), (value, rest) => {
        const frame = writePeerFrame('type.googleapis.com/google.protobuf.Struct', value);
        const read = readPeerFrame(Buffer.concat([frame, rest]));
        assert.equal(read.kind, 'frame');
        if (read.kind !== 'frame') return;
        assert.equal(read.length, frame.length);
        assert.deepEqual(Buffer.from(read.value), Buffer.from(value));
        for (let n = 0; n < frame.length; n += 7) assert.equal(readPeerFrame(frame.subarray(0, n)).kind, 'need-more');
      }),
    );
  });

  test('is not seen in other bytes, and a hostile one never breaks', () => {
    for (const text of ['hello', '\x3d\x23\x05', '\x16\x03\x01']) assert.equal(readPeerFrame(Buffer.from(text, 'latin1')).kind, 'none');
    assert.equal(readPeerFrame(Buffer.from('3d23046700010001', 'hex')).kind, 'bad');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (tail) => {
        const head = Buffer.from('3d23046700000000', 'hex');
        head.writeUInt32BE(tail.length, 4);
        const read = readPeerFrame(Buffer.concat([head, tail]));
        assert.ok(read.kind === 'bad' || read.kind === 'frame');
      }),
      { numRuns: 2000 },
    );
  });
});
