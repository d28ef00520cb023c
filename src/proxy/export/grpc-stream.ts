// A call of the proxy's own that streams messages to a cluster that speaks HTTP/2: access logs and metrics leave by it. Through the
// cluster's balancer, pools, breakers and TLS, as any request. One stream at a time; after it ended, or could not be opened, the next
// one waits a while that grows with every failure.
//
//   want()      a stream is needed. Nothing when there is one, or one is on its way. Call it whenever there is something to send.
//   writable    a message would be taken now.
//   send(m)     only while `writable`. The bytes are copied.
//   close(done) no more messages; what was taken leaves, in LINGER_MS at most. Then `done` is called, and nothing else is.
//
// What is not sent is bounded by one message and the connection's outbox: whoever has more keeps it, within a bound of its own, and
// drops the rest. The owner is never called before `want` or `send` has returned. A peer that takes nothing for STALL_MS loses the stream.

import { GRPC, type GrpcStatus, GrpcUnframer, grpcStatusOf, grpcStatusOfHttp } from '../../wire/grpc-frames.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { upstreamProtocol } from '../cluster/cluster-protocol.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import type { Host } from '../cluster/host.ts';
import { RESET_REASONS } from '../exchange/local-reply.ts';
import type { GrpcServicePlan } from '../grpc-side-call.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { WheelTimer } from '../timer-wheel.ts';
import { transportVariant } from '../transport/transport-variant.ts';
import type { ResetCause, ResponseHead, UpstreamClient, UpstreamPool, UpstreamStream } from '../upstream/upstream-stream.ts';
import { Backoff } from '../xds/backoff.ts';

export interface GrpcStreamOwner {
  /** A new stream takes messages: what the far end must hear first goes first. */
  streamOpened(): void;
  /** It is writable again. */
  streamDrained(): void;
  /**
   * It is over, or could not be opened; `lost`: the last message that was taken cannot have arrived whole. Another is opened after
   * a while, when it is wanted by then.
   */
  streamEnded(status: GrpcStatus, lost: boolean): void;
  /** What the far end says. */
  streamMessage?(message: Uint8Array): void;
}

const STALL_MS = 30_000;
/** After `close` the peer may take so long. */
const LINGER_MS = 2000;
/** A stream that lived so long was a success: the next failure starts from the shortest wait. */
const PROVEN_MS = 10_000;
const PREFIX_BYTES = 5;
const NOTHING = new Uint8Array(0);
const ANSWER_BYTES_MAX = 64 * 1024;

const WAIT = 0;
const STALL = 1;

export class GrpcStream implements UpstreamClient {
  readonly #env: ProxyEnvironment;
  readonly #service: GrpcServicePlan;
  readonly #path: string;
  readonly #owner: GrpcStreamOwner;
  readonly #backoff: Backoff;
  readonly #wait = new WheelTimer(this, WAIT);
  readonly #stall = new WheelTimer(this, STALL);
  #state: 'idle' | 'opening' | 'open' | 'waiting' | 'closed' = 'idle';
  /** Asked for while it waits. */
  #wanted = false;
  #cluster: ClusterRuntime | undefined;
  #host: Host | undefined;
  #waitsIn: UpstreamPool | undefined;
  #connection: UpstreamStream | undefined;
  #openedMs = 0;
  #blocked = false;
  /** Of the last message, something is queued behind the peer's window. */
  #unsent = false;
  #ended = false;
  #closed: (() => void) | undefined;
  #status: GrpcStatus | undefined;
  #unframer: GrpcUnframer | undefined;

  /** `path` as '/package.Service/Method'. */
  constructor(env: ProxyEnvironment, service: GrpcServicePlan, path: string, owner: GrpcStreamOwner, backoff = new Backoff(env.random)) {
    this.#env = env;
    this.#service = service;
    this.#path = path;
    this.#owner = owner;
    this.#backoff = backoff;
  }

  get writable(): boolean {
    return this.#state === 'open' && !this.#blocked;
  }

  want(): void {
    if (this.#state === 'waiting') this.#wanted = true;
    else if (this.#state === 'idle') {
      this.#state = 'opening';
      queueMicrotask(() => this.#open());
    }
  }

  /** `message` and `more` are one message. */
  send(message: Uint8Array, more: Uint8Array = NOTHING): void {
    const connection = this.#connection;
    if (connection === undefined || !this.writable) return;
    const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length + more.length);
    framed[0] = 0;
    framed.writeUInt32BE(message.length + more.length, 1);
    framed.set(message, PREFIX_BYTES);
    framed.set(more, PREFIX_BYTES + message.length);
    const hasRoom = connection.writeBody(framed, 0, framed.length);
    if (hasRoom) return;
    this.#unsent = connection.backlog > 0;
    this.#blocked = true;
    this.#env.wheel.arm(this.#stall, STALL_MS);
  }

  close(done: () => void = () => {}): void {
    if (this.#state === 'closed') {
      done();
      return;
    }
    const connection = this.#connection;
    const isOpen = this.#state === 'open';
    this.#letGo();
    this.#state = 'closed';
    if (connection === undefined || !isOpen) {
      done();
      return;
    }
    this.#closed = done;
    this.#connection = connection;
    this.#env.wheel.arm(this.#stall, LINGER_MS);
    connection.endRequest(undefined);
  }

  onTimer(kind: number): void {
    if (kind === STALL) {
      const connection = this.#connection;
      if (this.#state === 'closed') {
        this.#gone();
        connection?.abandon();
        return;
      }
      if (this.#host !== undefined) this.#cluster?.failed(this.#host, 'timeout');
      this.#over({ code: GRPC.DEADLINE_EXCEEDED, message: `nothing was taken for ${STALL_MS / 1000} s` });
      connection?.abandon();
      return;
    }
    if (this.#state !== 'waiting') return;
    this.#state = 'idle';
    if (!this.#wanted) return;
    this.#wanted = false;
    this.want();
  }

  #open(): void {
    if (this.#state !== 'opening') return;
    const cluster = this.#env.cluster(this.#service.cluster);
    this.#cluster = cluster;
    if (cluster === undefined) this.#unavailable(`no cluster is called ${this.#service.cluster}`);
    else if (upstreamProtocol(cluster.protocol, true) === 'http1') this.#unavailable(`cluster ${cluster.name} does not speak HTTP/2`);
    else this.#pick(cluster);
  }

  #pick(cluster: ClusterRuntime): void {
    const host = cluster.pick({ originalDestination: undefined, hash: undefined });
    this.#host = host;
    if (host === undefined) {
      this.#unavailable(`cluster ${cluster.name} has no healthy host`);
      return;
    }
    const variant = transportVariant(cluster, { authority: this.#service.authority, upstreamAlpn: undefined }, true);
    const pool = cluster.pool(host, variant);
    const outcome = pool.acquire(this, cluster.breakers.default);
    if (outcome === 'waiting') this.#waitsIn = pool;
    else if (outcome === 'overflow') this.#unavailable(`circuit breaker of cluster ${cluster.name}`);
  }

  #unavailable(message: string): void {
    this.#over({ code: GRPC.UNAVAILABLE, message });
  }

  /** The stream, or the attempt, came to its end. */
  #over(status: GrpcStatus): void {
    if (this.#state === 'waiting') return;
    if (this.#state === 'closed') {
      this.#gone();
      return;
    }
    const lost = this.#unsent;
    const lived = this.#state === 'open' && this.#env.wheel.now() - this.#openedMs >= PROVEN_MS;
    if (lived) this.#backoff.reset();
    this.#letGo();
    this.#state = 'waiting';
    this.#wanted = false;
    this.#env.wheel.arm(this.#wait, this.#backoff.nextMs());
    this.#owner.streamEnded(status, lost);
  }

  /** The end after `close`. */
  #gone(): void {
    const done = this.#closed;
    this.#closed = undefined;
    this.#letGo();
    done?.();
  }

  #letGo(): void {
    this.#waitsIn?.cancel(this);
    this.#waitsIn = undefined;
    this.#connection = undefined;
    this.#unframer = undefined;
    this.#status = undefined;
    this.#blocked = false;
    this.#ended = false;
    this.#unsent = false;
    this.#env.wheel.drop(this.#wait);
    this.#env.wheel.drop(this.#stall);
  }

  #headers(): HeaderBlock {
    const { metadata, bare } = this.#service;
    const headers = new HeaderBlock();
    headers.add('te', 'trailers');
    headers.add('content-type', 'application/grpc');
    for (const [name, value] of metadata) headers.add(name, value);
    if (!bare) {
      headers.setById(H.X_ENVOY_INTERNAL, 'true');
      headers.setById(H.X_FORWARDED_FOR, this.#env.ownAddress);
    }
    return headers;
  }

  // --- UpstreamClient ---

  onReady(connection: UpstreamStream): void {
    this.#waitsIn = undefined;
    if (this.#state !== 'opening') {
      connection.abandon();
      return;
    }
    this.#connection = connection;
    this.#state = 'open';
    this.#openedMs = this.#env.wheel.now();
    const { authority } = this.#service;
    const request = { method: 'POST', scheme: 'http', path: this.#path, authority, requestHeaders: this.#headers() };
    connection.writeRequest(request, '', true, false);
    this.#owner.streamOpened();
  }

  onConnectFailure(kind: 'remote' | 'timeout' | 'overflow', reason: string): void {
    this.#waitsIn = undefined;
    if (kind === 'overflow') this.#unavailable(`circuit breaker of cluster ${this.#service.cluster}`);
    else {
      if (this.#host !== undefined) this.#cluster?.failed(this.#host, 'connect');
      this.#unavailable(kind === 'timeout' ? 'connection timeout' : `connection failure ${reason}`.trimEnd());
    }
  }

  onHostGone(): void {
    this.#waitsIn = undefined;
    if (this.#state === 'opening' && this.#cluster !== undefined) this.#pick(this.#cluster);
  }

  onInformational(): void {}

  onHead(head: ResponseHead): void {
    if (this.#host !== undefined) this.#cluster?.responded(this.#host, head.statusCode, head.statusCode);
    this.#status = head.statusCode === 200 ? statusIn(head.headers) : grpcStatusOfHttp(head.statusCode);
  }

  onBody(buf: Buffer, start: number, end: number): void {
    if (this.#status !== undefined || this.#state === 'closed') return;
    this.#unframer ??= new GrpcUnframer((message) => this.#owner.streamMessage?.(message), ANSWER_BYTES_MAX);
    this.#status = this.#unframer.push(buf.subarray(start, end));
  }

  onTrailers(trailers: HeaderBlock): void {
    this.#status ??= statusIn(trailers);
  }

  onEnd(): void {
    this.#ended = true;
  }

  /** Bytes of one read are dealt with: the far end may have said that it wants no more. */
  onFlush(): void {
    const connection = this.#connection;
    if (connection === undefined || (!this.#ended && this.#status === undefined)) return;
    const isEnded = this.#ended;
    const status = this.#status ?? { code: GRPC.UNKNOWN, message: 'the answer has no grpc-status' };
    const isStuck = this.#unsent;
    this.#over(status);
    if (!isEnded || isStuck) connection.abandon();
    else {
      connection.discard();
      connection.endRequest(undefined);
    }
  }

  onSettled(): void {
    if (this.#state === 'closed') this.#gone();
  }

  onReset(cause: ResetCause): void {
    if (this.#host !== undefined) this.#cluster?.failed(this.#host, 'reset');
    this.#unavailable(RESET_REASONS[cause].replaceAll('_', ' '));
  }

  onDrain(): void {
    if (!this.#blocked || this.#state === 'closed') return;
    this.#blocked = false;
    this.#unsent = false;
    this.#env.wheel.disarm(this.#stall);
    this.#owner.streamDrained();
  }

  onTunnelData(): void {}
  onTunnelEnd(): void {}
}

const statusIn = (headers: HeaderBlock): GrpcStatus | undefined =>
  grpcStatusOf({ 'grpc-status': headers.get('grpc-status'), 'grpc-message': headers.get('grpc-message') });
