// envoy.filters.network.tcp_proxy: one downstream connection joined to one upstream connection, bytes as they are, each half
// closed by itself, back-pressure both ways.

import type { Socket } from 'node:net';
import { PlanError } from '../plan/plan-error.ts';
import { FLAG } from '../plan/response-flag.ts';
import { StreamInfo } from '../plan/stream-info.ts';
import type { TcpProxy } from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import type { ClusterRuntime } from './cluster-runtime.ts';
import { type DownstreamFacts, describeConnection } from './connection-facts.ts';
import type { Host } from './host.ts';
import { FLUSH_CHECK_MS, IDLE_TIMEOUT_MS, STREAM_IDLE_TIMEOUT_MS, TCP_PROGRESS_MS } from './limits.ts';
import type { ListenerContext } from './observer.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { closeSoon } from './socket-linger.ts';
import { WheelTimer } from './timer-wheel.ts';
import { transportReason } from './upstream-http1.ts';
import { PLAIN_VARIANT } from './upstream-transport.ts';
import { xxHash64 } from './xx-hash64.ts';

export interface TcpPlan {
  readonly context: ListenerContext;
  readonly clusters: readonly { readonly name: string; readonly weight: number }[];
  readonly totalWeight: number;
  readonly idleTimeoutMs: number;
  readonly connectAttempts: number;
  readonly maxDurationMs: number;
  /** A client address keeps its host under a consistent-hash balancer. */
  readonly hashSource: boolean;
}

export const compileTcpProxy = (config: TcpProxy, context: ListenerContext): TcpPlan => {
  for (const field of ['tunneling_config', 'on_demand', 'metadata_match'] as const)
    if (config[field] !== undefined) throw new PlanError(field, 'not supported');
  const clusters = config.weighted_clusters?.clusters?.map((c) => ({ name: c.name ?? '', weight: c.weight ?? 0 })) ?? [
    { name: config.cluster ?? '', weight: 1 },
  ];
  return {
    context,
    clusters,
    totalWeight: clusters.reduce((sum, c) => sum + c.weight, 0),
    idleTimeoutMs: config.idle_timeout === undefined ? IDLE_TIMEOUT_MS : durationMs(config.idle_timeout),
    connectAttempts: config.max_connect_attempts ?? 1,
    maxDurationMs: config.max_downstream_connection_duration === undefined ? 0 : durationMs(config.max_downstream_connection_duration),
    hashSource: config.hash_policy?.some((policy) => policy.source_ip !== undefined) === true,
  };
};

const IDLE = 0;
const CONNECT = 1;
const PROGRESS = 2;
const DURATION = 3;

export class TcpTunnel {
  readonly #env: ProxyEnvironment;
  readonly #plan: TcpPlan;
  readonly #down: Socket;
  readonly #facts: DownstreamFacts;
  readonly #ended: () => void;
  readonly #info = new StreamInfo();
  readonly #timers: readonly WheelTimer[];
  #first: Buffer | undefined;
  #up: Socket | undefined;
  #cluster: ClusterRuntime | undefined;
  #host: Host | undefined;
  #connected = false;
  #attempts = 0;
  #downEnded = false;
  #upEnded = false;
  #over = false;
  #lingerMs = STREAM_IDLE_TIMEOUT_MS;

  constructor(env: ProxyEnvironment, plan: TcpPlan, down: Socket, facts: DownstreamFacts, first: Buffer | undefined, ended: () => void) {
    this.#env = env;
    this.#plan = plan;
    this.#down = down;
    this.#facts = facts;
    this.#first = first !== undefined && first.length > 0 ? first : undefined;
    this.#ended = ended;
    this.#timers = [IDLE, CONNECT, PROGRESS, DURATION].map((kind) => new WheelTimer(this, kind));
    describeConnection(this.#info, facts);
    this.#info.startTime = facts.startMs;
  }

  start(): void {
    const down = this.#down;
    down.pause();
    down.on('data', (bytes: Buffer) => this.#fromDown(bytes));
    down.on('end', () => this.#downEnd());
    down.on('drain', () => this.#up?.resume());
    down.on('close', () => this.#close(''));
    this.#env.observer.tcpOpened(this.#info, this.#plan.context);
    this.#arm(PROGRESS, TCP_PROGRESS_MS);
    if (this.#plan.maxDurationMs > 0) this.#arm(DURATION, this.#plan.maxDurationMs);
    this.#connect();
  }

  destroy(): void {
    this.#close('');
  }

  onTimer(kind: number): void {
    if (this.#over) return;
    if (kind === PROGRESS) {
      this.#env.observer.tcpProgress(this.#info, this.#plan.context);
      this.#arm(PROGRESS, TCP_PROGRESS_MS);
    } else if (kind === CONNECT) {
      this.#upFailed('', true);
    } else this.#close(kind === IDLE ? 'idle_timeout' : 'max_connection_duration_reached');
  }

  #connect(): void {
    const info = this.#info;
    const name = this.#chooseCluster();
    const cluster = this.#env.cluster(name);
    info.upstreamClusterRaw = name;
    if (cluster === undefined) {
      info.setFlag(FLAG.NC);
      this.#close('');
      return;
    }
    this.#cluster = cluster;
    info.upstreamCluster = cluster.statName;
    info.clusterMetadata = cluster.config.metadata;
    const limits = cluster.breakers.default;
    const hash = this.#plan.hashSource ? xxHash64(this.#facts.remoteIp) : undefined;
    const host = cluster.pick({ originalDestination: this.#facts.originalDestination, hash });
    if (host === undefined) {
      info.setFlag(FLAG.UH);
      this.#close('');
      return;
    }
    if (limits.connections >= limits.connectionsMax) {
      info.setFlag(FLAG.UO);
      cluster.stats.cxOverflow.value++;
      this.#close('');
      return;
    }
    this.#host = host;
    this.#attempts++;
    info.upstreamRequestAttemptCount = this.#attempts;
    info.upstreamHost = host.address;
    info.upstreamHostName = host.hostname;
    info.upstreamHostMetadata = host.metadata as typeof info.upstreamHostMetadata;
    info.upstreamConnectStart = this.#env.clock.wallMs();
    limits.connections++;
    host.stats.cxActive++;
    host.stats.cxTotal++;
    host.stats.rqActive++;
    cluster.stats.cxTotal.value++;
    cluster.stats.cxActive.value++;
    const transport = cluster.transportOf(host);
    const up = transport.connect(host.ip, host.port, cluster.bindAddress, PLAIN_VARIANT);
    this.#up = up;
    this.#arm(CONNECT, cluster.connectTimeoutMs);
    up.on(transport.kind === 'tls' ? 'secureConnect' : 'connect', () => {
      if (this.#up === up) this.#upConnected(up);
    });
    up.on('error', (error: Error) => {
      if (this.#up === up && !this.#connected) this.#upFailed(transportReason(error, transport.kind), false);
      else if (this.#up === up) this.#close('');
    });
    up.on('close', () => {
      if (this.#up !== up) return;
      if (this.#connected) this.#close('');
      else this.#upFailed('connection closed', false);
    });
  }

  #upConnected(up: Socket): void {
    const info = this.#info;
    this.#connected = true;
    this.#env.wheel.disarm(this.#timer(CONNECT));
    info.upstreamLocalAddress = `${up.localAddress}:${up.localPort}`;
    info.upstreamConnectComplete = this.#env.clock.wallMs();
    info.upstreamTls = this.#host === undefined ? undefined : this.#cluster?.transportOf(this.#host).facts(up);
    up.on('data', (bytes: Buffer) => this.#fromUp(bytes));
    up.on('end', () => this.#upEnd());
    up.on('drain', () => this.#down.resume());
    const first = this.#first;
    this.#first = undefined;
    if (first !== undefined) this.#fromDown(first);
    this.#touch();
    this.#down.resume();
  }

  #upFailed(reason: string, timeout: boolean): void {
    this.#releaseUp();
    const cluster = this.#cluster;
    if (this.#host !== undefined) {
      this.#host.stats.cxConnectFail++;
      cluster?.failed(this.#host, 'connect');
    }
    if (cluster !== undefined) cluster.stats.cxConnectFail.value++;
    if (timeout && cluster !== undefined) cluster.stats.cxConnectTimeout.value++;
    this.#info.upstreamTransportFailureReason = reason;
    if (this.#attempts < this.#plan.connectAttempts) {
      this.#connect();
      return;
    }
    this.#info.setFlag(FLAG.UF);
    if (this.#plan.connectAttempts > 1) this.#info.setFlag(FLAG.URX);
    this.#close('');
  }

  #fromDown(bytes: Buffer): void {
    this.#info.bytesReceived += bytes.length;
    this.#touch();
    if (this.#up?.write(bytes) === false) this.#down.pause();
  }

  #fromUp(bytes: Buffer): void {
    this.#info.bytesSent += bytes.length;
    this.#touch();
    if (!this.#down.write(bytes)) this.#up?.pause();
  }

  #downEnd(): void {
    this.#downEnded = true;
    if (this.#upEnded || !this.#connected) {
      this.#close('');
      return;
    }
    this.#up?.end();
  }

  #upEnd(): void {
    this.#upEnded = true;
    this.#down.end();
    if (this.#downEnded) this.#close('');
  }

  #chooseCluster(): string {
    const clusters = this.#plan.clusters;
    if (clusters.length === 1) return clusters[0]?.name ?? '';
    let at = this.#env.random() * this.#plan.totalWeight;
    for (const cluster of clusters) {
      at -= cluster.weight;
      if (at < 0) return cluster.name;
    }
    return clusters[clusters.length - 1]?.name ?? '';
  }

  #releaseUp(): void {
    const up = this.#up;
    if (up === undefined) return;
    this.#up = undefined;
    // What was written still leaves before the socket goes.
    if (this.#connected) closeSoon(this.#env.wheel, up, this.#lingerMs);
    else up.destroy();
    const cluster = this.#cluster;
    if (cluster !== undefined) {
      cluster.breakers.default.connections--;
      cluster.stats.cxActive.value--;
    }
    if (this.#host !== undefined) {
      this.#host.stats.cxActive--;
      this.#host.stats.rqActive--;
    }
  }

  #close(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#timers) this.#env.wheel.disarm(timer);
    // Who was idle or out of time has had its time; otherwise a slow reader may take the rest.
    if (reason !== '') this.#lingerMs = FLUSH_CHECK_MS;
    this.#releaseUp();
    closeSoon(this.#env.wheel, this.#down, this.#lingerMs);
    const info = this.#info;
    info.endTime = this.#env.clock.wallMs();
    if (reason !== '') info.connectionTerminationDetails = reason;
    this.#env.observer.tcpClosed(info, this.#plan.context);
    this.#ended();
  }

  #touch(): void {
    if (this.#plan.idleTimeoutMs > 0) this.#arm(IDLE, this.#plan.idleTimeoutMs);
  }

  #timer(kind: number): WheelTimer {
    return this.#timers[kind] ?? new WheelTimer(this, kind);
  }

  #arm(kind: number, delayMs: number): void {
    this.#env.wheel.arm(this.#timer(kind), delayMs);
  }
}
