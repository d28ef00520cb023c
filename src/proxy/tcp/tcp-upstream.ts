// The server side of a TCP connection: chooses cluster and host, dials (again, if allowed), keeps the counts straight, and tells
// its owner. It may be dialled before anyone knows whether it will be used; whoever uses it then becomes its owner.

import type { Socket } from 'node:net';
import { FLAG } from '../../plan/response-flag.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import type { Host } from '../cluster/host.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { FilterTask } from '../filters/http-filter.ts';
import { STATE_CLUSTER, STATE_PROTOCOLS, STATE_SERVER_NAME } from '../filters/network-filters.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { closeSoon } from '../sockets/socket-linger.ts';
import { limitUnsent } from '../sockets/unsent-limit.ts';
import { UPSTREAM_PEER } from '../telemetry/parties.ts';
import { WheelTimer } from '../timer-wheel.ts';
import { PEER_EXCHANGE_ALPN, PeerReader } from '../transport/peer-exchange.ts';
import { transportReason } from '../transport/transport-failure.ts';
import { forClient } from '../transport/upstream-proxy-protocol.ts';
import { PLAIN_VARIANT, type TransportVariant } from '../transport/upstream-transport.ts';
import { xxHash64 } from '../xx-hash64.ts';
import type { TcpPlan } from './tcp-plan.ts';

export interface UpstreamOwner {
  /** Once; what may be read comes after it. */
  onUpstreamConnected(): void;
  /** There will be no connection: the flags are set. */
  onUpstreamFailed(code: number): void;
  onUpstreamData(bytes: Buffer): void;
  onUpstreamEnd(): void;
  onUpstreamDrain(): void;
  /** A connected one is gone. */
  onUpstreamClosed(reset: boolean): void;
}

/** Why no connection came to be, as Envoy numbers it in close reasons. */
const FAILED_CONNECT = 0;
const FAILED_NO_HOST = 1;
const FAILED_LIMIT = 2;
const FAILED_NO_CLUSTER = 3;

const TCP_VARIANT: TransportVariant = { ...PLAIN_VARIANT, key: 'tcp', protocol: 'tcp' };

const PEER_VARIANT: TransportVariant = { ...TCP_VARIANT, key: 'tcp-peers', exchangesPeers: true };

const CONNECT_TIMEOUT = 0;
const BACK_OFF = 1;

export class TcpUpstream {
  owner: UpstreamOwner;
  readonly plan: TcpPlan;
  /** Of the whole connection: handed on to the tunnel. */
  readonly info: StreamInfo;
  readonly #env: ProxyEnvironment;
  readonly #facts: DownstreamFacts;
  readonly #timer: WheelTimer;
  #backOff: WheelTimer | undefined;
  #socket: Socket | undefined;
  #cluster: ClusterRuntime | undefined;
  #host: Host | undefined;
  #attempts = 0;
  #dialledMs = 0;
  /** For the cluster. */
  #awaited: FilterTask | undefined;
  /** Still to be sent, with the first bytes if there are any: who we are. */
  #frame: Buffer | undefined;
  /** Still to be read: who the peer is. */
  #peer: PeerReader | undefined;
  connected = false;
  #begun = false;
  #over = false;

  constructor(env: ProxyEnvironment, plan: TcpPlan, facts: DownstreamFacts, info: StreamInfo, owner: UpstreamOwner) {
    this.#env = env;
    this.plan = plan;
    this.#facts = facts;
    this.info = info;
    this.owner = owner;
    this.#timer = new WheelTimer(this, CONNECT_TIMEOUT);
  }

  /** Dials, unless that was done. */
  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#dial();
  }

  #dial(): void {
    const info = this.info;
    const target = this.plan.chooseCluster(this.#env.random);
    const name = this.#facts.filterState?.[STATE_CLUSTER] ?? target.name;
    const cluster = this.#env.cluster(name);
    info.upstreamClusterRaw = name;
    if (cluster === undefined) {
      this.#withoutCluster(name);
      return;
    }
    if (this.plan.clusterWaitMs !== undefined) this.#env.demand.use('cluster', name);
    this.#cluster = cluster;
    info.upstreamCluster = cluster.statName;
    info.clusterMetadata = cluster.config.metadata;
    const limits = cluster.breakers.default;
    if (!limits.tryConnection(undefined, false)) {
      info.setFlag(FLAG.UO);
      cluster.stats.cxOverflow.value++;
      this.#fail(FAILED_LIMIT);
      return;
    }
    const hash = this.plan.hashSource ? xxHash64(this.#facts.remoteIp) : undefined;
    const host = cluster.pick({ originalDestination: this.#facts.originalDestination, hash, metadata: target.metadata });
    if (host === undefined) {
      limits.releaseConnection(undefined);
      info.setFlag(FLAG.UH);
      this.#fail(FAILED_NO_HOST);
      return;
    }
    this.#open(cluster, host);
  }

  /** It may be asked for, once. */
  #withoutCluster(name: string): void {
    const wait = this.plan.clusterWaitMs;
    if (wait === undefined || this.#awaited !== undefined) {
      this.info.setFlag(FLAG.NC);
      this.#fail(FAILED_NO_CLUSTER);
      return;
    }
    this.#awaited = this.#env.demand.ask('cluster', name, wait, () => {
      if (!this.#over) this.#dial();
    });
  }

  #open(cluster: ClusterRuntime, host: Host): void {
    const info = this.info;
    this.#host = host;
    this.#attempts++;
    info.upstreamRequestAttemptCount = this.#attempts;
    info.upstreamHost = host.address;
    info.upstreamHostName = host.hostname;
    info.upstreamHostMetadata = host.metadata as typeof info.upstreamHostMetadata;
    info.upstreamLocality = host.place;
    info.upstreamConnectStart = this.#env.clock.wallMs();
    host.stats.cxActive++;
    host.stats.cxTotal++;
    host.stats.rqActive++;
    cluster.stats.cxTotal.value++;
    cluster.stats.cxActive.value++;
    this.#dialledMs = this.#env.wheel.now();
    const transport = cluster.transportOf(host);
    const common = this.#variant(cluster.exchangesPeers && this.#env.peerExchange !== undefined);
    const plain = host.hostname === '' ? common : { ...common, hostname: host.hostname };
    const variant = transport.tellsClient ? forClient(plain, this.#facts) : plain;
    const socket = transport.connect(host.ip, host.port, cluster.bindAddress, variant);
    limitUnsent(socket, cluster.unsentBytes);
    this.#socket = socket;
    if (cluster.config.close_connections_on_host_health_failure === true) {
      host.tied ??= new Set();
      host.tied.add(socket);
      socket.once('close', () => host.tied?.delete(socket));
    }
    this.#env.wheel.arm(this.#timer, cluster.connectTimeoutMs);
    socket.on(transport.kind === 'tls' ? 'secureConnect' : 'connect', () => {
      if (this.#socket === socket) this.#connected(socket);
    });
    socket.on('error', (error: Error) => {
      if (this.#socket !== socket) return;
      if (this.connected) this.#closed((error as { code?: string }).code === 'ECONNRESET');
      else this.#connectFailed(transportReason(error, transport.kind), false);
    });
    socket.on('close', () => {
      if (this.#socket !== socket) return;
      if (this.connected) this.#closed(false);
      else this.#connectFailed('connection closed', false);
    });
  }

  #variant(exchangesPeers: boolean): TransportVariant {
    const state = this.#facts.filterState;
    const common = exchangesPeers ? PEER_VARIANT : TCP_VARIANT;
    if (state === undefined) return common;
    const sni = state[STATE_SERVER_NAME];
    const alpn = state[STATE_PROTOCOLS]?.split(',').filter((p) => p !== '');
    if (sni === undefined && alpn === undefined) return common;
    return { ...common, key: `${alpn?.join() ?? ''}|${sni ?? ''}`, alpn, sni };
  }

  #connected(socket: Socket): void {
    const info = this.info;
    this.connected = true;
    this.#env.wheel.drop(this.#timer);
    const connections = this.#cluster?.stats.connections;
    connections?.connected(this.#env.wheel.now() - this.#dialledMs);
    connections?.opened(socket, this.#dialledMs, false, true);
    info.upstreamLocalAddress = `${socket.localAddress}:${socket.localPort}`;
    info.upstreamConnectComplete = this.#env.clock.wallMs();
    info.upstreamTls = this.#host === undefined ? undefined : this.#cluster?.transportOf(this.#host).facts(socket);
    const { peerExchange } = this.#env;
    if (peerExchange !== undefined && info.upstreamTls?.alpn === PEER_EXCHANGE_ALPN) {
      this.#frame = peerExchange.frame;
      this.#peer = new PeerReader(peerExchange);
    }
    socket.on('data', (bytes: Buffer) => this.#data(bytes));
    socket.on('end', () => this.owner.onUpstreamEnd());
    socket.on('drain', () => this.owner.onUpstreamDrain());
    this.owner.onUpstreamConnected();
    this.#sendFrame();
  }

  #sendFrame(): void {
    const frame = this.#frame;
    if (frame === undefined) return;
    this.#frame = undefined;
    this.#socket?.write(frame);
  }

  #data(bytes: Buffer): void {
    const peer = this.#peer;
    if (peer === undefined) {
      this.owner.onUpstreamData(bytes);
      return;
    }
    const rest = peer.read(bytes);
    if (peer.broken) this.#closed(true);
    if (!peer.done || peer.broken) return;
    this.#peer = undefined;
    if (peer.peer !== undefined) this.info.filterState[UPSTREAM_PEER] = peer.peer;
    if (rest !== undefined) this.owner.onUpstreamData(rest);
  }

  onTimer(kind: number): void {
    if (this.#over) return;
    if (kind === BACK_OFF) this.#dial();
    else if (this.#socket !== undefined && !this.connected) this.#connectFailed('', true);
  }

  #connectFailed(reason: string, timeout: boolean): void {
    this.#release()?.destroy();
    const cluster = this.#cluster;
    if (this.#host !== undefined) {
      this.#host.stats.cxConnectFail++;
      cluster?.failed(this.#host, 'connect');
    }
    if (cluster !== undefined) cluster.stats.cxConnectFail.value++;
    if (timeout && cluster !== undefined) cluster.stats.cxConnectTimeout.value++;
    this.info.upstreamTransportFailureReason = reason;
    if (this.#attempts < this.plan.connectAttempts) {
      const waitMs = this.plan.backOffMs(this.#attempts, this.#env.random);
      if (waitMs === 0) {
        this.#dial();
        return;
      }
      this.#backOff ??= new WheelTimer(this, BACK_OFF);
      this.#env.wheel.arm(this.#backOff, waitMs);
      return;
    }
    this.info.setFlag(FLAG.UF);
    this.info.setFlag(FLAG.URX);
    this.#fail(FAILED_CONNECT);
  }

  #fail(code: number): void {
    if (this.#over) return;
    this.#over = true;
    this.owner.onUpstreamFailed(code);
  }

  #closed(reset: boolean): void {
    if (this.#over) return;
    this.info.upstreamDetectedCloseType = reset ? 'RemoteReset' : 'Normal';
    this.#over = true;
    this.#release()?.destroy();
    this.owner.onUpstreamClosed(reset);
  }

  /** False: stop until onUpstreamDrain. */
  write(bytes: Buffer): boolean {
    const frame = this.#frame;
    if (frame === undefined) return this.#socket?.write(bytes) !== false;
    this.#frame = undefined;
    return this.#socket?.write(Buffer.concat([frame, bytes])) !== false;
  }
  end(): void {
    this.#sendFrame();
    this.#socket?.end();
  }
  pause(): void {
    this.#socket?.pause();
  }
  resume(): void {
    this.#socket?.resume();
  }

  /** Ends it: what was written still leaves, at the latest after `lingerMs`; a reset takes nothing along. */
  close(lingerMs: number, reset = false): void {
    if (this.#backOff !== undefined) this.#env.wheel.drop(this.#backOff);
    this.#awaited?.cancel();
    this.#over = true;
    const socket = this.#release();
    if (socket === undefined) return;
    if (reset) resetSocket(socket);
    else if (this.connected) closeSoon(this.#env.wheel, socket, lingerMs);
    else socket.destroy();
  }

  /** Gives back what it counts. */
  #release(): Socket | undefined {
    const socket = this.#socket;
    if (socket === undefined) return undefined;
    this.#socket = undefined;
    this.#env.wheel.drop(this.#timer);
    const cluster = this.#cluster;
    if (cluster !== undefined) {
      cluster.breakers.default.releaseConnection(undefined);
      cluster.stats.connections.closed(socket, this.#env.wheel.now(), true);
      cluster.stats.cxActive.value--;
    }
    if (this.#host !== undefined) {
      this.#host.stats.cxActive--;
      this.#host.stats.rqActive--;
    }
    return socket;
  }
}

/** TLS has no reset of its own: it is cut off. */
export const resetSocket = (socket: Socket): void => {
  if ('encrypted' in socket) socket.destroy();
  else socket.resetAndDestroy();
};
