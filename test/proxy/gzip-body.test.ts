// What GzipBody sends, read back: whole behind any pieces, and each piece at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constants, gunzipSync } from 'node:zlib';
import type { BodyPath, PacedResponse } from '../../src/proxy/exchange/response-pace.ts';
import { GzipBody } from '../../src/proxy/filters/gzip-body.ts';

class Sent implements PacedResponse {
  readonly pieces: Buffer[] = [];
  finished = 0;
  takes = true;
  write(piece: Buffer): boolean {
    this.pieces.push(piece);
    return this.takes;
  }
  flush(): void {}
  room(): void {}
  finish(): void {
    this.finished++;
  }
  get bytes(): Buffer {
    return Buffer.concat(this.pieces);
  }
}
const uncounted = { bytesIn: () => {}, bytesOut: () => {} };
const body = (windowBits: number, before?: BodyPath) =>
  new GzipBody({ windowBits, memLevel: 5, level: 6, strategy: constants.Z_DEFAULT_STRATEGY }, uncounted, before);

/** Words again and again, from far back too. */
const text = (length: number): Buffer => {
  let seed = 7;
  const next = (): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed;
  };
  const words = Array.from({ length: 400 }, () => next().toString(36));
  let out = '';
  while (out.length < length) out += `${words[next() % words.length]} `;
  return Buffer.from(out.slice(0, length));
};

test('a body in pieces of any size comes out whole, with every window', () => {
  const all = text(150_000);
  for (const windowBits of [9, 12, 15]) {
    const sent = new Sent();
    const path = body(windowBits);
    for (let at = 0, size = 1; at < all.length; at += size, size = (size * 7 + 3) % 20_011) path.body(sent, all.subarray(at, at + size));
    assert.equal(path.end(sent), false);
    assert.ok(gunzipSync(sent.bytes).equals(all), `window of ${windowBits} bits`);
    if (windowBits === 15) assert.ok(sent.bytes.length < all.length / 2);
  }
});

test('each piece can be read when it was sent, also where the one it came in is written over', () => {
  const sent = new Sent();
  const path = body(12);
  const read = Buffer.alloc(2000);
  let expected = '';
  for (let i = 0; i < 20; i++) {
    const piece = text(1500 + i).toString();
    read.fill(0);
    read.write(piece);
    path.body(sent, read.subarray(0, piece.length));
    expected += piece;
    assert.equal(gunzipSync(sent.bytes, { finishFlush: constants.Z_SYNC_FLUSH }).toString(), expected);
  }
});

test('without a piece the end alone is an empty body', () => {
  const sent = new Sent();
  assert.equal(body(15).end(sent), false);
  assert.equal(gunzipSync(sent.bytes).length, 0);
});

test('a client that takes no more is heard of, and asked again later', () => {
  const sent = new Sent();
  sent.takes = false;
  const path = body(12);
  assert.equal(path.body(sent, Buffer.from('a')), false);
  assert.equal(path.drained(), true);
});

test('behind a path that holds the end back the last bytes follow it', () => {
  let held: Buffer | undefined;
  const before: BodyPath = {
    settled: false,
    holds: true,
    resizes: false,
    body: (_, bytes) => {
      held = bytes;
      return true;
    },
    end: () => true,
    drained: () => false,
  };
  const sent = new Sent();
  const path = body(12, before);
  path.body(sent, Buffer.from('late'));
  assert.equal(path.end(sent), true);
  assert.deepEqual([sent.pieces.length, path.holds, path.drained()], [0, true, false]);
  path.settled = true;
  assert.equal(before.settled, true);
  path.write(held ?? Buffer.alloc(0));
  path.finish();
  assert.deepEqual([gunzipSync(sent.bytes).toString(), sent.finished], ['late', 1]);
});
