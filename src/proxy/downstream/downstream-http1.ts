// One HTTP/1 connection from a client: reads requests one after the other, hands each to its exchange, writes what the exchange
// answers. It knows framing, keep-alive, back-pressure and closing, and nothing of routes or upstreams.

import type { BlockList, Socket } from 'node:net';
import { FLAG } from '../../plan/response-flag.ts';
import { StreamInfo } from '../../plan/stream-info.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { Http1Parser, type Http1Problem, type Http1Sink } from '../../wire/http1-parser.ts';
import { CONTINUE_HEAD, STATUS_REASONS } from '../../wire/http1-writer.ts';
import { type DownstreamFacts, describeConnection } from '../connection-facts.ts';
import type { DownstreamStream } from '../exchange/downstream-stream.ts';
import { Exchange } from '../exchange/exchange.ts';
import type { HcmPlan } from '../exchange/hcm-plan.ts';
import type { LocalReply } from '../exchange/local-reply.ts';
import { earlyReply } from '../exchange/local-reply-map.ts';
import { appendVia } from '../exchange/request-headers.ts';
import { changesProtocol } from '../exchange/response-head.ts';
import { FLUSH_CHECK_MS, STREAM_IDLE_TIMEOUT_MS } from '../limits.ts';
import { PROCESS_FACTS } from '../process-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { SocketOutput } from '../sockets/socket-output.ts';
import { WheelTimer } from '../timer-wheel.ts';

const IDLE = 0;
const CLOSING = 1;
const HEADERS = 2;
const AGE = 3;

export class DownstreamHttp1 implements Http1Sink, DownstreamStream {
  readonly internalRanges: BlockList | undefined;
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #socket: Socket;
  readonly #facts: DownstreamFacts;
  readonly #parser: Http1Parser;
  readonly #exchange: Exchange;
  readonly #output: SocketOutput;
  readonly #idle: WheelTimer;
  /** Ends a connection that is too old and idle; there is none without a bound. */
  readonly #age: WheelTimer | undefined;
  readonly #closing: WheelTimer;
  readonly #headTimer: WheelTimer;
  readonly #ended: () => void;
  /** Read but not parsed: what stands behind a request still being answered. */
  #backlog: Buffer | undefined;
  #reading = false;
  #keepAlive = true;
  #closeAfter = false;
  #closed = false;
  #tunnel = false;
  #served = 0;
  #http10 = false;
  /** Until then a client that reads slowly may take what is written; 0: not at all. */
  #flushBy = 0;

  /** `ended` is called once, when the connection is over. `first`: bytes read while the listener looked. */
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
    facts.live?.speaks('http1');
    this.#parser = new Http1Parser('request', this, plan.parserLimits);
    this.#output = new SocketOutput(socket, env.responseWriter);
    this.#exchange = new Exchange(env, plan, this, facts);
    this.#idle = new WheelTimer(this, IDLE);
    this.#closing = new WheelTimer(this, CLOSING);
    this.#headTimer = new WheelTimer(this, HEADERS);
    socket.on('data', (bytes: Buffer) => this.#data(bytes));
    socket.on('end', () => this.#peerEnded());
    socket.on('close', () => this.#gone());
    socket.on('drain', () => this.#drained());
    this.#armIdle();
    const { maxConnectionDurationMs: longest, drainTimeoutMs } = plan;
    if (longest > 0) {
      this.#age = new WheelTimer(this, AGE);
      env.wheel.arm(this.#age, longest + drainTimeoutMs);
    }
  }

  /** Bytes that came before this connection was made. */
  start(first: Buffer | undefined): void {
    if (first !== undefined && first.length > 0) this.#data(first);
    this.#socket.resume();
  }

  get protocol(): 'HTTP/1.0' | 'HTTP/1.1' {
    return this.#http10 ? 'HTTP/1.0' : 'HTTP/1.1';
  }
  get reading(): boolean {
    return this.#reading;
  }
  get requestLength(): number {
    return this.#parser.contentLength;
  }
  get bufferBytes(): number {
    return this.#socket.writableHighWaterMark;
  }
  get busy(): boolean {
    return this.#exchange.active;
  }

  /** Says `connection: close` with the next response. An idle connection stays: closing it could lose a request on its way. */
  drain(): void {
    this.#closeAfter = true;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  // --- Http1Sink ---

  onHead(parser: Http1Parser): void {
    this.#env.wheel.disarm(this.#idle);
    this.#env.wheel.disarm(this.#headTimer);
    this.#served++;
    this.#http10 = parser.versionMinor === 0;
    this.#keepAlive = parser.keepAlive;
    const most = this.#plan.requestsPerConnection;
    if (this.#env.draining || (most > 0 && this.#served >= most)) this.#closeAfter = true;
    const longest = this.#plan.maxConnectionDurationMs;
    if (longest > 0 && this.#env.clock.wallMs() - this.#facts.startMs >= longest) this.#closeAfter = true;
    if (!this.#plan.proxy100Continue && parser.headers.hasId(H.EXPECT)) this.#expectation(parser);
    this.#exchange.begin(parser);
  }

  // The client waits for leave to send its body; Envoy gives it and keeps the header from the upstream.
  #expectation(parser: Http1Parser): void {
    if (parser.headers.getById(H.EXPECT)?.toLowerCase() !== '100-continue') return;
    parser.headers.removeById(H.EXPECT);
    // RFC 9110 10.1.1: HTTP/1.0 has no such answer.
    if (!this.#http10) this.#socket.write(CONTINUE_HEAD);
  }

  onBody(buf: Buffer, start: number, end: number): void {
    this.#exchange.onRequestBody(buf, start, end);
  }
  onTrailers(trailers: HeaderBlock): void {
    if (this.#plan.enableTrailers) this.#exchange.onRequestTrailers(trailers);
  }
  onEnd(): void {
    if (!this.#tunnel) this.#exchange.onRequestEnd();
  }

  onError(problem: Http1Problem): void {
    this.#closeAfter = true;
    if (this.#exchange.active) {
      this.#exchange.info.setFlag(FLAG.DPE);
      const status = problem.status;
      this.#exchange.reply({ status, body: STATUS_REASONS[status] ?? 'Bad Request', details: problem.code, flag: undefined });
      return;
    }
    this.#refuse(problem);
  }

  // A head that cannot be read: answered as Envoy's codec does, logged with what is known.
  #refuse(problem: Http1Problem): void {
    const { status, code } = problem;
    if (code === 'missing_host_header') this.#answer({ status, body: '', details: code, flag: undefined });
    else this.#answer({ status, body: STATUS_REASONS[status] ?? 'Bad Request', details: code, flag: FLAG.DPE });
  }

  /** A request that never was: there is no exchange to answer it. */
  #answer(reply: LocalReply): void {
    const parser = this.#parser;
    const info = this.#unknown();
    info.method = parser.method;
    // A head that was refused early has not been taken apart.
    info.path = parser.path === '' ? parser.target : parser.path;
    const headers = new HeaderBlock();
    const { status, body } = earlyReply(this.#plan.localReplies, reply, info, parser.headers, headers);
    headers.setById(H.DATE, this.#env.date());
    headers.setById(H.SERVER, this.#plan.serverName);
    const writer = this.#env.responseWriter;
    writer.statusLine(status, '');
    writer.fields(headers);
    writer.ownLine(headers, CLOSE_LINE);
    writer.endHead();
    if (parser.method !== 'HEAD') writer.append(body);
    this.#socket.write(writer.take());
    const isNone = reply.flag === FLAG.DPE || parser.inHead;
    // As Envoy: of a message that is none, nothing but the answer is told.
    if (isNone) info.method = info.path = '';
    this.#env.observer.httpDone(info, isNone ? undefined : parser.headers, undefined, undefined, this.#plan.context);
    this.#end();
  }

  /** As Envoy: a client that leaves inside a head is told of, and nothing of its request. */
  #leftInHead(): void {
    if (!this.#parser.inHead || this.#closing.armed) return;
    this.#parser.stop();
    const info = this.#unknown();
    info.setFlag(FLAG.DC);
    info.responseCodeDetails = 'downstream_remote_disconnect';
    this.#env.observer.httpDone(info, undefined, undefined, undefined, this.#plan.context);
  }

  #unknown(): StreamInfo {
    const info = new StreamInfo(PROCESS_FACTS);
    describeConnection(info, this.#facts);
    info.startTime = this.#env.clock.wallMs();
    info.endTime = info.startTime;
    info.protocol = 'HTTP/1.1';
    return info;
  }

  // --- called by the exchange ---

  /** True: the body is to be written in chunks. */
  writeHead(status: number, _reason: string, headers: HeaderBlock, streamed: boolean, hasBody: boolean, requestDone: boolean): boolean {
    const plan = this.#plan;
    let chunked = false;
    if (streamed && hasBody) {
      if (this.#http10) this.#keepAlive = false;
      else chunked = true;
    }
    if (!requestDone) this.#closeAfter = true;
    if (this.#env.draining) this.#closeAfter = true;
    if (plan.serverHeader === 'OVERWRITE' || (plan.serverHeader === 'APPEND_IF_ABSENT' && !headers.hasId(H.SERVER)))
      headers.setById(H.SERVER, plan.serverName);
    if (plan.via !== '') appendVia(headers, plan.via);
    if (!headers.hasId(H.DATE)) headers.setById(H.DATE, this.#env.date());
    if (plan.properCaseResponses && !headers.cased) headers.proper = true;
    const writer = this.#env.responseWriter;
    writer.statusLine(status, '');
    writer.fields(headers);
    if (chunked) writer.ownLine(headers, CHUNKED_LINE);
    // HTTP/2 ends a message without saying its length; a client of HTTP/1 would wait for more. As Envoy: to HEAD it is chunked.
    else if (!hasBody && status >= 200 && status !== 204 && status !== 304 && !headers.hasId(H.CONTENT_LENGTH)) {
      if (this.#parser.method !== 'HEAD') writer.append(EMPTY_LINE);
      else if (!this.#http10) writer.ownLine(headers, CHUNKED_LINE);
    }
    if (status !== 101 && !(this.#parser.method === 'CONNECT' && changesProtocol('connect', status))) {
      if (this.#closeAfter || !this.#keepAlive) {
        writer.ownLine(headers, CLOSE_LINE);
        this.#exchange.info.lastAnswer = true;
      } else if (this.#http10) writer.ownLine(headers, KEEP_ALIVE_LINE);
    }
    writer.endHead();
    const head = writer.take();
    this.#exchange.info.responseHeadersBytes = head.length;
    this.#output.push(head);
    return chunked;
  }

  /** False: the client takes no more now. */
  writeInformational(status: number, _reason: string, headers: HeaderBlock): boolean {
    const writer = this.#env.responseWriter;
    writer.statusLine(status, '');
    writer.fields(headers);
    writer.endHead();
    return this.#closed || this.#socket.write(writer.take());
  }

  writeBody(buf: Buffer, start: number, end: number, chunked: boolean): boolean {
    return this.#closed || this.#output.body(buf, start, end, chunked);
  }

  endBody(chunked: boolean, trailers: HeaderBlock | undefined): void {
    this.#output.end(chunked, this.#plan.enableTrailers ? trailers : undefined);
  }

  flush(): void {
    if (!this.#closed) this.#output.flush();
  }

  closeAfterResponse(): void {
    this.#closeAfter = true;
  }

  /** The exchange is over: the next request, or the end. */
  next(): void {
    if (this.#closed) return;
    if (this.#closeAfter || !this.#keepAlive) {
      this.#end();
      return;
    }
    this.resumeReading();
    if (this.#parser.paused) this.#parser.resume();
    this.#armIdle();
    if (!this.#reading && this.#backlog !== undefined) this.#read();
  }

  pauseReading(): void {
    this.#socket.pause();
  }

  resumeReading(): void {
    if (this.#backlog === undefined) this.#socket.resume();
  }

  beginTunnel(): void {
    this.#tunnel = true;
    this.#parser.stop();
    const backlog = this.#backlog;
    this.#backlog = undefined;
    this.#socket.resume();
    if (backlog !== undefined) this.#exchange.fromDownstreamTunnel(backlog);
  }

  tunnelWrite(buf: Buffer): boolean {
    return this.#closed || this.#socket.write(buf);
  }

  tunnelEnd(): void {
    this.#socket.end();
  }

  /** What is written may still leave, for a moment: a client that has stopped reading must not keep the socket. */
  closeNow(): void {
    this.#socket.destroySoon();
    if (!this.#closed) this.#env.wheel.arm(this.#closing, Math.max(this.#plan.delayedCloseMs, FLUSH_CHECK_MS));
  }

  onTimer(kind: number): void {
    const ledger = this.#facts.live?.ledger;
    if (ledger !== undefined && kind === IDLE) ledger.idleTimeouts++;
    else if (ledger !== undefined && kind === AGE) ledger.maxDurations++;
    if (kind === IDLE || (kind === AGE && !this.#exchange.active)) this.#end();
    else if (kind === AGE) this.#closeAfter = true;
    else if (kind === HEADERS) this.#answer(this.#plan.headTimeout.reply);
    else if (this.#socket.writableLength > 0 && this.#env.clock.monotonicMs() < this.#flushBy)
      this.#env.wheel.arm(this.#closing, Math.max(this.#plan.delayedCloseMs, FLUSH_CHECK_MS));
    else this.#socket.destroy();
  }

  // --- reading ---

  #data(bytes: Buffer): void {
    if (this.#closed) return;
    if (this.#tunnel) {
      this.#exchange.fromDownstreamTunnel(bytes);
      return;
    }
    if (this.#backlog !== undefined) this.#backlog = Buffer.concat([this.#backlog, bytes]);
    else this.#backlog = bytes;
    if (!this.#reading) this.#read();
  }

  #read(): void {
    this.#reading = true;
    while (this.#backlog !== undefined && !this.#closed && !this.#tunnel && !this.#parser.paused && !this.#full) {
      const bytes = this.#backlog;
      this.#backlog = undefined;
      const taken = this.#execute(bytes);
      if (taken < bytes.length && !this.#closed) {
        const rest = bytes.subarray(taken);
        if (this.#tunnel) this.#exchange.fromDownstreamTunnel(rest);
        else this.#backlog = rest;
      }
      this.#exchange.flushRequest();
      if (this.#closing.armed) break;
      // Answered before its request was read to the end.
      if (this.#parser.paused && !this.#exchange.active) this.#parser.resume();
    }
    this.#reading = false;
    if (this.#closed || this.#tunnel) return;
    if (this.#backlog !== undefined) {
      this.#socket.pause();
      return;
    }
    // Paused while a backlog stood here; the rest of its last head must still come.
    if (!this.#exchange.active && !this.#closing.armed) this.#socket.resume();
    if (this.#plan.headTimeout.ms > 0 && !this.#exchange.active && !this.#parser.idle && !this.#headTimer.armed) {
      this.#env.wheel.disarm(this.#idle);
      this.#env.wheel.arm(this.#headTimer, this.#plan.headTimeout.ms);
    }
  }

  /** Between requests: the client has not taken the answers it has, so its next request waits. */
  get #full(): boolean {
    return this.#socket.writableNeedDrain && !this.#exchange.active;
  }

  #drained(): void {
    this.#exchange.onDownstreamDrain();
    if (!this.#reading && this.#backlog !== undefined && !this.#exchange.active && !this.#closing.armed) this.#read();
  }

  // A broken invariant of ours costs this connection, never the process.
  #execute(bytes: Buffer): number {
    try {
      return this.#parser.execute(bytes, 0, bytes.length);
    } catch (problem) {
      this.#env.log.error('connection given up', { problem: problem instanceof Error ? (problem.stack ?? problem.message) : 'unknown' });
      this.#socket.destroy();
      this.#exchange.downstreamGone();
      return bytes.length;
    }
  }

  // As Envoy: a client that ends its side while waiting has gone away.
  #peerEnded(): void {
    if (this.#tunnel) {
      this.#exchange.downstreamTunnelEnd();
      return;
    }
    if (this.#exchange.active) this.#exchange.downstreamGone();
    else this.#leftInHead();
    this.closeNow();
  }

  #armIdle(): void {
    if (this.#plan.idleTimeoutMs > 0) this.#env.wheel.arm(this.#idle, this.#plan.idleTimeoutMs);
  }

  // Ends our side, lets the client finish reading, closes in any case soon.
  #end(): void {
    if (this.#closed || this.#closing.armed) return;
    this.#backlog = undefined;
    this.#parser.stop();
    this.#socket.end();
    this.#socket.resume();
    this.#env.wheel.disarm(this.#idle);
    this.#flushBy = this.#env.clock.monotonicMs() + (this.#plan.streamIdleTimeoutMs || STREAM_IDLE_TIMEOUT_MS);
    this.#env.wheel.arm(this.#closing, Math.max(this.#plan.delayedCloseMs, 0));
  }

  #gone(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of [this.#idle, this.#closing, this.#headTimer]) this.#env.wheel.drop(timer);
    if (this.#age !== undefined) this.#env.wheel.drop(this.#age);
    this.#output.drop();
    this.#exchange.downstreamGone();
    this.#leftInHead();
    this.#exchange.close();
    this.#ended();
  }
}

const EMPTY_LINE = Buffer.from('content-length: 0\r\n');
const CHUNKED_LINE = Buffer.from('transfer-encoding: chunked\r\n');
const CLOSE_LINE = Buffer.from('connection: close\r\n');
const KEEP_ALIVE_LINE = Buffer.from('connection: keep-alive\r\n');
