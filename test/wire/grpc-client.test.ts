// The gRPC client machine against the HTTP/2 server machine, in memory: statuses, resets, GOAWAY, closed calls.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GrpcConnection, type GrpcLink } from '../../src/wire/grpc-client.ts';
import { frameMessage, type GrpcStatus } from '../../src/wire/grpc-frames.ts';
import type { Http2Stream } from '../../src/wire/http2-connection.ts';
import { frame, headerBlock, Peer } from './http2-peer.ts';

class Wire implements GrpcLink {
  readonly server = new Peer('server', { initialStreamWindowSize: 5_000_000, initialConnectionWindowSize: 5_000_000 });
  readonly events: string[] = [];
  readonly grpc: GrpcConnection;
  #sent: Buffer[] = [];
  constructor() {
    this.grpc = new GrpcConnection(this, { scheme: 'http', authority: 'cp', messageBytesMax: 1_000_000 });
    this.grpc.start();
  }
  write(pieces: readonly Buffer[]): boolean {
    this.#sent.push(...pieces);
    return true;
  }
  ready(): void {
    this.events.push('ready');
  }
  closing(): void {
    this.events.push('closing');
  }
  pong(): void {
    this.events.push('pong');
  }
  over(problem: string): void {
    this.events.push(`over ${problem}`);
  }
  respondAndEnd(stream: Http2Stream, trailers: ReturnType<typeof headerBlock> | undefined, ...messages: string[]): void {
    this.respond(stream, ...messages);
    stream.endBody(trailers);
  }
  respondRaw(stream: Http2Stream, ...bytes: number[]): void {
    this.respond(stream);
    stream.writeBody(Buffer.from(bytes), 0, bytes.length);
  }
  /** Bytes to and fro until both are silent. */
  run(): void {
    for (;;) {
      const there = this.#sent;
      this.#sent = [];
      this.server.feed(...there);
      const back = this.server.output();
      if (back.length > 0) this.grpc.receive(back);
      if (there.length === 0 && back.length === 0) return;
    }
  }
  open(): { call: ReturnType<GrpcConnection['open']>; heard: string[]; ends: GrpcStatus[]; stream: () => Http2Stream } {
    const heard: string[] = [];
    const ends: GrpcStatus[] = [];
    const call = this.grpc.open(
      '/s/m',
      { authorization: 'Bearer t' },
      { message: (m) => heard.push(Buffer.from(m).toString()), end: (s) => ends.push(s) },
    );
    this.run();
    const id = Math.max(...this.server.streams.keys());
    return { call, heard, ends, stream: () => this.server.streams.get(id) ?? assert.fail() };
  }
  respond(stream: Http2Stream, ...messages: string[]): void {
    this.server.connection.respond(stream, 200, headerBlock([['content-type', 'application/grpc']]), false);
    for (const m of messages) stream.writeBody(Buffer.from(frameMessage(Buffer.from(m))), 0, 5 + m.length);
  }
}

describe('gRPC client machine', () => {
  test('messages both ways, the status from the trailers, and the call is off the connection', () => {
    const wire = new Wire();
    const { call, heard, ends, stream } = wire.open();
    call.send(Buffer.from('hello'));
    call.halfClose();
    wire.run();
    assert.equal(wire.server.body(1), '\0\0\0\0\x05hello');
    assert.match(wire.server.events.join(), /POST http cp \/s\/m .*content-type.*te.*trailers.*Bearer t/);
    wire.respond(stream(), 'a', '', 'x'.repeat(100_000));
    stream().endBody(
      headerBlock([
        ['grpc-status', '5'],
        ['grpc-message', 'no%20%C3%BC'],
      ]),
    );
    wire.run();
    assert.deepEqual(
      heard.map((m) => m.length),
      [1, 0, 100_000],
    );
    assert.deepEqual(ends, [{ code: 5, message: 'no ü' }]);
    assert.equal(wire.server.connection.activeStreams, 0);
  });

  const outcomes: readonly [string, (wire: Wire, s: Http2Stream) => void, number][] = [
    ['trailers only', (w, s) => w.server.connection.respond(s, 200, headerBlock([['grpc-status', '7']]), true), 7],
    ['an HTTP error', (w, s) => w.server.connection.respond(s, 404, headerBlock(), true), 12],
    ['an HTTP error with a body', (w, s) => w.server.connection.respond(s, 503, headerBlock(), false), 14],
    ['an end without trailers', (w, s) => w.respondAndEnd(s, undefined, 'a'), 14],
    ['trailers without a status', (w, s) => w.respondAndEnd(s, headerBlock([['x', 'y']])), 2],
    ['a reset', (_, s) => s.reset(8), 14],
    ['a message above the limit', (w, s) => w.respondRaw(s, 0, 1, 0, 0, 0), 8],
    ['a compressed message', (w, s) => w.respondRaw(s, 1, 0, 0, 0, 0), 12],
    ['the end of the socket', (w) => w.grpc.ended('gone'), 14],
    ['bytes that are no HTTP/2', (w) => w.grpc.receive(frame(6, 0, 3, Buffer.alloc(8))), 14],
  ];
  for (const [what, act, code] of outcomes)
    test(`${what} ends the call once`, () => {
      const wire = new Wire();
      const { call, ends, stream } = wire.open();
      act(wire, stream());
      wire.run();
      wire.grpc.ended('again');
      call.close();
      assert.deepEqual(
        ends.map((s) => s.code),
        [code],
      );
    });

  test('a closed call tells nothing more and is cancelled on the wire', () => {
    const wire = new Wire();
    const { call, heard, ends, stream } = wire.open();
    wire.respond(stream(), 'late');
    call.close();
    call.send(Buffer.from('x'));
    wire.run();
    assert.deepEqual([heard, ends], [[], []]);
    assert.equal(wire.server.events.at(-1), 'reset 1 8 remote');
  });

  test('GOAWAY: no new call, the begun one ends in peace, then the connection is over', () => {
    const wire = new Wire();
    const { ends, stream } = wire.open();
    wire.server.connection.goaway(0, true);
    wire.run();
    assert.equal(wire.grpc.canOpen, false);
    assert.deepEqual(wire.events, ['ready', 'closing']);
    wire.respond(stream());
    stream().endBody(headerBlock([['grpc-status', '0']]));
    wire.run();
    assert.deepEqual(ends, [{ code: 0, message: '' }]);
    assert.deepEqual(wire.events.slice(2), ['over ']);
  });

  test('a PING is answered', () => {
    const wire = new Wire();
    wire.run();
    wire.grpc.ping();
    wire.run();
    assert.deepEqual(wire.events, ['ready', 'pong']);
  });
});
