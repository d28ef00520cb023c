// Two machines under random doings of both owners, bytes arriving late and in pieces: no error arises between honest
// peers, every byte of every stream not reset arrives once and in order, and nothing is left behind.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Http2Stream } from '../../src/wire/http2-connection.ts';
import { headerBlock, Peer } from './http2-peer.ts';

interface Half {
  sent: number;
  ended: boolean;
}
const BYTES = Buffer.from(Array.from({ length: 251 * 400 }, (_, i) => i % 251));
const TRAILERS = headerBlock([['x-end', '1']]);

/** The next `n` bytes of a body that counts modulo 251. */
const write = (stream: Http2Stream, half: Half, n: number): void => {
  if (half.ended || stream.closed) return;
  const from = half.sent % 251;
  stream.writeBody(BYTES, from, from + n);
  half.sent += n;
};
const end = (stream: Http2Stream, half: Half, trailers: boolean): void => {
  if (half.ended || stream.closed) return;
  half.ended = true;
  stream.endBody(trailers ? TRAILERS : undefined);
};
const isCounting = (body: Buffer): boolean => {
  for (let i = 0; i < body.length; i++) if (body[i] !== i % 251) return false;
  return true;
};

class World {
  readonly client: Peer;
  readonly server: Peer;
  readonly up = new Map<number, Half>();
  readonly down = new Map<number, Half>();
  readonly reset = new Set<number>();
  readonly opened: Http2Stream[] = [];
  #there = Buffer.alloc(0);
  #back = Buffer.alloc(0);

  constructor(streamWindow: number, connectionWindow: number) {
    const options = { initialStreamWindowSize: streamWindow, initialConnectionWindowSize: connectionWindow, maxConcurrentStreams: 10 };
    this.client = new Peer('client', options);
    this.server = new Peer('server', { ...options, prematureResetTotalStreamCount: 1_000_000 });
    this.client.greedy = this.server.greedy = false;
    this.server.onRequest = (s) => this.down.set(s.id, { sent: 0, ended: false });
  }

  act([what, which, n]: readonly [number, number, number]): void {
    const stream = this.opened[which % Math.max(1, this.opened.length)];
    const served = stream && this.server.streams.get(stream.id);
    const up = stream && this.up.get(stream.id);
    const down = stream && this.down.get(stream.id);
    if (what === 0 && this.client.connection.canOpen) this.open(n);
    else if (what === 1 && stream && up) write(stream, up, n);
    else if (what === 2 && stream && up) end(stream, up, n % 2 === 0);
    else if (what === 3 && served && down && this.respond(served)) write(served, down, n);
    else if (what === 4 && served && down && this.respond(served)) end(served, down, n % 2 === 0);
    else if (what === 5 && stream) this.move(n);
    else if (what === 6 && served) served.consume(n);
    else if (what === 7 && stream) stream.consume(n);
    else if (what === 8 && stream && n % 7 === 0) this.abandon(stream);
    else if (what === 9 && served && n % 7 === 0) this.abandon(served);
    else if (what === 10 && n % 5 === 0) this.client.connection.ping();
  }

  open(n: number): void {
    const s = this.client.connection.request('POST', 'http', 'a', `/${n}`, '', headerBlock([['x-n', String(n % 3)]]), false);
    this.opened.push(s);
    this.up.set(s.id, { sent: 0, ended: false });
  }

  respond(served: Http2Stream): boolean {
    this.server.connection.respond(served, 200, headerBlock([['x-y', 'z']]), false);
    return true;
  }

  abandon(stream: Http2Stream): void {
    if (stream.closed) return;
    this.reset.add(stream.id);
    stream.reset(8);
  }

  /** At most `n` bytes each way, whatever frames they cut. */
  move(n: number): boolean {
    this.#there = Buffer.concat([this.#there, this.client.output()]);
    this.#back = Buffer.concat([this.#back, this.server.output()]);
    const moved = this.#there.length + this.#back.length > 0;
    this.server.feed(this.#there.subarray(0, n));
    this.client.feed(this.#back.subarray(0, n));
    this.#there = this.#there.subarray(n);
    this.#back = this.#back.subarray(n);
    return moved;
  }

  /** Everything is ended, given back and delivered. */
  settle(): void {
    for (let quiet = 0; quiet < 3; ) {
      for (const s of this.opened) {
        end(s, this.up.get(s.id) as Half, false);
        const served = this.server.streams.get(s.id);
        if (served) {
          this.respond(served);
          end(served, this.down.get(s.id) as Half, true);
          served.consume(1e9);
        }
        s.consume(1e9);
      }
      quiet = this.move(1e9) ? 0 : quiet + 1;
    }
  }
}

test('honest peers never fail, whatever they do and however the bytes come', () => {
  const step = fc.tuple(fc.integer({ min: 0, max: 10 }), fc.nat(20), fc.integer({ min: 1, max: 20_000 }));
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 40, maxLength: 150 }),
      fc.constantFrom(3000, 20_000, 65_535, 200_000),
      fc.constantFrom(65_535, 100_000, 1_000_000),
      (steps, streamWindow, connectionWindow) => {
        const world = new World(streamWindow, connectionWindow);
        for (const s of steps) world.act(s);
        world.settle();
        const { client, server } = world;
        assert.equal(client.problem, undefined);
        assert.equal(server.problem, undefined);
        assert.equal(client.connection.activeStreams + server.connection.activeStreams, 0);
        assert.equal(client.connection.outputBytes + server.connection.outputBytes, 0);
        for (const s of world.opened) {
          for (const [peer, halves] of [
            [server, world.up],
            [client, world.down],
          ] as const) {
            const body = Buffer.concat(peer.bodies.get(s.id) ?? []);
            assert.ok(isCounting(body), 'in order');
            if (!world.reset.has(s.id)) assert.equal(body.length, halves.get(s.id)?.sent);
          }
        }
      },
    ),
    { numRuns: 40 },
  );
});
