// A gRPC client over node:http2 to one address: streams and unary calls, with metadata. One connection, made when a call
// needs it and made again with back-off as long as calls wait. A call that waits is not failed by a refused connection
// (gRPC's wait-for-ready); a call that was on a connection that broke ends with UNAVAILABLE and is never replayed.
// Never logs metadata.
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { Log } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';
import { frameMessage, GRPC, type GrpcStatus, GrpcUnframer, grpcStatusOf, grpcStatusOfHttp } from '../xds/grpc-frames.ts';
import type { StreamEvents, XdsStream } from '../xds/transport.ts';
import { BackOff } from './back-off.ts';
import type { GrpcTarget } from './grpc-target.ts';
import {
  CONNECT_TIMEOUT_MS,
  GRPC_MESSAGE_BYTES_MAX,
  KEEPALIVE_MS,
  KEEPALIVE_TIMEOUT_MS,
  PENDING_BYTES_MAX,
  RECONNECT_MS,
} from './limits.ts';

export interface GrpcChannelOptions {
  readonly target: GrpcTarget;
  /** Read for each call. */
  readonly metadata: () => { readonly [name: string]: string };
  readonly log: Log;
}

export class GrpcChannel {
  readonly #options: GrpcChannelOptions;
  readonly #backOff = new BackOff(RECONNECT_MS, Math.random);
  readonly #waiting = new Set<GrpcCall>();
  readonly #calls = new Set<GrpcCall>();
  #session: ClientHttp2Session | undefined;
  #connected = false;
  #retryTimer: NodeJS.Timeout | undefined;
  #closed = false;
  #reported = false;

  constructor(options: GrpcChannelOptions) {
    this.#options = options;
  }

  /** `method` as `/package.Service/Method`. */
  open(method: string, events: StreamEvents): XdsStream {
    const call = new GrpcCall(events, () => {
      this.#waiting.delete(call);
      this.#calls.delete(call);
    });
    call.method = method;
    this.#calls.add(call);
    if (this.#closed) {
      queueMicrotask(() => call.finish({ code: GRPC.CANCELLED, message: 'the channel is closed' }));
      return call;
    }
    const session = this.#session;
    if (session && this.#connected) {
      queueMicrotask(() => this.#start(call));
    } else {
      this.#waiting.add(call);
      if (!session && !this.#retryTimer) this.#connect();
    }
    return call;
  }

  /** One request, one answer. The error is the call's status, or DEADLINE_EXCEEDED. */
  unary(method: string, request: Uint8Array, timeoutMs: number): Promise<Result<Uint8Array, GrpcStatus>> {
    return new Promise((resolve) => {
      let answer: Uint8Array | undefined;
      const timer = setTimeout(() => {
        call.close();
        resolve(err({ code: GRPC.DEADLINE_EXCEEDED, message: `no answer within ${timeoutMs} ms` }));
      }, timeoutMs);
      const call = this.open(method, {
        message: (bytes) => {
          answer ??= bytes;
        },
        end: (status) => {
          clearTimeout(timer);
          if (status.code !== GRPC.OK) resolve(err(status));
          else resolve(answer ? ok(answer) : err({ code: GRPC.INTERNAL, message: 'answer without a message' }));
        },
      }) as GrpcCall;
      call.send(request);
      call.halfClose();
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    for (const call of [...this.#calls]) call.finish({ code: GRPC.CANCELLED, message: 'the channel is closed' });
    this.#session?.destroy();
    this.#session = undefined;
  }

  #start(call: GrpcCall): void {
    if (call.over) return;
    const session = this.#session;
    if (!session || session.closed || session.destroyed) {
      this.#waiting.add(call);
      if (!session && !this.#retryTimer && !this.#closed) this.#connect();
      return;
    }
    call.start(
      session.request({
        ':method': 'POST',
        ':path': call.method,
        'content-type': 'application/grpc',
        te: 'trailers',
        'user-agent': 'skein-agent',
        ...this.#options.metadata(),
      }),
    );
  }

  #connect(): void {
    this.#retryTimer = undefined;
    const socket = dial(this.#options.target);
    const session = connect('http://localhost', {
      createConnection: () => socket,
      settings: { initialWindowSize: 1024 * 1024, enablePush: false },
    });
    this.#session = session;
    const timer = setTimeout(() => socket.destroy(new Error('connect timed out')), CONNECT_TIMEOUT_MS);
    let problem = '';
    let keepalive: NodeJS.Timeout | undefined;
    // Not 'connect': a peer that accepts but does not speak HTTP/2 must not count as reached.
    session.once('remoteSettings', () => {
      clearTimeout(timer);
      this.#connected = true;
      this.#backOff.reset();
      if (this.#reported) this.#options.log.info('control plane reached again');
      this.#reported = false;
      keepalive = setInterval(() => ping(session), KEEPALIVE_MS);
      keepalive.unref();
      const waiting = [...this.#waiting];
      this.#waiting.clear();
      for (const call of waiting) this.#start(call);
    });
    session.on('goaway', () => this.#lose(session));
    session.on('error', (e: Error) => {
      problem = e.message;
      session.destroy();
    });
    socket.on('error', (e: Error) => {
      problem ||= e.message;
      session.destroy();
    });
    session.once('close', () => {
      clearTimeout(timer);
      clearInterval(keepalive);
      this.#lose(session, problem);
    });
  }

  /** Calls of a lost connection end by their own streams' close; those that wait get a new connection. */
  #lose(session: ClientHttp2Session, problem = ''): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    const wasConnected = this.#connected;
    this.#connected = false;
    if (this.#closed) return;
    if (!this.#reported) {
      this.#reported = true;
      this.#options.log.warning(wasConnected ? 'control plane connection lost' : 'control plane not reached', {
        problem: problem || undefined,
      });
    }
    if (wasConnected && session.destroyed) {
      for (const call of [...this.#calls]) if (call.started) call.finish({ code: GRPC.UNAVAILABLE, message: problem || 'connection lost' });
    }
    if (this.#waiting.size > 0) this.#retry();
  }

  #retry(): void {
    if (this.#retryTimer) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      if (this.#waiting.size > 0 && !this.#session && !this.#closed) this.#connect();
    }, this.#backOff.nextMs());
  }
}

const dial = (target: GrpcTarget): Duplex => {
  if (target.kind === 'unix') return connectTcp({ path: target.path });
  const at = { host: target.host, port: target.port, ...(target.localAddress ? { localAddress: target.localAddress } : {}) };
  if (target.caPem === undefined) return connectTcp(at).setNoDelay(true);
  const name = /^[\d.]+$|:/.test(target.host) ? {} : { servername: target.host };
  return connectTls({ ...at, ...name, ca: target.caPem, ALPNProtocols: ['h2'], minVersion: 'TLSv1.2' });
};

const ping = (session: ClientHttp2Session): void => {
  const timer = setTimeout(() => session.destroy(new Error('keepalive timed out')), KEEPALIVE_TIMEOUT_MS);
  timer.unref();
  const sent = session.ping((error) => {
    clearTimeout(timer);
    if (error && !session.destroyed) session.destroy();
  });
  if (!sent) clearTimeout(timer);
};

/** One call. Messages sent before there is a connection wait, bounded. */
class GrpcCall implements XdsStream {
  method = '';
  readonly #events: StreamEvents;
  readonly #onOver: () => void;
  #stream: ClientHttp2Stream | undefined;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #halfClosed = false;
  #over = false;
  #status: GrpcStatus | undefined;

  constructor(events: StreamEvents, onOver: () => void) {
    this.#events = events;
    this.#onOver = onOver;
  }

  get over(): boolean {
    return this.#over;
  }
  get started(): boolean {
    return this.#stream !== undefined;
  }

  send(message: Uint8Array): void {
    if (this.#over) return;
    const stream = this.#stream;
    const frame = frameMessage(message);
    if (stream) {
      stream.write(frame);
      return;
    }
    this.#pending.push(frame);
    this.#pendingBytes += frame.length;
    if (this.#pendingBytes > PENDING_BYTES_MAX) {
      queueMicrotask(() => this.finish({ code: GRPC.RESOURCE_EXHAUSTED, message: 'too many requests while the control plane is away' }));
    }
  }

  halfClose(): void {
    this.#halfClosed = true;
    this.#stream?.end();
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#onOver();
    this.#stream?.close(constants.NGHTTP2_CANCEL);
  }

  start(stream: ClientHttp2Stream): void {
    this.#stream = stream;
    const unframer = new GrpcUnframer((m) => !this.#over && this.#events.message(m), GRPC_MESSAGE_BYTES_MAX);
    stream.on('response', (headers) => {
      const http = Number(headers[':status']);
      this.#status = grpcStatusOf(headers) ?? (http === 200 ? undefined : grpcStatusOfHttp(http));
    });
    stream.on('trailers', (trailers) => {
      this.#status ??= grpcStatusOf(trailers);
    });
    stream.on('data', (chunk: Uint8Array) => {
      const problem = unframer.push(chunk);
      if (problem) this.finish(problem);
    });
    let problem = '';
    stream.on('error', (e: Error) => {
      problem = e.message;
    });
    // A status ends the call at once: our half of the stream may stay open for ever.
    stream.on('end', () => setImmediate(() => this.#status && this.finish(this.#status)));
    stream.on('close', () => {
      const reset = stream.rstCode ? `stream reset with code ${stream.rstCode}` : 'connection lost';
      this.finish(this.#status ?? { code: GRPC.UNAVAILABLE, message: problem || reset });
    });
    for (const frame of this.#pending) stream.write(frame);
    this.#pending = [];
    if (this.#halfClosed) stream.end();
  }

  finish(status: GrpcStatus): void {
    if (this.#over) return;
    this.#over = true;
    this.#onOver();
    const stream = this.#stream;
    if (stream && !stream.closed) stream.close(constants.NGHTTP2_CANCEL);
    this.#events.end(status);
  }
}
