// The machine against the runtime's own HTTP/2, over real sockets, both ways round; and any bytes at all.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { frame, GET, HELLO, headerBlock, headers, Peer, POST, setting, u32 } from './http2-peer.ts';

/** The machine on a socket. */
const attach = (peer: Peer, socket: net.Socket): (() => void) => {
  const flush = (): void => {
    for (const piece of [peer.output()]) if (piece.length > 0 && !socket.destroyed) socket.write(piece);
  };
  socket.on('data', (chunk: Buffer) => {
    peer.connection.execute(chunk);
    flush();
  });
  socket.on('error', () => undefined);
  socket.on('close', () => peer.connection.finish());
  flush();
  return flush;
};

const listen = async (server: net.Server | http2.Http2Server): Promise<number> => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
};

const pattern = (n: number): Buffer => Buffer.from(Array.from({ length: n }, (_, i) => (i * 31) & 255));
const SIZES = [0, 1, 1000, 16_384, 16_385, 100_000, 700_001];

describe('http2 beside the runtime', () => {
  test("the runtime's client is served by the machine: echo of bodies, headers and trailers", async () => {
    const connections: net.Socket[] = [];
    const server = net.createServer((socket) => {
      connections.push(socket);
      const peer = new Peer('server');
      let flush = (): void => undefined;
      peer.onFinished = (s) => {
        const body = Buffer.concat(peer.bodies.get(s.id) ?? []);
        const fields = s.headers.entries().filter(([name]) => name.startsWith('x-'));
        peer.connection.respond(s, 200, headerBlock([...fields, ['x-path', s.path], ['x-authority', s.authority]]), false);
        s.writeBody(body, 0, body.length);
        s.endBody(headerBlock([['x-sum', String(body.length)]]));
        setImmediate(() => flush());
      };
      flush = attach(peer, socket);
    });
    const port = await listen(server);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    try {
      for (const [i, size] of SIZES.entries()) {
        const body = pattern(size);
        const value = 'v'.repeat(i * 700);
        const stream = session.request({ ':method': 'POST', ':path': `/echo?n=${i}`, 'x-value': value, 'x-n': String(i) });
        const got: Buffer[] = [];
        let head: http2.IncomingHttpHeaders = {};
        let trailers: http2.IncomingHttpHeaders = {};
        stream.on('response', (h) => {
          head = h;
        });
        stream.on('trailers', (h) => {
          trailers = h;
        });
        stream.on('data', (chunk: Buffer) => got.push(chunk));
        stream.end(body);
        await once(stream, 'close');
        assert.equal(head[':status'], 200);
        assert.equal(head['x-value'] ?? '', value);
        assert.equal(head['x-path'], `/echo?n=${i}`);
        assert.equal(head['x-authority'], `127.0.0.1:${port}`);
        assert.ok(Buffer.concat(got).equals(body), `body of ${size}`);
        assert.equal(trailers['x-sum'], String(size));
      }
    } finally {
      session.destroy();
      for (const c of connections) c.destroy();
      server.close();
    }
  });

  test("the machine's client is served by the runtime: echo of bodies, headers and trailers", async () => {
    const server = http2.createServer();
    server.on('sessionError', () => undefined);
    server.on('stream', (stream, head) => {
      stream.respond(
        { ':status': 200, 'x-path': String(head[':path']), 'x-value': String(head['x-value'] ?? '') },
        { waitForTrailers: true },
      );
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-end': 'yes' }));
      stream.pipe(stream);
    });
    const port = await listen(server);
    const socket = net.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const peer = new Peer('client', { initialStreamWindowSize: 100_000 });
    const flush = attach(peer, socket);
    try {
      for (const [i, size] of SIZES.entries()) {
        const body = pattern(size);
        const value = 'v'.repeat(i * 700);
        const stream = peer.connection.request('POST', 'http', 'shop', `/${i}`, '', headerBlock([['x-value', value]]), false);
        const over = new Promise<void>((resolve) => {
          peer.onFinished = () => resolve();
        });
        stream.writeBody(body, 0, body.length);
        stream.endBody(undefined);
        flush();
        await over;
        assert.ok(Buffer.concat(peer.bodies.get(stream.id) ?? []).equals(body), `body of ${size}`);
        assert.ok(
          peer.events.some((e) => e.startsWith(`head ${stream.id} 200 `) && e.includes(`["x-path","/${i}"]`) && e.includes(`"${value}"`)),
        );
        assert.ok(peer.events.includes(`trailers ${stream.id} [["x-end","yes"]]`));
      }
      assert.equal(peer.problem, undefined);
      assert.equal(peer.connection.activeStreams, 0);
    } finally {
      socket.destroy();
      server.close();
    }
  });

  test("every character the runtime's encoder may write with Huffman's code is read", async () => {
    const peers: Peer[] = [];
    const server = net.createServer((socket) => {
      const peer = new Peer('server', { maxHeaderCount: 500 });
      peers.push(peer);
      let flush = (): void => undefined;
      peer.onFinished = (s) => {
        peer.connection.respond(s, 200, headerBlock(), true);
        setImmediate(() => flush());
      };
      flush = attach(peer, socket);
    });
    const port = await listen(server);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    try {
      // Twenty short codes beside a long one: the whole is shorter than plain, whatever the character.
      const codes = Array.from({ length: 0x7f - 0x21 }, (_, i) => 0x21 + i);
      const fields = Object.fromEntries(codes.map((c) => [`x-${c}`, `a${String.fromCharCode(c)}${'a'.repeat(20)}`]));
      const stream = session.request({ ':path': '/', ...fields });
      stream.resume();
      await once(stream, 'close');
      const got = Object.fromEntries(peers[0]?.streams.get(1)?.headers.entries() ?? []);
      for (const [name, value] of Object.entries(fields)) assert.equal(got[name], value);
    } finally {
      session.destroy();
      server.close();
    }
  });

  const piece = fc.oneof(
    fc
      .tuple(fc.integer({ min: 0, max: 10 }), fc.nat(255), fc.integer({ min: 0, max: 7 }), fc.uint8Array({ maxLength: 40 }))
      .map(([t, f, id, p]) => frame(t, f, id, p)),
    fc.constantFrom(
      headers(1, false, ...POST),
      headers(3, true, ...GET),
      headers(1, true, ['x', 'y']),
      frame(0, 1, 1, Buffer.alloc(5)),
      frame(3, 0, 1, u32(8)),
      frame(8, 0, 1, u32(100)),
      frame(4, 0, 0, setting(4, 0)),
      frame(4, 0, 0, setting(1, 0)),
      frame(4, 1, 0),
      frame(7, 0, 0, Buffer.alloc(8)),
    ),
    fc.uint8Array({ maxLength: 30 }),
  );

  test('any frames in any order are answered or refused, by either role, and end in order', () => {
    for (const role of ['server', 'client'] as const)
      fc.assert(
        fc.property(fc.array(piece, { maxLength: 40 }), fc.boolean(), fc.boolean(), (pieces, strict, answer) => {
          const peer = new Peer(role, { streamErrorOnInvalidMessage: strict });
          if (role === 'client') {
            for (let i = 0; i < 3; i++)
              peer.connection.request('POST', 'http', 'a', '/', '', headerBlock(), false).writeBody(Buffer.alloc(100), 0, 100);
            peer.feed(frame(4, 0, 0));
          } else {
            peer.feed(HELLO);
            if (answer)
              peer.onRequest = (s) => {
                peer.connection.respond(s, 200, headerBlock([['x', 'y']]), false);
                s.writeBody(Buffer.alloc(200), 0, 200);
                s.endBody(undefined);
              };
          }
          for (const bytes of pieces) {
            peer.feed(bytes);
            peer.output();
          }
          peer.connection.finish();
          assert.equal(peer.connection.activeStreams, 0);
          // Each stream: one head, then at most one of end and reset behind it is final.
          for (const id of peer.streams.keys()) {
            const story = peer.events.filter((e) => e.split(' ')[1] === String(id) && !e.startsWith('goaway') && !e.startsWith('error'));
            assert.ok(story.filter((e) => e.startsWith('reset')).length <= 1);
            assert.ok(story.filter((e) => e.startsWith('end')).length <= 1);
            const reset = story.findIndex((e) => e.startsWith('reset'));
            assert.ok(reset < 0 || reset === story.length - 1);
          }
        }),
        { numRuns: 500 },
      );
  });
});
