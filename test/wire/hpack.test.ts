// HPACK: the vectors of RFC 7541 appendix C, write and read as identity, hostile bytes.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { HeaderBlock } from '../../src/wire/header-block.ts';
import { nameOfId } from '../../src/wire/header-name.ts';
import { type FieldSink, HpackDecoder } from '../../src/wire/hpack-decoder.ts';
import { HpackEncoder } from '../../src/wire/hpack-encoder.ts';
import { bytesOfCode, P_UNKNOWN } from '../../src/wire/hpack-table.ts';
import { headerBlock } from './http2-peer.ts';

class Fields implements FieldSink {
  buf: Buffer = Buffer.alloc(0);
  at = 0;
  full = false;
  list: [string, string][] = [];
  ensure(bytes: number): void {
    if (this.at + bytes <= this.buf.length) return;
    const next = Buffer.alloc((this.at + bytes) * 2);
    this.buf.copy(next, 0, 0, this.at);
    this.buf = next;
  }
  pseudo(code: number, text: string, bad: boolean): void {
    this.list.push([bad ? 'bad' : code <= P_UNKNOWN ? 'unknown' : bytesOfCode(code).toString(), text]);
  }
  regular(code: number, nameStart: number, nameEnd: number, start: number, end: number, bad: boolean, sensitive: boolean): void {
    const name = code === 0 ? this.buf.toString('latin1', nameStart, nameEnd) : nameOfId(code);
    this.list.push([`${bad ? 'bad ' : ''}${sensitive ? 'sensitive ' : ''}${name}`, this.buf.toString('latin1', start, end)]);
  }
}

const read = (decoder: HpackDecoder, bytes: Buffer): [string, string][] | 'corrupt' => {
  const sink = new Fields();
  return decoder.decode(bytes, 0, bytes.length, sink) ? sink.list : 'corrupt';
};

/** A writer into a buffer of its own. */
const writer = (tableBytes = 4096) => {
  const out = { buf: Buffer.alloc(200_000), at: 0, ensure: () => undefined };
  const encoder = new HpackEncoder(out, tableBytes);
  const write = (block: HeaderBlock): Buffer => {
    out.at = 0;
    encoder.begin();
    block.visit(encoder);
    return Buffer.from(out.buf.subarray(0, out.at));
  };
  return { encoder, write, out };
};

// Appendix C: the bytes of each block in turn, what they say, and the table's size behind them.
const REQUESTS = [
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', 'www.example.com'],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', 'www.example.com'],
    ['cache-control', 'no-cache'],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':path', '/index.html'],
    [':authority', 'www.example.com'],
    ['custom-key', 'custom-value'],
  ],
];
const DATE = 'Mon, 21 Oct 2013 20:13:21 GMT';
const RESPONSES = [
  [
    [':status', '302'],
    ['cache-control', 'private'],
    ['date', DATE],
    ['location', 'https://www.example.com'],
  ],
  [
    [':status', '307'],
    ['cache-control', 'private'],
    ['date', DATE],
    ['location', 'https://www.example.com'],
  ],
  [
    [':status', '200'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
    ['location', 'https://www.example.com'],
    ['content-encoding', 'gzip'],
    ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
  ],
];
const C3 = [
  '828684410f7777772e6578616d706c652e636f6d',
  '828684be58086e6f2d6361636865',
  '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
];
const C4 = ['828684418cf1e3c2e5f23a6ba0ab90f4ff', '828684be5886a8eb10649cbf', '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf'];
const C5 = [
  '4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d',
  '4803333037c1c0bf',
  '88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31',
];
const C6 = [
  '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3',
  '4883640effc1c0bf',
  '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
];

describe('hpack', () => {
  for (const [name, blocks, fields, sizes, table] of [
    ['C.3 requests', C3, REQUESTS, [57, 110, 164], 4096],
    ['C.4 requests with Huffman', C4, REQUESTS, [57, 110, 164], 4096],
    ['C.5 responses, table of 256', C5, RESPONSES, [222, 222, 215], 256],
    ['C.6 responses with Huffman, table of 256', C6, RESPONSES, [222, 222, 215], 256],
  ] as const)
    test(name, () => {
      const decoder = new HpackDecoder(table);
      for (const [i, hex] of blocks.entries()) {
        assert.deepEqual(read(decoder, Buffer.from(hex, 'hex')), fields[i]);
        assert.equal(decoder.tableSize, sizes[i]);
      }
    });

  test('C.2: each kind of literal, and an index', () => {
    const decoder = new HpackDecoder(4096);
    assert.deepEqual(read(decoder, Buffer.from('400a637573746f6d2d6b65790d637573746f6d2d686561646572', 'hex')), [
      ['custom-key', 'custom-header'],
    ]);
    assert.equal(decoder.tableSize, 55);
    assert.deepEqual(read(decoder, Buffer.from('040c2f73616d706c652f70617468', 'hex')), [[':path', '/sample/path']]);
    assert.deepEqual(read(decoder, Buffer.from('100870617373776f726406736563726574', 'hex')), [['sensitive password', 'secret']]);
    assert.deepEqual(read(decoder, Buffer.from('82', 'hex')), [[':method', 'GET']]);
    assert.equal(decoder.tableSize, 55);
  });

  test('an entry larger than the table empties it; a name survives its own eviction', () => {
    const decoder = new HpackDecoder(100);
    const add = (name: number[], value: string) => Buffer.concat([Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]);
    read(decoder, add([0x40, 3, 120, 45, 97], 'one'));
    assert.equal(decoder.tableSize, 38);
    // The new entry evicts the one its name comes from.
    assert.deepEqual(read(decoder, add([0x7e], 'v'.repeat(60))), [['x-a', 'v'.repeat(60)]]);
    assert.deepEqual(read(decoder, Buffer.from([0xbe])), [['x-a', 'v'.repeat(60)]]);
    assert.deepEqual(read(decoder, add([0x7e], 'w'.repeat(90))), [['x-a', 'w'.repeat(90)]]);
    assert.equal(decoder.tableSize, 0);
    assert.equal(read(decoder, Buffer.from([0xbe])), 'corrupt');
  });

  test('table size updates: shrink empties, several at a beginning, none above the announced', () => {
    const decoder = new HpackDecoder(4096);
    read(decoder, Buffer.from(C3[0] as string, 'hex'));
    assert.deepEqual(read(decoder, Buffer.from([0x20, 0x3f, 0xe1, 0x1f, 0x82])), [[':method', 'GET']]);
    assert.equal(decoder.tableSize, 0);
    assert.equal(read(decoder, Buffer.from([0x82, 0x20])), 'corrupt');
    assert.equal(read(new HpackDecoder(4096), Buffer.from([0x3f, 0xe2, 0x1f])), 'corrupt');
  });

  const field = fc.tuple(
    fc.oneof(
      fc.constantFrom(
        'accept',
        'user-agent',
        'cookie',
        'authorization',
        'x-request-id',
        'content-length',
        'x-own',
        'x-other',
        'date',
        'from',
        'te',
      ),
      fc.stringMatching(/^[a-z][a-z\d-]{0,30}$/),
    ),
    fc.oneof(
      fc.constantFrom('', 'a', 'same', 'trailers'),
      fc.stringMatching(/^[!-~\xa0-\xff]{0,80}$/),
      fc.nat(300).map((n) => 'v'.repeat(n)),
    ),
  );
  const left = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'http2-settings']);

  test('what is written is read, over many blocks of one connection and any table size', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(field, { maxLength: 12 }), { maxLength: 30 }),
        fc.constantFrom(0, 40, 100, 300, 4096, 20_000),
        (blocks, size) => {
          const { encoder, write } = writer(size);
          encoder.limitTable(size);
          const decoder = new HpackDecoder(size);
          for (const fields of blocks) {
            const want = fields.filter(([n, v]) => !left.has(n) && (n !== 'te' || v === 'trailers'));
            const got = read(decoder, write(headerBlock(fields)));
            assert.ok(got !== 'corrupt');
            assert.deepEqual(
              got.map(([n, v]) => [n.replace('sensitive ', ''), v]),
              want,
            );
            assert.ok(decoder.tableSize <= size);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test('the peer may shrink and grow the table between blocks', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(-1, 0, 50, 500, 4096), fc.array(field, { maxLength: 6 })), { maxLength: 20 }),
        (steps) => {
          const { encoder, write } = writer();
          const decoder = new HpackDecoder(4096);
          for (const [size, fields] of steps) {
            if (size >= 0) encoder.limitTable(size);
            assert.notEqual(read(decoder, write(headerBlock(fields))), 'corrupt');
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test('a steady header costs a byte, a changing one is not added for ever, credentials never are', () => {
    const { write } = writer();
    const steady = headerBlock([
      ['user-agent', 'curl/8.0.1'],
      ['x-team', 'shop'],
    ]);
    write(steady);
    assert.equal(write(steady).length, 2);
    const decoder = new HpackDecoder(4096);
    const other = writer();
    for (let i = 0; i < 100; i++)
      read(
        decoder,
        other.write(
          headerBlock([
            ['x-thing', `value-${i}`],
            ['authorization', `Bearer ${i}`],
          ]),
        ),
      );
    assert.ok(decoder.tableSize < 4 * 60, String(decoder.tableSize));
  });

  test('any bytes are read or refused, never thrown at, and the table stays below its size', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (blocks) => {
        const decoder = new HpackDecoder(512);
        for (const bytes of blocks) {
          if (read(decoder, Buffer.from(bytes)) === 'corrupt') break;
          assert.ok(decoder.tableSize <= 512);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('bytes of a true block, one changed: read or refused', () => {
    const { write } = writer();
    const good = write(
      headerBlock([
        ['user-agent', 'curl'],
        ['x-a', 'b'],
        ['accept', '*/*'],
      ]),
    );
    for (let at = 0; at < good.length; at++)
      for (let bit = 0; bit < 8; bit++) {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] as number) ^ (1 << bit);
        read(new HpackDecoder(4096), bad);
      }
  });
});
