// Peers that send what costs them nothing: each ends with ENHANCE_YOUR_CALM (or is cheap for ever), and nothing grows.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Http2Options } from '../../src/wire/http2-connection.ts';
import { block, frame, GET, HELLO, headerBlock, headers, Peer, POST, SETTINGS, setting, u32 } from './http2-peer.ts';

const server = (options: Http2Options = {}): Peer => {
  const peer = new Peer('server', options).feed(HELLO);
  peer.output();
  return peer;
};
/** Sends until the machine ends the connection; how many it took. */
const flood = (peer: Peer, max: number, piece: (i: number) => Buffer, drain = false): number => {
  for (let i = 0; i < max; i++) {
    peer.feed(piece(i));
    if (peer.problem !== undefined) return i + 1;
    if (drain) peer.output();
  }
  return max;
};
const calm = (peer: Peer, detail: string): void => {
  assert.equal(peer.problem?.detail, detail);
  assert.deepEqual(peer.verdicts().slice(-1), ['goaway 11']);
  assert.equal(peer.connection.activeStreams, 0);
};

describe('http2 flood', () => {
  for (const [what, piece] of [
    ['PING', frame(6, 0, 0, Buffer.alloc(8))],
    ['SETTINGS', SETTINGS],
    ['RST_STREAM provoked by DATA on a closed stream', Buffer.concat([frame(0, 0, 1, Buffer.alloc(1)), frame(8, 0, 0, u32(1))])],
  ] as const)
    test(`${what} without reading the answers`, () => {
      const peer = server().feed(headers(1, true, ...GET));
      peer.connection.respond(peer.streams.get(1) ?? assert.fail(), 200, headerBlock(), true);
      peer.output();
      const sent = flood(peer, 2000, () => piece);
      assert.ok(sent <= 1001, String(sent));
      if (!what.startsWith('RST')) calm(peer, 'codec_error:Too_many_control_frames_in_the_outbound_queue.');
    });

  test('PING while the answers are read goes on', () => {
    assert.equal(
      flood(server(), 5000, () => frame(6, 0, 0, Buffer.alloc(8)), true),
      5000,
    );
  });

  test('requests whose answers are not read', () => {
    const peer = server({ maxConcurrentStreams: 100_000, maxOutboundFrames: 2000 });
    peer.onFinished = (s) => peer.connection.respond(s, 204, headerBlock(), true);
    const sent = flood(peer, 4000, (i) => headers(2 * i + 1, true, ...GET));
    assert.ok(sent <= 2002, String(sent));
    calm(peer, 'http2.outbound_frames_flood');
  });

  test('rapid reset', () => {
    const peer = server();
    const sent = flood(peer, 5000, (i) => Buffer.concat([headers(2 * i + 1, true, ...GET), frame(3, 0, 2 * i + 1, u32(8))]), true);
    assert.equal(sent, 250);
    calm(peer, 'too_many_premature_resets');
  });

  test('streams that lived for two seconds may be reset for ever', () => {
    const old = server({ maxConcurrentStreams: 3000 });
    old.connection.nowMs = 1000;
    for (let i = 0; i < 1500; i++) old.feed(headers(2 * i + 1, true, ...GET));
    old.connection.nowMs = 3000;
    assert.equal(
      flood(old, 1500, (i) => frame(3, 0, 2 * i + 1, u32(8)), true),
      1500,
    );
  });

  test('rapid reset hidden among more answered requests goes on; among as many it does not', () => {
    const peer = server();
    peer.onFinished = (s) => {
      if (s.id % 6 !== 1) peer.connection.respond(s, 200, headerBlock(), true);
    };
    assert.equal(
      flood(peer, 1000, (i) => Buffer.concat([headers(2 * i + 1, true, ...GET), frame(3, 0, 2 * i + 1, u32(8))]), true),
      1000,
    );
    const other = server();
    other.onFinished = (s) => {
      if (s.id % 4 !== 1) other.connection.respond(s, 200, headerBlock(), true);
    };
    assert.equal(
      flood(other, 1000, (i) => Buffer.concat([headers(2 * i + 1, true, ...GET), frame(3, 0, 2 * i + 1, u32(8))]), true),
      499,
    );
  });

  test('streams above the limit', () => {
    const peer = server({ maxConcurrentStreams: 1 }).feed(headers(1, false, ...POST));
    assert.equal(
      flood(peer, 5000, (i) => headers(2 * i + 3, true, ...GET), true),
      250,
    );
  });

  test('CONTINUATION frames, small and large', () => {
    for (const size of [1, 16_384]) {
      const peer = server().feed(frame(1, 0, 1, block(...GET)));
      const sent = flood(peer, 5000, () => frame(9, 0, 1, Buffer.alloc(size, 0)));
      assert.ok(sent <= 110, String(sent));
      calm(peer, 'http2.continuation_flood');
    }
  });

  for (const [what, piece] of [
    ['DATA', frame(0, 0, 1)],
    ['DATA of padding only', frame(0, 8, 1, Buffer.from([3, 0, 0, 0]))],
  ] as const)
    test(`empty ${what}`, () => {
      const peer = server().feed(headers(1, false, ...POST));
      assert.equal(
        flood(peer, 100, () => piece),
        2,
      );
      calm(peer, 'http2.inbound_empty_frames_flood');
    });

  test('empty CONTINUATION and HEADERS', () => {
    const peer = server().feed(frame(1, 0, 1));
    assert.equal(
      flood(peer, 100, () => frame(9, 0, 1)),
      1,
    );
    calm(peer, 'http2.inbound_empty_frames_flood');
  });

  test('PRIORITY', () => {
    const peer = server();
    assert.equal(
      flood(peer, 5000, () => frame(2, 0, 3, Buffer.from([0, 0, 0, 1, 1]))),
      101,
    );
    calm(peer, 'codec_error:Too_many_PRIORITY_frames');
  });

  test('WINDOW_UPDATE', () => {
    const peer = server();
    assert.equal(
      flood(peer, 5000, () => frame(8, 0, 0, u32(1))),
      6,
    );
    calm(peer, 'codec_error:Too_many_WINDOW_UPDATE_frames');
  });

  test('a window of 0 holds the bodies that were given, by reference, and the rest is refused by false', () => {
    const peer = server().feed(frame(4, 0, 0, setting(4, 0)));
    const body = Buffer.alloc(60_000, 97);
    peer.onFinished = (s) => {
      peer.connection.respond(s, 200, headerBlock(), false);
      assert.equal(s.writeBody(body, 0, body.length), false);
    };
    for (let i = 0; i < 100; i++) peer.feed(headers(2 * i + 1, true, ...GET));
    assert.equal(peer.connection.outputBytes > 6_000_000, true);
    assert.ok(peer.output().length < 10_000);
    peer.feed(frame(4, 0, 0, setting(4, 10)));
    assert.equal(peer.streams.get(1)?.queuedBytes, 59_990);
    peer.feed(frame(4, 0, 0, setting(4, 0))); // now every window is negative
    peer.feed(frame(8, 0, 1, u32(10)));
    assert.equal(peer.streams.get(1)?.queuedBytes, 59_990);
    peer.feed(frame(8, 0, 1, u32(1)));
    assert.equal(peer.streams.get(1)?.queuedBytes, 59_989);
    peer.connection.finish();
    assert.equal(peer.events.filter((e) => e.startsWith('reset')).length, 100);
  });

  test('a table entry named again and again ends the stream, not the memory', () => {
    const entry = Buffer.concat([Buffer.from([0x40, 1, 120, 0x7f, 0xa1, 0x1e]), Buffer.alloc(4000, 97)]);
    const peer = server().feed(frame(1, 5, 1, Buffer.concat([block(...GET), entry])));
    assert.equal(peer.streams.get(1)?.headers.count, 1);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 1; i < 50; i++) peer.feed(frame(1, 5, 2 * i + 1, Buffer.alloc(16_000, 0xbe)));
    assert.equal(peer.verdicts().filter((v) => v.endsWith(' 2')).length, 49);
    assert.ok(process.memoryUsage().arrayBuffers - before < 20_000_000);
  });
});
