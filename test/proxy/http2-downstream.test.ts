// What a client sees of an HTTP/2 connection to a listener: local answers, resets, limits, back-pressure, its end.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type * as http2 from 'node:http2';
import { suite, test } from 'node:test';
import type { HttpConnectionManager } from '../../src/xds/gen/types.ts';
import { hcm, httpBackend, listener, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';
import {
  answerOf,
  block,
  END_HEADERS,
  END_STREAM,
  exchange,
  FRAME,
  frame,
  HTTP2_CLUSTER,
  http2Backend,
  openSession,
  PREFACE,
  rawClient,
} from './http2-peers.ts';

const HEAD = (path: string): readonly (readonly [string, string])[] => [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':authority', 'a'],
  [':path', path],
];
const request = (id: number, path = '/'): Buffer => frame(FRAME.headers, END_HEADERS | END_STREAM, id, block(HEAD(path)));

/** A plane with one backend and one listener. */
const front = (backendPort: number, more: Partial<HttpConnectionManager> = {}, http2Cluster = false) =>
  startPlane({
    clusters: [staticCluster('app', [backendPort], http2Cluster ? HTTP2_CLUSTER : {})],
    listeners: [listener('in', hcm([{ match: { prefix: '/none' }, route: { cluster: 'missing' } }, toCluster('app')], more))],
  });

const eventually = async (what: string, holds: () => boolean): Promise<void> => {
  for (const deadline = Date.now() + 20_000; !holds(); ) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

suite('HTTP/2 from clients', () => {
  test('many requests share one connection and come back each to its own', async () => {
    await using backend = await httpBackend((_n, head) => /x-n: (\d+)/.exec(head)?.[1] ?? 'none');
    await using plane = await front(backend.port);
    const session = await openSession(plane.port('in'));
    const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => exchange(session, { ':path': '/', 'x-n': String(n) })));
    assert.deepEqual(
      answers.map((a) => a.body),
      answers.map((_, n) => String(n)),
    );
    assert.equal(plane.http.length, 200);
    session.destroy();
  });

  test('what is answered here says no length where nothing follows; gRPC clients get trailers alone', async () => {
    await using backend = await httpBackend(() => 'x');
    await using plane = await front(backend.port);
    const session = await openSession(plane.port('in'));
    const plain = await exchange(session, { ':path': '/none' });
    assert.deepEqual([plain.status, plain.body, plain.headers['content-length'], plain.code], [503, '', undefined, 0]);
    const grpc = await exchange(session, { ':path': '/none', ':method': 'POST', 'content-type': 'application/grpc' }, '');
    assert.deepEqual(
      [grpc.status, grpc.headers['grpc-status'], grpc.headers['content-type'], grpc.headers['content-length']],
      [200, '14', 'application/grpc', undefined],
    );
    session.destroy();
  });

  test('a listener for HTTP/2 alone and one that tells by the preface both serve it; the latter serves HTTP/1 too', async () => {
    await using backend = await httpBackend(() => 'x');
    await using only = await front(backend.port, { codec_type: 'HTTP2' });
    await using both = await front(backend.port);
    for (const plane of [only, both]) {
      const session = await openSession(plane.port('in'));
      assert.equal((await exchange(session, { ':path': '/' })).body, 'x');
      session.destroy();
    }
    assert.equal(await (await fetch(`http://127.0.0.1:${both.port('in')}/`)).text(), 'x');
  });

  test('the preface may come byte by byte', async () => {
    await using backend = await httpBackend(() => 'x');
    await using plane = await front(backend.port);
    using client = await rawClient(plane.port('in'), true);
    client.socket.setNoDelay(true);
    for (const byte of Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0), request(1)])) {
      client.send(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(await client.until((f) => f.type === FRAME.data && f.id === 1));
  });

  test('a response cut upstream is reset with INTERNAL_ERROR, the connection lives on', async () => {
    await using cutter = await startBackend((socket, text) => {
      if (text.includes('/whole')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart', () => setTimeout(() => socket.destroy(), 20));
    });
    await using plane = await front(cutter.port);
    const session = await openSession(plane.port('in'));
    const cut = await exchange(session, { ':path': '/' });
    assert.deepEqual([cut.status, cut.body, cut.code], [200, 'part', 2]);
    assert.equal((await exchange(session, { ':path': '/whole' })).body, 'ok');
    session.destroy();
  });

  test('a client that takes its request back is logged DR, one that goes away DC; the upstream hears of both', async () => {
    const ended: number[] = [];
    await using backend = await http2Backend((stream) => stream.on('close', () => ended.push(stream.rstCode ?? 0)));
    await using plane = await front(backend.port, {}, true);
    const session = await openSession(plane.port('in'));
    const stream = session.request({ ':path': '/' });
    stream.on('error', () => {});
    await eventually('the request arrives', () => backend.heads.length === 1);
    stream.close(8);
    await eventually('one record', () => plane.http.length === 1);
    session.request({ ':path': '/' }).on('error', () => {});
    await eventually('the second arrives', () => backend.heads.length === 2);
    session.destroy();
    await eventually('two records', () => plane.http.length === 2);
    assert.deepEqual(
      plane.http.map((r) => [r.status, r.flags, r.details]),
      [
        [0, 'DR', 'http2.remote_reset'],
        [0, 'DC', 'downstream_remote_disconnect'],
      ],
    );
    await eventually('both reset upstream', () => ended.length === 2);
    assert.deepEqual(ended, [2, 2]);
  });

  test('an answer before the request is whole ends the stream without an error', async () => {
    await using backend = await http2Backend((stream) => {
      stream.respond({ ':status': 200 });
      stream.end('early');
    });
    await using plane = await front(backend.port, {}, true);
    const session = await openSession(plane.port('in'));
    const stream = session.request({ ':path': '/', ':method': 'POST' });
    stream.write('the beginning');
    const answer = await answerOf(stream);
    assert.deepEqual([answer.status, answer.body, answer.code], [200, 'early', 0]);
    session.destroy();
  });

  test('a slow client holds back a fast upstream, and gets every byte', async () => {
    const size = 30_000_000;
    let sent = 0;
    await using backend = await startBackend((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`);
      const piece = Buffer.alloc(100_000, 'x');
      const more = (): void => {
        while (sent < size) {
          sent += piece.length;
          if (!socket.write(piece)) {
            socket.once('drain', more);
            return;
          }
        }
      };
      more();
    });
    await using plane = await front(backend.port);
    const session = await openSession(plane.port('in'), { settings: { initialWindowSize: 65_535 } });
    const stream = session.request({ ':path': '/' });
    await once(stream, 'response');
    let last = -1;
    await eventually('the upstream stands still', () => {
      const still = sent === last;
      last = sent;
      return still && sent > 0;
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.ok(sent < 12_000_000, `${sent} bytes left the upstream`);
    let got = 0;
    for await (const piece of stream) got += (piece as Buffer).length;
    assert.equal(got, size);
    session.destroy();
  });

  test('a slow upstream holds back a fast client, and gets every byte', async () => {
    const size = 60_000_000;
    let got = 0;
    let go = (): void => {};
    await using backend = await http2Backend(
      (stream) => {
        go = () => {
          stream.on('data', (piece) => {
            got += piece.length;
          });
          stream.on('end', () => {
            stream.respond({ ':status': 200 });
            stream.end(String(got));
          });
        };
      },
      { initialWindowSize: 65_535 },
    );
    await using plane = await front(backend.port, {}, true);
    const session = await openSession(plane.port('in'));
    const stream = session.request({ ':path': '/', ':method': 'POST' });
    const answer = answerOf(stream);
    let sent = 0;
    const piece = Buffer.alloc(100_000, 'x');
    const more = (): void => {
      while (sent < size) {
        sent += piece.length;
        if (!stream.write(piece)) {
          stream.once('drain', more);
          return;
        }
      }
      stream.end();
    };
    more();
    await eventually('the request arrives', () => backend.heads.length === 1);
    let last = -1;
    await eventually('the client stands still', () => {
      const still = sent === last;
      last = sent;
      return still;
    });
    assert.ok(sent < 40_000_000, `${sent} bytes left the client`);
    go();
    assert.equal((await answer).body, String(size));
    session.destroy();
  });

  test('draining says GOAWAY twice, serves what still comes in between, and closes when all is answered', async () => {
    let release = (): void => {};
    await using backend = await http2Backend((stream, headers) => {
      const answer = (): void => {
        stream.respond({ ':status': 200 });
        stream.end('x');
      };
      if (headers[':path'] === '/slow') release = answer;
      else answer();
    });
    await using plane = await front(backend.port, { drain_timeout: '0.3s' }, true);
    using client = await rawClient(plane.port('in'));
    client.send(request(1, '/slow'));
    await eventually('the request arrives', () => backend.heads.length === 1);
    plane.plane.drain();
    const first = await client.until((f) => f.type === FRAME.goaway);
    assert.deepEqual([first?.payload.readUInt32BE(0), first?.payload.readUInt32BE(4)], [0x7fffffff, 0]);
    client.send(request(3));
    assert.ok(await client.until((f) => f.type === FRAME.data && f.id === 3));
    const second = await client.until((f) => f.type === FRAME.goaway && f !== first);
    assert.equal(second?.payload.readUInt32BE(0), 3);
    assert.equal(client.closed, false);
    release();
    assert.ok(await client.until((f) => f.type === FRAME.data && f.id === 1));
    await client.until(() => false);
    assert.deepEqual(
      plane.http.map((r) => [r.status, r.flags]),
      [
        [200, ''],
        [200, ''],
      ],
    );
  });

  test('the second GOAWAY waits until the client can have heard the first, and serves what comes until then', async () => {
    await using backend = await httpBackend(() => 'x');
    await using plane = await front(backend.port, { drain_timeout: '0.02s' });
    using client = await rawClient(plane.port('in'));
    client.send(request(1));
    assert.ok(await client.until((f) => f.type === FRAME.data && f.id === 1));
    plane.plane.drain();
    const first = await client.until((f) => f.type === FRAME.goaway);
    const ping = await client.until((f) => f.type === FRAME.ping && f.flags === 0);
    await new Promise((resolve) => setTimeout(resolve, 200));
    // Was on its way when GOAWAY came.
    client.send(request(3));
    assert.ok(await client.until((f) => f.type === FRAME.data && f.id === 3));
    client.send(frame(FRAME.ping, 1, 0, ping?.payload));
    const second = await client.until((f) => f.type === FRAME.goaway && f !== first);
    assert.equal(second?.payload.readUInt32BE(0), 3);
    await client.until(() => false);
  });

  for (const [what, common] of [
    ['an idle connection', { idle_timeout: '0.1s' }],
    ['a connection of its full age', { max_connection_duration: '0.1s' }],
    ['a connection with all its requests', { max_requests_per_connection: 1 }],
  ] as const)
    test(`${what} ends in two GOAWAYs`, async () => {
      await using backend = await httpBackend(() => 'x');
      await using plane = await front(backend.port, { common_http_protocol_options: common, drain_timeout: '0.1s' });
      using client = await rawClient(plane.port('in'));
      client.send(request(1));
      assert.ok(await client.until((f) => f.type === FRAME.data && f.id === 1));
      await client.until(() => false);
      assert.deepEqual(
        client.frames.filter((f) => f.type === FRAME.goaway).map((f) => f.payload.readUInt32BE(0)),
        [0x7fffffff, 1],
      );
    });

  test('a client that answers no ping is closed, one that does is kept', async () => {
    await using backend = await httpBackend(() => 'x');
    const keepalive = { connection_keepalive: { interval: '0.05s', timeout: '0.2s' } };
    await using plane = await front(backend.port, { http2_protocol_options: keepalive });
    const session: http2.ClientHttp2Session = await openSession(plane.port('in'));
    using client = await rawClient(plane.port('in'));
    await client.until(() => false);
    assert.ok(client.frames.some((f) => f.type === FRAME.ping));
    assert.equal((await exchange(session, { ':path': '/' })).body, 'x');
    session.destroy();
  });

  for (const [what, cut] of [
    ['whose frame is not whole', 14],
    ['of which only the frame’s own head came', 9],
    ['that is to be continued', 0],
  ] as const)
    test(`a head ${what} is answered in time, its rest is dropped, and the connection serves on`, async () => {
      await using backend = await httpBackend(() => 'x');
      await using plane = await front(backend.port, { request_headers_timeout: '0.1s' });
      using client = await rawClient(plane.port('in'));
      assert.ok(await client.until((f) => f.type === FRAME.settings && f.flags === 1));
      const whole = request(1);
      const fields = block(HEAD('/'));
      const continued = [frame(FRAME.headers, END_STREAM, 1, fields.subarray(0, 9)), frame(9, END_HEADERS, 1, fields.subarray(9))] as const;
      const [begun, rest] = cut === 0 ? continued : [whole.subarray(0, cut), whole.subarray(cut)];
      client.send(begun);
      assert.ok(await client.until((f) => f.type === FRAME.data && f.id === 1));
      const ending = client.frames.filter((f) => f.id === 1);
      const reset = await client.until((f) => f.type === FRAME.reset && f.id === 1);
      assert.deepEqual(
        [ending[0]?.type, ending[1]?.payload.toString(), ending[1]?.flags, reset?.payload.readUInt32BE(0)],
        [FRAME.headers, 'request header timeout', END_STREAM, 0],
      );
      client.send(rest, request(3));
      assert.equal((await client.until((f) => f.type === FRAME.data && f.id === 3))?.payload.toString(), 'x');
      assert.equal(client.frames.filter((f) => f.id === 1).length, 3);
      assert.deepEqual(
        plane.http.map((r) => [r.status, r.details]),
        [
          [408, 'request_header_timeout'],
          [200, 'via_upstream'],
        ],
      );
    });

  test('stream timeouts answer by HTTP status', async () => {
    await using backend = await httpBackend(() => 'silent');
    const timeouts = { stream_idle_timeout: '0.15s', request_timeout: '0.1s' };
    await using plane = await front(backend.port, timeouts);
    const session = await openSession(plane.port('in'));
    const idle = await exchange(session, { ':path': '/' });
    assert.deepEqual([idle.status, idle.body], [504, 'stream timeout']);
    const stream = session.request({ ':path': '/', ':method': 'POST' });
    stream.write('never whole');
    const late = await answerOf(stream);
    assert.deepEqual([late.status, late.body, late.code], [408, 'request timeout', 0]);
    assert.deepEqual(
      plane.http.map((r) => r.details),
      ['stream_idle_timeout', 'request_overall_timeout'],
    );
    session.destroy();
  });

  test('a response nobody takes does not stay for ever', async () => {
    await using backend = await httpBackend(() => 'y'.repeat(200_000));
    await using plane = await front(backend.port, { stream_idle_timeout: '0.1s' });
    using client = await rawClient(plane.port('in'));
    client.send(request(1));
    const reset = await client.until((f) => f.type === FRAME.reset && f.id === 1);
    assert.ok(reset);
    await eventually('one record', () => plane.http.length === 1);
  });

  test('a head above the limit ends its stream alone and is logged as Envoy does', async () => {
    await using backend = await httpBackend(() => 'x');
    await using plane = await front(backend.port);
    using client = await rawClient(plane.port('in'));
    const many = Array.from({ length: 97 }, (_, i): [string, string] => [`x-${i}`, '']);
    client.send(frame(FRAME.headers, END_HEADERS | END_STREAM, 1, block([...HEAD('/'), ...many])), request(3));
    const reset = await client.until((f) => f.type === FRAME.reset && f.id === 1);
    assert.equal(reset?.payload.readUInt32BE(0), 2);
    await eventually('both records', () => plane.http.length === 2);
    assert.deepEqual(plane.http.map((r) => [r.status, r.flags, r.details]).sort(), [
      [0, 'DR', 'http2.too_many_headers'],
      [200, '', 'via_upstream'],
    ]);
  });

  test('a whole response its client has no window for is given up in time, the connection serves on', async () => {
    await using backend = await httpBackend(() => 'y'.repeat(1000));
    await using plane = await front(backend.port, { stream_idle_timeout: '0.15s' });
    using client = await rawClient(plane.port('in'), true);
    const tenBytes = Buffer.from([0, 4, 0, 0, 0, 10]);
    client.send(PREFACE, frame(FRAME.settings, 0, 0, tenBytes), request(1));
    await eventually('one record', () => plane.http.length === 1);
    assert.deepEqual([plane.http[0]?.status, plane.http[0]?.flags], [200, '']);
    const reset = await client.until((f) => f.type === FRAME.reset && f.id === 1);
    assert.equal(reset?.payload.readUInt32BE(0), 2);
    client.send(request(3), frame(FRAME.windowUpdate, 0, 3, Buffer.from([0, 0, 4, 0])));
    assert.ok(await client.until((f) => f.type === FRAME.data && f.id === 3 && (f.flags & END_STREAM) !== 0));
  });

  test('streams beyond the limit are refused', async () => {
    await using backend = await httpBackend(() => 'silent');
    await using plane = await front(backend.port, { http2_protocol_options: { max_concurrent_streams: 2 } });
    using client = await rawClient(plane.port('in'));
    await client.until((f) => f.type === FRAME.settings);
    client.send(request(1), request(3), request(5));
    const reset = await client.until((f) => f.type === FRAME.reset);
    assert.deepEqual([reset?.id, reset?.payload.readUInt32BE(0)], [5, 7]);
  });
});
