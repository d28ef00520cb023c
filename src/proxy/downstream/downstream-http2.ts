// One HTTP/2 connection from a client: its streams, each with an exchange of a small pool, its end in two GOAWAYs, its timeouts.
// It knows nothing of routes or upstreams; framing and validity are the machine's.

import type { BlockList, Socket } from 'node:net';
import { FLAG, type ResponseFlag } from '../../plan/response-flag.ts';
import { StreamInfo } from '../../plan/stream-info.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { Http2Connection, type Http2Owner } from '../../wire/http2-connection.ts';
import { H2 } from '../../wire/http2-frame.ts';
import type { Http2Stream } from '../../wire/http2-stream.ts';
import { type DownstreamFacts, describeConnection } from '../connection-facts.ts';
import type { HcmPlan } from '../exchange/hcm-plan.ts';
import { earlyReply } from '../exchange/local-reply-map.ts';
import { FLUSH_CHECK_MS, GOAWAY_ROUND_TRIP_MS, IDLE_EXCHANGES_MAX, STREAM_IDLE_TIMEOUT_MS } from '../limits.ts';
import { PROCESS_FACTS } from '../process-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { Http2Keepalive } from '../sockets/http2-keepalive.ts';
import { Http2Output } from '../sockets/http2-output.ts';
import { closeSoon } from '../sockets/socket-linger.ts';
import { TimerSet } from '../timer-set.ts';
import { DownstreamHttp2Stream } from './downstream-http2-stream.ts';

const IDLE = 0;
const DRAIN = 1;
const DURATION = 2;
const LINGER = 3;
const TRIM = 4;
const HEAD = 5;
const TRIM_AFTER_MS = 10_000;
/** Exchanges a quiet connection keeps. */
const SPARE_KEPT = 2;
/** Streams with slow clients are looked through when there are so many, or twice as many as were found open. */
const LINGER_SWEEP = 32;

export class DownstreamHttp2 implements Http2Owner {
  readonly machine: Http2Connection;
  readonly internalRanges: BlockList | undefined;
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #socket: Socket;
  readonly #facts: DownstreamFacts;
  readonly #output: Http2Output;
  readonly #timers: TimerSet;
  readonly #keepalive: Http2Keepalive | undefined;
  readonly #ended: () => void;
  #live = 0;
  readonly #spare: DownstreamHttp2Stream[] = [];
  /** Answered, but not taken by their client yet; `user` says how much was left. */
  #lingering: Http2Stream[] = [];
  #sweepAt = LINGER_SWEEP;
  #served = 0;
  /** Bytes of one read are being handed on. */
  reading = false;
  #touched: DownstreamHttp2Stream[] = [];
  /** Whose upstream was stopped because interim responses gather here. */
  #stalled: DownstreamHttp2Stream[] = [];
  #draining: 'no' | 'told' | 'late' | 'final' = 'no';
  /** The client has answered a PING sent behind the first GOAWAY: it knows. */
  #heard = false;
  /** The stream whose head has begun and is not whole; 0 none. */
  #unread = 0;
  #disconnected = false;
  #closing = false;
  #closed = false;

  /** `ended` is called once, when the connection is over. */
  constructor(
    env: ProxyEnvironment,
    plan: HcmPlan,
    internalRanges: BlockList | undefined,
    socket: Socket,
    facts: DownstreamFacts,
    ended: () => void,
  ) {
    this.#env = env;
    this.#plan = plan;
    this.internalRanges = internalRanges;
    this.#socket = socket;
    this.#facts = facts;
    this.#ended = ended;
    facts.live?.speaks('http2');
    this.machine = new Http2Connection('server', this, plan.http2);
    this.#output = new Http2Output(socket, this.machine, env.turn);
    this.#timers = new TimerSet(env.wheel, this);
    this.#keepalive =
      plan.keepalive === undefined
        ? undefined
        : new Http2Keepalive(plan.keepalive, env.wheel, env.random, {
            ping: () => this.machine.ping(),
            pingLost: () => this.destroy(),
          });
    socket.on('data', (bytes: Buffer) => this.#data(bytes));
    socket.on('end', () => this.#peerEnded());
    socket.on('close', () => this.#gone());
    socket.on('drain', () => this.#drain());
    this.#armIdle();
    if (plan.maxConnectionDurationMs > 0) this.#timers.arm(DURATION, plan.maxConnectionDurationMs);
  }

  /** Bytes that came before this connection was made. */
  start(first: Buffer | undefined): void {
    this.#output.wake();
    if (first !== undefined && first.length > 0) this.#data(first);
    this.#socket.resume();
  }

  /** Says that it will end, takes what is on its way for the drain time and at least a round trip, then no more, finishes and closes. */
  drain(): void {
    if (this.#draining !== 'no' || this.#closing) return;
    this.#draining = 'told';
    this.machine.goaway(H2.NO_ERROR, false);
    this.machine.ping();
    this.#timers.arm(DRAIN, this.#plan.drainTimeoutMs);
  }

  #drained(): void {
    if (this.#draining === 'told' && !this.#heard) {
      this.#draining = 'late';
      this.#timers.arm(DRAIN, GOAWAY_ROUND_TRIP_MS);
      return;
    }
    this.#draining = 'final';
    this.machine.goaway(H2.NO_ERROR, true);
    if (this.#live === 0) this.#closeWhenDone();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  get busy(): boolean {
    return this.#live > 0;
  }

  // --- Http2Owner ---

  onHead(stream: Http2Stream, endStream: boolean): void {
    this.#served++;
    const most = this.#plan.requestsPerConnection;
    if (this.#env.draining || (most > 0 && this.#served >= most)) this.drain();
    if (this.#live === 0) {
      this.#timers.disarm(IDLE);
      this.#keepalive?.busy();
    }
    const served = this.#spare.pop() ?? new DownstreamHttp2Stream(this.#env, this.#plan, this, this.#facts);
    this.#live++;
    served.live = true;
    served.begin(stream, endStream);
  }
  onInformational(): void {}
  onData(stream: Http2Stream, buf: Buffer, start: number, end: number): void {
    const served = servedBy(stream);
    if (served === undefined) stream.consume(end - start);
    else served.onData(buf, start, end);
  }
  onTrailers(stream: Http2Stream, trailers: HeaderBlock): void {
    servedBy(stream)?.onTrailers(trailers);
  }
  onEnd(stream: Http2Stream): void {
    servedBy(stream)?.onEnd();
  }
  onReset(stream: Http2Stream, _code: number, remote: boolean): void {
    const served = servedBy(stream);
    if (served === undefined) return;
    if (this.#disconnected) served.onReset('disconnect');
    else if (remote) served.onReset('reset');
    else served.onReset('protocol', this.machine.verdict);
  }
  onWritable(stream: Http2Stream): void {
    servedBy(stream)?.onWritable();
  }
  onGoaway(): void {}
  onPeerSettings(): void {}
  onPingAck(): void {
    this.#keepalive?.acked();
    if (this.#draining === 'no') return;
    this.#heard = true;
    if (this.#draining === 'late') this.#drained();
  }
  onError(): void {
    this.#close();
  }
  onHeadRefused(detail: string): void {
    this.#logRefused(detail, OF_ONE_STREAM.has(detail) ? FLAG.DR : FLAG.DPE);
  }
  // A head that breaks the rules never becomes a request; it is logged all the same.
  #logRefused(details: string, flag: ResponseFlag): void {
    const info = this.#unserved();
    info.responseCodeDetails = details;
    info.setFlag(flag);
    this.#env.observer.httpDone(info, undefined, undefined, undefined, this.#plan.context);
  }
  #unserved(): StreamInfo {
    const info = new StreamInfo(PROCESS_FACTS);
    describeConnection(info, this.#facts);
    info.startTime = this.#env.clock.wallMs();
    info.endTime = info.startTime;
    info.protocol = 'HTTP/2';
    return info;
  }

  onOutput(): void {
    if (!this.reading) this.#output.wake();
  }

  // --- called by its streams ---

  /** After this read, what it sends upstream is to be flushed. */
  /** Heads have gathered. True when the client does not take them: the stream is told once there is room again. */
  stalls(stream: DownstreamHttp2Stream): boolean {
    this.#output.flushTurn();
    if (!this.machine.crowded) return false;
    if (!this.#stalled.includes(stream)) this.#stalled.push(stream);
    return true;
  }

  touched(stream: DownstreamHttp2Stream): void {
    this.#touched.push(stream);
  }

  streamOver(stream: DownstreamHttp2Stream): void {
    if (!stream.live) return;
    stream.live = false;
    this.#live--;
    if (this.#closed || this.#spare.length >= IDLE_EXCHANGES_MAX) stream.exchange.close();
    else this.#spare.push(stream);
    if (this.#live > 0) return;
    if (this.#spare.length > SPARE_KEPT) this.#timers.arm(TRIM, TRIM_AFTER_MS);
    this.#keepalive?.idle();
    if (this.#draining === 'final') this.#closeWhenDone();
    else if (!this.#closing) this.#armIdle();
  }

  /** A response that is whole here and not yet with its slow client. */
  linger(stream: Http2Stream): void {
    if (this.#lingering.length >= this.#sweepAt) this.#sweep();
    stream.user = stream.queuedBytes;
    this.#lingering.push(stream);
    if (!this.#timers.armed(LINGER)) this.#timers.arm(LINGER, this.#plan.streamIdleTimeoutMs || STREAM_IDLE_TIMEOUT_MS);
  }

  // A connection that has fallen quiet does not keep what its busiest time needed.
  #trim(): void {
    if (this.#live > 0) return;
    for (const stream of this.#spare.splice(SPARE_KEPT)) stream.exchange.close();
  }

  /** Forgets those whose client has taken all. */
  #sweep(): void {
    const open: Http2Stream[] = [];
    for (const stream of this.#lingering) {
      if (stream.closed) stream.release();
      else open.push(stream);
    }
    this.#lingering = open;
    this.#sweepAt = Math.max(LINGER_SWEEP, open.length * 2);
  }

  // Whoever has taken nothing for so long gets no more.
  #lingered(): void {
    this.#sweep();
    for (const stream of this.#lingering) {
      const before = stream.user as number;
      stream.user = stream.queuedBytes;
      if (stream.queuedBytes >= before) stream.reset(H2.INTERNAL_ERROR);
    }
    this.#sweep();
    if (this.#lingering.length > 0) this.#timers.arm(LINGER, this.#plan.streamIdleTimeoutMs || STREAM_IDLE_TIMEOUT_MS);
  }

  onTimer(kind: number): void {
    if (this.#closing) return;
    if (kind === LINGER) this.#lingered();
    else if (kind === TRIM) this.#trim();
    else if (kind === HEAD) this.#headLate();
    else if (kind === DRAIN && this.#draining === 'final') this.#closeWhenDone();
    else if (kind === DRAIN) this.#drained();
    else {
      const ledger = this.#facts.live?.ledger;
      if (ledger !== undefined && kind === IDLE) ledger.idleTimeouts++;
      else if (ledger !== undefined) ledger.maxDurations++;
      this.drain();
    }
  }

  // --- reading ---

  // A broken invariant of ours costs this connection, never the process.
  #data(bytes: Buffer): void {
    if (this.#closing) return;
    this.reading = true;
    this.machine.nowMs = this.#env.wheel.now();
    try {
      this.machine.execute(bytes, 0, bytes.length);
    } catch (problem) {
      this.#env.log.error('connection given up', { problem: problem instanceof Error ? (problem.stack ?? problem.message) : 'unknown' });
      this.#socket.destroy();
    }
    this.reading = false;
    const touched = this.#touched;
    for (const stream of touched) {
      stream.touched = false;
      stream.exchange.flushRequest();
    }
    touched.length = 0;
    if (this.#plan.headTimeout.ms > 0) this.#watchHead();
    this.#output.flushTurn();
    if (this.machine.crowded) this.#socket.pause();
  }

  // Answers without a body stand under no window: their client's requests wait until it has taken them.
  #drain(): void {
    this.#output.drained();
    if (this.machine.crowded) return;
    this.#socket.resume();
    if (this.#stalled.length === 0) return;
    const stalled = this.#stalled;
    this.#stalled = [];
    for (const stream of stalled) stream.onWritable();
  }

  #watchHead(): void {
    const unread = this.#closing ? 0 : this.machine.unreadHead;
    if (unread === this.#unread) return;
    this.#unread = unread;
    if (unread === 0) this.#timers.disarm(HEAD);
    else this.#timers.arm(HEAD, this.#plan.headTimeout.ms);
  }

  // As Envoy: the stream is answered and ended, the connection goes on.
  #headLate(): void {
    const headers = new HeaderBlock();
    const info = this.#unserved();
    const { status, body } = earlyReply(this.#plan.localReplies, this.#plan.headTimeout.reply, info, new HeaderBlock(), headers);
    headers.setById(H.DATE, this.#env.date());
    headers.setById(H.SERVER, this.#plan.serverName);
    const bytes = this.machine.answerUnread(status, headers, body);
    this.#unread = 0;
    if (bytes === 0) return;
    this.#served++;
    info.responseHeadersBytes = bytes;
    this.#env.observer.httpDone(info, undefined, undefined, undefined, this.#plan.context);
  }

  #peerEnded(): void {
    this.#disconnected = true;
    this.machine.finish();
    this.#close();
  }

  #armIdle(): void {
    if (this.#plan.idleTimeoutMs > 0) this.#timers.arm(IDLE, this.#plan.idleTimeoutMs);
  }

  // Streams whose exchange is over may still have bytes for a slow client.
  #closeWhenDone(): void {
    if (this.#closing) return;
    if (this.machine.activeStreams === 0 || this.machine.done) this.#close();
    else this.#timers.arm(DRAIN, FLUSH_CHECK_MS);
  }

  #close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#timers.disarmAll();
    this.#keepalive?.stop();
    this.#output.last();
    this.#socket.resume();
    closeSoon(this.#env.wheel, this.#socket, Math.max(this.#plan.delayedCloseMs, FLUSH_CHECK_MS));
  }

  #gone(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closing = true;
    this.#disconnected = true;
    this.#timers.drop();
    this.#keepalive?.stop();
    this.machine.finish();
    for (const stream of this.#spare) stream.exchange.close();
    this.#ended();
  }
}

/** Envoy takes back a request whose head is too large; all others have broken the protocol. */
/** Refusals that Envoy writes down as resets. */
const OF_ONE_STREAM: ReadonlySet<string> = new Set([
  'http2.too_many_headers',
  'http2.header_list_size_too_large',
  'http2.unexpected_underscore',
]);

const servedBy = (stream: Http2Stream): DownstreamHttp2Stream | undefined =>
  stream.user instanceof DownstreamHttp2Stream ? stream.user : undefined;
