// What no honest peer sends: each is refused with the scope and code of RFC 9113, whole and cut byte by byte.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Http2Options } from '../../src/wire/http2-connection.ts';
import {
  block,
  frame,
  frames,
  GET,
  HELLO,
  headerBlock,
  headers,
  Peer,
  POST,
  PREFACE,
  SETTINGS,
  SETTINGS_ACK,
  setting,
  u32,
} from './http2-peer.ts';

type Field = readonly [string, string];
const b = (...bytes: number[]): Buffer => Buffer.from(bytes);
const without = (name: string): Field[] => GET.filter(([n]) => n !== name) as Field[];
const open = headers(1, false, ...POST);
const closed = headers(1, true, ...GET);

// [what, a client's bytes behind its first SETTINGS, verdict]
const connection: readonly [string, Buffer, string][] = [
  ['DATA on stream 0', frame(0, 0, 0, b(1)), 'goaway 1'],
  ['DATA on an idle stream', frame(0, 0, 1, b(1)), 'goaway 1'],
  ['DATA padded by more than its length', Buffer.concat([open, frame(0, 8, 1, b(5, 0, 0))]), 'goaway 1'],
  ['DATA padded by its whole length', Buffer.concat([open, frame(0, 8, 1, b(3, 0, 0))]), 'goaway 1'],
  ['padded DATA without a pad length', Buffer.concat([open, frame(0, 8, 1)]), 'goaway 6'],
  ['HEADERS on stream 0', headers(0, true, ...GET), 'goaway 1'],
  ['HEADERS on an even stream', headers(2, true, ...GET), 'goaway 1'],
  ['HEADERS on a lower stream than the last', Buffer.concat([headers(5, true, ...GET), headers(3, true, ...GET)]), 'goaway 5'],
  ['HEADERS padded by more than its length', frame(1, 13, 1, b(200, 0x82)), 'goaway 1'],
  ['HEADERS shorter than its priority', frame(1, 37, 1, b(0, 0, 0)), 'goaway 1'],
  ['HEADERS then DATA before END_HEADERS', Buffer.concat([frame(1, 1, 1, block(...GET)), frame(0, 0, 1, b(1))]), 'goaway 1'],
  ['HEADERS then CONTINUATION of another stream', Buffer.concat([frame(1, 1, 1, block(...GET)), frame(9, 4, 3)]), 'goaway 1'],
  ['HEADERS then an unknown frame before END_HEADERS', Buffer.concat([frame(1, 1, 1, block(...GET)), frame(99, 0, 1)]), 'goaway 1'],
  ['CONTINUATION alone', frame(9, 4, 1, block(...GET)), 'goaway 1'],
  ['CONTINUATION behind END_HEADERS', Buffer.concat([closed, frame(9, 4, 1, b(0x82))]), 'goaway 1'],
  ['PRIORITY on stream 0', frame(2, 0, 0, b(0, 0, 0, 1, 1)), 'goaway 1'],
  ['RST_STREAM on stream 0', frame(3, 0, 0, u32(8)), 'goaway 1'],
  ['RST_STREAM on an idle stream', frame(3, 0, 1, u32(8)), 'goaway 1'],
  ['RST_STREAM of 3 bytes', Buffer.concat([open, frame(3, 0, 1, b(0, 0, 8))]), 'goaway 6'],
  ['SETTINGS on a stream', frame(4, 0, 1), 'goaway 1'],
  ['SETTINGS of 5 bytes', frame(4, 0, 0, b(0, 3, 0, 0, 0)), 'goaway 6'],
  ['SETTINGS acknowledgement with a payload', frame(4, 1, 0, setting(3, 1)), 'goaway 6'],
  ['SETTINGS acknowledged twice', Buffer.concat([SETTINGS_ACK, SETTINGS_ACK]), 'goaway 1'],
  ['ENABLE_PUSH 2', frame(4, 0, 0, setting(2, 2)), 'goaway 1'],
  ['INITIAL_WINDOW_SIZE 2^31', frame(4, 0, 0, setting(4, 2 ** 31)), 'goaway 3'],
  ['MAX_FRAME_SIZE 16383', frame(4, 0, 0, setting(5, 16_383)), 'goaway 1'],
  ['MAX_FRAME_SIZE 2^24', frame(4, 0, 0, setting(5, 2 ** 24)), 'goaway 1'],
  ['ENABLE_CONNECT_PROTOCOL 2', frame(4, 0, 0, setting(8, 2)), 'goaway 1'],
  ['ENABLE_CONNECT_PROTOCOL taken back', frame(4, 0, 0, Buffer.concat([setting(8, 1), setting(8, 0)])), 'goaway 1'],
  ['PUSH_PROMISE from a client', frame(5, 4, 1, u32(2)), 'goaway 1'],
  ['PING on a stream', frame(6, 0, 1, Buffer.alloc(8)), 'goaway 1'],
  ['PING of 7 bytes', frame(6, 0, 0, Buffer.alloc(7)), 'goaway 6'],
  ['GOAWAY on a stream', frame(7, 0, 1, Buffer.alloc(8)), 'goaway 1'],
  ['GOAWAY of 7 bytes', frame(7, 0, 0, Buffer.alloc(7)), 'goaway 6'],
  ['WINDOW_UPDATE of 3 bytes', frame(8, 0, 0, Buffer.alloc(3)), 'goaway 6'],
  ['WINDOW_UPDATE by 0 on the connection', frame(8, 0, 0, u32(0)), 'goaway 1'],
  ['WINDOW_UPDATE on an idle stream', frame(8, 0, 1, u32(1)), 'goaway 1'],
  ['connection window above 2^31-1', frame(8, 0, 0, u32(0x7fffffff)), 'goaway 3'],
  [
    'initial window lifting an open window above 2^31-1',
    Buffer.concat([open, frame(8, 0, 1, u32(0x7fff0000)), frame(4, 0, 0, setting(4, 0x7fffffff))]),
    'goaway 3',
  ],
  ['a frame above the announced size', frame(1, 5, 1, Buffer.alloc(16_385)), 'goaway 6'],
  ['DATA above the announced size', Buffer.concat([open, frame(0, 0, 1, Buffer.alloc(16_385))]), 'goaway 6'],
  ['index 0', frame(1, 5, 1, b(0x80)), 'goaway 9'],
  ['an index beyond the table', frame(1, 5, 1, b(0xff, 0x80, 0x01)), 'goaway 9'],
  ['a name index beyond the table', frame(1, 5, 1, b(0x7f, 0x80, 0x01, 1, 65)), 'goaway 9'],
  ['an index cut off', frame(1, 5, 1, b(0xff)), 'goaway 9'],
  ['an integer of many bytes', frame(1, 5, 1, b(0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00)), 'goaway 9'],
  ['a string longer than the block', frame(1, 5, 1, b(0x00, 5, 97)), 'goaway 9'],
  ['a literal without a value', frame(1, 5, 1, b(0x00, 1, 97)), 'goaway 9'],
  ['Huffman padding of zeros', frame(1, 5, 1, b(0x00, 1, 97, 0x81, 0x00)), 'goaway 9'],
  ['Huffman padding of 8 bits', frame(1, 5, 1, b(0x00, 1, 97, 0x82, 0x1f, 0xff)), 'goaway 9'],
  ['Huffman EOS', frame(1, 5, 1, b(0x00, 1, 97, 0x84, 0xff, 0xff, 0xff, 0xff)), 'goaway 9'],
  ['a table size above the announced one', frame(1, 5, 1, b(0x3f, 0xe2, 0x1f)), 'goaway 9'],
  ['a table size behind a field', frame(1, 5, 1, Buffer.concat([b(0x82, 0x20), block(...GET.slice(1))])), 'goaway 9'],
];

// The same in a header block: a stream error, or Envoy's connection error.
const messages: readonly [string, Buffer, number?][] = [
  ['no :method', headers(1, true, ...without(':method'))],
  ['no :scheme', headers(1, true, ...without(':scheme'))],
  ['no :path', headers(1, true, ...without(':path'))],
  ['an empty :path', headers(1, true, ...without(':path'), [':path', ''])],
  ['a relative :path', headers(1, true, ...without(':path'), [':path', 'a'])],
  ['an absolute :path', headers(1, true, ...without(':path'), [':path', 'http://b/'])],
  [':path * without OPTIONS', headers(1, true, ...without(':path'), [':path', '*'])],
  ['a space in :path', headers(1, true, ...without(':path'), [':path', '/ HTTP/1.1'])],
  ['CR LF in :path', headers(1, true, ...without(':path'), [':path', '/\r\nx: y'])],
  ['a tab in :method', headers(1, true, ...without(':method'), [':method', 'G\tT'])],
  ['an empty :method', headers(1, true, ...without(':method'), [':method', ''])],
  ['user information in :authority', headers(1, true, ...without(':authority'), [':authority', 'me@a'])],
  ['a slash in :authority', headers(1, true, ...without(':authority'), [':authority', 'a/b'])],
  ['CR LF in :authority', headers(1, true, ...without(':authority'), [':authority', 'a\r\nx: y'])],
  ['a strange :scheme', headers(1, true, ...without(':scheme'), [':scheme', 'ht tp'])],
  [':method twice', headers(1, true, [':method', 'GET'], ...GET)],
  [':path twice', headers(1, true, ...GET, [':path', '/b'])],
  [':authority twice', headers(1, true, ...GET, [':authority', 'b'])],
  [':status in a request', headers(1, true, ...GET, [':status', '200'])],
  ['an unknown pseudo field', headers(1, true, ...GET, [':what', 'x'])],
  [':protocol that is not allowed', headers(1, false, [':method', 'CONNECT'], ...GET.slice(1), [':protocol', 'websocket'])],
  ['a pseudo field behind a regular one', headers(1, true, ['x', 'y'], ...GET)],
  ['CONNECT with :path', headers(1, false, [':method', 'CONNECT'], [':authority', 'a:1'], [':path', '/'])],
  ['CONNECT without :authority', headers(1, false, [':method', 'CONNECT'])],
  ['CONNECT with host instead of :authority', headers(1, false, [':method', 'CONNECT'], ['host', 'a:1'])],
  ['CONNECT with an empty :authority', headers(1, false, [':method', 'CONNECT'], [':authority', ''])],
  ['a host beside :authority that is no authority', headers(1, true, ...GET, ['host', 'a b'])],
  ['an empty host beside :authority', headers(1, true, ...GET, ['host', ''])],
  ['two hosts beside :authority', headers(1, true, ...GET, ['host', 'b'], ['host', 'b'])],
  ['an upper-case name', headers(1, true, ...GET, ['X-A', 'y'])],
  ['a space in a name', headers(1, true, ...GET, ['x a', 'y'])],
  ['a colon in a name', headers(1, true, ...GET, ['x:a', 'y'])],
  ['CR LF in a name', headers(1, true, ...GET, ['x\r\ny', 'z'])],
  ['an empty name', headers(1, true, ...GET, ['', 'y'])],
  ['obs-text in a name', headers(1, true, ...GET, ['x\xe4', 'y'])],
  ['CR in a value', headers(1, true, ...GET, ['x', 'a\rb'])],
  ['LF in a value', headers(1, true, ...GET, ['x', 'a\nb'])],
  ['NUL in a value', headers(1, true, ...GET, ['x', 'a\0b'])],
  ['DEL in a value', headers(1, true, ...GET, ['x', 'a\x7fb'])],
  ['connection', headers(1, true, ...GET, ['connection', 'close'])],
  ['keep-alive', headers(1, true, ...GET, ['keep-alive', '5'])],
  ['proxy-connection', headers(1, true, ...GET, ['proxy-connection', 'keep-alive'])],
  ['transfer-encoding', headers(1, false, ...POST, ['transfer-encoding', 'chunked'])],
  ['upgrade', headers(1, true, ...GET, ['upgrade', 'h2c'])],
  ['te other than trailers', headers(1, true, ...GET, ['te', 'trailers, gzip'])],
  ['content-length malformed', headers(1, false, ...POST, ['content-length', '+3'])],
  ['content-length empty', headers(1, false, ...POST, ['content-length', ''])],
  ['content-length of 16 digits', headers(1, false, ...POST, ['content-length', '1000000000000000'])],
  ['content-length twice', headers(1, false, ...POST, ['content-length', '3'], ['content-length', '3'])],
  ['content-length without a body', headers(1, true, ...POST, ['content-length', '3'])],
  ['no :authority and no host', headers(1, true, ...without(':authority'))],
  ['an empty :authority', headers(1, true, ...without(':authority'), [':authority', ''])],
  ['two hosts and no :authority', headers(1, true, ...without(':authority'), ['host', 'a'], ['host', 'a'])],
  ['a host that is no authority', headers(1, true, ...without(':authority'), ['host', 'a/b'])],
  ['content-length in trailers', Buffer.concat([open, headers(1, true, ['content-length', '3'])])],
  ['trailers before all of the body', Buffer.concat([headers(1, false, ...POST, ['content-length', '1']), headers(1, true, ['x', 'y'])])],
  ['trailers without END_STREAM', Buffer.concat([open, headers(1, false, ['x', 'y'])])],
  ['a pseudo field in trailers', Buffer.concat([open, headers(1, true, [':path', '/'])])],
  ['transfer-encoding in trailers', Buffer.concat([open, headers(1, true, ['transfer-encoding', 'chunked'])])],
];

// Errors of a stream whatever the option says.
const streams: readonly [string, Buffer, string][] = [
  [
    'less body than content-length',
    Buffer.concat([headers(1, false, ...POST, ['content-length', '3']), frame(0, 1, 1, b(1, 2))]),
    'reset 1 1',
  ],
  [
    'more body than content-length',
    Buffer.concat([headers(1, false, ...POST, ['content-length', '1']), frame(0, 0, 1, b(1, 2))]),
    'reset 1 1',
  ],
  ['DATA behind END_STREAM', Buffer.concat([closed, frame(0, 0, 1, b(1))]), 'reset 1 5'],
  ['HEADERS behind END_STREAM', Buffer.concat([closed, headers(1, true, ['x', 'y'])]), 'reset 1 5'],
  ['PRIORITY of 4 bytes', Buffer.concat([open, frame(2, 0, 1, b(0, 0, 0, 0))]), 'reset 1 6'],
  ['a stream that depends on itself by PRIORITY', Buffer.concat([open, frame(2, 0, 1, b(0, 0, 0, 1, 1))]), 'reset 1 1'],
  ['a stream that depends on itself by HEADERS', frame(1, 37, 1, Buffer.concat([b(0, 0, 0, 1, 1), block(...GET)])), 'reset 1 1'],
  ['WINDOW_UPDATE by 0 on a stream', Buffer.concat([open, frame(8, 0, 1, u32(0))]), 'reset 1 1'],
  ['stream window above 2^31-1', Buffer.concat([open, frame(8, 0, 1, u32(0x7fffffff))]), 'reset 1 3'],
];

const server = (options: Http2Options = {}): Peer => {
  const peer = new Peer('server', options).feed(HELLO);
  peer.output();
  return peer;
};
const eachWay = (bytes: Buffer, check: (peer: Peer) => void, options: Http2Options = {}): void => {
  check(server(options).feed(bytes));
  check(server(options).feed(...Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))));
};

describe('http2 malformed', () => {
  for (const [what, bytes, verdict] of connection)
    test(`connection error: ${what}`, () =>
      eachWay(bytes, (peer) => {
        assert.equal(peer.verdicts().at(-1), verdict);
        assert.equal(`goaway ${peer.problem?.code}`, verdict);
        const before = peer.events.length;
        peer.feed(headers(101, true, ...GET));
        assert.equal(peer.events.length, before, 'nothing is read after it');
        assert.equal(peer.connection.activeStreams, 0);
      }));

  for (const [what, bytes] of messages)
    test(`malformed message: ${what}`, () => {
      const strict = { streamErrorOnInvalidMessage: true };
      eachWay(
        bytes,
        (peer) => {
          assert.deepEqual(peer.verdicts(), ['reset 1 1']);
          assert.ok(!peer.events.some((e) => e.startsWith('end')), 'never a whole message');
          assert.equal(peer.feed(headers(3, true, ...GET)).events.at(-1), 'end 3');
        },
        strict,
      );
      eachWay(bytes, (peer) => assert.equal(peer.verdicts().at(-1), 'goaway 1'));
    });

  for (const [what, bytes, verdict] of streams)
    test(`stream error: ${what}`, () =>
      eachWay(bytes, (peer) => {
        assert.deepEqual(peer.verdicts(), [verdict]);
        assert.equal(peer.feed(headers(3, true, ...GET)).events.at(-1), 'end 3');
      }));

  test('a wrong preface, and one that is not followed by SETTINGS', () => {
    for (const bytes of [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.concat([PREFACE, frame(6, 0, 0, Buffer.alloc(8))]),
      Buffer.concat([PREFACE, SETTINGS_ACK]),
    ]) {
      const peer = new Peer('server').feed(bytes);
      assert.deepEqual(peer.verdicts(), ['goaway 1']);
    }
  });

  test('DATA above the windows', () => {
    const stream = server({ initialStreamWindowSize: 10 }).feed(SETTINGS_ACK, open, frame(0, 0, 1, Buffer.alloc(11)));
    assert.deepEqual(stream.verdicts(), ['reset 1 3']);
    const whole = server({ initialConnectionWindowSize: 65_535 });
    whole.greedy = false;
    whole.feed(open, ...Array.from({ length: 4 }, () => frame(0, 0, 1, Buffer.alloc(16_384))));
    assert.deepEqual(whole.verdicts(), ['goaway 3']);
  });

  test('an empty end is no flow-control error while SETTINGS have made the window negative', () => {
    const peer = server({ initialStreamWindowSize: 1000 });
    peer.greedy = false;
    peer.feed(open, frame(0, 0, 1, Buffer.alloc(5000)), SETTINGS_ACK, frame(0, 1, 1));
    assert.equal(peer.events.at(-1), 'end 1');
  });

  test('a stream above the announced limit is refused and costs nothing', () => {
    const peer = server({ maxConcurrentStreams: 1 }).feed(open, headers(3, true, ...GET));
    assert.deepEqual(peer.verdicts(), ['reset 3 7']);
    assert.equal(peer.connection.activeStreams, 1);
  });

  test('a head above the limits ends its stream and keeps the tables true', () => {
    const many = Array.from({ length: 101 }, (_, i): Field => [`x-${i}`, '']);
    const indexed = Buffer.concat([b(0x40, 3), Buffer.from('x-t'), b(4), Buffer.from('kept')]);
    const large: Field[] = [
      ['x', 'v'.repeat(15_000)],
      ['x', 'v'.repeat(15_000)],
      ['x', 'v'.repeat(15_000)],
      ['x', 'v'.repeat(15_000)],
      ['x', 'v'.repeat(2_000)],
    ];
    for (const fields of [many, large]) {
      const payload = Buffer.concat([block(...GET, ...fields), indexed]);
      const parts: Buffer[] = [];
      for (let at = 0; at < payload.length; at += 16_384)
        parts.push(
          frame(at === 0 ? 1 : 9, (at === 0 ? 1 : 0) | (at + 16_384 >= payload.length ? 4 : 0), 1, payload.subarray(at, at + 16_384)),
        );
      const peer = server().feed(...parts, frame(1, 5, 3, Buffer.concat([block(...GET), b(0xbe)])));
      assert.deepEqual(peer.verdicts(), ['reset 1 2']);
      assert.deepEqual(peer.streams.get(3)?.headers.entries(), [['x-t', 'kept']]);
    }
  });

  test('the owner hears of a head above the limits by its detail', () => {
    const heard: string[] = [];
    const peer = server({ maxHeaderCount: 5, maxHeadBytes: 100 });
    peer.onHeadRefused = (detail) => heard.push(detail);
    peer.feed(headers(1, true, ...GET, ['a', ''], ['b', '']), headers(3, true, ...GET, ['a', 'v'.repeat(100)]));
    assert.deepEqual(heard, ['http2.too_many_headers', 'http2.header_list_size_too_large']);
  });

  test('host stands in for :authority, and is dropped beside it; obs-text may stand in :path', () => {
    const peer = server().feed(
      headers(1, true, ...without(':authority'), ['host', 'h:1'], ['x', 'y']),
      headers(3, true, ...GET, ['host', 'other']),
      headers(5, true, ...without(':path'), [':path', '/\xe4']),
    );
    assert.deepEqual(
      peer.events.filter((e) => e.startsWith('head')),
      ['head 1 GET http h:1 /  [["x","y"]] -1 true', 'head 3 GET http a /  [] -1 true', 'head 5 GET http a /\xe4  [] -1 true'],
    );
  });

  test('unknown frames, settings and flags are ignored; PRIORITY is too', () => {
    const peer = server().feed(
      frame(200, 255, 7, Buffer.alloc(100)),
      frame(4, 0, 0, setting(250, 7)),
      frame(2, 0, 9, b(0, 0, 0, 1, 1)),
      frame(1, 0xff & ~0x2a, 1, block(...GET)),
    );
    assert.equal(peer.events.at(-1), 'end 1');
    assert.deepEqual(peer.verdicts(), []);
  });

  test('padding is given back with the payload', () => {
    const peer = server({ initialStreamWindowSize: 1000, initialConnectionWindowSize: 65_535 }).feed(SETTINGS_ACK, open);
    for (let i = 0; i < 400; i++) {
      peer.feed(frame(0, 8, 1, Buffer.concat([b(200), Buffer.alloc(210)])));
      assert.equal(peer.problem, undefined);
      const updates = frames(peer.output()).filter((f) => f.type === 8 && f.id === 1);
      assert.ok(updates.length <= 1);
    }
    assert.equal(peer.body(1).length, 4000);
  });

  test('bytes of dead streams are given back to the connection window', () => {
    const peer = server({ initialConnectionWindowSize: 65_535 });
    peer.greedy = false;
    for (let id = 1; id < 400; id += 2) {
      peer.feed(headers(id, false, ...POST), frame(0, 0, id, Buffer.alloc(4000)));
      peer.streams.get(id)?.reset(8);
      peer.feed(frame(0, 0, id, Buffer.alloc(4000)));
      peer.output();
    }
    assert.equal(peer.problem, undefined);
  });

  const fromServer: readonly [string, Buffer, string][] = [
    ['ENABLE_PUSH 1 from a server', frame(4, 0, 0, setting(2, 1)), 'goaway 1'],
    ['PUSH_PROMISE', frame(5, 4, 1, Buffer.concat([u32(2), block(...GET)])), 'goaway 1'],
    ['HEADERS on an idle stream', headers(5, true, [':status', '200']), 'goaway 1'],
    ['HEADERS on a stream of the server', headers(2, true, [':status', '200']), 'goaway 1'],
    ['no :status', headers(1, true, ['x', 'y']), 'goaway 1'],
    [':status twice', headers(1, true, [':status', '200'], [':status', '200']), 'goaway 1'],
    [':status of 2 digits', headers(1, true, [':status', '20']), 'goaway 1'],
    [':status with a space', headers(1, true, [':status', '200 ']), 'goaway 1'],
    [':status 101', headers(1, false, [':status', '101']), 'goaway 1'],
    ['a request field in a response', headers(1, true, [':status', '200'], [':path', '/']), 'goaway 1'],
    ['1xx with END_STREAM', headers(1, true, [':status', '100']), 'goaway 1'],
    ['DATA before the head', frame(0, 1, 1, b(1)), 'goaway 1'],
    ['transfer-encoding in a response', headers(1, false, [':status', '200'], ['transfer-encoding', 'chunked']), 'goaway 1'],
  ];
  for (const [what, bytes, verdict] of fromServer)
    test(`client: ${what}`, () => {
      const peer = new Peer('client');
      peer.connection.request('GET', 'http', 'a', '/', '', headerBlock(), true);
      peer.output();
      peer.feed(SETTINGS, bytes);
      assert.equal(peer.verdicts().at(-1), verdict);
      assert.match(peer.events.join('\n'), /reset 1 1 local\nerror 1 /);
    });
});
