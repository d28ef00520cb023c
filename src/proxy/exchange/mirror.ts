// A copy of a request sent to another cluster, its response dropped. Never slows, retries or fails the request it copies:
// a copy that cannot keep up is cut.

import { applyHeaderOps } from '../../plan/header-ops.ts';
import type { MirrorPlan } from '../../plan/route.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import { BUFFER_BYTES, STREAM_IDLE_TIMEOUT_MS } from '../limits.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { WheelTimer } from '../timer-wheel.ts';
import type { CallTrace } from '../tracing/call-trace.ts';
import type { RequestTrace } from '../tracing/request-trace.ts';
import { transportVariant } from '../transport/transport-variant.ts';
import type { OutgoingRequest, ResponseHead, UpstreamClient, UpstreamPool, UpstreamStream } from '../upstream/upstream-stream.ts';
import { isLoopbackClient } from './request-headers.ts';

export interface MirroredRequest extends OutgoingRequest {
  readonly info: StreamInfo;
  readonly trace: RequestTrace | undefined;
}

interface MirrorTarget {
  readonly cluster: ClusterRuntime;
  readonly address: string;
}

/** undefined: there is nobody to copy it to. `timeoutMs` is the route's, a copy takes no longer. `http2`: the client speaks it. */
export const mirrorRequest = (
  env: ProxyEnvironment,
  cluster: ClusterRuntime,
  request: MirroredRequest,
  facts: DownstreamFacts,
  plan: MirrorPlan,
  chunked: boolean,
  timeoutMs: number,
  http2: boolean,
): MirrorRequest | undefined => {
  const host = cluster.pick({ originalDestination: facts.originalDestination, hash: undefined });
  if (host === undefined) return undefined;
  const copy = new MirrorRequest(env, request, facts, plan, chunked, timeoutMs, { cluster, address: host.address });
  const pool = cluster.pool(host, transportVariant(cluster, { authority: request.authority, upstreamAlpn: undefined }, http2));
  const outcome = pool.acquire(copy, cluster.breakers.default);
  if (outcome === 'waiting') copy.waitsIn = pool;
  if (outcome !== 'overflow') return copy;
  copy.release();
  return undefined;
};

export class MirrorRequest implements UpstreamClient {
  readonly #env: ProxyEnvironment;
  readonly #request: OutgoingRequest;
  readonly #chunked: boolean;
  /** Until it has a connection. */
  waitsIn: UpstreamPool | undefined;
  #connection: UpstreamStream | undefined;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #ended = false;
  #answered = false;
  #over = false;
  readonly #timer = new WheelTimer(this, 0);
  readonly #to: MirrorTarget;
  readonly #trace: CallTrace | undefined;
  #protocol = '';
  #status = 0;

  constructor(
    env: ProxyEnvironment,
    request: MirroredRequest,
    facts: DownstreamFacts,
    plan: MirrorPlan,
    chunked: boolean,
    timeoutMs: number,
    to: MirrorTarget,
  ) {
    this.#env = env;
    this.#to = to;
    env.wheel.arm(this.#timer, timeoutMs > 0 ? timeoutMs : STREAM_IDLE_TIMEOUT_MS);
    this.#chunked = chunked;
    const headers = new HeaderBlock();
    headers.copyFrom(request.requestHeaders);
    headers.setById(H.X_ENVOY_INTERNAL, 'true');
    const before = headers.getById(H.X_FORWARDED_FOR);
    const ip = isLoopbackClient(facts.remoteIp) ? env.ownAddress : facts.remoteIp;
    headers.setById(H.X_FORWARDED_FOR, before === undefined ? ip : `${before},${ip}`);
    if (plan.headerOps.length > 0) applyHeaderOps(plan.headerOps, headers, request.info, headers);
    const shadow = plan.appendShadowSuffix ? request.authority.replace(/^(\[[^\]]*\]|[^:]*)/, '$1-shadow') : request.authority;
    this.#trace = request.trace?.call('mirror');
    this.#trace?.inject(headers);
    this.#request = {
      method: request.method,
      scheme: request.scheme,
      path: request.path,
      authority: plan.host !== '' ? plan.host : shadow,
      requestHeaders: headers,
    };
  }

  body(piece: Buffer): void {
    if (this.#over) return;
    if (this.#connection !== undefined) {
      if (!this.#connection.writeBody(piece, 0, piece.length)) this.#giveUpLater();
      else this.#connection.flush();
      return;
    }
    this.#waitingBytes += piece.length;
    if (this.#waitingBytes > BUFFER_BYTES) this.#giveUp();
    else this.#waiting.push(piece);
  }

  /** The request was copied whole. */
  end(): void {
    this.#ended = true;
    this.#connection?.endRequest(undefined);
  }

  /** The request it copies is over: a copy that got only a part of it must not leave its connection to a next one. */
  release(): void {
    if (!this.#ended) this.#giveUp();
  }

  onTimer(): void {
    this.#giveUp();
  }

  #giveUp(): void {
    this.#over = true;
    this.#tell();
    this.#waiting = [];
    this.#env.wheel.drop(this.#timer);
    this.waitsIn?.cancel(this);
    this.waitsIn = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.abandon();
  }

  /** Its span ends with the answer, or without one. */
  #tell(): void {
    this.#trace?.answered(this.#to.cluster, this.#to.address, this.#protocol, this.#status);
  }

  #giveUpLater(): void {
    if (this.#connection !== undefined && this.#connection.backlog > BUFFER_BYTES) this.#giveUp();
  }

  onReady(connection: UpstreamStream): void {
    this.waitsIn = undefined;
    if (this.#over) {
      connection.abandon();
      return;
    }
    this.#connection = connection;
    this.#protocol = connection.protocol;
    connection.writeRequest(this.#request, '', this.#chunked, this.#ended && this.#waiting.length === 0);
    for (const piece of this.#waiting) connection.writeBody(piece, 0, piece.length);
    this.#waiting = [];
    if (this.#ended) connection.endRequest(undefined);
    else connection.flush();
  }
  onSettled(): void {
    this.#env.wheel.drop(this.#timer);
    this.#connection = undefined;
  }
  onReset(): void {
    this.#connection = undefined;
    this.#giveUp();
  }
  onConnectFailure(): void {
    this.#giveUp();
  }
  onHostGone(): void {
    this.#giveUp();
  }
  onInformational(): void {}
  onHead({ statusCode }: ResponseHead): void {
    this.#status = statusCode;
  }
  onBody(): void {}
  onTrailers(): void {}
  onEnd(): void {
    this.#answered = true;
    this.#tell();
  }
  // An answer before the end of the request: the rest has nowhere to go.
  onFlush(): void {
    if (this.#answered && !this.#ended) this.#giveUp();
  }
  onDrain(): void {}
  onTunnelData(): void {}
  onTunnelEnd(): void {}
}
