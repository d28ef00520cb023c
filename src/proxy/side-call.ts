// One HTTP request of the proxy's own to a cluster: what a filter asks of a server before it decides. Through the cluster's balancer,
// pools, breakers and TLS, as any request; its answer is kept whole, up to a bound.
// `done` is called at most once: never before sideCall has returned, never after cancel(). It never tries again.

import { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import type { ClusterRuntime } from './cluster/cluster-runtime.ts';
import type { Host } from './cluster/host.ts';
import { httpStatusOf, RESET_REASONS } from './exchange/local-reply.ts';
import type { FilterTask } from './filters/http-filter.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { WheelTimer } from './timer-wheel.ts';
import type { CallTrace } from './tracing/call-trace.ts';
import { transportVariant } from './transport/transport-variant.ts';
import type {
  OutgoingRequest,
  ResetCause,
  ResponseHead,
  UpstreamClient,
  UpstreamPool,
  UpstreamStream,
} from './upstream/upstream-stream.ts';

export interface SideRequest {
  readonly cluster: string;
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer | undefined;
  /** From the call to the answer's end; 0: as long as it takes. */
  readonly timeoutMs: number;
  readonly answerBytesMax: number;
  /** A cluster that speaks what its client speaks is to speak HTTP/2. */
  readonly http2?: boolean;
  /** The server is not told by x-forwarded-for who asks. */
  readonly anonymous?: boolean;
  /** No header says that a proxy asks, but for how long it waits. */
  readonly bare?: boolean;
  /** Carried along, and told how the call went. */
  readonly trace?: CallTrace | undefined;
}

export interface SideAnswer {
  readonly kind: 'answer';
  readonly status: number;
  readonly headers: HeaderBlock;
  readonly body: Buffer;
  readonly trailers: HeaderBlock | undefined;
}

export interface SideFailure {
  readonly kind: 'failure';
  readonly reason: 'no-cluster' | 'no-host' | 'overflow' | 'connect' | 'timeout' | 'reset' | 'too-large';
  /** For logs. */
  readonly details: string;
}

export const sideCall = (env: ProxyEnvironment, request: SideRequest, done: (outcome: SideAnswer | SideFailure) => void): FilterTask => {
  const call = new SideCall(env, request, done);
  call.begin();
  return call;
};

class SideCall implements UpstreamClient, FilterTask {
  readonly #env: ProxyEnvironment;
  readonly #request: SideRequest;
  readonly #outgoing: OutgoingRequest;
  readonly #done: (outcome: SideAnswer | SideFailure) => void;
  readonly #timer = new WheelTimer(this, 0);
  #cluster: ClusterRuntime | undefined;
  #host: Host | undefined;
  #waitsIn: UpstreamPool | undefined;
  #connection: UpstreamStream | undefined;
  #over = false;
  #ended = false;
  #status = 0;
  #protocol = '';
  readonly #headers = new HeaderBlock();
  #trailers: HeaderBlock | undefined;
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(env: ProxyEnvironment, request: SideRequest, done: (outcome: SideAnswer | SideFailure) => void) {
    this.#env = env;
    this.#request = request;
    this.#done = done;
    const headers = new HeaderBlock();
    for (const [name, value] of request.headers) headers.add(name, value);
    // As Envoy's own requests.
    if (request.bare !== true) headers.setById(H.X_ENVOY_INTERNAL, 'true');
    if (request.anonymous !== true && request.bare !== true) {
      const before = headers.getById(H.X_FORWARDED_FOR);
      headers.setById(H.X_FORWARDED_FOR, before === undefined ? env.ownAddress : `${before},${env.ownAddress}`);
    }
    request.trace?.inject(headers);
    if (request.timeoutMs > 0) headers.setById(H.X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, String(Math.ceil(request.timeoutMs)));
    if (request.body !== undefined && request.http2 !== true) headers.setById(H.CONTENT_LENGTH, String(request.body.length));
    this.#outgoing = {
      method: request.method,
      scheme: 'http',
      path: request.path,
      authority: request.authority,
      requestHeaders: headers,
    };
  }

  begin(): void {
    const { cluster: name, timeoutMs } = this.#request;
    const cluster = this.#env.cluster(name);
    if (timeoutMs > 0) this.#env.wheel.arm(this.#timer, timeoutMs);
    if (cluster === undefined) {
      this.#failLater('no-cluster', `no cluster is called ${name}`);
      return;
    }
    this.#cluster = cluster;
    this.#pick();
  }

  cancel(): void {
    if (this.#over) return;
    this.#end();
    this.#giveUp();
    this.#request.trace?.canceled();
  }

  onTimer(): void {
    if (this.#cluster !== undefined) this.#cluster.stats.rqTimeout.value++;
    if (this.#host !== undefined && this.#connection !== undefined) this.#cluster?.failed(this.#host, 'timeout');
    this.#fail('timeout', `no answer within ${this.#request.timeoutMs} ms`);
  }

  #pick(): void {
    const cluster = this.#cluster;
    if (cluster === undefined) return;
    const host = cluster.pick({ originalDestination: undefined, hash: undefined });
    this.#host = host;
    if (host === undefined) {
      this.#failLater('no-host', `cluster ${cluster.name} has no healthy host`);
      return;
    }
    const variant = transportVariant(
      cluster,
      { authority: this.#request.authority, upstreamAlpn: undefined },
      this.#request.http2 === true,
    );
    const pool = cluster.pool(host, variant);
    const outcome = pool.acquire(this, cluster.breakers.default);
    if (outcome === 'waiting') this.#waitsIn = pool;
    else if (outcome === 'overflow') this.#failLater('overflow', `circuit breaker of cluster ${cluster.name}`);
  }

  /** `done` must not run inside sideCall. */
  #failLater(reason: SideFailure['reason'], details: string): void {
    queueMicrotask(() => this.#fail(reason, details));
  }

  #fail(reason: SideFailure['reason'], details: string): void {
    if (this.#over) return;
    this.#end();
    this.#giveUp();
    this.#tell({ kind: 'failure', reason, details }, 0);
  }

  #end(): void {
    this.#over = true;
    this.#env.wheel.drop(this.#timer);
    this.#pieces = [];
  }

  #giveUp(): void {
    this.#waitsIn?.cancel(this);
    this.#waitsIn = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.abandon();
  }

  // --- UpstreamClient ---

  onReady(connection: UpstreamStream): void {
    this.#waitsIn = undefined;
    if (this.#over) {
      connection.abandon();
      return;
    }
    this.#connection = connection;
    this.#protocol = connection.protocol;
    const { body } = this.#request;
    connection.writeRequest(this.#outgoing, '', false, body === undefined);
    if (body !== undefined) connection.writeBody(body, 0, body.length);
    connection.endRequest(undefined);
  }

  onConnectFailure(kind: 'remote' | 'timeout' | 'overflow', reason: string): void {
    this.#waitsIn = undefined;
    if (kind === 'overflow') {
      this.#fail('overflow', `circuit breaker of cluster ${this.#request.cluster}`);
      return;
    }
    if (this.#host !== undefined) this.#cluster?.failed(this.#host, 'connect');
    this.#fail('connect', kind === 'timeout' ? 'connection timeout' : `connection failure ${reason}`.trimEnd());
  }

  onHostGone(): void {
    this.#waitsIn = undefined;
    if (!this.#over) this.#pick();
  }

  onInformational(): void {}

  onHead(head: ResponseHead): void {
    if (this.#over) return;
    this.#status = head.statusCode;
    // The connection's own are cleared for its next answer.
    this.#headers.copyFrom(head.headers);
    this.#headers.own();
    const grpcStatus = head.bodyKind === 'none' ? this.#headers.getById(H.GRPC_STATUS) : undefined;
    const meant = grpcStatus === undefined ? head.statusCode : httpStatusOf(grpcStatus);
    if (this.#host !== undefined) this.#cluster?.responded(this.#host, head.statusCode, meant);
  }

  onBody(buf: Buffer, start: number, end: number): void {
    if (this.#over) return;
    this.#bytes += end - start;
    const most = this.#request.answerBytesMax;
    if (this.#bytes > most) this.#fail('too-large', `the answer has more than ${most} bytes`);
    else this.#pieces.push(buf.subarray(start, end));
  }

  onTrailers(trailers: HeaderBlock): void {
    if (this.#over) return;
    this.#trailers = new HeaderBlock();
    this.#trailers.copyFrom(trailers);
    this.#trailers.own();
  }

  onEnd(): void {
    this.#ended = true;
  }

  onFlush(): void {
    if (!this.#ended || this.#over) return;
    const [only] = this.#pieces;
    const body = this.#pieces.length === 1 && only !== undefined ? only : Buffer.concat(this.#pieces, this.#bytes);
    this.#end();
    this.#tell({ kind: 'answer', status: this.#status, headers: this.#headers, body, trailers: this.#trailers }, this.#status);
  }

  /** Who asked may have more to say of it; a gRPC call's span is told of by who made that of it. */
  #tell(outcome: SideAnswer | SideFailure, status: number): void {
    const { trace, http2 } = this.#request;
    trace?.stop();
    this.#done(outcome);
    if (http2 !== true) trace?.answered(this.#cluster, this.#host?.address ?? '', this.#protocol, status);
  }

  onSettled(): void {
    this.#connection = undefined;
  }

  onReset(cause: ResetCause): void {
    this.#connection = undefined;
    if (this.#over) return;
    if (this.#host !== undefined) this.#cluster?.failed(this.#host, 'reset');
    this.#fail('reset', RESET_REASONS[cause].replaceAll('_', ' '));
  }

  onDrain(): void {}
  onTunnelData(): void {}
  onTunnelEnd(): void {}
}
