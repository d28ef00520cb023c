// Faults of upstreams that speak HTTP/2, as data: what each does with the requests it gets, frame by frame. What clients of either HTTP
// see and the log says is in fault-outcomes-http2.ts, in stock Envoy 1.40's words.
import { createServer, type Socket } from 'node:net';
import type { Cluster, Route } from '../../src/xds/gen/types.ts';
import { freePort } from '../free-port.ts';
import { block, FRAME, frame, HTTP2_CLUSTER } from './http2-peers.ts';

type Fields = readonly (readonly [string, string])[];
/** Of a request that has come whole; `n` counts them. */
type Act = (socket: Socket, id: number, n: number) => void;

export interface Http2Fault {
  readonly what: string;
  readonly act?: Act;
  /** When the request's head has come. */
  readonly early?: (socket: Socket, id: number) => void;
  /** Instead of speaking HTTP/2. */
  readonly raw?: (socket: Socket) => void;
  readonly settings?: Buffer;
  readonly listen?: 'closed' | 'name';
  readonly cluster?: Partial<Cluster>;
  readonly route?: Partial<Route['route']>;
  /** The client sends some of a long body, not all. */
  readonly upload?: boolean;
}

const WAIT_MS = 30;
const CONTINUATION = 9;
const PUSH_PROMISE = 5;

const word = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
};
const head = (id: number, fields: Fields, flags = 4): Buffer => frame(FRAME.headers, flags, id, block(fields));
const data = (id: number, text: string, end = false): Buffer => frame(FRAME.data, end ? 1 : 0, id, Buffer.from(text));
const reset = (id: number, code: number): Buffer => frame(FRAME.reset, 0, id, word(code));
const goaway = (last: number, code: number): Buffer => frame(FRAME.goaway, 0, 0, Buffer.concat([word(last), word(code)]));
const opened = (id: number, bytes: number): Buffer => frame(FRAME.windowUpdate, 0, id, word(bytes));
const say = (socket: Socket, ...frames: readonly Buffer[]): void => {
  if (!socket.destroyed) socket.write(Buffer.concat(frames));
};
const later = (act: () => void): void => {
  setTimeout(act, WAIT_MS);
};
const OK: Fields = [[':status', '200']];
const LONG: Fields = [...OK, ['content-length', '10']];
const fine = (socket: Socket, id: number): void => say(socket, head(id, OK), data(id, 'ok', true));
const many = (count: number, bytes = 1): Fields => Array.from({ length: count }, (_, i) => [`x-${i}`, 'a'.repeat(bytes)]);
/** A head of many frames. */
const large = (id: number, fields: Fields): Buffer[] => {
  const bytes = block(fields);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 16_000) {
    const last = at + 16_000 >= bytes.length;
    pieces.push(frame(at === 0 ? FRAME.headers : CONTINUATION, (at === 0 ? 1 : 0) | (last ? 4 : 0), id, bytes.subarray(at, at + 16_000)));
  }
  return pieces;
};
const failing =
  (code: number): Act =>
  (socket, id) =>
    say(socket, reset(id, code));
const failingOnce =
  (code: number): Act =>
  (socket, id, n) =>
    n === 0 ? say(socket, reset(id, code)) : fine(socket, id);
const retried = (retry_on: string): Partial<Route['route']> => ({ retry_policy: { retry_on, num_retries: 1 } });
const SHORT: Partial<Route['route']> = { timeout: '0.3s' };
const nothing = (): void => {};

export const HTTP2_FAULTS: readonly Http2Fault[] = [
  { what: 'fine', act: (s, id) => fine(s, id) },
  { what: 'connect refused', listen: 'closed' },
  { what: 'name', listen: 'name', cluster: { type: 'STRICT_DNS' } },
  {
    what: 'end at once',
    raw: (s) => {
      s.end();
    },
  },
  {
    what: 'reset at once',
    raw: (s) => {
      s.resetAndDestroy();
    },
  },
  { what: 'HTTP/1 answer', raw: (s) => void s.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n') },
  { what: 'garbage', raw: (s) => void s.write('garbage garbage garbage garbage garbage') },
  {
    what: 'end before head',
    act: (s) => {
      s.end();
    },
  },
  {
    what: 'reset before head',
    act: (s) => {
      s.resetAndDestroy();
    },
  },
  {
    what: 'end before head, tried again',
    act: (s, id, n) => {
      if (n === 0) s.end();
      else fine(s, id);
    },
    route: retried('reset'),
  },
  { what: 'GOAWAY refuses', act: (s, _id) => say(s, goaway(0, 0)) },
  {
    what: 'GOAWAY refuses, then end',
    act: (s, _id) => {
      say(s, goaway(0, 0));
      s.end();
    },
  },
  { what: 'GOAWAY takes, then answers', act: (s, id) => say(s, goaway(id, 0), head(id, OK), data(id, 'ok', true)) },
  { what: 'GOAWAY error', act: (s, id) => say(s, goaway(id, 2)) },
  {
    what: 'GOAWAY error then end',
    act: (s, id) => {
      say(s, goaway(id, 2));
      s.end();
    },
  },
  {
    what: 'GOAWAY after head',
    act: (s, id) => {
      say(s, head(id, OK), data(id, 'he'), goaway(id, 0));
      later(() => say(s, data(id, 'llo', true)));
    },
  },
  {
    what: 'GOAWAY 0 after head',
    act: (s, id) => {
      say(s, head(id, OK), data(id, 'he'), goaway(0, 0));
      later(() => say(s, data(id, 'llo', true)));
    },
  },
  ...[0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13].map((code) => ({ what: `RST ${code} before head`, act: failing(code) })),
  { what: 'RST 7, tried again', act: failingOnce(7), route: retried('refused-stream') },
  { what: 'RST 8, tried again', act: failingOnce(8), route: retried('reset') },
  { what: 'RST 8, tried in vain', act: failing(8), route: retried('reset') },
  ...[0, 1, 2, 7, 8].map(
    (code): Http2Fault => ({ what: `RST ${code} after head`, act: (s, id) => say(s, head(id, OK), data(id, 'hello'), reset(id, code)) }),
  ),
  { what: 'RST 0 after the end', act: (s, id) => say(s, head(id, OK), data(id, 'ok', true), reset(id, 0)) },
  {
    what: 'end mid-body',
    act: (s, id) => {
      say(s, head(id, OK), data(id, 'hello'));
      later(() => s.end());
    },
  },
  {
    what: 'reset mid-body',
    act: (s, id) => {
      say(s, head(id, OK), data(id, 'hello'));
      later(() => s.resetAndDestroy());
    },
  },
  {
    what: 'head only then end',
    act: (s, id) => {
      say(s, head(id, OK));
      later(() => s.end());
    },
  },
  { what: 'too long for its length', act: (s, id) => say(s, head(id, LONG), data(id, 'hello hello hello', true)) },
  { what: 'bad window update 0 stream', act: (s, id) => say(s, opened(id, 0)) },
  { what: 'window overflow stream', act: (s, id) => say(s, opened(id, 0x7fffffff)) },
  { what: 'window overflow connection', act: (s, _id) => say(s, opened(0, 0x7fffffff)) },
  { what: 'window update 0 connection', act: (s, _id) => say(s, opened(0, 0)) },
  { what: 'oversized data frame', act: (s, id) => say(s, head(id, OK), frame(FRAME.data, 0, id, Buffer.alloc(20000))) },
  { what: 'bad settings', act: (s, _id) => say(s, frame(FRAME.settings, 0, 0, Buffer.alloc(5))) },
  { what: 'data before head', act: (s, id) => say(s, data(id, 'hello', true)) },
  {
    what: 'push promise',
    act: (s, id) =>
      say(
        s,
        frame(
          PUSH_PROMISE,
          4,
          id,
          Buffer.concat([
            word(2),
            block([
              [':method', 'GET'],
              [':path', '/'],
              [':scheme', 'http'],
              [':authority', 'a'],
            ]),
          ]),
        ),
      ),
  },
  { what: 'headers on unknown stream', act: (s, _id) => say(s, head(9, OK)) },
  { what: 'no status', act: (s, id) => say(s, head(id, [['a', 'b']], 5)) },
  { what: 'status 99', act: (s, id) => say(s, head(id, [[':status', '99']], 5)) },
  { what: 'status abc', act: (s, id) => say(s, head(id, [[':status', 'abc']], 5)) },
  {
    what: 'upper case header',
    act: (s, id) =>
      say(
        s,
        head(
          id,
          [
            [':status', '200'],
            ['Foo', 'b'],
          ],
          5,
        ),
      ),
  },
  {
    what: 'connection header',
    act: (s, id) =>
      say(
        s,
        head(
          id,
          [
            [':status', '200'],
            ['connection', 'close'],
          ],
          5,
        ),
      ),
  },
  {
    what: 'bad header value',
    act: (s, id) =>
      say(
        s,
        head(
          id,
          [
            [':status', '200'],
            ['foo', 'a\nb'],
          ],
          5,
        ),
      ),
  },
  {
    what: 'two lengths',
    act: (s, id) =>
      say(
        s,
        head(id, [
          [':status', '200'],
          ['content-length', '1'],
          ['content-length', '2'],
        ]),
        data(id, 'a', true),
      ),
  },
  { what: 'bad hpack', act: (s, id) => say(s, frame(FRAME.headers, 5, id, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))) },
  { what: '101 fields', act: (s, id) => say(s, head(id, [[':status', '200'], ...many(101)], 5)) },
  { what: 'head of 50 KiB', act: (s, id) => say(s, head(id, [[':status', '200'], ...many(50, 200)], 5)) },
  { what: 'head of 70 KiB', act: (s, id) => say(s, ...large(id, [...OK, ...many(70, 1000)])) },
  { what: 'trailers with pseudo', act: (s, id) => say(s, head(id, OK), data(id, 'hello'), head(id, [[':status', '200']], 5)) },
  { what: 'trailers without end', act: (s, id) => say(s, head(id, OK), data(id, 'hello'), head(id, [['a', 'b']], 4)) },
  { what: 'trailers upper case', act: (s, id) => say(s, head(id, OK), data(id, 'hello'), head(id, [['Aa', 'b']], 5)) },
  { what: 'trailers too many', act: (s, id) => say(s, head(id, OK), data(id, 'hello'), head(id, many(101), 5)) },
  { what: 'good trailers', act: (s, id) => say(s, head(id, OK), data(id, 'hello'), head(id, [['a', 'b']], 5)) },
  { what: 'stalled head', act: nothing, route: SHORT },
  { what: 'stalled body', act: (s, id) => say(s, head(id, OK), data(id, 'hello')), route: SHORT },
  {
    what: 'stalled per try',
    act: nothing,
    route: { timeout: '2s', retry_policy: { retry_on: 'reset', num_retries: 1, per_try_timeout: '0.2s' } },
  },
  { what: 'idle', act: (s, id) => say(s, head(id, OK), data(id, 'hello')), route: { timeout: '0s', idle_timeout: '0.3s' } },
  {
    what: '100 then end',
    act: (s, id) => {
      say(s, head(id, [[':status', '100']]));
      s.end();
    },
  },
  { what: '101', act: (s, id) => say(s, head(id, [[':status', '101']])) },
  { what: '204 with body', act: (s, id) => say(s, head(id, [[':status', '204']]), data(id, 'hello', true)) },
  { what: 'early answer', early: (s, id) => say(s, head(id, [[':status', '413']]), data(id, 'no', true)), act: nothing, upload: true },
  {
    what: 'early answer and RST 0',
    early: (s, id) => say(s, head(id, [[':status', '413']]), data(id, 'no', true), reset(id, 0)),
    act: nothing,
    upload: true,
  },
  { what: 'early RST 8', early: (s, id) => say(s, reset(id, 8)), act: nothing, upload: true },
  { what: 'settings max streams 0', settings: Buffer.from([0, 3, 0, 0, 0, 0]), act: nothing, route: SHORT },
];

export interface Http2Upstream extends AsyncDisposable {
  readonly port: number;
}

const FRAME_HEAD = 9;
const PREFACE_BYTES = 24;

const serve = (row: Http2Fault, count: () => number) => (socket: Socket) => {
  socket.on('error', () => {});
  const { raw } = row;
  if (raw !== undefined) {
    socket.once('data', () => raw(socket));
    return;
  }
  let rest: Buffer = Buffer.alloc(0);
  let prefaced = false;
  const seen = new Set<number>();
  say(socket, frame(FRAME.settings, 0, 0, row.settings ?? Buffer.alloc(0)));
  socket.on('end', () => socket.end());
  socket.on('data', (bytes: Buffer) => {
    rest = Buffer.concat([rest, bytes]);
    if (!prefaced) {
      if (rest.length < PREFACE_BYTES) return;
      rest = rest.subarray(PREFACE_BYTES);
      prefaced = true;
    }
    while (rest.length >= FRAME_HEAD && rest.length >= FRAME_HEAD + rest.readUIntBE(0, 3)) {
      const [type, flags, id] = [rest[3], rest[4] ?? 0, rest.readUInt32BE(5)];
      rest = rest.subarray(FRAME_HEAD + rest.readUIntBE(0, 3));
      const message = type === FRAME.headers || type === FRAME.data;
      if (type === FRAME.settings && (flags & 1) === 0) say(socket, frame(FRAME.settings, 1, 0));
      if (type === FRAME.headers && !seen.has(id)) {
        seen.add(id);
        row.early?.(socket, id);
      }
      if (message && (flags & 1) !== 0) row.act?.(socket, id, count());
    }
  });
};

export const startHttp2Upstream = async (row: Http2Fault): Promise<Http2Upstream> => {
  if (row.listen === 'closed') return { port: await freePort(), [Symbol.asyncDispose]: () => Promise.resolve() };
  const sockets = new Set<Socket>();
  let n = 0;
  const server = createServer(
    { allowHalfOpen: true, noDelay: true },
    serve(row, () => n++),
  );
  server.on('connection', (socket) => sockets.add(socket));
  const port = await new Promise<number>((done) =>
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      done(typeof address === 'object' && address !== null ? address.port : 0);
    }),
  );
  const close = (): Promise<void> =>
    new Promise((done) => {
      for (const socket of sockets) socket.destroy();
      server.close(() => done());
    });
  return { port, [Symbol.asyncDispose]: close };
};

export const http2FaultCluster = (row: Http2Fault, cluster: Cluster): Cluster => {
  const base: Cluster = { ...cluster, type: 'STATIC', ...HTTP2_CLUSTER, ...row.cluster };
  if (row.listen !== 'name') return base;
  const address = { socket_address: { address: 'nothing.invalid', port_value: 1 } };
  return { ...base, load_assignment: { cluster_name: base.name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] } };
};
