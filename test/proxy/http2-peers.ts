// HTTP/2 peers for the data plane's border tests: a raw client that can say what no library would, a node:http2 client and server.
import { once } from 'node:events';
import * as http2 from 'node:http2';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Cluster } from '../../src/xds/gen/types.ts';

const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const TYPE = `type.googleapis.com/${OPTIONS}`;

/** What a cluster says about the protocol of its connections. */
export const protocolOptions = (options: object): Partial<Cluster> => ({
  typed_extension_protocol_options: { [OPTIONS]: { '@type': TYPE, ...options } },
});
export const HTTP2_CLUSTER = protocolOptions({ explicit_http_config: { http2_protocol_options: {} } });

export interface Http2Backend extends AsyncDisposable {
  readonly port: number;
  readonly sessions: http2.ServerHttp2Session[];
  readonly heads: http2.IncomingHttpHeaders[];
}

export const http2Backend = async (
  answer: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders, n: number) => void,
  settings: http2.Settings = {},
): Promise<Http2Backend> => {
  const server = http2.createServer({ settings });
  const sessions: http2.ServerHttp2Session[] = [];
  const heads: http2.IncomingHttpHeaders[] = [];
  server.on('session', (session) => {
    sessions.push(session);
    session.on('error', () => {});
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    answer(stream, headers, heads.push(headers) - 1);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    sessions,
    heads,
    [Symbol.asyncDispose]: async () => {
      for (const session of sessions) session.destroy();
      server.close();
    },
  };
};

export interface Http2Answer {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly informational: number[];
  readonly body: string;
  readonly trailers: http2.IncomingHttpHeaders;
  /** RST_STREAM's code; 0 when the stream ended well. */
  readonly code: number;
}

/** One request to its end, however it ends. */
export const exchange = (
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: string | Buffer,
  trailers?: http2.OutgoingHttpHeaders,
): Promise<Http2Answer> => {
  const stream = session.request(headers, { endStream: body === undefined, waitForTrailers: trailers !== undefined });
  if (trailers !== undefined) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  if (body !== undefined) stream.end(body);
  return answerOf(stream);
};

export const answerOf = (stream: http2.ClientHttp2Stream): Promise<Http2Answer> =>
  new Promise((resolve) => {
    let status = 0;
    let headers: http2.IncomingHttpHeaders = {};
    let trailers: http2.IncomingHttpHeaders = {};
    const informational: number[] = [];
    const pieces: Buffer[] = [];
    stream.on('headers', (head) => informational.push(Number(head[':status'])));
    stream.on('response', (head) => {
      headers = head;
      status = Number(head[':status']);
    });
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.on('trailers', (fields) => {
      trailers = fields;
    });
    stream.on('error', () => {});
    stream.on('close', () =>
      resolve({ status, headers, informational, body: Buffer.concat(pieces).toString('latin1'), trailers, code: stream.rstCode ?? 0 }),
    );
  });

export const openSession = async (port: number, options: http2.ClientSessionOptions = {}): Promise<http2.ClientHttp2Session> => {
  const session = http2.connect(`http://127.0.0.1:${port}`, options);
  session.on('error', () => {});
  await once(session, 'connect');
  return session;
};

// --- raw ---

export const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goaway: 7, windowUpdate: 8 } as const;
export const END_STREAM = 1;
export const END_HEADERS = 4;

export const frame = (type: number, flags: number, id: number, payload: Buffer = Buffer.alloc(0)): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
};

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const rest: number[] = [127];
  let left = bytes.length - 127;
  while (left >= 128) {
    rest.push((left & 127) | 128);
    left >>>= 7;
  }
  rest.push(left);
  return Buffer.concat([Buffer.from(rest), bytes]);
};

/** Fields as literals without indexing, exactly as given. */
export const block = (fields: readonly (readonly [string, string])[]): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));

export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

export interface RawClient extends Disposable {
  readonly socket: Socket;
  readonly frames: RawFrame[];
  readonly closed: boolean;
  send(...frames: Buffer[]): void;
  /** The first frame that fits, now or later; undefined when the connection ends first. */
  until(fits: (frame: RawFrame) => boolean, ms?: number): Promise<RawFrame | undefined>;
}

export const PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** A connection that said the preface and empty settings, and acknowledges the other side's; `silent`: says nothing by itself. */
export const rawClient = async (port: number, silent = false): Promise<RawClient> => {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const frames: RawFrame[] = [];
  let rest: Buffer = Buffer.alloc(0);
  let closed = false;
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const look of [...waiting]) look();
  };
  socket.on('data', (bytes: Buffer) => {
    rest = Buffer.concat([rest, bytes]);
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3);
      const read = { type: rest[3] ?? 0, flags: rest[4] ?? 0, id: rest.readUInt32BE(5), payload: rest.subarray(9, end) };
      frames.push(read);
      if (!silent && read.type === FRAME.settings && (read.flags & 1) === 0) socket.write(frame(FRAME.settings, 1, 0));
      rest = rest.subarray(end);
    }
    wake();
  });
  socket.on('error', () => {});
  socket.on('end', () => socket.end());
  socket.on('close', () => {
    closed = true;
    wake();
  });
  if (!silent) socket.write(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]));
  return {
    socket,
    frames,
    get closed() {
      return closed;
    },
    send: (...out) => socket.write(Buffer.concat(out)),
    until: (fits, ms = 20_000) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(look);
          reject(new Error('no such frame in time'));
        }, ms);
        const look = (): void => {
          const found = frames.find(fits);
          if (found === undefined && !closed) return;
          clearTimeout(timer);
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    [Symbol.dispose]: () => socket.destroy(),
  };
};
