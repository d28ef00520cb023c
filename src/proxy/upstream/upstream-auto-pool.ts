// Connections to one host whose protocol the TLS handshake chooses: the first one tells, and the pool of that protocol takes it and
// all that follow. It holds no request longer than until that is known.

import type { Socket } from 'node:net';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import type { Host } from '../cluster/host.ts';
import { limitUnsent } from '../sockets/unsent-limit.ts';
import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';
import { transportReason } from '../transport/transport-failure.ts';
import type { TransportVariant, UpstreamTransport } from '../transport/upstream-transport.ts';
import { Http2Pool } from './upstream-http2-pool.ts';
import { Http1Pool, type PoolSettings } from './upstream-pool.ts';
import type { UpstreamClient, UpstreamPool } from './upstream-stream.ts';
import { WaitingLine } from './waiting-line.ts';

export class AutoPool implements UpstreamPool {
  readonly variant: TransportVariant;
  readonly #host: Host;
  readonly #transport: UpstreamTransport;
  readonly #settings: PoolSettings;
  readonly #limits: ResourceLimits;
  readonly #timer: WheelTimer;
  #chosen: Http1Pool | Http2Pool | undefined;
  #probe: Socket | undefined;
  readonly #waiting: WaitingLine;
  #draining = false;

  constructor(host: Host, transport: UpstreamTransport, variant: TransportVariant, settings: PoolSettings, limits: ResourceLimits) {
    this.#host = host;
    this.#transport = transport;
    this.variant = variant;
    this.#settings = settings;
    this.#limits = limits;
    this.#waiting = new WaitingLine(settings.stats);
    this.#timer = new WheelTimer(this, 0);
  }

  get draining(): boolean {
    return this.#draining;
  }
  get size(): number {
    return this.#chosen?.size ?? (this.#probe === undefined ? 0 : 1);
  }

  acquire(client: UpstreamClient, limits: ResourceLimits): 'ready' | 'waiting' | 'overflow' {
    if (this.#chosen !== undefined) return this.#chosen.acquire(client, limits);
    if (!this.#waiting.enter(client, limits)) return 'overflow';
    if (this.#probe === undefined) this.#ask();
    return 'waiting';
  }

  cancel(client: UpstreamClient): void {
    this.#chosen?.cancel(client);
    this.#waiting.leave(client);
  }

  drain(): void {
    this.#draining = true;
    this.#chosen?.drain();
  }
  closeIdle(): void {
    this.#chosen?.closeIdle();
  }
  leave(): void {
    this.drain();
    this.#chosen?.leave();
    this.#stopAsking();
    for (const { client } of this.#waiting.clear()) client.onHostGone();
  }
  destroy(): void {
    this.#draining = true;
    this.#stopAsking();
    this.#chosen?.destroy();
  }

  onTimer(): void {
    this.#stopAsking();
    this.#settings.stats.cxConnectTimeout.value++;
    this.#fail('timeout', '');
  }

  #ask(): void {
    const socket = this.#transport.connect(this.#host.ip, this.#host.port, this.#settings.bindAddress, this.variant);
    limitUnsent(socket, this.#settings.unsentBytes);
    this.#probe = socket;
    this.wheel.arm(this.#timer, this.#settings.connectTimeoutMs);
    const failed = (error: Error): void => {
      if (this.#probe !== socket) return;
      this.#stopAsking();
      this.#fail('remote', transportReason(error, this.#transport.kind));
    };
    const closed = (): void => failed(new Error('connection closed'));
    socket.on('error', failed);
    socket.on('end', closed);
    socket.on('close', closed);
    socket.once('secureConnect', () => {
      if (this.#probe !== socket) return;
      this.#probe = undefined;
      this.wheel.disarm(this.#timer);
      socket.off('error', failed);
      socket.off('end', closed);
      socket.off('close', closed);
      this.#choose(socket);
    });
  }

  #choose(socket: Socket): void {
    const h2 = isHttp2Alpn((socket as Socket & { alpnProtocol?: string | false }).alpnProtocol);
    const pool = h2
      ? new Http2Pool(this.#host, this.#transport, this.variant, this.#settings, this.#limits)
      : new Http1Pool(this.#host, this.#transport, { ...this.variant, protocol: 'http1' }, this.#settings, this.#limits);
    this.#chosen = pool;
    pool.adopt(socket);
    if (this.#draining) pool.drain();
    for (const { client, limits } of this.#waiting.clear())
      if (pool.acquire(client, limits) === 'overflow') client.onConnectFailure('overflow', '');
  }

  #fail(kind: 'remote' | 'timeout', reason: string): void {
    this.#host.stats.cxConnectFail++;
    this.#settings.stats.cxConnectFail.value++;
    for (const { client } of this.#waiting.clear()) client.onConnectFailure(kind, reason);
  }

  #stopAsking(): void {
    const socket = this.#probe;
    this.#probe = undefined;
    this.wheel.disarm(this.#timer);
    socket?.destroy();
  }

  get wheel(): TimerWheel {
    return this.#settings.wheel;
  }
}

const isHttp2Alpn = (alpn: string | false | undefined): boolean => alpn === 'h2';
