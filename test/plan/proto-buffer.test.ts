// Messages written into a shared buffer read back as what was written, whatever their length; texts are always UTF-8.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProtoBuffer } from '../../src/plan/proto-buffer.ts';
import { Reader } from '../../src/xds/wire-format.ts';

/** Number, wire type and bytes or value of each field. */
const fields = (bytes: Uint8Array): (readonly [number, number | Uint8Array])[] => {
  const reader = new Reader(bytes);
  const out: (readonly [number, number | Uint8Array])[] = [];
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    out.push([tag >>> 3, (tag & 7) === 0 ? reader.varint() : (tag & 7) === 1 ? reader.fixed64() : reader.bytes()]);
  }
  return out;
};
const written = (write: (out: ProtoBuffer) => void): Buffer => {
  const out = new ProtoBuffer(16);
  write(out);
  return out.bytes.subarray(0, out.length);
};
const textOf = (value: number | Uint8Array | undefined): string => (typeof value === 'object' ? Buffer.from(value).toString('utf8') : '');

test('a message of any length has its length before it, and what follows stands where it should', () => {
  for (const length of [0, 1, 127, 128, 129, 16_383, 16_384, 70_000]) {
    const bytes = written((out) => {
      const outer = out.begin(1);
      const inner = out.begin(2);
      out.string(3, 'x'.repeat(length), true);
      out.end(inner);
      out.uint(4, 5);
      out.end(outer);
      out.uint(200, 2 ** 40);
    });
    const [outer, last] = fields(bytes);
    assert.deepEqual(last, [200, 2 ** 40]);
    const [inner, five] = fields(outer?.[1] as Uint8Array);
    assert.deepEqual(five, [4, 5]);
    assert.equal(textOf(fields(inner?.[1] as Uint8Array)[0]?.[1]).length, length);
  }
});

test('what holds nothing is left out, but where it is asked for', () => {
  assert.equal(
    written((out) => {
      out.uint(1, 0);
      out.string(2, '');
      out.received(3, '');
      out.bool(4, false);
    }).length,
    0,
  );
  assert.deepEqual(fields(written((out) => out.string(2, '', true))), [[2, Buffer.alloc(0)]]);
});

test('our texts are encoded, received bytes are kept where they are UTF-8 and mended where they are not', () => {
  const texts = (write: (out: ProtoBuffer) => void): string => textOf(fields(written(write))[0]?.[1]);
  assert.equal(
    texts((out) => out.string(1, 'größe 日本 🙂')),
    'größe 日本 🙂',
  );
  const bytes = Buffer.from('größe 🙂', 'utf8').toString('latin1');
  assert.equal(
    texts((out) => out.received(1, bytes)),
    'größe 🙂',
  );
  assert.equal(
    texts((out) => out.received(1, 'a\xc3')),
    'a!',
  );
  assert.equal(
    texts((out) => out.received(1, '\xf0\x9f\x99 \xed\xa0\x80 \xc0\xaf ok')),
    '!!! !!! !! ok',
  );
});

test('numbers of 64 bits and hexadecimal ids keep their bytes', () => {
  const [time, id] = fields(
    written((out) => {
      out.fixed64(1, 1_700_000_000_000_000_000n);
      out.hex(9, '0af7651916cd43dd8448eb211c80319c');
    }),
  );
  assert.equal(time?.[1], 1_700_000_000_000_000_000);
  assert.equal(Buffer.from(id?.[1] as Uint8Array).toString('hex'), '0af7651916cd43dd8448eb211c80319c');
});
