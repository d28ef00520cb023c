// The HTTP/1 connections of one host that are alike (same transport variant): idle ones last in, first out, requests that wait for
// one first in, first out, and Envoy's circuit-breaker rules about both.

import type { Socket } from 'node:net';
import type { Http1Limits } from '../../wire/http1-parser.ts';
import type { Http1Writer } from '../../wire/http1-writer.ts';
import type { Http2Options } from '../../wire/http2-connection.ts';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import type { ClusterStats } from '../cluster/cluster-stats.ts';
import type { Host } from '../cluster/host.ts';
import { GIVE_CONNECTION_AFTER_MS, SILENT_PEER_MS } from '../limits.ts';
import type { KeepalivePlan } from '../sockets/http2-options.ts';
import { boundSilence } from '../sockets/socket-silence.ts';
import type { TurnOutput } from '../sockets/turn-output.ts';
import { limitUnsent } from '../sockets/unsent-limit.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import type { TransportVariant, UpstreamTransport } from '../transport/upstream-transport.ts';
import { UpstreamHttp1 } from './upstream-http1.ts';
import type { UpstreamClient, UpstreamPool } from './upstream-stream.ts';
import { WaitingLine } from './waiting-line.ts';

/** What every pool of a cluster shares. */
export interface PoolSettings {
  readonly wheel: TimerWheel;
  readonly writer: Http1Writer;
  readonly stats: ClusterStats;
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly requestsPerConnection: number; // 0: no bound
  readonly maxConnectionDurationMs: number; // 0: no bound
  readonly bindAddress: string | undefined;
  /** Bytes that may wait unsent on a connection before what writes to it is not read. */
  readonly unsentBytes: number;
  readonly turn: TurnOutput;
  readonly random: () => number;
  /** Connections per request, those made ahead of need included (per_upstream_preconnect_ratio). */
  readonly preconnectRatio: number;
  readonly http2: Http2Options;
  readonly keepalive: KeepalivePlan | undefined;
  /** HTTP/1: trailers pass. */
  readonly enableTrailers: boolean;
  /** HTTP/1: what a response may be. */
  readonly responseLimits: Http1Limits;
  /** HTTP/1: requests are written with Proper-Case names. */
  readonly properCaseRequests: boolean;
}

/** Envoy's rule: whether one more connection is to be made. `connecting` and `room`: requests that those being made and those there can take. */
export const wantsMore = (waiting: number, active: number, connecting: number, room: number, ratio: number): boolean =>
  ratio > 1 ? (waiting + active) * ratio > connecting + room + active : waiting > connecting;

export class Http1Pool implements UpstreamPool {
  readonly host: Host;
  readonly transport: UpstreamTransport;
  readonly variant: TransportVariant;
  readonly #settings: PoolSettings;
  readonly #limits: ResourceLimits;
  readonly #idle: UpstreamHttp1[] = [];
  readonly #all = new Set<UpstreamHttp1>();
  readonly #waiting: WaitingLine;
  #connecting = 0;
  #draining = false;

  constructor(host: Host, transport: UpstreamTransport, variant: TransportVariant, settings: PoolSettings, limits: ResourceLimits) {
    this.host = host;
    this.transport = transport;
    this.variant = variant;
    this.#settings = settings;
    this.#limits = limits;
    this.#waiting = new WaitingLine(settings.stats);
  }

  get wheel(): TimerWheel {
    return this.#settings.wheel;
  }
  get connectTimeoutMs(): number {
    return this.#settings.connectTimeoutMs;
  }
  get properCaseRequests(): boolean {
    return this.#settings.properCaseRequests;
  }
  get responseLimits(): Http1Limits {
    return this.#settings.responseLimits;
  }
  get enableTrailers(): boolean {
    return this.#settings.enableTrailers;
  }
  get transportKind(): 'raw' | 'tls' {
    return this.transport.kind;
  }
  get draining(): boolean {
    return this.#draining;
  }
  get size(): number {
    return this.#all.size;
  }

  acquire(client: UpstreamClient, limits: ResourceLimits): 'ready' | 'waiting' | 'overflow' {
    const connection = this.#idle.pop();
    if (connection !== undefined) {
      if (!limits.tryRequest()) {
        this.#idle.push(connection);
        this.#settings.stats.rqPendingOverflow.value++;
        return 'overflow';
      }
      this.#attach(connection, client, limits);
      if (this.#settings.preconnectRatio > 1) this.#grow();
      return 'ready';
    }
    if (!this.#waiting.enter(client, limits)) return 'overflow';
    this.#grow();
    return 'waiting';
  }

  cancel(client: UpstreamClient): void {
    if (this.#waiting.leave(client)) this.#settings.stats.rqCancelled.value++;
  }

  drain(): void {
    this.#draining = true;
    this.closeIdle();
  }

  closeIdle(): void {
    for (const connection of this.#idle.splice(0)) connection.close();
  }

  leave(): void {
    this.drain();
    const waiting = this.#waiting.clear();
    for (const connection of [...this.#all]) {
      if (connection.connecting) connection.close();
      else boundSilence(connection.socket, SILENT_PEER_MS);
    }
    for (const { client } of waiting) client.onHostGone();
  }

  destroy(): void {
    this.#draining = true;
    for (const connection of [...this.#all]) connection.socket.destroy();
  }

  // --- called by its connections ---

  connected(connection: UpstreamHttp1): void {
    this.#connecting--;
    const { connections } = this.#settings.stats;
    connections.connected(connection.connectedMs - connection.connectStartMs);
    connections.opened(connection.socket, connection.connectStartMs).speaks('http1');
    this.#next(connection);
  }

  finished(connection: UpstreamHttp1): void {
    this.#released(connection);
    const most = this.#settings.requestsPerConnection;
    const isOver = this.#draining || (most > 0 && connection.served >= most) || this.#lifeLeftMs(connection) <= 0;
    if (isOver) this.#countEnd(connection);
    if (isOver || (this.#limits.connectionsWanted && this.#mayGive(connection))) {
      connection.park(0);
      connection.close();
      return;
    }
    this.#next(connection);
  }

  /** Parked long enough. */
  expired(connection: UpstreamHttp1): void {
    const { connections } = this.#settings.stats;
    if (this.#lifeLeftMs(connection) <= 0) connections.maxDurations++;
    else connections.idleTimeouts++;
  }

  brokeProtocol(): void {
    this.#settings.stats.connections.protocolErrors++;
  }

  gone(connection: UpstreamHttp1, busy: boolean, connecting: boolean): void {
    this.#settings.stats.connections.closed(connection.socket, this.wheel.now(), busy);
    if (busy) this.#released(connection);
    if (connecting) this.#connecting--;
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    this.#forget(connection);
    this.#grow();
  }

  connectFailed(connection: UpstreamHttp1, kind: 'remote' | 'timeout', reason: string): void {
    this.#connecting--;
    this.#forget(connection);
    this.host.stats.cxConnectFail++;
    this.#settings.stats.cxConnectFail.value++;
    if (kind === 'timeout') this.#settings.stats.cxConnectTimeout.value++;
    // As Envoy: whoever waits here learns of it and may go elsewhere.
    const waiting = this.#waiting.clear();
    this.#settings.stats.rqPendingFailed.value += waiting.length;
    for (const { client } of waiting) client.onConnectFailure(kind, reason);
  }

  #attach(connection: UpstreamHttp1, client: UpstreamClient, limits: ResourceLimits): void {
    connection.limits = limits;
    const stats = this.host.stats;
    stats.rqActive++;
    stats.rqTotal++;
    this.#settings.stats.rqTotal.value++;
    this.#settings.stats.rqActive.value++;
    connection.attach(client);
  }

  #countEnd(connection: UpstreamHttp1): void {
    const { requestsPerConnection: most, stats } = this.#settings;
    if (most > 0 && connection.served >= most) stats.connections.maxRequests++;
    else if (this.#lifeLeftMs(connection) <= 0) stats.connections.maxDurations++;
  }

  #released(connection: UpstreamHttp1): void {
    connection.limits?.releaseRequest();
    this.host.stats.rqActive--;
    this.#settings.stats.rqActive.value--;
  }

  #next(connection: UpstreamHttp1): void {
    const waiting = this.#waiting.next();
    if (waiting === undefined) {
      const idleMs = this.#settings.idleTimeoutMs;
      const leftMs = this.#lifeLeftMs(connection);
      connection.park(leftMs === Number.POSITIVE_INFINITY ? idleMs : Math.max(1, idleMs > 0 ? Math.min(idleMs, leftMs) : leftMs));
      if (this.#draining || this.#limits.connectionsWanted) connection.close();
      else this.#idle.push(connection);
      return;
    }
    if (!waiting.limits.tryRequest()) {
      this.#settings.stats.rqPendingOverflow.value++;
      waiting.client.onConnectFailure('overflow', '');
      this.#next(connection);
      return;
    }
    this.#attach(connection, waiting.client, waiting.limits);
  }

  // One connection per waiting request, as far as the limit allows; a pool without any may always have one.
  #grow(): void {
    const active = this.#all.size - this.#connecting - this.#idle.length;
    while (wantsMore(this.#waiting.length, active, this.#connecting, this.#idle.length, this.#settings.preconnectRatio)) {
      const limits = this.#limits;
      if (!limits.tryConnection(this.host.state, this.#all.size === 0)) {
        this.#settings.stats.cxOverflow.value++;
        if (this.#all.size === 0) limits.waitForConnection(this, this.host.state);
        return;
      }
      this.#open();
    }
  }

  granted(): boolean {
    if (this.#waiting.length === 0 || this.#all.size > 0) return false;
    this.#open();
    return true;
  }

  /** Takes a connection made elsewhere, whose handshake chose this protocol. */
  adopt(socket: Socket): void {
    this.#limits.takeConnection(this.host.state);
    this.#file(new UpstreamHttp1(this, socket, this.#settings.writer, true));
  }

  /** One that is counted already. */
  #open(): void {
    const socket = this.transport.connect(this.host.ip, this.host.port, this.#settings.bindAddress, this.variant);
    limitUnsent(socket, this.#settings.unsentBytes);
    this.#file(new UpstreamHttp1(this, socket, this.#settings.writer, false));
  }

  #file(connection: UpstreamHttp1): void {
    this.#connecting++;
    this.host.stats.cxActive++;
    this.host.stats.cxTotal++;
    this.#settings.stats.cxTotal.value++;
    this.#settings.stats.cxActive.value++;
    connection.connectStartMs = this.wheel.now();
    this.#all.add(connection);
    connection.begin();
  }

  /** To another worker, which has none. */
  #mayGive(connection: UpstreamHttp1): boolean {
    return this.#waiting.length === 0 || this.wheel.now() - connection.connectedMs >= GIVE_CONNECTION_AFTER_MS;
  }

  /** Of max_connection_duration; a connection in use ends after its request. */
  #lifeLeftMs(connection: UpstreamHttp1): number {
    const longest = this.#settings.maxConnectionDurationMs;
    return longest > 0 ? connection.connectedMs + longest - this.wheel.now() : Number.POSITIVE_INFINITY;
  }

  #forget(connection: UpstreamHttp1): void {
    if (!this.#all.delete(connection)) return;
    this.#limits.releaseConnection(this.host.state);
    this.host.stats.cxActive--;
    this.#settings.stats.cxActive.value--;
  }
}
