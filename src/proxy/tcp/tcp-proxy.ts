// envoy.filters.network.tcp_proxy: one downstream connection joined to one upstream connection, bytes as they are, each half
// closed by itself, resets passed on, back-pressure both ways.

import type { Socket } from 'node:net';
import { FLAG } from '../../plan/response-flag.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import { FLUSH_CHECK_MS, STREAM_IDLE_TIMEOUT_MS, TCP_PROGRESS_MS } from '../limits.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { closeSoon } from '../sockets/socket-linger.ts';
import { DOWNSTREAM_PEER } from '../telemetry/parties.ts';
import { WheelTimer } from '../timer-wheel.ts';
import type { PeerReader } from '../transport/peer-exchange.ts';
import type { TcpPlan } from './tcp-plan.ts';
import { resetSocket, type TcpUpstream, type UpstreamOwner } from './tcp-upstream.ts';

const IDLE = 0;
const PROGRESS = 1;
const DURATION = 2;
const LOG = 3;

export class TcpTunnel implements UpstreamOwner {
  readonly #env: ProxyEnvironment;
  readonly #plan: TcpPlan;
  readonly #down: Socket;
  readonly #up: TcpUpstream;
  readonly #ended: (info: StreamInfo) => void;
  readonly #info: StreamInfo;
  readonly #idle = new WheelTimer(this, IDLE);
  readonly #progress = new WheelTimer(this, PROGRESS);
  #duration: WheelTimer | undefined;
  #log: WheelTimer | undefined;
  #peer: PeerReader | undefined;
  #first: Buffer | undefined;
  #connected = false;
  #downEnded = false;
  #upEnded = false;
  /** There was never an upstream. */
  #failed = false;
  #over = false;

  /** `up` may be connected, dialling or not dialled yet; its info is this connection's. `ended` is called once. */
  constructor(env: ProxyEnvironment, down: Socket, up: TcpUpstream, ended: (info: StreamInfo) => void) {
    this.#env = env;
    this.#plan = up.plan;
    this.#down = down;
    this.#up = up;
    this.#info = up.info;
    this.#ended = ended;
  }

  /** `first`: bytes already read from the client; `greeting`: from the server. `peer` reads who the client is off its bytes. */
  start(first: Buffer | undefined, greeting: Buffer | undefined, peer: PeerReader | undefined): void {
    const down = this.#down;
    this.#peer = peer;
    this.#first = first !== undefined && first.length > 0 ? first : undefined;
    // Until there is an upstream one piece is read: it then leaves with the first write.
    if (this.#first !== undefined) down.pause();
    down.on('data', (bytes: Buffer) => this.#fromDown(bytes));
    down.on('end', () => this.#downEnd());
    down.on('drain', () => this.#up.resume());
    down.on('error', (error: Error) => this.#downGone((error as { code?: string }).code === 'ECONNRESET'));
    down.on('close', () => this.#downGone(false));
    this.#env.observer.tcpOpened(this.#info, this.#plan.context);
    this.#reportLater();
    const longest = this.#plan.maxDurationMs(this.#env.random);
    if (longest > 0) this.#duration = this.#timer(DURATION, longest);
    if (this.#plan.logIntervalMs > 0) this.#log = this.#timer(LOG, this.#plan.logIntervalMs);
    this.#up.owner = this;
    if (this.#up.connected) this.onUpstreamConnected();
    else this.#up.begin();
    if (greeting !== undefined && !this.#over) this.onUpstreamData(greeting);
  }

  destroy(): void {
    this.#close('');
  }

  onTimer(kind: number): void {
    if (this.#over) return;
    if (kind === PROGRESS) {
      this.#env.observer.tcpProgress(this.#info, this.#plan.context);
      this.#reportLater();
    } else if (kind === LOG) {
      this.#writeLog('TcpPeriodic');
      if (this.#log !== undefined) this.#env.wheel.arm(this.#log, this.#plan.logIntervalMs);
    } else if (kind === IDLE) this.#expire('tcp_session_idle_timeout');
    else {
      this.#info.setFlag(FLAG.DT);
      this.#expire('max_connection_duration_reached');
    }
  }

  #reportLater(): void {
    const ms = this.#plan.context.reportMs ?? TCP_PROGRESS_MS;
    if (ms > 0) this.#env.wheel.arm(this.#progress, ms);
  }

  // --- UpstreamOwner ---

  onUpstreamConnected(): void {
    if (this.#over || this.#connected) return;
    this.#connected = true;
    const first = this.#first;
    this.#first = undefined;
    if (this.#plan.logsConnect) this.#writeLog('TcpUpstreamConnected');
    if (first === undefined) this.#touch();
    else this.#fromDown(first);
    if (this.#downEnded) this.#up.end();
    else this.#down.resume();
  }

  onUpstreamFailed(code: number): void {
    this.#info.downstreamLocalCloseReason = `tcp_initializion_failure:${code}`;
    // As a kernel does with bytes that nobody took: their sender learns that they were lost.
    this.#failed = true;
    this.#close('', this.#first !== undefined || this.#down.readableLength > 0);
  }

  onUpstreamData(bytes: Buffer): void {
    if (this.#over) return; // what comes while the last of the other way leaves is nobody's
    this.#info.bytesSent += bytes.length;
    this.#touch();
    if (!this.#down.write(bytes)) this.#up.pause();
  }

  onUpstreamEnd(): void {
    this.#upEnded = true;
    this.#down.end();
    if (this.#downEnded) this.#close('');
  }

  onUpstreamDrain(): void {
    this.#down.resume();
  }

  onUpstreamClosed(reset: boolean): void {
    if (reset) this.#info.setFlag(FLAG.UR);
    this.#close('', reset);
  }

  // --- downstream ---

  #fromDown(bytes: Buffer): void {
    if (this.#over) return;
    if (!this.#connected) {
      // A socket may hand out what it had read when it was paused.
      this.#first = this.#first === undefined ? bytes : Buffer.concat([this.#first, bytes]);
      this.#down.pause();
      return;
    }
    if (this.#peer === undefined) this.#forward(bytes);
    else this.#readPeer(this.#peer, bytes);
  }

  #readPeer(peer: PeerReader, bytes: Buffer): void {
    const rest = peer.read(bytes);
    if (peer.broken) this.#close('', true);
    if (!peer.done || peer.broken) return;
    this.#peer = undefined;
    if (peer.peer !== undefined) this.#info.filterState[DOWNSTREAM_PEER] = peer.peer;
    if (rest !== undefined) this.#forward(rest);
  }

  #forward(bytes: Buffer): void {
    this.#info.bytesReceived += bytes.length;
    this.#touch();
    if (!this.#up.write(bytes)) this.#down.pause();
  }

  #downEnd(): void {
    this.#downEnded = true;
    if (this.#upEnded) this.#close('');
    else if (this.#connected) this.#up.end();
  }

  #downGone(reset: boolean): void {
    if (this.#over) return;
    this.#close('', reset);
  }

  #expire(reason: string): void {
    this.#info.upstreamLocalCloseReason = reason;
    this.#info.downstreamLocalCloseReason = reason;
    this.#close(reason);
  }

  #close(reason: string, reset = false): void {
    if (this.#over) return;
    this.#over = true;
    const wheel = this.#env.wheel;
    for (const timer of [this.#idle, this.#progress, this.#duration, this.#log]) if (timer !== undefined) wheel.drop(timer);
    // Who was idle or out of time has had its time; otherwise a slow reader may take the rest.
    const lingerMs = reason !== '' ? FLUSH_CHECK_MS : STREAM_IDLE_TIMEOUT_MS;
    const info = this.#info;
    if (info.upstreamDetectedCloseType === '' && info.upstreamHost !== '') info.upstreamDetectedCloseType = 'Normal';
    this.#up.close(lingerMs, reset);
    if (reset) resetSocket(this.#down);
    else if (this.#failed && !('encrypted' in this.#down)) this.#down.destroy();
    else closeSoon(wheel, this.#down, lingerMs);
    info.endTime = this.#env.clock.wallMs();
    this.#ended(info);
    info.accessLogType = 'TcpConnectionEnd';
    this.#env.observer.tcpClosed(info, this.#plan.context);
  }

  #writeLog(type: string): void {
    this.#info.accessLogType = type;
    this.#info.endTime = this.#env.clock.wallMs();
    this.#env.observer.tcpLog(this.#info, this.#plan.context);
  }

  #touch(): void {
    if (this.#plan.idleTimeoutMs > 0) this.#env.wheel.arm(this.#idle, this.#plan.idleTimeoutMs);
  }

  #timer(kind: number, delayMs: number): WheelTimer {
    const timer = new WheelTimer(this, kind);
    this.#env.wheel.arm(timer, delayMs);
    return timer;
  }
}
