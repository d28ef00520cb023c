// Peers that try to make the machine keep more than they pay for, or to leave its accounts wrong.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Http2Options } from '../../src/wire/http2-connection.ts';
import { block, frame, frames, GET, HELLO, headerBlock, headers, Peer, POST, PREFACE, SETTINGS_ACK, setting, u32 } from './http2-peer.ts';

const server = (options: Http2Options = {}): Peer => {
  const peer = new Peer('server', options).feed(HELLO);
  peer.output();
  return peer;
};

const gc: () => void = (() => {
  const bun = (globalThis as { Bun?: { gc(now: boolean): void } }).Bun;
  if (bun !== undefined) return () => bun.gc(true);
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
})();
/** Megabytes of buffers that are still held after `work`, whose result is kept. */
const heldAfter = (work: () => unknown): number => {
  gc();
  const before = process.memoryUsage().external;
  const kept = work();
  gc();
  gc();
  const held = (process.memoryUsage().external - before) / 1e6;
  assert.ok(kept !== undefined);
  return held;
};

describe('http2 hostile peers', () => {
  test('DATA on many closed streams, the resets it provokes not read', () => {
    const peer = server();
    peer.onFinished = (s) => peer.connection.respond(s, 204, headerBlock(), true);
    for (let i = 0; i < 1500; i++) peer.feed(headers(2 * i + 1, true, ...GET));
    peer.output();
    for (let i = 0; i < 5000 && peer.problem === undefined; i++) peer.feed(frame(0, 1, 2 * (i % 1500) + 1));
    assert.equal(peer.problem?.detail, 'codec_error:Too_many_control_frames_in_the_outbound_queue.');
    assert.ok(peer.connection.outputBytes < 20_000);
  });

  for (const [what, broken] of [
    ['WINDOW_UPDATE by 0', (id: number) => frame(8, 0, id, u32(0))],
    ['WINDOW_UPDATE above the maximum', (id: number) => frame(8, 0, id, u32(0x7fffffff))],
    ['PRIORITY of a wrong size', (id: number) => frame(2, 0, id, Buffer.alloc(4))],
    ['DATA behind the end', (id: number) => frame(0, 1, id)],
    ['HEADERS behind the end', (id: number) => frame(1, 5, id, block(['x', 'y']))],
    ['a body above its content-length', (id: number) => frame(0, 0, id, Buffer.alloc(2))],
  ] as const)
    test(`rapid resets that this side is made to send: ${what}`, () => {
      const peer = server();
      const head = what.startsWith('a body') ? [...POST, ['content-length', '1'] as const] : GET;
      let sent = 0;
      while (sent < 2000 && peer.problem === undefined) {
        const id = 2 * sent++ + 1;
        peer.feed(headers(id, !what.startsWith('a body'), ...head), broken(id));
        peer.output();
      }
      assert.equal(peer.problem?.detail, 'too_many_premature_resets');
      assert.equal(sent, 250);
    });

  test('a stream that both sides have reset is closed: HEADERS on it end the connection', () => {
    const peer = server().feed(headers(1, false, ...GET));
    peer.streams.get(1)?.reset(0);
    assert.ok(frames(peer.output()).some((f) => f.type === 3 && f.id === 1));
    // On its way before the peer heard of it: not an error.
    peer.feed(frame(0, 0, 1, Buffer.alloc(1)));
    assert.deepEqual(frames(peer.output()), []);
    peer.feed(frame(3, 0, 1, u32(8)), headers(1, true, ...GET));
    const goaway = frames(peer.output()).find((f) => f.type === 7);
    assert.equal(goaway?.payload.readUInt32BE(4), 5);
  });

  test('1xx heads nobody reads stop being kept; a first one behind a full outbox still goes', () => {
    const peer = server().feed(headers(1, true, ...GET), headers(3, true, ...GET));
    const [one, three] = [peer.streams.get(1) ?? assert.fail(), peer.streams.get(3) ?? assert.fail()];
    peer.output();
    for (let i = 0; i < 5000; i++) peer.connection.inform(one, 103, headerBlock([['link', String(i).repeat(300)]]));
    assert.ok(peer.connection.outputBytes < 2_000_000, String(peer.connection.outputBytes));
    peer.output();
    peer.connection.respond(one, 200, headerBlock(), false);
    one.writeBody(Buffer.alloc(60_000), 0, 60_000);
    peer.connection.inform(three, 100, headerBlock());
    assert.ok(frames(peer.output()).some((f) => f.type === 1 && f.id === 3));
  });

  test('small pieces behind a closed window do not hold the buffers they came in, nor an object each', () => {
    const peer = server().feed(frame(4, 0, 0, setting(4, 0)), headers(1, true, ...GET));
    const stream = peer.streams.get(1) ?? assert.fail();
    peer.connection.respond(stream, 200, headerBlock(), false);
    let expected = '';
    for (let i = 0; i < 3000; i++) {
      const read = Buffer.alloc(65_536, 97 + (i % 26));
      const bytes = i % 500 === 0 ? 5000 : 1 + (i % 3);
      expected += read.toString('latin1', 7, 7 + bytes);
      stream.writeBody(read, 7, 7 + bytes);
    }
    const queue = stream.queue ?? [];
    let held = 0;
    for (const memory of new Set(queue.map((piece) => piece.buffer))) held += memory.byteLength;
    assert.ok(queue.length < 30, String(queue.length));
    assert.ok(held < 8 * expected.length, `${held} for ${expected.length}`);
    assert.equal(stream.queuedBytes, expected.length);
    peer.output();
    peer.feed(frame(8, 0, 1, u32(1_000_000)));
    stream.endBody(undefined);
    const sent = frames(peer.output()).filter((f) => f.type === 0);
    assert.equal(Buffer.concat(sent.map((f) => f.payload)).toString('latin1'), expected);
    assert.equal(sent.at(-1)?.flags, 1);
  });

  test('a table announced smaller holds from the acknowledgement on, not before', () => {
    for (const bytes of [0, 100]) {
      const peer = new Peer('server', { headerTableSize: bytes });
      const indexed = Buffer.concat([block(...GET), Buffer.from([0x40, 1, 120, 1, 121])]); // x: y goes into the table
      peer.feed(PREFACE, frame(4, 0, 0), frame(1, 5, 1, indexed), frame(1, 5, 3, Buffer.concat([block(...GET), Buffer.from([0xbe])])));
      assert.deepEqual(peer.verdicts(), []);
      assert.match(peer.events.join('\n'), /head 3 .*\[\["x","y"\]\]/);
      peer.feed(SETTINGS_ACK, frame(1, 5, 5, Buffer.concat([Buffer.from([0x20]), block(...GET), Buffer.from([0xbe])])));
      assert.equal(peer.problem?.code, 9);
    }
    const late = new Peer('server', { headerTableSize: 0 }).feed(PREFACE, frame(4, 0, 0), SETTINGS_ACK);
    late.feed(frame(1, 5, 1, Buffer.concat([Buffer.from([0x3f, 0x45]), block(...GET)])));
    assert.equal(late.problem?.code, 9);
  });

  for (const [what, kind] of [
    ['heads', 1],
    ['trailers', 2],
    ['heads above the limit', 3],
    ['answers', 4],
  ] as const)
    test(`a connection that has fallen quiet holds nothing of the large ${what} it had`, () => {
      const crumb = (n: number): Buffer => Buffer.concat([Buffer.from([0x40]), block(['cookie', String(n).repeat(3900)]).subarray(1)]);
      const crumbs = Buffer.alloc(kind === 3 ? 60 : 14, 0xbe);
      const held = heldAfter(() =>
        Array.from({ length: 8 }, () => {
          const peer = server();
          for (let i = 0; i < 100; i++) {
            const id = 2 * i + 1;
            const cookies = Buffer.concat([crumb(i % 10), crumbs]);
            if (kind === 2) peer.feed(headers(id, false, ...POST), frame(1, 5, id, cookies));
            else peer.feed(frame(1, 5, id, Buffer.concat([block(...GET), kind === 4 ? Buffer.alloc(0) : cookies])));
          }
          const more = headerBlock(kind === 4 ? [['location', 'x'.repeat(60_000)]] : []);
          for (const stream of peer.streams.values()) {
            peer.connection.respond(stream, 204, more, true);
            stream.release();
          }
          peer.output();
          assert.equal(peer.connection.activeStreams, 0);
          assert.equal(peer.problem, undefined);
          peer.streams.clear();
          peer.events.length = 0;
          return peer;
        }),
      );
      assert.ok(held < 0.8, `${held} MB`);
    });

  test('trailers on their way to streams that were all reset at once cost nobody the connection', () => {
    const peer = server();
    for (let i = 0; i < 1000; i++) peer.feed(headers(2 * i + 1, false, ...POST));
    for (const stream of peer.streams.values()) stream.reset(8);
    peer.output();
    for (let i = 0; i < 1000; i++) peer.feed(headers(2 * i + 1, true, ['x', 'y']));
    assert.deepEqual(peer.verdicts(), []);
  });

  test('GOAWAY never names a later stream than the final one did', () => {
    const peer = server().feed(headers(1, false, ...POST));
    peer.connection.goaway(0, true);
    peer.feed(headers(3, true, ...GET), frame(6, 0, 0, Buffer.alloc(1)));
    const lasts = frames(peer.output()).flatMap((f) => (f.type === 7 ? [f.payload.readUInt32BE(0)] : []));
    assert.deepEqual(lasts, [1, 1]);
  });

  test('the connection window is whole again however streams ended, with bytes their owner still held', () => {
    const size = 65_535;
    const peer = server({ initialStreamWindowSize: 65_535, initialConnectionWindowSize: size });
    peer.greedy = false;
    const data = frame(0, 8, 1, Buffer.concat([Buffer.from([99]), Buffer.alloc(10_000 - 1)]));
    const on = (id: number): Buffer => {
      const copy = Buffer.from(data);
      copy.writeUInt32BE(id, 5);
      return copy;
    };
    let given = 0;
    const collect = (): void => {
      for (const f of frames(peer.output())) if (f.type === 8 && f.id === 0) given += f.payload.readUInt32BE(0);
    };
    let used = 0;
    for (let id = 1; id < 2000; id += 10) {
      peer.feed(...[id, id + 2, id + 4, id + 6].map((n) => headers(n, false, ...POST)));
      peer.connection.nowMs = 10_000 * id;
      peer.feed(on(id), frame(3, 0, id, u32(8))); // reset by the peer
      peer.feed(on(id + 2));
      peer.streams.get(id + 2)?.reset(8); // by the owner; more is on its way
      peer.feed(on(id + 2));
      peer.feed(on(id + 4), frame(8, 0, id + 4, u32(0))); // by the machine
      peer.feed(on(id + 6), frame(0, 1, id + 6));
      const done = peer.streams.get(id + 6) ?? assert.fail();
      peer.connection.respond(done, 200, headerBlock(), true);
      done.release(); // ended well, the body never looked at
      used += 50_000;
      collect();
      assert.equal(peer.problem, undefined);
      assert.ok(used - given <= size / 2 + 1, `${used - given}`);
    }
  });
});
