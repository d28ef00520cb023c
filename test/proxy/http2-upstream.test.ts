// HTTP/2 connections to upstream hosts: how many there are, what ends them, what a lost request becomes.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type * as http2 from 'node:http2';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { suite, test } from 'node:test';
import type { Cluster, RouteAction } from '../../src/xds/gen/types.ts';
import { hcm, listener, type Plane, startPlane, staticCluster, toCluster } from './harness.ts';
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
  protocolOptions,
} from './http2-peers.ts';

const OK = Buffer.concat([Buffer.from([0x88])]); // :status 200

const front = (ports: readonly number[], more: Partial<Cluster> = {}, route: RouteAction = {}): Promise<Plane> =>
  startPlane({
    clusters: [staticCluster('app', ports, { ...HTTP2_CLUSTER, ...more })],
    listeners: [listener('in', hcm([toCluster('app', route)]))],
  });

const get = async (plane: Plane, path = '/', headers: http2.OutgoingHttpHeaders = {}) => {
  const session = await openSession(plane.port('in'));
  const answer = await exchange(session, { ':path': path, ...headers });
  session.destroy();
  return answer;
};

const eventually = async (what: string, holds: () => boolean): Promise<void> => {
  for (const deadline = Date.now() + 20_000; !holds(); ) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

/** A server of raw frames: `answer` gets each frame of the client behind its preface. */
const rawServer = async (
  answer: (socket: Socket, type: number, flags: number, id: number, n: number) => void,
  settings: Buffer = Buffer.alloc(0),
) => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    const n = sockets.push(socket) - 1;
    let rest: Buffer = Buffer.alloc(0);
    let preface = false;
    socket.on('error', () => {});
    socket.write(frame(FRAME.settings, 0, 0, settings));
    socket.on('data', (bytes: Buffer) => {
      rest = Buffer.concat([rest, bytes]);
      if (!preface) {
        if (rest.length < 24) return;
        preface = true;
        rest = rest.subarray(24);
      }
      while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
        const end = 9 + rest.readUIntBE(0, 3);
        const [type, flags, id] = [rest[3] ?? 0, rest[4] ?? 0, rest.readUInt32BE(5)];
        rest = rest.subarray(end);
        if (type === FRAME.settings && (flags & 1) === 0) socket.write(frame(FRAME.settings, 1, 0));
        answer(socket, type, flags, id, n);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
};
const code = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const goaway = (last: number, why = 0): Buffer => frame(FRAME.goaway, 0, 0, Buffer.concat([code(last), code(why)]));
const answerOk = (id: number): Buffer => frame(FRAME.headers, END_HEADERS | END_STREAM, id, OK);

suite('HTTP/2 to upstreams', () => {
  test('requests share a connection; another is made when the peer allows no more streams', async () => {
    const twoStreams = Buffer.from([0, 3, 0, 0, 0, 2]);
    const held: (() => void)[] = [];
    await using backend = await rawServer((socket, type, _flags, id) => {
      if (type === FRAME.headers) held.push(() => socket.write(answerOk(id)));
    }, twoStreams);
    await using plane = await front([backend.port]);
    const session = await openSession(plane.port('in'));
    const first = exchange(session, { ':path': '/' });
    await eventually('the first', () => held.length === 1);
    const rest = Array.from({ length: 4 }, () => exchange(session, { ':path': '/' }));
    await eventually('five requests', () => held.length === 5);
    assert.equal(backend.sockets.length, 3);
    for (const answer of held) answer();
    assert.deepEqual(
      (await Promise.all([first, ...rest])).map((a) => a.status),
      [200, 200, 200, 200, 200],
    );
    session.destroy();
  });

  test('circuit breakers: requests beyond the limit overflow at once', async () => {
    await using backend = await http2Backend(() => {});
    const breakers = { circuit_breakers: { thresholds: [{ max_requests: 2 }] } };
    await using plane = await front([backend.port], breakers);
    const session = await openSession(plane.port('in'));
    for (const _ of [1, 2]) session.request({ ':path': '/' }).on('error', () => {});
    await eventually('two', () => backend.heads.length === 2);
    const third = await exchange(session, { ':path': '/' });
    assert.deepEqual([third.status, third.headers['x-envoy-overloaded']], [503, 'true']);
    assert.equal(plane.http[0]?.flags, 'UO');
    session.destroy();
  });

  test('a connection takes so many requests as it may, then another is made', async () => {
    await using backend = await http2Backend((stream) => {
      stream.respond({ ':status': 200 });
      stream.end('x');
    });
    const options = protocolOptions({
      explicit_http_config: { http2_protocol_options: {} },
      common_http_protocol_options: { max_requests_per_connection: 2 },
    });
    await using plane = await front([backend.port], options);
    for (let n = 0; n < 5; n++) assert.equal((await get(plane)).status, 200);
    assert.equal(backend.sessions.length, 3);
  });

  for (const [what, common] of [
    ['idle', { idle_timeout: '0.1s' }],
    ['old', { max_connection_duration: '0.1s' }],
  ] as const)
    test(`an ${what} connection is closed, the next request has a new one`, async () => {
      await using backend = await http2Backend((stream) => {
        stream.respond({ ':status': 200 });
        stream.end('x');
      });
      const options = protocolOptions({ explicit_http_config: { http2_protocol_options: {} }, common_http_protocol_options: common });
      await using plane = await front([backend.port], options);
      await get(plane);
      const session = backend.sessions[0];
      assert.ok(session);
      if (!session.closed) await once(session, 'close');
      assert.equal((await get(plane)).status, 200);
      assert.equal(backend.sessions.length, 2);
    });

  test('a connection whose peer answers no ping is closed, its requests end', async () => {
    await using backend = await rawServer(() => {});
    const options = protocolOptions({
      explicit_http_config: { http2_protocol_options: { connection_keepalive: { interval: '0.05s', timeout: '0.1s' } } },
    });
    await using plane = await front([backend.port], options);
    const answer = await get(plane);
    assert.equal(answer.status, 503);
    assert.deepEqual(
      [plane.http[0]?.flags, plane.http[0]?.details],
      ['UC', 'upstream_reset_before_response_started{connection_termination}'],
    );
  });

  test('GOAWAY: what the peer will answer is awaited, later requests go elsewhere', async () => {
    let first: (() => void) | undefined;
    let heard = false;
    await using backend = await rawServer((socket, type, _flags, id, n) => {
      if (type === FRAME.ping) heard = true;
      if (type !== FRAME.headers) return;
      if (n > 0) socket.write(answerOk(id));
      else {
        socket.write(Buffer.concat([goaway(id), frame(FRAME.ping, 0, 0, Buffer.alloc(8))]));
        first = () => socket.write(answerOk(id));
      }
    });
    await using plane = await front([backend.port]);
    const waiting = get(plane);
    await eventually('GOAWAY was heard', () => heard);
    assert.equal((await get(plane)).status, 200);
    assert.equal(backend.sockets.length, 2);
    const closed = once(backend.sockets[0] as Socket, 'close');
    first?.();
    assert.equal((await waiting).status, 200);
    await closed;
  });

  for (const [what, refuse] of [
    ['REFUSED_STREAM', (id: number) => frame(FRAME.reset, 0, id, code(7))],
    ['GOAWAY below the stream', () => goaway(0)],
  ] as const)
    test(`${what} is tried again as refused-stream`, async () => {
      let refused = 0;
      await using backend = await rawServer((socket, type, _flags, id) => {
        if (type !== FRAME.headers) return;
        if (refused++ === 0) socket.write(refuse(id));
        else socket.write(answerOk(id));
      });
      await using plane = await front([backend.port], {}, { retry_policy: { retry_on: 'refused-stream', num_retries: 1 } });
      assert.equal((await get(plane)).status, 200);
      assert.deepEqual([plane.http[0]?.attempts, plane.http[0]?.flags], [2, '']);
    });

  test('resets before the response are told apart by their code', async () => {
    await using backend = await rawServer((socket, type, flags, id) => {
      if (type === FRAME.headers && (flags & END_STREAM) !== 0) socket.write(frame(FRAME.reset, 0, id, code(codes.shift() ?? 0)));
    });
    const codes = [0, 1, 2, 7, 8, 10];
    await using plane = await front([backend.port]);
    const statuses: number[] = [];
    for (let n = codes.length; n > 0; n--) statuses.push((await get(plane)).status);
    assert.deepEqual(statuses, [503, 502, 503, 503, 503, 503]);
    assert.deepEqual(
      plane.http.map((r) => [r.flags, /\{(.*)\}/.exec(r.details)?.[1]]),
      [
        ['UR', 'remote_reset'],
        ['UPE', 'protocol_error'],
        ['UR', 'remote_reset'],
        ['UR', 'remote_refused_stream_reset'],
        ['UR', 'remote_reset'],
        ['UR', 'remote_error_with_CONNECT_request'],
      ],
    );
  });

  test('a reset behind the head cuts the response', async () => {
    await using backend = await rawServer((socket, type, _flags, id) => {
      if (type !== FRAME.headers) return;
      socket.write(Buffer.concat([frame(FRAME.headers, END_HEADERS, id, OK), frame(FRAME.data, 0, id, Buffer.from('part'))]));
      setTimeout(() => socket.write(frame(FRAME.reset, 0, id, code(8))), 30);
    });
    await using plane = await front([backend.port]);
    const answer = await get(plane);
    assert.deepEqual([answer.status, answer.body, answer.code], [200, 'part', 2]);
    assert.deepEqual([plane.http[0]?.flags, plane.http[0]?.details], ['UR', 'upstream_reset_after_response_started{remote_reset}']);
  });

  test('an answer whose rest of the request is refused is whole, over either protocol', async () => {
    await using backend = await rawServer((socket, type, _flags, id) => {
      if (type !== FRAME.headers) return;
      const answer = [frame(FRAME.headers, END_HEADERS, id, OK), frame(FRAME.data, END_STREAM, id, Buffer.from('early'))];
      socket.write(Buffer.concat([...answer, frame(FRAME.reset, 0, id, code(0))]));
    });
    await using plane = await front([backend.port]);
    const session = await openSession(plane.port('in'));
    const stream = session.request({ ':path': '/', ':method': 'POST' });
    stream.write('the beginning');
    const answer = await answerOf(stream);
    assert.deepEqual([answer.status, answer.body, answer.code], [200, 'early', 0]);
    session.destroy();
    const socket = connect(plane.port('in'), '127.0.0.1');
    socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc');
    let text = '';
    for await (const bytes of socket) text += bytes;
    assert.match(text, /^HTTP\/1.1 200 OK\r\n/);
    assert.match(text, /\r\n5\r\nearly\r\n0\r\n\r\n$/);
    assert.deepEqual(
      plane.http.map((r) => [r.status, r.flags]),
      [
        [200, ''],
        [200, ''],
      ],
    );
  });

  test('an upstream that breaks the protocol costs its connection, and is named for it', async () => {
    await using backend = await rawServer((socket, type, _flags, id) => {
      if (type === FRAME.headers) socket.write(frame(FRAME.data, 0, id, Buffer.from('no head')));
    });
    await using plane = await front([backend.port]);
    assert.equal((await get(plane)).status, 502);
    assert.deepEqual([plane.http[0]?.flags, plane.http[0]?.details], ['UPE', 'upstream_reset_before_response_started{protocol_error}']);
    assert.equal((await get(plane)).status, 502);
  });

  for (const [what, fields] of [
    ['a header line of its own', [['x-a', 'a\r\nx-b: b']]],
    ['a connection header', [['connection', 'close']]],
    ['a status that is none', [[':status', '0200']]],
    [
      'a length of what a 204 cannot have',
      [
        [':status', '204'],
        ['content-length', '5'],
      ],
    ],
  ] as const)
    test(`a response with ${what} is refused`, async () => {
      await using backend = await rawServer((socket, type, _flags, id) => {
        const status = fields[0][0] === ':status' ? Buffer.alloc(0) : OK;
        if (type === FRAME.headers)
          socket.write(frame(FRAME.headers, END_HEADERS | END_STREAM, id, Buffer.concat([status, block(fields)])));
      });
      await using plane = await front([backend.port]);
      const response = await fetch(`http://127.0.0.1:${plane.port('in')}/`);
      assert.equal(response.status, 502);
      assert.equal(plane.http[0]?.flags, 'UPE');
    });

  test('a request may take no longer than its cluster allows', async () => {
    await using backend = await http2Backend((stream, headers) => {
      if (headers[':path'] !== '/begun') return;
      stream.respond({ ':status': 200 });
      stream.write('part');
    });
    const options = protocolOptions({
      explicit_http_config: { http2_protocol_options: {} },
      common_http_protocol_options: { max_stream_duration: '0.1s' },
    });
    await using plane = await front([backend.port], options);
    const silent = await get(plane);
    assert.deepEqual([silent.status, silent.body], [504, 'upstream max stream duration reached']);
    const begun = await get(plane, '/begun');
    assert.deepEqual([begun.status, begun.body, begun.code], [200, 'part', 2]);
    assert.deepEqual(
      plane.http.map((r) => [r.flags, r.details]),
      [
        ['UMSDR', 'upstream_max_stream_duration_reached'],
        ['UMSDR', 'upstream_max_stream_duration_reached'],
      ],
    );
  });

  test('connections are made ahead of need as the cluster says, for either protocol', async () => {
    for (const options of [HTTP2_CLUSTER, {}]) {
      const sockets: Socket[] = [];
      const server = createServer((socket) => {
        sockets.push(socket);
        socket.on('error', () => {});
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const one = { explicit_http_config: { http2_protocol_options: { max_concurrent_streams: 1 } } };
      const cluster = options === HTTP2_CLUSTER ? protocolOptions(one) : {};
      await using plane = await startPlane({
        clusters: [
          staticCluster('app', [(server.address() as AddressInfo).port], {
            ...cluster,
            preconnect_policy: { per_upstream_preconnect_ratio: 2 },
          }),
        ],
        listeners: [listener('in', hcm([toCluster('app')]))],
      });
      const session = await openSession(plane.port('in'));
      session.request({ ':path': '/' }).on('error', () => {});
      await eventually('two connections', () => sockets.length === 2);
      session.destroy();
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });

  test('requests on a replaced cluster end well, later ones go to its successor, the old connection closes', async () => {
    let finish = (): void => {};
    await using old = await http2Backend((stream) => {
      finish = () => {
        stream.respond({ ':status': 200 });
        stream.end('old');
      };
    });
    await using young = await http2Backend((stream) => {
      stream.respond({ ':status': 200 });
      stream.end('young');
    });
    await using plane = await front([old.port]);
    const running = get(plane);
    await eventually('it runs', () => old.heads.length === 1);
    plane.plane.setCluster(staticCluster('app', [young.port], HTTP2_CLUSTER));
    await plane.plane.settled();
    assert.equal((await get(plane)).body, 'young');
    const session = old.sessions[0];
    assert.ok(session);
    const closed = once(session, 'close');
    finish();
    assert.equal((await running).body, 'old');
    await closed;
  });

  test('endpoints that leave finish what they have begun', async () => {
    let finish = (): void => {};
    await using old = await http2Backend((stream) => {
      finish = () => {
        stream.respond({ ':status': 200 });
        stream.end('old');
      };
    });
    await using young = await http2Backend((stream) => {
      stream.respond({ ':status': 200 });
      stream.end('young');
    });
    await using plane = await startPlane({
      clusters: [{ name: 'app', type: 'EDS', eds_cluster_config: { eds_config: { ads: {} } }, connect_timeout: '1s', ...HTTP2_CLUSTER }],
      listeners: [listener('in', hcm([toCluster('app')]))],
    });
    const endpoints = (port: number) => ({ ...staticCluster('app', [port]).load_assignment, cluster_name: 'app' });
    plane.plane.setEndpoints(endpoints(old.port));
    await plane.plane.settled();
    const running = get(plane);
    await eventually('it runs', () => old.heads.length === 1);
    plane.plane.setEndpoints(endpoints(young.port));
    assert.equal((await get(plane)).body, 'young');
    finish();
    assert.equal((await running).body, 'old');
    assert.deepEqual([...new Set(plane.http.map((r) => r.flags))], ['']);
  });

  test('a request that is tried again after its cluster was replaced is served, on one connection', { timeout: 120_000 }, async () => {
    let replace = (): void => {};
    await using backend = await rawServer((socket, type, _flags, id, n) => {
      if (type !== FRAME.headers) return;
      if (n === 0) replace();
      socket.write(n === 0 ? frame(FRAME.reset, 0, id, code(7)) : answerOk(id));
    });
    await using plane = await front([backend.port], {}, { retry_policy: { retry_on: 'refused-stream', num_retries: 1 } });
    replace = () => plane.plane.setCluster(staticCluster('app', [backend.port], { ...HTTP2_CLUSTER, connect_timeout: '2s' }));
    assert.equal((await get(plane)).status, 200);
    assert.equal(backend.sockets.length, 2);
  });

  test('a host that cannot be reached fails all who wait', async () => {
    await using plane = await front([9]);
    const session = await openSession(plane.port('in'));
    const answers = await Promise.all([1, 2, 3].map(() => exchange(session, { ':path': '/' })));
    assert.deepEqual(
      answers.map((a) => a.status),
      [503, 503, 503],
    );
    assert.deepEqual([...new Set(plane.http.map((r) => r.flags))], ['UF']);
    session.destroy();
  });
});
