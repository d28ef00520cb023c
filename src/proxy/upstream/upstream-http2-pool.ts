// The HTTP/2 connections of one host that are alike: requests share a connection as far as both sides allow, another is made when
// those there are have no room, and Envoy's circuit-breaker rules hold about both.

import type { Socket } from 'node:net';
import type { TlsFacts } from '../../plan/stream-info.ts';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import type { Host } from '../cluster/host.ts';
import { GIVE_CONNECTION_AFTER_MS, SILENT_PEER_MS } from '../limits.ts';
import { boundSilence } from '../sockets/socket-silence.ts';
import { limitUnsent } from '../sockets/unsent-limit.ts';
import type { TransportVariant, UpstreamTransport } from '../transport/upstream-transport.ts';
import { type Http2ConnectionOwner, UpstreamHttp2 } from './upstream-http2.ts';
import { type PoolSettings, wantsMore } from './upstream-pool.ts';
import type { UpstreamClient, UpstreamPool } from './upstream-stream.ts';
import { WaitingLine } from './waiting-line.ts';

export class Http2Pool implements UpstreamPool, Http2ConnectionOwner {
  readonly host: Host;
  readonly transport: UpstreamTransport;
  readonly variant: TransportVariant;
  readonly #settings: PoolSettings;
  readonly #limits: ResourceLimits;
  /** Those that stand, in the order in which they were made. */
  readonly #open: UpstreamHttp2[] = [];
  readonly #all = new Set<UpstreamHttp2>();
  readonly #waiting: WaitingLine;
  #connecting = 0;
  #streams = 0;
  #draining = false;
  /** What the peer allowed last. */
  streamsAssumed: number;

  constructor(host: Host, transport: UpstreamTransport, variant: TransportVariant, settings: PoolSettings, limits: ResourceLimits) {
    this.host = host;
    this.transport = transport;
    this.variant = variant;
    this.#settings = settings;
    this.#limits = limits;
    this.#waiting = new WaitingLine(settings.stats);
    this.streamsAssumed = settings.http2.maxConcurrentStreams ?? STREAMS_ASSUMED;
  }

  get draining(): boolean {
    return this.#draining;
  }
  get size(): number {
    return this.#all.size;
  }
  get transportKind(): 'raw' | 'tls' {
    return this.transport.kind;
  }
  facts(socket: Socket): TlsFacts | undefined {
    return this.transport.facts(socket);
  }

  acquire(client: UpstreamClient, limits: ResourceLimits): 'ready' | 'waiting' | 'overflow' {
    const connection = this.#ready();
    if (connection !== undefined) {
      if (!limits.tryRequest()) {
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
    for (const connection of [...this.#open]) connection.drain();
  }

  closeIdle(): void {
    for (const connection of [...this.#open]) if (connection.streams === 0) connection.close();
  }

  leave(): void {
    const waiting = this.#waiting.clear();
    this.drain();
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

  /** Takes a connection made elsewhere, whose handshake chose this protocol. */
  adopt(socket: Socket): void {
    this.#limits.takeConnection(this.host.state);
    this.#count(new UpstreamHttp2(this, socket, this.#settings, true));
  }

  // --- called by its connections ---

  connected(connection: UpstreamHttp2): void {
    this.#connecting--;
    const { connections } = this.#settings.stats;
    connections.connected(connection.connectedMs - connection.connectStartMs);
    connections.opened(connection.socket, connection.connectStartMs).speaks('http2');
    this.#open.push(connection);
    this.#serve();
    // Behind it: who waited when the pool was told to end is still served.
    if (this.#draining) connection.drain();
    if (this.#limits.connectionsWanted) this.#give(connection);
  }

  connectFailed(connection: UpstreamHttp2, kind: 'remote' | 'timeout', reason: string): void {
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

  released(connection: UpstreamHttp2, limits: ResourceLimits | undefined): void {
    if (limits !== undefined) limits.releaseRequest();
    this.#streams--;
    this.host.stats.rqActive--;
    this.#settings.stats.rqActive.value--;
    if (this.#limits.connectionsWanted) this.#give(connection);
    if (this.#waiting.length > 0) this.#serve();
  }

  /** To another worker, which has none and waits for one. */
  #give(connection: UpstreamHttp2): void {
    const isIdle = connection.streams === 0 && this.#waiting.length === 0;
    if (isIdle || this.#settings.wheel.now() - connection.connectedMs >= GIVE_CONNECTION_AFTER_MS) connection.drain();
  }

  changed(connection: UpstreamHttp2): void {
    const allowed = connection.machine.peerMaxConcurrentStreams;
    this.streamsAssumed = Math.max(1, Math.min(allowed, this.#settings.http2.maxConcurrentStreams ?? STREAMS_ASSUMED));
    if (this.#waiting.length > 0) this.#serve();
  }

  gone(connection: UpstreamHttp2, connecting: boolean, busy: boolean): void {
    this.#settings.stats.connections.closed(connection.socket, this.#settings.wheel.now(), busy);
    if (connecting) this.#connecting--;
    const at = this.#open.indexOf(connection);
    if (at >= 0) this.#open.splice(at, 1);
    this.#forget(connection);
    if (this.#waiting.length > 0) this.#serve();
  }

  #ready(): UpstreamHttp2 | undefined {
    for (let i = 0; i < this.#open.length; i++) {
      const connection = this.#open[i];
      if (connection?.room === true) return connection;
    }
    return undefined;
  }

  #attach(connection: UpstreamHttp2, client: UpstreamClient, limits: ResourceLimits): void {
    this.#streams++;
    const stats = this.host.stats;
    stats.rqActive++;
    stats.rqTotal++;
    this.#settings.stats.rqTotal.value++;
    this.#settings.stats.rqActive.value++;
    connection.attach(client, limits);
  }

  // Who has waited longest is first; what finds no room waits for another connection.
  #serve(): void {
    while (this.#waiting.length > 0) {
      const connection = this.#ready();
      if (connection === undefined) break;
      const waiting = this.#waiting.next();
      if (waiting === undefined) break;
      if (!waiting.limits.tryRequest()) {
        this.#settings.stats.rqPendingOverflow.value++;
        waiting.client.onConnectFailure('overflow', '');
        continue;
      }
      this.#attach(connection, waiting.client, waiting.limits);
    }
    this.#grow();
  }

  /** Requests that a connection being made will take. */
  get #perConnection(): number {
    const { requestsPerConnection } = this.#settings;
    return requestsPerConnection > 0 ? Math.min(this.streamsAssumed, requestsPerConnection) : this.streamsAssumed;
  }

  #grow(): void {
    if (this.#draining && this.#waiting.length === 0) return;
    const { preconnectRatio, stats } = this.#settings;
    while (wantsMore(this.#waiting.length, this.#streams, this.#connecting * this.#perConnection, this.#spareRoom(), preconnectRatio)) {
      const limits = this.#limits;
      if (!limits.tryConnection(this.host.state, this.#all.size === 0)) {
        stats.cxOverflow.value++;
        if (this.#all.size === 0) limits.waitForConnection(this, this.host.state);
        return;
      }
      this.#dial();
    }
  }

  granted(): boolean {
    if (this.#waiting.length === 0 || this.#all.size > 0) return false;
    this.#dial();
    return true;
  }

  /** One that is counted already. */
  #dial(): void {
    const { host, transport, variant } = this;
    const socket = transport.connect(host.ip, host.port, this.#settings.bindAddress, variant);
    limitUnsent(socket, this.#settings.unsentBytes);
    this.#count(new UpstreamHttp2(this, socket, this.#settings, false));
  }

  /** Only asked for when connections are to be made ahead of need. */
  #spareRoom(): number {
    if (this.#settings.preconnectRatio <= 1) return 0;
    let room = 0;
    for (const connection of this.#open) if (connection.room) room += this.#perConnection - connection.streams;
    return room;
  }

  #count(connection: UpstreamHttp2): void {
    this.#connecting++;
    this.host.stats.cxActive++;
    this.host.stats.cxTotal++;
    this.#settings.stats.cxTotal.value++;
    this.#settings.stats.cxActive.value++;
    this.#all.add(connection);
    connection.begin();
  }

  #forget(connection: UpstreamHttp2): void {
    if (!this.#all.delete(connection)) return;
    this.#limits.releaseConnection(this.host.state);
    this.host.stats.cxActive--;
    this.#settings.stats.cxActive.value--;
  }
}

/** What a peer that has not said it yet is taken to allow (Envoy's default for its own side). */
const STREAMS_ASSUMED = 1024;
