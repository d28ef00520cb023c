// Where a CONNECT (or a POST that may stand for one) ends here: a TCP connection of its own to the chosen host, which is to the
// request's attempt a stream like any other. It answers 200 once it stands and then passes bytes as they are. Never shared or kept.

import type { Socket } from 'node:net';
import type { ConnectPlan } from '../../plan/route-plan.ts';
import type { TlsFacts } from '../../plan/stream-info.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { writeProxyV1, writeProxyV2 } from '../../wire/proxy-protocol.ts';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import type { Host } from '../cluster/host.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import { FLUSH_CHECK_MS, STREAM_IDLE_TIMEOUT_MS } from '../limits.ts';
import { closeSoon } from '../sockets/socket-linger.ts';
import { limitUnsent } from '../sockets/unsent-limit.ts';
import { resetSocket } from '../tcp/tcp-upstream.ts';
import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';
import { transportReason } from '../transport/transport-failure.ts';
import type { TransportVariant } from '../transport/upstream-transport.ts';
import { nextConnectionId, type ResponseHead, type UpstreamClient, type UpstreamPool, type UpstreamStream } from './upstream-stream.ts';

export class ConnectUpstream implements UpstreamPool, UpstreamStream, ResponseHead {
  readonly variant: TransportVariant;
  readonly draining = false;
  readonly protocol = 'HTTP/1.1';
  readonly id = nextConnectionId();
  localAddress = '';
  tls: TlsFacts | undefined;
  connectStartMs = 0;
  connectedMs = 0;
  // ResponseHead.
  readonly statusCode = 200;
  readonly reason = '';
  readonly headers = new HeaderBlock();
  readonly headBytes = 0;
  bodyKind: 'none' | 'chunked' = 'chunked';
  readonly #cluster: ClusterRuntime;
  readonly #host: Host;
  readonly #facts: DownstreamFacts;
  readonly #plan: ConnectPlan;
  readonly #wheel: TimerWheel;
  readonly #timer: WheelTimer;
  #client: UpstreamClient | undefined;
  #limits: ResourceLimits | undefined;
  #socket: Socket | undefined;
  #connected = false;
  #tunnel = false;
  #requestDone = false;
  #responseDone = false;
  #lastError = '';

  constructor(
    cluster: ClusterRuntime,
    host: Host,
    plan: ConnectPlan,
    variant: TransportVariant,
    facts: DownstreamFacts,
    wheel: TimerWheel,
  ) {
    this.#cluster = cluster;
    this.#host = host;
    this.#plan = plan;
    this.variant = variant;
    this.#facts = facts;
    this.#wheel = wheel;
    this.#timer = new WheelTimer(this, 0);
  }

  // --- UpstreamPool, of one connection ---

  get size(): number {
    return this.#socket === undefined ? 0 : 1;
  }

  acquire(client: UpstreamClient, limits: ResourceLimits): 'waiting' | 'overflow' {
    const { stats } = this.#cluster;
    if (!limits.tryConnection(this.#host.state, false)) {
      stats.cxOverflow.value++;
      return 'overflow';
    }
    this.#client = client;
    this.#limits = limits;
    stats.cxTotal.value++;
    stats.cxActive.value++;
    this.#host.stats.cxActive++;
    this.#host.stats.cxTotal++;
    this.connectStartMs = this.#wheel.now();
    const transport = this.#cluster.transportOf(this.#host);
    const socket = transport.connect(this.#host.ip, this.#host.port, this.#cluster.bindAddress, this.variant);
    limitUnsent(socket, this.#cluster.unsentBytes);
    this.#socket = socket;
    this.#wheel.arm(this.#timer, this.#cluster.connectTimeoutMs);
    socket.on(transport.kind === 'tls' ? 'secureConnect' : 'connect', () => this.#established(socket));
    socket.on('data', (bytes: Buffer) => this.#data(bytes));
    socket.on('end', () => this.#ended());
    socket.on('drain', () => this.#client?.onDrain());
    socket.on('error', (error: Error) => {
      this.#lastError = transportReason(error, transport.kind);
      this.#gone();
    });
    socket.on('close', () => this.#gone());
    return 'waiting';
  }

  cancel(): void {
    this.#client = undefined;
    this.#release()?.destroy();
  }
  drain(): void {}
  closeIdle(): void {}
  leave(): void {}
  destroy(): void {
    this.#gone();
  }

  onTimer(): void {
    if (this.#connected || this.#socket === undefined) return;
    this.#cluster.stats.cxConnectTimeout.value++;
    this.#failed('timeout', '');
  }

  // --- UpstreamStream ---

  writeRequest(_request: unknown, upgrade: string, _chunked: boolean, ended: boolean): number {
    const { proxyProtocol } = this.#plan;
    if (proxyProtocol !== '') {
      const { remoteIp, remotePort, localIp, localPort } = this.#facts;
      const addresses = { sourceIp: remoteIp, sourcePort: remotePort, destinationIp: localIp, destinationPort: localPort };
      this.#socket?.write(proxyProtocol === 'V2' ? writeProxyV2(addresses, []) : writeProxyV1(addresses));
    }
    if (upgrade !== '') this.bodyKind = 'none';
    if (ended) this.endRequest();
    return 0;
  }

  writeBody(buf: Buffer, start: number, end: number): boolean {
    return this.#socket?.write(buf.subarray(start, end)) !== false;
  }

  endRequest(): void {
    if (this.#requestDone) return;
    this.#requestDone = true;
    this.#socket?.end();
    if (this.#responseDone) this.#settle();
  }

  flush(): void {}

  get backlog(): number {
    return this.#socket?.writableLength ?? 0;
  }
  pause(): void {
    this.#socket?.pause();
  }
  resume(): void {
    this.#socket?.resume();
  }
  beginTunnel(): void {
    this.#tunnel = true;
  }
  tunnelWrite(bytes: Buffer): boolean {
    return this.writeBody(bytes, 0, bytes.length);
  }
  tunnelEnd(): void {
    this.#socket?.end();
  }

  /** What was written may still leave where the exchange ended well. */
  handOver(client: UpstreamClient): void {
    this.#client = client;
  }

  abandon(): void {
    this.#client = undefined;
    const socket = this.#release();
    if (socket === undefined) return;
    if (this.#responseDone || this.#tunnel) closeSoon(this.#wheel, socket, STREAM_IDLE_TIMEOUT_MS);
    else resetSocket(socket);
  }
  discard(): void {
    this.abandon();
  }

  // --- socket ---

  #established(socket: Socket): void {
    if (this.#socket !== socket || this.#connected) return;
    this.#connected = true;
    this.#wheel.drop(this.#timer);
    this.localAddress = `${socket.localAddress}:${socket.localPort}`;
    this.tls = this.#cluster.transportOf(this.#host).facts(socket);
    this.connectedMs = this.#wheel.now();
    const { connections } = this.#cluster.stats;
    connections.connected(this.connectedMs - this.connectStartMs);
    connections.opened(socket, this.connectStartMs, false, true);
    this.#client?.onReady(this);
    this.#client?.onHead(this);
    this.#client?.onFlush();
  }

  #data(bytes: Buffer): void {
    if (this.#tunnel) this.#client?.onTunnelData(bytes);
    else {
      this.#client?.onBody(bytes, 0, bytes.length);
      this.#client?.onFlush();
    }
  }

  #ended(): void {
    if (!this.#connected) return;
    if (this.#tunnel) {
      this.#client?.onTunnelEnd();
      return;
    }
    this.#responseDone = true;
    this.#client?.onEnd();
    this.#client?.onFlush();
    if (this.#requestDone) this.#settle();
  }

  #settle(): void {
    const client = this.#client;
    this.#client = undefined;
    const socket = this.#release();
    if (socket !== undefined) closeSoon(this.#wheel, socket, FLUSH_CHECK_MS);
    client?.onSettled();
  }

  #gone(): void {
    if (!this.#connected) {
      this.#failed('remote', this.#lastError);
      return;
    }
    const client = this.#client;
    this.#client = undefined;
    this.#release()?.destroy();
    client?.onReset('termination', this.#lastError);
  }

  #failed(kind: 'remote' | 'timeout', reason: string): void {
    const socket = this.#release();
    if (socket === undefined) return;
    socket.destroy();
    this.#cluster.stats.cxConnectFail.value++;
    this.#host.stats.cxConnectFail++;
    const client = this.#client;
    this.#client = undefined;
    client?.onConnectFailure(kind, reason);
  }

  /** Gives back what it counts. */
  #release(): Socket | undefined {
    const socket = this.#socket;
    if (socket === undefined) return undefined;
    this.#socket = undefined;
    this.#wheel.drop(this.#timer);
    this.#limits?.releaseConnection(this.#host.state);
    this.#cluster.stats.connections.closed(socket, this.#wheel.now(), true);
    this.#cluster.stats.cxActive.value--;
    this.#host.stats.cxActive--;
    return socket;
  }
}
