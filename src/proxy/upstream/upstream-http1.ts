// One HTTP/1 connection to an upstream host, used by one request at a time. It reads responses with the wire machine, keeps the
// order of bytes, and tells its client and its pool; it decides nothing about retries.

import type { Socket } from 'node:net';
import type { TlsFacts } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { Http1Parser, type Http1Problem, type Http1Sink } from '../../wire/http1-parser.ts';
import type { Http1Writer } from '../../wire/http1-writer.ts';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import { upstreamHead } from '../exchange/forward-request.ts';
import { SocketOutput } from '../sockets/socket-output.ts';
import { WheelTimer } from '../timer-wheel.ts';
import { transportReason } from '../transport/transport-failure.ts';
import type { Http1Pool } from './upstream-pool.ts';
import { DISCARD, nextConnectionId, type OutgoingRequest, type UpstreamClient, type UpstreamStream } from './upstream-stream.ts';

const CONNECTING = 0;
const IDLE = 1;
const BUSY = 2;
const CLOSED = 3;

export class UpstreamHttp1 implements Http1Sink, UpstreamStream {
  readonly protocol = 'HTTP/1.1';
  readonly id = nextConnectionId();
  readonly pool: Http1Pool;
  readonly socket: Socket;
  readonly parser: Http1Parser;
  readonly #output: SocketOutput;
  readonly #writer: Http1Writer;
  readonly #timer: WheelTimer;
  localAddress = '';
  tls: TlsFacts | undefined;
  client: UpstreamClient | undefined;
  /** The priority whose request count this one holds while busy; the pool's business. */
  limits: ResourceLimits | undefined;
  served = 0;
  connectStartMs = 0;
  connectedMs = 0;
  #state = CONNECTING;
  #requestDone = false;
  #responseDone = false;
  #tunnel = false;
  #chunked = false;
  #reading = false;
  #lastError = '';

  readonly #adopted: boolean;

  /** `adopted`: the socket is connected, its handshake done. */
  constructor(pool: Http1Pool, socket: Socket, writer: Http1Writer, adopted: boolean) {
    this.#adopted = adopted;
    this.pool = pool;
    this.socket = socket;
    this.#writer = writer;
    this.#output = new SocketOutput(socket, writer);
    this.parser = new Http1Parser('response', this, pool.responseLimits);
    this.#timer = new WheelTimer(this, 0);
    if (!adopted) {
      pool.wheel.arm(this.#timer, pool.connectTimeoutMs);
      socket.on(pool.transportKind === 'tls' ? 'secureConnect' : 'connect', () => this.#connected());
    }
    socket.on('data', (bytes: Buffer) => this.#data(bytes));
    socket.on('end', () => this.#ended());
    socket.on('error', (error: Error) => this.#failed(error));
    socket.on('close', () => this.#closed());
    socket.on('drain', () => this.client?.onDrain());
  }

  /** Its pool has filed it. */
  begin(): void {
    if (this.#adopted) this.#connected();
  }

  get connecting(): boolean {
    return this.#state === CONNECTING;
  }

  /** Makes it `client`'s. The head is written by the client before this returns. */
  attach(client: UpstreamClient): void {
    this.#state = BUSY;
    this.client = client;
    this.served++;
    this.#requestDone = false;
    this.#responseDone = false;
    this.#chunked = false;
    this.pool.wheel.disarm(this.#timer);
    client.onReady(this);
  }

  writeRequest(request: OutgoingRequest, upgrade: string, chunked: boolean): number {
    this.parser.expect(request.method);
    this.#chunked = chunked;
    if (this.pool.properCaseRequests && !request.requestHeaders.cased) request.requestHeaders.proper = true;
    const head = upstreamHead(this.#writer, request, upgrade, chunked);
    this.#output.push(head);
    return head.length;
  }

  /** False: stop reading downstream until onDrain. */
  writeBody(buf: Buffer, start: number, end: number): boolean {
    return this.#state !== BUSY || this.#output.body(buf, start, end, this.#chunked);
  }

  endRequest(trailers: HeaderBlock | undefined): void {
    if (this.#state !== BUSY || this.#requestDone) return;
    this.#requestDone = true;
    this.#output.end(this.#chunked, this.pool.enableTrailers ? trailers : undefined);
    this.#output.flush();
    if (this.#responseDone && !this.#reading) this.#settle();
  }

  flush(): void {
    if (this.#state === BUSY) this.#output.flush();
  }

  get backlog(): number {
    return this.socket.writableLength;
  }

  beginTunnel(): void {
    this.#tunnel = true;
    this.parser.stop();
  }

  tunnelWrite(bytes: Buffer): boolean {
    return this.socket.write(bytes);
  }

  tunnelEnd(): void {
    if (this.#state === BUSY) this.socket.end();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  handOver(client: UpstreamClient): void {
    this.client = client;
  }

  /** The client gives its request up: the connection cannot be used again. */
  abandon(): void {
    this.client = undefined;
    this.close();
  }

  discard(): void {
    this.client = DISCARD;
  }

  close(): void {
    if (this.#state === CLOSED) return;
    const busy = this.#state === BUSY;
    const connecting = this.#state === CONNECTING;
    this.#state = CLOSED;
    this.#output.drop();
    this.pool.wheel.drop(this.#timer);
    this.socket.destroy();
    this.pool.gone(this, busy, connecting);
  }

  /** Nothing but keep it until a request or the idle timeout comes. */
  park(idleTimeoutMs: number): void {
    this.#state = IDLE;
    if (idleTimeoutMs > 0) this.pool.wheel.arm(this.#timer, idleTimeoutMs);
  }

  onTimer(): void {
    if (this.#state === CONNECTING) {
      this.#state = CLOSED;
      this.socket.destroy();
      this.pool.connectFailed(this, 'timeout', '');
    } else if (this.#state === IDLE) {
      this.pool.expired(this);
      this.close();
    }
  }

  // --- Http1Sink ---
  onInformational(parser: Http1Parser): void {
    this.client?.onInformational(parser);
  }
  onHead(parser: Http1Parser): void {
    this.client?.onHead(parser);
  }
  onBody(buf: Buffer, start: number, end: number): void {
    this.client?.onBody(buf, start, end);
  }
  onTrailers(trailers: HeaderBlock): void {
    if (this.pool.enableTrailers) this.client?.onTrailers(trailers);
  }
  onEnd(): void {
    if (this.#tunnel) return;
    this.#responseDone = true;
    this.client?.onEnd();
  }
  onError(problem: Http1Problem): void {
    this.#reset('protocol', problem.message);
  }

  #connected(): void {
    if (this.#state !== CONNECTING) return;
    this.pool.wheel.disarm(this.#timer);
    const socket = this.socket;
    this.localAddress = `${socket.localAddress}:${socket.localPort}`;
    this.tls = this.pool.transport.facts(socket);
    this.#state = IDLE;
    this.connectedMs = this.pool.wheel.now();
    this.pool.connected(this);
  }

  #data(bytes: Buffer): void {
    if (this.#state !== BUSY) {
      // Bytes nobody asked for: the connection cannot be trusted with a next request.
      if (this.#state === IDLE) this.close();
      return;
    }
    if (this.#tunnel) {
      this.client?.onTunnelData(bytes);
      return;
    }
    this.#reading = true;
    let taken = 0;
    try {
      taken = this.parser.execute(bytes, 0, bytes.length);
    } catch (problem) {
      // A broken invariant of ours costs this exchange, never the process.
      this.#reset('protocol', problem instanceof Error ? problem.message : 'internal');
    }
    this.#reading = false;
    if (this.#state !== BUSY) return;
    if (this.#tunnel) {
      if (taken < bytes.length) this.client?.onTunnelData(bytes.subarray(taken));
      return;
    }
    this.client?.onFlush();
    if (this.#responseDone) {
      if (taken < bytes.length) this.parser.keepAlive = false;
      if (this.#requestDone) this.#settle();
    }
  }

  // Response complete, request complete, the client has looked at both: back to the pool, then the client goes on.
  #settle(): void {
    if (this.#state !== BUSY) return;
    const client = this.client;
    this.client = undefined;
    // Its client may have been slow to the last byte; the next one must hear the connection.
    if (this.socket.isPaused()) this.socket.resume();
    if (!this.parser.keepAlive) this.close();
    else this.pool.finished(this);
    client?.onSettled();
  }

  #ended(): void {
    if (this.#state === CONNECTING) {
      // An end instead of a handshake: whoever waits must hear of it.
      this.#failed(new Error('connection closed'));
      return;
    }
    if (this.#state !== BUSY) {
      this.close();
      return;
    }
    if (this.#tunnel) {
      this.client?.onTunnelEnd();
      return;
    }
    if (this.parser.idle) {
      this.#reset('termination', '');
      return;
    }
    const wasUntilEnd = this.parser.bodyKind === 'eof';
    this.#reading = true;
    if (wasUntilEnd) this.parser.finish();
    this.#reading = false;
    if (!wasUntilEnd) this.#reset(this.#lossKind(), '');
    else {
      this.client?.onFlush();
      const client = this.client;
      this.client = undefined;
      this.close();
      client?.onSettled();
    }
  }

  /** As Envoy: a connection that goes away inside a response broke the protocol. One whose body has no end of its own may just be gone. */
  #lossKind(): 'termination' | 'protocol' {
    return this.parser.idle || this.#tunnel || this.parser.bodyKind === 'eof' ? 'termination' : 'protocol';
  }

  #failed(error: Error): void {
    this.#lastError = transportReason(error, this.pool.transportKind);
    if (this.#state === CONNECTING) {
      this.#state = CLOSED;
      this.pool.wheel.drop(this.#timer);
      this.socket.destroy();
      this.pool.connectFailed(this, 'remote', this.#lastError);
    } else this.#reset(this.#lossKind(), this.#lastError);
  }

  #closed(): void {
    if (this.#state === CLOSED) return;
    if (this.#state === CONNECTING) this.#failed(new Error('connection closed'));
    else this.#reset(this.#lossKind(), this.#lastError);
  }

  #reset(kind: 'termination' | 'protocol', reason: string): void {
    const client = this.client;
    this.client = undefined;
    if (kind === 'protocol') this.pool.brokeProtocol();
    this.close();
    client?.onReset(kind, reason);
  }
}
