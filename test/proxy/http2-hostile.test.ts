// HTTP/2 clients and upstreams that leave things half done, or ask for what would unhinge the other side.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { suite, test } from 'node:test';
import type { Cluster, HttpConnectionManager } from '../../src/xds/gen/types.ts';
import { eventually, hcm, listener, ok, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';
import {
  block,
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  HTTP2_CLUSTER,
  http2Backend,
  PREFACE,
  protocolOptions,
  rawClient,
} from './http2-peers.ts';

const UPGRADES: Partial<HttpConnectionManager> = {
  upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'CONNECT' }],
  http2_protocol_options: { allow_connect: true },
};
const front = (port: number, more: Partial<HttpConnectionManager> = UPGRADES, cluster: Partial<Cluster> = {}) =>
  startPlane({
    clusters: [staticCluster('app', [port], cluster)],
    listeners: [listener('in', hcm([{ match: { connect_matcher: {} }, route: { cluster: 'app' } }, toCluster('app')], more))],
  });
type Fields = readonly (readonly [string, string])[];
const WEBSOCKET: Fields = [
  [':method', 'CONNECT'],
  [':protocol', 'websocket'],
  [':scheme', 'http'],
  [':authority', 'a'],
  [':path', '/socket'],
];
const REQUEST = (method: string): Fields => [
  [':method', method],
  [':scheme', 'http'],
  [':authority', 'a'],
  [':path', '/next'],
];
const head = (id: number, end: boolean, fields: Fields): Buffer =>
  frame(FRAME.headers, END_HEADERS | (end ? END_STREAM : 0), id, block(fields));
const setting = (name: number, value: number): Buffer => {
  const out = Buffer.alloc(6);
  out.writeUInt16BE(name);
  out.writeUInt32BE(value, 2);
  return out;
};
const window = (id: number, bytes: number): Buffer => {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return frame(FRAME.windowUpdate, 0, id, payload);
};

suite('HTTP/2 with hostile peers', () => {
  for (const [what, fields] of [
    ['a WebSocket', WEBSOCKET],
    [
      'CONNECT',
      [
        [':method', 'CONNECT'],
        [':authority', 'a:80'],
      ],
    ],
  ] as const)
    test(`${what} with a length promises the backend no body that would swallow the next request`, async () => {
      await using backend = await startBackend((socket) => {
        socket.write(ok('no'));
      });
      await using plane = await front(backend.port);
      using client = await rawClient(plane.port('in'));
      client.send(head(1, false, [...fields, ['content-length', '40']]));
      await client.until((f) => f.type === FRAME.headers && f.id === 1);
      client.send(head(3, true, REQUEST('GET')));
      await client.until((f) => f.type === FRAME.headers && f.id === 3);
      assert.doesNotMatch(backend.received.join('\n').split('GET /next')[0] ?? '', /content-length/);
    });

  test('a tunnel both sides have ended still gives a slow client every byte', async () => {
    const size = 300_000;
    await using backend = await http2Backend(
      (stream) => {
        stream.respond({ ':status': 200 });
        stream.end(Buffer.alloc(size));
      },
      { enableConnectProtocol: true },
    );
    await using plane = await front(backend.port, UPGRADES, HTTP2_CLUSTER);
    using client = await rawClient(plane.port('in'), true);
    client.send(PREFACE, frame(FRAME.settings, 0, 0, setting(4, 1000)), head(1, false, WEBSOCKET), frame(FRAME.data, END_STREAM, 1));
    await client.until((f) => f.type === FRAME.data && f.id === 1);
    await eventually(() => plane.http.length === 1, 'one record');
    client.send(window(0, size), window(1, size));
    const last = await client.until(
      (f) => f.id === 1 && (f.type === FRAME.reset || (f.type === FRAME.data && (f.flags & END_STREAM) !== 0)),
    );
    assert.equal(last?.type, FRAME.data);
    assert.equal(
      client.frames.reduce((sum, f) => sum + (f.type === FRAME.data ? f.payload.length : 0), 0),
      size,
    );
  });

  test('an early answer to a slow client ends the rest of its request as soon as it is taken', async () => {
    await using backend = await startBackend((socket) => {
      socket.write(ok('y'.repeat(1000)));
    });
    await using plane = await front(backend.port, {});
    using client = await rawClient(plane.port('in'), true);
    client.send(
      PREFACE,
      frame(FRAME.settings, 0, 0, setting(4, 10)),
      head(1, false, REQUEST('POST')),
      frame(FRAME.data, 0, 1, Buffer.alloc(10)),
    );
    await eventually(() => plane.http.length === 1, 'one record');
    client.send(window(1, 1000));
    const reset = await client.until((f) => f.type === FRAME.reset && f.id === 1);
    assert.equal(reset?.payload.readUInt32BE(0), 0);
    assert.ok(client.frames.some((f) => f.id === 1 && f.type === FRAME.data && (f.flags & END_STREAM) !== 0));
  });

  test('a tunnel both sides have ended still gives a slow upstream every byte', async () => {
    let got = 0;
    let ended: boolean | undefined;
    let open = (): void => {};
    await using backend = await http2Backend(
      (stream) => {
        stream.respond({ ':status': 200 });
        stream.end('bye');
        stream.pause();
        open = () => stream.resume();
        stream.on('data', (bytes: Buffer) => {
          got += bytes.length;
        });
        stream.on('end', () => {
          ended = stream.rstCode === 0;
        });
        stream.on('aborted', () => {
          ended = false;
        });
      },
      { enableConnectProtocol: true, initialWindowSize: 100 },
    );
    await using plane = await front(backend.port, UPGRADES, HTTP2_CLUSTER);
    using client = await rawClient(plane.port('in'));
    client.send(head(1, false, WEBSOCKET));
    await client.until((f) => f.type === FRAME.data && f.id === 1 && (f.flags & END_STREAM) !== 0);
    client.send(frame(FRAME.data, END_STREAM, 1, Buffer.alloc(5000)));
    await eventually(() => plane.http.length === 1, 'one record');
    open();
    await eventually(() => ended !== undefined, 'the end');
    assert.deepEqual([ended, got], [true, 5000]);
  });

  test('what an upstream that has answered does not take of its request is given up in time', async () => {
    let seen = Buffer.alloc(0);
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket.on('error', () => {}));
      socket.write(Buffer.concat([frame(FRAME.settings, 0, 0), frame(FRAME.settings, 1, 0)]));
      socket.on('data', (bytes: Buffer) => {
        seen = Buffer.concat([seen, bytes]);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const options = { common_http_protocol_options: { idle_timeout: '0.2s' }, explicit_http_config: { http2_protocol_options: {} } };
      await using plane = await front((server.address() as AddressInfo).port, {}, protocolOptions(options));
      using client = await rawClient(plane.port('in'));
      // The second one keeps the connection busy: what idles is not the connection.
      const piece = Buffer.alloc(16_000);
      client.send(head(1, false, REQUEST('POST')), ...[0, 0, 0, 0, END_STREAM].map((end) => frame(FRAME.data, end, 1, piece)));
      client.send(head(3, true, REQUEST('GET')), frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
      await client.until((f) => f.type === FRAME.ping);
      await eventually(() => seen.length > 65_535, 'a full window');
      sockets[0]?.write(head(1, true, [[':status', '200']]));
      await client.until((f) => f.type === FRAME.headers && f.id === 1);
      const reset = frame(FRAME.reset, 0, 1, Buffer.from([0, 0, 0, 8]));
      await eventually(() => seen.includes(reset), 'a reset of the first');
      assert.equal(plane.http.length, 1);
      assert.equal(sockets.length, 1);
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });

  test('requests wait while their client takes no heads of answers', { timeout: 120_000 }, async () => {
    const requests = 1000;
    const fields: Fields = [...REQUEST('GET'), ['x-pad', 'x'.repeat(4000)]];
    const answer = `HTTP/1.1 200 OK\r\nx-large: ${'x'.repeat(50_000)}\r\ncontent-length: 0\r\n\r\n`;
    await using backend = await startBackend((socket, text) => {
      socket.write(answer.repeat(text.split('\r\n\r\n').length - 1));
    });
    await using plane = await front(backend.port);
    const socket = connect({ port: plane.port('in'), host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.pause();
    socket.write(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]));
    for (let n = 0; n < requests; n += 10) {
      socket.write(Buffer.concat(Array.from({ length: 10 }, (_, i) => head(2 * (n + i) + 1, true, fields))));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const answered = (): number => plane.http.length;
    for (let before = -1; before !== answered(); ) {
      before = answered();
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    assert.ok(answered() < requests / 2, `${answered()} of ${requests} requests were answered`);
    socket.resume();
    for (const deadline = Date.now() + 10_000; answered() < requests && Date.now() < deadline; )
      await new Promise((resolve) => setTimeout(resolve, 20));
    socket.destroy();
    assert.equal(answered(), requests);
  });

  test('interim answers without end stop at the upstream when the client does not read', { timeout: 120_000 }, async () => {
    const interim = Buffer.from('HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n'.repeat(1000));
    const most = 64 * 1024 * 1024;
    let sent = 0;
    const backend = createServer((socket) => {
      const more = (): void => {
        while (sent < most) {
          sent += interim.length;
          if (!socket.write(interim)) return;
        }
        socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
      };
      socket.once('data', more);
      socket.on('drain', more);
      socket.on('error', () => {});
    }).listen(0, '127.0.0.1');
    await once(backend, 'listening');
    await using plane = await front((backend.address() as AddressInfo).port);
    using client = await rawClient(plane.port('in'));
    client.send(head(1, true, REQUEST('GET')));
    await eventually(() => sent > 0, 'the upstream answers');
    client.socket.pause();
    for (let before = -1; before < sent; await new Promise((resolve) => setTimeout(resolve, 300))) before = sent;
    assert.ok(sent < most, `all of ${sent} bytes were taken from the upstream`);
    sent = most; // the next drain ends the answer
    client.socket.resume();
    await client.until((f) => f.id === 1 && (f.flags & END_STREAM) !== 0, 20_000);
    backend.close();
  });

  const many = (count: number, piece: Buffer): Buffer => Buffer.concat(Array.from({ length: count }, () => piece));
  const priority = frame(2, 0, 1, Buffer.from([0, 0, 0, 3, 5]));
  const GENERAL = 'codec_error:The_user_callback_function_failed';
  for (const [what, bytes, details] of [
    ['trailers with a connection field', head(1, true, [['connection', 'x']]), 'http2.invalid.header.field'],
    ['trailers that do not end it', head(1, false, [['x', 'y']]), 'http2.violation.of.messaging.rule'],
    ['a window update by 0', window(1, 0), 'http2.unknown.nghttp2.error'],
    ['a window above its limit', window(1, 0x7fff_ffff), 'http2.unknown.nghttp2.error'],
    ['more body than was said', frame(FRAME.data, 0, 1, Buffer.alloc(6)), 'http2.remote_reset'],
    ['less body than was said', frame(FRAME.data, END_STREAM, 1, Buffer.alloc(1)), 'http2.remote_reset'],
    ['empty frames', many(3, frame(FRAME.data, 0, 1)), 'http2.inbound_empty_frames_flood'],
    ['too many window updates', many(3000, window(0, 1)), 'codec_error:Too_many_WINDOW_UPDATE_frames'],
    ['too many priorities', many(3000, priority), 'codec_error:Too_many_PRIORITY_frames'],
    ['a ping of a wrong size', frame(FRAME.ping, 0, 0, Buffer.alloc(7)), GENERAL],
    ['a bad head of another stream', head(3, true, [...REQUEST('GET'), ['connection', 'x']]), GENERAL],
  ] as const)
    test(`a request that ends with ${what} is logged once, as Envoy does`, { timeout: 120_000 }, async () => {
      await using backend = await startBackend(() => {});
      await using plane = await front(backend.port);
      using client = await rawClient(plane.port('in'));
      client.send(head(1, false, [...REQUEST('POST'), ['content-length', '5']]));
      await eventually(() => backend.received.length === 1, 'the request is upstream');
      client.send(bytes);
      await eventually(() => plane.http.length > 0, 'it is logged');
      await new Promise((resolve) => setTimeout(resolve, 20));
      const own = plane.http.filter((line) => line.cluster === 'app').map((line) => [line.flags, line.details]);
      assert.deepEqual(own, [['DPE', details]]);
      assert.equal(plane.http.length, what.includes('another') ? 2 : 1);
    });
});
