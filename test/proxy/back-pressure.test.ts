// Who does not read stops who sends: nothing between them piles up beyond the configured limit, whatever protocols the two speak.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type * as http2 from 'node:http2';
import { connect, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { test } from 'node:test';
import type { Cluster, Listener } from '../../src/xds/gen/types.ts';
import { eventually, hcm, listener, type Plane, startBackend, startPlane, staticCluster, tcpProxy, toCluster } from './harness.ts';
import { FRAME, frame, HTTP2_CLUSTER, http2Backend, openSession, protocolOptions } from './http2-peers.ts';

const MIB = 1024 * 1024;
/** What kernels and windows on the way hold at most: two connections with 32 MiB to read and 4 MiB to write, when they are slow. */
const ELSEWHERE = 74 * MIB;
const LIMIT = 80 * MIB;
const ENDLESS = 192 * MIB;
const QUIET_MS = 250;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Writes pieces, each in a turn of its own, until all is taken or nobody takes more; what the writer got rid of. Below the limit a pause is the machine's. */
const pump = async (to: Writable, piece: Buffer, { listener = 0, cluster = 0 }: Limits): Promise<number> => {
  const least = Math.max(listener, cluster);
  const end = performance.now() + 20_000;
  let gone = 0;
  let said = 0;
  let last = performance.now();
  while (gone < ENDLESS && (performance.now() - last < QUIET_MS || (gone < least && performance.now() < end))) {
    if (said - gone < 2 * piece.length) {
      said += piece.length;
      to.write(piece, () => {
        gone += piece.length;
        last = performance.now();
      });
      await new Promise((resolve) => setImmediate(resolve));
    } else await pause(1);
  }
  return gone;
};

const chunk = (bytes: number): Buffer => Buffer.from(`${bytes.toString(16)}\r\n${'x'.repeat(bytes)}\r\n`);
const BIG = chunk(64 * 1024);
const SMALL = chunk(6 * 1024);
const BYTES = Buffer.alloc(64 * 1024, 120);
const HEAD = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';

interface Limits {
  readonly listener?: number;
  readonly cluster?: number;
}

const plane = async (
  stack: AsyncDisposableStack,
  kind: 'http' | 'tcp',
  port: number,
  limits: Limits,
  more: Partial<Cluster> = {},
): Promise<Plane> => {
  const ofListener: Partial<Listener> = limits.listener === undefined ? {} : { per_connection_buffer_limit_bytes: limits.listener };
  const ofCluster: Partial<Cluster> = limits.cluster === undefined ? {} : { per_connection_buffer_limit_bytes: limits.cluster };
  return stack.use(
    await startPlane({
      clusters: [staticCluster('c', [port], { ...ofCluster, ...more })],
      listeners: [listener('l', kind === 'tcp' ? tcpProxy('c') : hcm([toCluster('c', { timeout: '0s' })]), ofListener)],
    }),
  );
};

/** A server whose connections are not read from; `first` is what the next of them is. */
const deaf = async (stack: AsyncDisposableStack, greet?: string): Promise<{ port: number; accepted: Promise<Socket> }> => {
  const backend = stack.use(await startBackend(() => {}));
  const accepted = once(backend.server, 'connection').then(([socket]) => {
    if (greet === undefined) (socket as Socket).pause();
    return socket as Socket;
  });
  return { port: backend.port, accepted };
};

const client = async (stack: AsyncDisposableStack, port: number, text: string): Promise<Socket> => {
  const socket = connect({ port, host: '127.0.0.1' });
  stack.defer(() => {
    socket.destroy();
  });
  socket.on('error', () => {});
  await once(socket, 'connect');
  if (text !== '') socket.write(text);
  return socket;
};

const POST = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n';
const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
const UPLOAD = { ':method': 'POST', ':path': '/', ':authority': 'a', ':scheme': 'http' };
const HUGE = 2 ** 31 - 1;
const WIDE_HTTP2 = protocolOptions({
  explicit_http_config: { http2_protocol_options: { initial_stream_window_size: 65_535, initial_connection_window_size: 65_535 } },
});

/** A client over HTTP/2 that allows everything and takes nothing. */
const deafHttp2 = async (stack: AsyncDisposableStack, port: number): Promise<Socket> => {
  const socket = await client(stack, port, '');
  const settings = Buffer.alloc(6);
  settings.writeUInt16BE(4, 0);
  settings.writeUInt32BE(HUGE, 2);
  const opened = Buffer.alloc(4);
  opened.writeUInt32BE(HUGE - 65_535);
  // :method GET, :scheme http, :path /, :authority a.
  const head = Buffer.from([0x82, 0x86, 0x84, 0x41, 0x01, 0x61]);
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(
    Buffer.concat([frame(FRAME.settings, 0, 0, settings), frame(FRAME.windowUpdate, 0, 0, opened), frame(FRAME.headers, 5, 1, head)]),
  );
  return socket;
};

interface Way {
  readonly what: string;
  /** What the sender got rid of, and which of the two limits bounds it. */
  run(stack: AsyncDisposableStack, limits: Limits): Promise<number>;
  readonly bounds: keyof Limits;
}

const upload = (what: string, piece: Buffer): Way => ({
  what: `an HTTP/1 upload to a deaf HTTP/1 server, ${what}`,
  bounds: 'cluster',
  run: async (stack, limits) => {
    const server = await deaf(stack);
    const p = await plane(stack, 'http', server.port, limits);
    return await pump(await client(stack, p.port('l'), POST), piece, limits);
  },
});

const download = (what: string, piece: Buffer): Way => ({
  what: `an HTTP/1 download to a deaf HTTP/1 client, ${what}`,
  bounds: 'listener',
  run: async (stack, limits) => {
    const server = await deaf(stack, '');
    const p = await plane(stack, 'http', server.port, limits);
    (await client(stack, p.port('l'), GET)).pause();
    const socket = await server.accepted;
    await once(socket, 'data');
    socket.write(HEAD);
    return await pump(socket, piece, limits);
  },
});

const WAYS: readonly Way[] = [
  upload('large pieces', BIG),
  upload('small pieces', SMALL),
  download('large pieces', BIG),
  download('small pieces', SMALL),
  {
    what: 'TCP to a deaf server',
    bounds: 'cluster',
    run: async (stack, limits) => {
      const server = await deaf(stack);
      const p = await plane(stack, 'tcp', server.port, limits);
      return await pump(await client(stack, p.port('l'), ''), BYTES, limits);
    },
  },
  {
    what: 'TCP to a deaf client',
    bounds: 'listener',
    run: async (stack, limits) => {
      const server = await deaf(stack);
      const p = await plane(stack, 'tcp', server.port, limits);
      (await client(stack, p.port('l'), '')).pause();
      return await pump(await server.accepted, BYTES, limits);
    },
  },
  {
    what: 'an HTTP/1 download to a deaf HTTP/2 client',
    bounds: 'listener',
    run: async (stack, limits) => {
      const server = await deaf(stack, '');
      const p = await plane(stack, 'http', server.port, limits);
      (await deafHttp2(stack, p.port('l'))).pause();
      const socket = await server.accepted;
      await once(socket, 'data');
      socket.write(HEAD);
      return await pump(socket, BIG, limits);
    },
  },
];

/** Those whose HTTP/2 windows alone stop the sender long before a socket does. */
const WINDOWED: readonly Omit<Way, 'bounds'>[] = [
  {
    what: 'an HTTP/2 upload to a deaf HTTP/1 server',
    run: async (stack, limits) => {
      const server = await deaf(stack);
      const p = await plane(stack, 'http', server.port, limits);
      return await pump((await session(stack, p.port('l'))).request(UPLOAD), BYTES, limits);
    },
  },
  {
    what: 'an HTTP/1 upload to a deaf HTTP/2 server',
    run: async (stack, limits) => {
      const server = stack.use(await http2Backend((stream) => stream.pause()));
      const p = await plane(stack, 'http', server.port, limits, HTTP2_CLUSTER);
      return await pump(await client(stack, p.port('l'), POST), SMALL, limits);
    },
  },
  {
    what: 'an HTTP/2 upload to a deaf HTTP/2 server',
    run: async (stack, limits) => {
      const server = stack.use(await http2Backend((stream) => stream.pause()));
      const p = await plane(stack, 'http', server.port, limits, HTTP2_CLUSTER);
      return await pump((await session(stack, p.port('l'))).request(UPLOAD), BYTES, limits);
    },
  },
  {
    what: 'an HTTP/2 download to a deaf HTTP/1 client',
    run: async (stack, limits) => {
      const streams: http2.ServerHttp2Stream[] = [];
      const server = stack.use(await http2Backend((stream) => streams.push(stream)));
      const p = await plane(stack, 'http', server.port, limits, WIDE_HTTP2);
      (await client(stack, p.port('l'), GET)).pause();
      return await pump(await answered(streams), BYTES, limits);
    },
  },
  {
    what: 'an HTTP/2 download to a deaf HTTP/2 client',
    run: async (stack, limits) => {
      const streams: http2.ServerHttp2Stream[] = [];
      const server = stack.use(await http2Backend((stream) => streams.push(stream)));
      const p = await plane(stack, 'http', server.port, limits, WIDE_HTTP2);
      (await deafHttp2(stack, p.port('l'))).pause();
      return await pump(await answered(streams), BYTES, limits);
    },
  },
];

const session = async (stack: AsyncDisposableStack, port: number): Promise<http2.ClientHttp2Session> => {
  const opened = await openSession(port);
  stack.defer(() => opened.destroy());
  return opened;
};

const answered = async (streams: readonly http2.ServerHttp2Stream[]): Promise<http2.ServerHttp2Stream> => {
  await eventually(() => streams.length > 0, 'the request arrives');
  const stream = streams[0] as http2.ServerHttp2Stream;
  stream.respond({ ':status': 200 });
  return stream;
};

for (const way of [...WAYS, ...WINDOWED])
  test(`${way.what} stops at the default limit`, { timeout: 120_000 }, async () => {
    await using stack = new AsyncDisposableStack();
    const sent = await way.run(stack, {});
    assert.ok(sent < ELSEWHERE, `${sent} bytes were taken`);
  });

for (const way of WAYS)
  test(`${way.what} stops at its own limit, and not before`, { timeout: 120_000 }, async () => {
    await using stack = new AsyncDisposableStack();
    const sent = await way.run(stack, { [way.bounds]: LIMIT });
    assert.ok(sent >= LIMIT && sent < LIMIT + ELSEWHERE, `${sent} bytes were taken`);
  });
