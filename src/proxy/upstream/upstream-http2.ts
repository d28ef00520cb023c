// One HTTP/2 connection to an upstream host and the requests on it. It tells each request's client what comes for it and its pool
// when there is room; it decides nothing about retries.

import type { Socket } from 'node:net';
import type { TlsFacts } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { Http2Connection, type Http2Owner } from '../../wire/http2-connection.ts';
import { H2 } from '../../wire/http2-frame.ts';
import type { Http2Stream } from '../../wire/http2-stream.ts';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import { FLUSH_CHECK_MS, STREAM_IDLE_TIMEOUT_MS } from '../limits.ts';
import { Http2Keepalive } from '../sockets/http2-keepalive.ts';
import { Http2Linger } from '../sockets/http2-linger.ts';
import { Http2Output } from '../sockets/http2-output.ts';
import { closeSoon } from '../sockets/socket-linger.ts';
import { WheelTimer } from '../timer-wheel.ts';
import { transportReason } from '../transport/transport-failure.ts';
import { UpstreamHttp2Stream } from './upstream-http2-stream.ts';
import type { PoolSettings } from './upstream-pool.ts';
import { nextConnectionId, type ResetCause, type UpstreamClient } from './upstream-stream.ts';

/** The pool of a connection. */
export interface Http2ConnectionOwner {
  readonly transportKind: 'raw' | 'tls';
  /** Streams a peer is taken to allow that has not said it yet. */
  readonly streamsAssumed: number;
  facts(socket: Socket): TlsFacts | undefined;
  connected(connection: UpstreamHttp2): void;
  connectFailed(connection: UpstreamHttp2, kind: 'remote' | 'timeout', reason: string): void;
  /** A request is over. */
  released(connection: UpstreamHttp2, limits: ResourceLimits | undefined): void;
  /** There may be room for more requests, or less. */
  changed(connection: UpstreamHttp2): void;
  gone(connection: UpstreamHttp2, connecting: boolean, busy: boolean): void;
}

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 2;
const SPARE_STREAMS_MAX = 1024;

const WAIT = 0; // for the connection, then for a request
const AGE = 1;

export class UpstreamHttp2 implements Http2Owner {
  readonly id = nextConnectionId();
  readonly machine: Http2Connection;
  readonly socket: Socket;
  readonly #pool: Http2ConnectionOwner;
  readonly #settings: PoolSettings;
  readonly #output: Http2Output;
  readonly #timer: WheelTimer;
  readonly #age: WheelTimer;
  #keepalive: Http2Keepalive | undefined;
  #linger: Http2Linger | undefined;
  localAddress = '';
  tls: TlsFacts | undefined;
  connectStartMs = 0;
  connectedMs = 0;
  served = 0;
  streams = 0;
  /** Bytes of one read are being handed on. */
  reading = false;
  /** Takes no more requests, ends with the last. */
  draining = false;
  #state = CONNECTING;
  #lastError = '';
  /** Why all streams end at once. */
  #cause: ResetCause | undefined;
  #touched: UpstreamHttp2Stream[] = [];
  readonly #spare: UpstreamHttp2Stream[] = [];

  readonly #adopted: boolean;

  /** `adopted`: the socket is connected, its handshake done. */
  constructor(pool: Http2ConnectionOwner, socket: Socket, settings: PoolSettings, adopted: boolean) {
    this.#adopted = adopted;
    this.#pool = pool;
    this.socket = socket;
    this.#settings = settings;
    this.machine = new Http2Connection('client', this, settings.http2);
    this.#output = new Http2Output(socket, this.machine, settings.turn);
    this.#timer = new WheelTimer(this, WAIT);
    this.#age = new WheelTimer(this, AGE);
    this.connectStartMs = settings.wheel.now();
    if (!adopted) {
      settings.wheel.arm(this.#timer, settings.connectTimeoutMs);
      socket.on(pool.transportKind === 'tls' ? 'secureConnect' : 'connect', () => this.#connected());
    }
    socket.on('data', (bytes: Buffer) => this.#data(bytes));
    socket.on('end', () => this.#ended());
    socket.on('error', (error: Error) => this.#failed(error));
    socket.on('close', () => this.#ended());
    socket.on('drain', () => this.#output.drained());
  }

  /** Its pool has filed it. */
  begin(): void {
    if (this.#adopted) this.#connected();
  }

  get connecting(): boolean {
    return this.#state === CONNECTING;
  }

  /** One more request may begin. */
  get room(): boolean {
    const most = this.#settings.requestsPerConnection;
    if (this.#state !== OPEN || this.draining || (most > 0 && this.served >= most)) return false;
    return this.machine.canOpen && (this.machine.ready || this.streams < this.#pool.streamsAssumed);
  }

  attach(client: UpstreamClient, limits: ResourceLimits): void {
    if (this.streams === 0) {
      this.#settings.wheel.disarm(this.#timer);
      this.#keepalive?.busy();
    }
    this.streams++;
    this.served++;
    const stream = this.#spare.pop() ?? new UpstreamHttp2Stream(this);
    stream.limits = limits;
    stream.attach(client);
  }

  /** No more requests; the running ones go on. */
  drain(): void {
    this.draining = true;
    if (this.streams === 0 && this.#state === OPEN) this.close();
  }

  close(): void {
    this.#end('termination');
  }

  onTimer(kind: number): void {
    const { connections } = this.#settings.stats;
    if (kind === AGE) {
      connections.maxDurations++;
      this.drain();
      return;
    }
    if (this.#state !== CONNECTING) {
      if (this.streams > 0) return;
      connections.idleTimeouts++;
      this.close();
      return;
    }
    this.#state = CLOSED;
    this.socket.destroy();
    this.#pool.connectFailed(this, 'timeout', '');
  }

  // --- called by its streams ---

  touched(stream: UpstreamHttp2Stream): void {
    this.#touched.push(stream);
  }

  /** What its request still has to send finds no window: it leaves by itself, but not for ever. */
  linger(stream: Http2Stream): void {
    const { wheel, idleTimeoutMs } = this.#settings;
    this.#linger ??= new Http2Linger(wheel, Math.min(idleTimeoutMs || STREAM_IDLE_TIMEOUT_MS, STREAM_IDLE_TIMEOUT_MS));
    this.#linger.add(stream);
  }

  streamOver(stream: UpstreamHttp2Stream): void {
    this.streams--;
    const limits = stream.limits;
    stream.limits = undefined;
    if (this.#spare.length < SPARE_STREAMS_MAX && !stream.touched) this.#spare.push(stream);
    if (this.streams === 0 && this.#state === OPEN) {
      this.#keepalive?.idle();
      this.#armIdle();
    }
    this.#pool.released(this, limits);
    const most = this.#settings.requestsPerConnection;
    if (this.streams === 0 && this.#state === OPEN && (this.draining || (most > 0 && this.served >= most))) {
      if (most > 0 && this.served >= most) this.#settings.stats.connections.maxRequests++;
      this.close();
    }
  }

  // --- Http2Owner ---

  onHead(stream: Http2Stream, endStream: boolean): void {
    usedBy(stream)?.onHead(stream, endStream);
  }
  onInformational(stream: Http2Stream): void {
    usedBy(stream)?.onInformational(stream);
  }
  onData(stream: Http2Stream, buf: Buffer, start: number, end: number): void {
    const user = usedBy(stream);
    if (user === undefined) stream.consume(end - start);
    else user.onData(stream, buf, start, end);
  }
  onTrailers(stream: Http2Stream, trailers: HeaderBlock): void {
    usedBy(stream)?.onTrailers(trailers);
  }
  onEnd(stream: Http2Stream): void {
    usedBy(stream)?.onEnd();
  }
  onReset(stream: Http2Stream, code: number, remote: boolean): void {
    usedBy(stream)?.onReset(this.#cause ?? (remote ? causeOf(code) : code === H2.INTERNAL_ERROR ? 'remote' : 'protocol'));
  }
  onWritable(stream: Http2Stream): void {
    usedBy(stream)?.onWritable();
  }
  onGoaway(): void {
    this.drain();
    this.#pool.changed(this);
  }
  onPeerSettings(): void {
    this.#pool.changed(this);
  }
  onPingAck(): void {
    this.#keepalive?.acked();
  }
  onError(): void {
    this.#output.last();
    this.#end('protocol');
  }
  onOutput(): void {
    if (!this.reading && this.#state === OPEN) this.#output.wake();
  }

  // --- socket ---

  #connected(): void {
    if (this.#state !== CONNECTING) return;
    const { wheel, keepalive, maxConnectionDurationMs } = this.#settings;
    wheel.disarm(this.#timer);
    const socket = this.socket;
    this.localAddress = `${socket.localAddress}:${socket.localPort}`;
    this.tls = this.#pool.facts(socket);
    this.#state = OPEN;
    this.connectedMs = wheel.now();
    if (keepalive !== undefined)
      this.#keepalive = new Http2Keepalive(keepalive, wheel, this.#settings.random, {
        ping: () => this.machine.ping(),
        pingLost: () => this.close(),
      });
    if (maxConnectionDurationMs > 0) wheel.arm(this.#age, maxConnectionDurationMs);
    this.#armIdle();
    this.#output.wake();
    this.#pool.connected(this);
  }

  #data(bytes: Buffer): void {
    if (this.#state !== OPEN) return;
    this.reading = true;
    this.machine.nowMs = this.#settings.wheel.now();
    try {
      this.machine.execute(bytes, 0, bytes.length);
    } catch (problem) {
      // A broken invariant of ours costs this connection, never the process.
      this.#lastError = problem instanceof Error ? problem.message : 'internal';
      this.#end('protocol');
    }
    this.reading = false;
    const touched = this.#touched;
    for (let i = 0; i < touched.length; i++) {
      const stream = touched[i] as UpstreamHttp2Stream;
      stream.touched = false;
      stream.flushRead();
    }
    touched.length = 0;
    if (this.#state === OPEN) this.#output.flushTurn();
  }

  #failed(error: Error): void {
    this.#lastError = transportReason(error, this.#pool.transportKind);
    if (this.#state === CONNECTING) {
      this.#state = CLOSED;
      this.#settings.wheel.disarm(this.#timer);
      this.socket.destroy();
      this.#pool.connectFailed(this, 'remote', this.#lastError);
    } else this.#end('termination');
  }

  #ended(): void {
    if (this.#state === CONNECTING) this.#failed(new Error('connection closed'));
    else this.#end('termination');
  }

  #end(cause: ResetCause): void {
    if (this.#state === CLOSED) return;
    const connecting = this.#state === CONNECTING;
    this.#state = CLOSED;
    this.draining = true;
    this.#cause = cause;
    const busy = this.streams > 0;
    if (cause === 'protocol') this.#settings.stats.connections.protocolErrors++;
    this.#settings.wheel.drop(this.#timer);
    this.#settings.wheel.drop(this.#age);
    this.#keepalive?.stop();
    this.#linger?.stop();
    if (cause === 'protocol') closeSoon(this.#settings.wheel, this.socket, FLUSH_CHECK_MS);
    else this.socket.destroy();
    this.machine.finish();
    this.#pool.gone(this, connecting, busy);
  }

  #armIdle(): void {
    if (this.#settings.idleTimeoutMs > 0) this.#settings.wheel.arm(this.#timer, this.#settings.idleTimeoutMs);
  }
}

const causeOf = (code: number): ResetCause => {
  switch (code) {
    case H2.REFUSED_STREAM:
      return 'refused';
    case H2.PROTOCOL_ERROR:
      return 'protocol';
    case H2.CONNECT_ERROR:
      return 'connect';
    default:
      return 'remote';
  }
};

const usedBy = (stream: Http2Stream): UpstreamHttp2Stream | undefined =>
  stream.user instanceof UpstreamHttp2Stream ? stream.user : undefined;
