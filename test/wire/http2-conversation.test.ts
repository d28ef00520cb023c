// Whole conversations between the client and the server machine in memory, whole and cut anywhere.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Http2Options, Http2Stream } from '../../src/wire/http2-connection.ts';
import { frames, HELLO, headerBlock, headers, Peer, POST, SETTINGS, talk } from './http2-peer.ts';

const NONE = headerBlock();
const pair = (server: Http2Options = {}, client: Http2Options = {}): { client: Peer; server: Peer } => ({
  client: new Peer('client', client),
  server: new Peer('server', server),
});
const get = (peer: Peer, path = '/', method = 'GET', end = true): Http2Stream =>
  peer.connection.request(method, 'http', 'shop', path, '', NONE, end);
const bytes = (n: number, seed = 7): Buffer => Buffer.from(Array.from({ length: n }, (_, i) => (i * seed) & 255));

/** Writes all of it, waiting where it is told to. */
const writeAll = (peer: Peer, stream: Http2Stream, body: Buffer, piece: number): void => {
  let at = 0;
  const go = (): void => {
    while (at < body.length) {
      const end = Math.min(body.length, at + piece);
      const more = stream.writeBody(body, at, end);
      at = end;
      if (!more) return;
    }
    stream.endBody(undefined);
  };
  const others = peer.onCanWrite;
  peer.onCanWrite = (s) => (s === stream ? go() : others?.(s));
  go();
};

describe('http2 conversation', () => {
  test('request and response with bodies and trailers', () => {
    const { client, server } = pair();
    server.onFinished = (s) => {
      server.connection.respond(s, 201, headerBlock([['content-type', 'text/plain']]), false);
      s.writeBody(Buffer.from('answer'), 0, 6);
      s.endBody(headerBlock([['grpc-status', '0']]));
    };
    const s = client.connection.request(
      'POST',
      'https',
      'shop:80',
      '/a?b',
      '',
      headerBlock([
        ['x-own', 'ä\xff'],
        ['cookie', 'a=b'],
      ]),
      false,
    );
    s.writeBody(Buffer.from('question'), 0, 8);
    s.endBody(headerBlock([['x-end', '1']]));
    talk(client, server);
    assert.deepEqual(server.events, [
      'settings',
      'head 1 POST https shop:80 /a?b  [["x-own","ä\xff"],["cookie","a=b"]] -1 false',
      'data 1',
      'trailers 1 [["x-end","1"]]',
      'end 1',
    ]);
    assert.equal(server.body(1), 'question');
    assert.deepEqual(client.events, [
      'settings',
      'head 1 201 [["content-type","text/plain"]] -1 false',
      'data 1',
      'trailers 1 [["grpc-status","0"]]',
      'end 1',
    ]);
    assert.equal(client.body(1), 'answer');
    assert.equal(client.connection.activeStreams + server.connection.activeStreams, 0);
    assert.ok(s.closed);
  });

  test('a body far above both windows arrives whole, in order, and never more than the window waits', () => {
    const small = { initialStreamWindowSize: 20_000, initialConnectionWindowSize: 70_000 };
    const { client, server } = pair(small, small);
    const body = bytes(1_000_003);
    server.onFinished = (s) => {
      server.connection.respond(s, 200, NONE, false);
      writeAll(server, s, Buffer.concat(server.bodies.get(s.id) ?? []), 50_000);
    };
    const sent = [1, 2, 3].map((seed) => {
      const s = get(client, '/', 'POST', false);
      writeAll(client, s, bytes(body.length, seed), 30_000);
      return s;
    });
    talk(client, server);
    for (const [i, s] of sent.entries()) {
      assert.ok(Buffer.concat(server.bodies.get(s.id) ?? []).equals(bytes(body.length, i + 1)));
      assert.ok(Buffer.concat(client.bodies.get(s.id) ?? []).equals(bytes(body.length, i + 1)));
    }
    assert.equal(client.connection.activeStreams + server.connection.activeStreams, 0);
    assert.equal(client.connection.outputBytes + server.connection.outputBytes, 0);
  });

  test('what the receiver does not give back is never exceeded, and goes on when it is', () => {
    const { client, server } = pair({ initialStreamWindowSize: 10_000 });
    server.greedy = false;
    talk(client, server); // the small window holds from its acknowledgement on
    const s = get(client, '/', 'POST', false);
    assert.equal(s.writeBody(bytes(50_000), 0, 50_000), false);
    s.endBody(undefined);
    talk(client, server);
    assert.equal(server.body(1).length, 10_000);
    assert.equal(client.connection.outputBytes, 40_000);
    const received = server.streams.get(1) as Http2Stream;
    for (let i = 0; i < 9; i++) {
      received.consume(5_000);
      talk(client, server);
    }
    assert.equal(server.body(1).length, 50_000);
    assert.equal(server.events.at(-1), 'end 1');
  });

  test('a full outbox stops the writer, and taking it lets all waiting streams go on in turn', () => {
    const { client, server } = pair();
    talk(client, server);
    const order: number[] = [];
    client.onCanWrite = (s) => order.push(s.id);
    const all = [0, 1, 2].map(() => get(client, '/', 'POST', false));
    const big = bytes(300_000);
    for (const s of all) assert.equal(s.writeBody(big, 0, big.length), false);
    talk(client, server);
    assert.deepEqual(order.sort(), [1, 3, 5]);
    for (const s of all) assert.equal(server.body(s.id).length, big.length);
  });

  test('streams share a tight connection window frame by frame', () => {
    const { client, server } = pair({ initialConnectionWindowSize: 65_535 });
    server.greedy = false;
    talk(client, server);
    const first = get(client, '/', 'POST', false);
    first.writeBody(bytes(200_000), 0, 200_000);
    const second = get(client, '/', 'POST', false);
    second.writeBody(bytes(200_000), 0, 200_000);
    talk(client, server);
    (server.streams.get(1) as Http2Stream).consume(65_535);
    talk(client, server);
    const got = [server.body(1).length - 65_535, server.body(3).length];
    assert.ok(Math.abs((got[0] as number) - (got[1] as number)) <= 16_384, String(got));
  });

  test('1xx heads come before the final one', () => {
    const { client, server } = pair();
    server.onRequest = (s) => {
      server.connection.inform(s, 100, NONE);
      server.connection.inform(s, 103, headerBlock([['link', '</a.css>']]));
      server.connection.respond(s, 200, headerBlock([['x', 'y']]), true);
      assert.equal(server.connection.inform(s, 103, NONE), 0);
    };
    get(client);
    talk(client, server);
    assert.deepEqual(client.events.slice(1), [
      'inform 1 100 []',
      'inform 1 103 [["link","</a.css>"]]',
      'head 1 200 [["x","y"]] -1 true',
      'end 1',
    ]);
  });

  test('a response to HEAD and a 304 may name a length without a body', () => {
    const { client, server } = pair();
    server.onRequest = (s) => server.connection.respond(s, s.path === '/n' ? 304 : 200, headerBlock([['content-length', '99']]), true);
    get(client, '/', 'HEAD');
    get(client, '/n');
    talk(client, server);
    assert.deepEqual(client.events.slice(1), [
      'head 1 200 [["content-length","99"]] 99 true',
      'end 1',
      'head 3 304 [["content-length","99"]] 99 true',
      'end 3',
    ]);
  });

  test('a body too short or too long for its content-length is an error of the client machine too', () => {
    for (const body of ['ab', 'abcd']) {
      const { client, server } = pair({}, { streamErrorOnInvalidMessage: true });
      server.onRequest = (s) => {
        server.connection.respond(s, 200, headerBlock([['content-length', '3']]), false);
        s.writeBody(Buffer.from(body), 0, body.length);
        s.endBody(undefined);
      };
      get(client, '/', 'POST', false);
      talk(client, server);
      assert.equal(client.events.at(-1), 'reset 1 1 local');
      assert.equal(server.events.at(-1), 'reset 1 1 remote');
    }
  });

  test('extended CONNECT, when it is allowed', () => {
    const { client, server } = pair({ allowConnect: true });
    talk(client, server);
    assert.ok(client.connection.peerAllowsConnect);
    server.onRequest = (s) => server.connection.respond(s, 200, NONE, false);
    const s = client.connection.request('CONNECT', 'https', 'shop', '/chat', 'websocket', NONE, false);
    talk(client, server);
    assert.equal(server.events.at(-1), 'head 1 CONNECT https shop /chat websocket [] -1 false');
    s.writeBody(Buffer.from('x'), 0, 1);
    talk(client, server);
    assert.equal(server.body(1), 'x');
    const plain = client.connection.request('CONNECT', '', 'db:5432', '', '', NONE, false);
    talk(client, server);
    assert.equal(server.events.at(-1), `head ${plain.id} CONNECT  db:5432   [] -1 false`);
  });

  test('a reset reaches the other side once, and late frames of that stream are no error', () => {
    const { client, server } = pair();
    const s = get(client, '/', 'POST', false);
    talk(client, server);
    (server.streams.get(1) as Http2Stream).reset(8);
    s.writeBody(bytes(10), 0, 10);
    s.endBody(headerBlock([['late', '1']]));
    talk(client, server);
    assert.deepEqual(client.events, ['settings', 'reset 1 8 remote']);
    assert.equal(server.events.length, 2);
    assert.equal(get(client).id, 3);
    talk(client, server);
    assert.equal(server.events.at(-1), 'end 3');
  });

  test('an early answer resets without error only behind the whole response', () => {
    const { client, server } = pair({}, { initialStreamWindowSize: 1000 });
    server.onRequest = (s) => {
      server.connection.respond(s, 413, NONE, false);
      s.writeBody(bytes(70_000), 0, 70_000);
      s.endBody(undefined);
      s.reset(0);
    };
    talk(client, server);
    get(client, '/', 'POST', false);
    talk(client, server);
    assert.equal(client.body(1).length, 70_000);
    assert.deepEqual(client.events.slice(-3), ['data 1', 'end 1', 'reset 1 0 remote']);
  });

  test('GOAWAY in two steps: streams begun are served, later ones refused, nothing left at the end', () => {
    const { client, server } = pair();
    get(client);
    talk(client, server);
    server.connection.goaway(0, false);
    get(client); // on its way when the client hears of it
    talk(client, server);
    assert.equal(client.events.at(-1), `goaway ${0x7fffffff} 0`);
    assert.equal(client.connection.canOpen, false);
    server.connection.goaway(0, true);
    const late = client.connection.request('GET', 'http', 'a', '/late', '', NONE, true);
    const there = client.output();
    client.feed(server.output());
    server.feed(there);
    assert.deepEqual(client.events.slice(-2), [`reset ${late.id} 7 remote`, 'goaway 3 0']);
    assert.ok(!server.events.some((e) => e.includes('/late')));
    assert.equal(server.connection.done, false);
    for (const s of server.streams.values()) server.connection.respond(s, 200, NONE, true);
    talk(client, server);
    assert.ok(server.connection.done && client.connection.done);
  });

  test('PING is answered, and one answer is told once', () => {
    const { client, server } = pair();
    client.connection.ping();
    talk(client, server);
    assert.deepEqual(client.events, ['settings', 'pong']);
    client.connection.ping();
    talk(client, server);
    assert.deepEqual(client.events, ['settings', 'pong', 'pong']);
  });

  test("the peer's limit of streams stops the client", () => {
    const { client, server } = pair({ maxConcurrentStreams: 2 });
    talk(client, server);
    get(client);
    get(client);
    assert.equal(client.connection.canOpen, false);
    talk(client, server);
    server.connection.respond(server.streams.get(1) as Http2Stream, 204, NONE, true);
    talk(client, server);
    assert.equal(client.connection.canOpen, true);
  });

  test('the end of the socket resets every stream once', () => {
    const { client, server } = pair();
    get(client);
    get(client);
    talk(client, server);
    client.connection.finish();
    client.connection.finish();
    assert.deepEqual(client.events.slice(1), ['reset 1 8 remote', 'reset 3 8 remote']);
    assert.equal(client.connection.canOpen, false);
    client.output();
    assert.ok(get(client).closed);
    assert.equal(client.output().length, 0);
  });

  test('END_STREAM goes with the last frame when that has not left yet', () => {
    const { client, server } = pair();
    talk(client, server);
    const s = get(client, '/', 'POST', false);
    s.writeBody(Buffer.from('abc'), 0, 3);
    s.endBody(undefined);
    get(client, '/', 'POST', false).endBody(undefined);
    assert.deepEqual(
      frames(client.output()).map((f) => [f.type, f.id, f.flags & 1]),
      [
        [1, 1, 0],
        [0, 1, 1],
        [1, 3, 1],
      ],
    );
    assert.equal(server.problem, undefined);
  });

  test('a head above the frame size goes in CONTINUATION frames', () => {
    const { client, server } = pair();
    const fields = Array.from({ length: 40 }, (_, i) => [`x-long-${i}`, 'v'.repeat(1400)] as const);
    client.connection.request('GET', 'http', 'a', '/', '', headerBlock(fields), true);
    const sent = client.output();
    assert.deepEqual(
      frames(sent.subarray(24)).map((f) => f.type),
      [4, 8, 1, 9, 9, 9],
    );
    server.feed(sent);
    assert.deepEqual(server.streams.get(1)?.headers.entries(), fields);
  });

  test('cookie pieces are one field behind the machine; values are trimmed; never-indexed fields stay so', () => {
    const server = new Peer('server').feed(HELLO, headers(1, true, ...POST, ['cookie', 'a=1'], ['x', ' \ty \t'], ['cookie', 'b=2']));
    const head = server.streams.get(1)?.headers;
    assert.deepEqual(head?.entries(), [
      ['cookie', 'a=1; b=2'],
      ['x', 'y'],
    ]);
    const { client, server: next } = pair();
    client.connection.request('GET', 'http', 'a', '/', '', headerBlock([['authorization', 'secret']]), true);
    talk(client, next);
    const forwarded = new Peer('client');
    forwarded.output();
    for (let i = 0; i < 2; i++) {
      forwarded.connection.request('GET', 'http', 'a', '/', '', (next.streams.get(1) as Http2Stream).headers, true);
      assert.ok(forwarded.output().includes(Buffer.concat([Buffer.from([0x1f, 8, 6]), Buffer.from('secret')])));
    }
  });

  test('onOutput is told once until the bytes were taken', () => {
    const client = new Peer('client');
    client.output();
    get(client);
    get(client);
    assert.equal(client.outputs, 1);
    client.output();
    client.feed(SETTINGS);
    assert.equal(client.outputs, 2);
  });

  test('a released stream object may serve again and carries nothing over', () => {
    const { client, server } = pair();
    const seen = new Set<Http2Stream>();
    server.onFinished = (s) => {
      seen.add(s);
      server.connection.respond(s, 200, NONE, true);
      s.release();
      s.release();
    };
    for (let i = 0; i < 10; i++) {
      const s = client.connection.request(
        'GET',
        'http',
        'a',
        '/',
        '',
        headerBlock(
          i === 0
            ? [
                ['x', '1'],
                ['content-length', '0'],
              ]
            : [],
        ),
        true,
      );
      talk(client, server);
      s.release();
    }
    assert.equal(seen.size, 1);
    assert.equal(server.events.at(-2), 'head 19 GET http a /  [] -1 true');
    assert.ok([...seen][0] instanceof Http2Stream);
  });

  test('cut anywhere, also byte by byte, a conversation tells the same', () => {
    const run = (cut: (bytes: Buffer) => readonly Buffer[]): string[] => {
      const { client, server } = pair({ allowConnect: true, initialStreamWindowSize: 70_000 });
      server.onFinished = (s) => {
        server.connection.inform(s, 103, headerBlock([['link', 'x']]));
        server.connection.respond(s, 200, headerBlock([['x-path', s.path]]), false);
        writeAll(server, s, bytes(20_000), 7_000);
      };
      for (let i = 0; i < 4; i++) {
        const s = client.connection.request(
          'POST',
          'http',
          'a',
          `/${i}`,
          '',
          headerBlock([
            ['x-n', String(i)],
            ['x-same', 'y'],
          ]),
          false,
        );
        s.writeBody(bytes(3000 * i), 0, 3000 * i);
        s.endBody(i % 2 === 0 ? headerBlock([['x-end', 'z']]) : undefined);
      }
      client.connection.ping();
      talk(client, server, cut);
      assert.equal(client.connection.activeStreams, 0);
      // How streams lie between each other depends on the cut; each stream's own story does not.
      const story = (p: Peer): string[] => p.events.filter((e, i) => !e.startsWith('data') || p.events[i - 1] !== e).sort();
      const lengths = [1, 3, 5, 7].map((id) => `${client.body(id).length} ${server.body(id).length}`);
      return [...new Set([...story(client), ...story(server)]), ...lengths];
    };
    const whole = run((b) => [b]);
    assert.deepEqual(
      run((b) => Array.from(b, (_, i) => b.subarray(i, i + 1))),
      whole,
    );
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 20 }), (sizes) => {
        const cut = (b: Buffer): Buffer[] => {
          const out: Buffer[] = [];
          for (let at = 0, i = 0; at < b.length; i++) {
            const size = sizes[i % sizes.length] as number;
            out.push(b.subarray(at, at + size));
            at += size;
          }
          return out;
        };
        assert.deepEqual(run(cut), whole);
      }),
      { numRuns: 30 },
    );
  });
});
