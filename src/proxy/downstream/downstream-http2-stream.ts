// One stream of an HTTP/2 connection from a client: the request as its exchange reads it, and the answer back into frames. The
// object and its exchange serve one stream after the other. What it does not take upstream it does not give back to the client's window.

import type { BlockList } from 'node:net';
import { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { H2, STREAM_WINDOW_DEFAULT } from '../../wire/http2-frame.ts';
import type { Http2Stream } from '../../wire/http2-stream.ts';
import { SmallPieces } from '../../wire/small-pieces.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { DownstreamStream, RequestHead } from '../exchange/downstream-stream.ts';
import { Exchange } from '../exchange/exchange.ts';
import type { HcmPlan } from '../exchange/hcm-plan.ts';
import { appendVia } from '../exchange/request-headers.ts';
import { changesProtocol } from '../exchange/response-head.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { DownstreamHttp2 } from './downstream-http2.ts';

const NO_HEADERS = new HeaderBlock();

/** Details of a stream that was reset, or broke the protocol, on a connection that did not fail. */
const STREAM_LOST = /\{(?:remote_re(?:set|fused_stream_reset)|protocol_error)/;

export class DownstreamHttp2Stream implements DownstreamStream, RequestHead {
  readonly protocol = 'HTTP/2';
  readonly exchange: Exchange;
  readonly internalRanges: BlockList | undefined;
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #connection: DownstreamHttp2;
  #stream: Http2Stream | undefined;
  // RequestHead.
  method = '';
  path = '';
  authority = '';
  scheme = '';
  headers: HeaderBlock = NO_HEADERS;
  bodyKind: 'none' | 'length' | 'chunked' = 'none';
  upgrade = false;
  headBytes = 0;
  requestLength = 0;
  #requestEnded = false;
  #responseEnded = false;
  /** Body bytes handed on and not given back. */
  #held = 0;
  #paused = false;
  #tunnel = false;
  /** Counted by its connection as being served. */
  live = false;
  /** Already in the connection's list of those to flush after this read. */
  touched = false;
  /** The upgrade was not agreed to: what comes behind its head is nobody's. */
  #refused = false;
  /** Came behind an upgrade's head before the upstream agreed to it. */
  #early: Buffer[] = [];
  #earlySmall: SmallPieces | undefined;

  constructor(env: ProxyEnvironment, plan: HcmPlan, connection: DownstreamHttp2, facts: DownstreamFacts) {
    this.#env = env;
    this.#plan = plan;
    this.#connection = connection;
    this.internalRanges = connection.internalRanges;
    this.exchange = new Exchange(env, plan, this, facts);
  }

  get bufferBytes(): number {
    return this.#plan.http2.initialStreamWindowSize ?? STREAM_WINDOW_DEFAULT;
  }
  get reading(): boolean {
    return this.#connection.reading;
  }

  // --- called by the connection ---

  begin(stream: Http2Stream, endStream: boolean): void {
    this.#stream = stream;
    stream.user = this;
    const headers = stream.headers;
    this.method = stream.method;
    this.path = stream.path;
    // Two hosts are none.
    const host = stream.authority === '' && headers.countId(H.HOST) === 1 ? headers.getById(H.HOST) : undefined;
    this.authority = host ?? stream.authority;
    headers.removeById(H.HOST);
    this.scheme = stream.scheme;
    this.headers = headers;
    this.headBytes = stream.headBytes;
    this.requestLength = Math.max(0, stream.contentLength);
    this.upgrade = stream.protocol !== '';
    if (this.upgrade) {
      // Inside, an upgrade is what HTTP/1 makes of it.
      this.method = 'GET';
      headers.setById(H.UPGRADE, stream.protocol);
    }
    const tunnels = this.upgrade || this.method === 'CONNECT';
    this.bodyKind = tunnels || endStream ? 'none' : stream.contentLength >= 0 ? 'length' : 'chunked';
    this.#requestEnded = endStream;
    this.#responseEnded = false;
    this.#held = 0;
    this.#paused = false;
    this.#tunnel = false;
    this.#refused = false;
    if (!endStream) this.#touch();
    if (headers.countId(H.COOKIE) > 1) headers.setById(H.COOKIE, headers.values('cookie').join('; '));
    if (!this.#plan.proxy100Continue && headers.getById(H.EXPECT)?.toLowerCase() === '100-continue') {
      headers.removeById(H.EXPECT);
      NO_HEADERS.clear();
      this.#connection.machine.inform(stream, 100, NO_HEADERS);
    }
    this.exchange.begin(this);
  }

  onData(buf: Buffer, start: number, end: number): void {
    const stream = this.#stream;
    this.#held += end - start;
    if (this.#tunnel) this.exchange.fromDownstreamTunnel(buf.subarray(start, end));
    else if (this.upgrade || this.method === 'CONNECT') {
      if (!this.#refused) {
        this.#earlySmall ??= new SmallPieces();
        this.#earlySmall.add(this.#early, buf, start, end, this.#held);
        return;
      }
    } else {
      this.exchange.onRequestBody(buf, start, end);
      this.#touch();
    }
    if (!this.#paused && this.#stream === stream) this.#giveBack();
  }

  onTrailers(trailers: HeaderBlock): void {
    if (!this.#tunnel) this.exchange.onRequestTrailers(trailers);
  }

  onEnd(): void {
    this.#requestEnded = true;
    if (this.#tunnel) this.exchange.downstreamTunnelEnd();
    else this.exchange.onRequestEnd();
  }

  /** The client's RST_STREAM, its connection's end, or an error of its. */
  onReset(gone: 'disconnect' | 'reset' | 'protocol', details?: string): void {
    const stream = this.#leave();
    this.exchange.downstreamGone(gone, details);
    stream?.release();
    this.#over();
  }

  onWritable(): void {
    this.exchange.onDownstreamDrain();
  }

  // --- called by the exchange ---

  writeHead(status: number, _reason: string, headers: HeaderBlock, _streamed: boolean, hasBody: boolean): boolean {
    const stream = this.#stream;
    if (stream === undefined) return false;
    const plan = this.#plan;
    if (this.#env.draining) this.#connection.drain();
    if (plan.serverHeader === 'OVERWRITE' || (plan.serverHeader === 'APPEND_IF_ABSENT' && !headers.hasId(H.SERVER)))
      headers.setById(H.SERVER, plan.serverName);
    if (plan.via !== '') appendVia(headers, plan.via);
    if (!headers.hasId(H.DATE)) headers.setById(H.DATE, this.#env.date());
    let sent = status;
    if (status === 101) {
      sent = 200;
      headers.removeById(H.UPGRADE);
      headers.removeById(H.CONNECTION);
    } else if ((this.upgrade || this.method === 'CONNECT') && !changesProtocol(this.exchange.upgrade, status)) {
      this.#refused = true;
      this.#early = [];
      this.#giveBack();
    }
    this.#responseEnded = !hasBody;
    const bytes = this.#connection.machine.respond(stream, sent, headers, !hasBody);
    this.exchange.info.responseHeadersBytes = bytes;
    return false;
  }

  writeInformational(status: number, _reason: string, headers: HeaderBlock): boolean {
    if (this.#stream === undefined) return true;
    const { machine } = this.#connection;
    machine.inform(this.#stream, status, headers);
    return !machine.crowded || !this.#connection.stalls(this);
  }

  writeBody(buf: Buffer, start: number, end: number): boolean {
    if (this.#stream === undefined || this.#responseEnded) return true;
    return this.#stream.writeBody(buf, start, end);
  }

  endBody(_chunked: boolean, trailers: HeaderBlock | undefined): void {
    if (this.#stream === undefined || this.#responseEnded) return;
    this.#responseEnded = true;
    this.#stream.endBody(trailers !== undefined && trailers.count > 0 ? trailers : undefined);
  }

  flush(): void {}

  closeAfterResponse(): void {}

  next(): void {
    const stream = this.#leave();
    if (stream === undefined) return;
    // Its client is slow: the response leaves by itself, but not for ever.
    if (this.#responseEnded && stream.queuedBytes > 0) {
      if (!this.#requestEnded) stream.reset(this.#unreadCode);
      this.#connection.linger(stream);
    } else {
      if (!this.#responseEnded) stream.reset(this.#cutCode);
      else if (!this.#requestEnded) stream.reset(this.#unreadCode);
      stream.release();
    }
    this.#over();
  }

  closeNow(): void {
    if (this.#responseEnded) {
      this.next(); // all was said, if not taken yet
      return;
    }
    const stream = this.#leave();
    if (stream === undefined) return;
    stream.reset(this.#cutCode);
    stream.release();
    this.#over();
  }

  /** Of a response that is cut; a tunnel says that it is its connection that broke. */
  get #cutCode(): number {
    const { responseCodeDetails: details } = this.exchange.info;
    return (this.method === 'CONNECT' && !STREAM_LOST.test(details)) || this.#connectionLost ? H2.CONNECT_ERROR : H2.INTERNAL_ERROR;
  }

  /** Of a request answered before its end; a CONNECT that came to nothing here says so. */
  get #unreadCode(): number {
    return this.#connectionLost ? H2.CONNECT_ERROR : H2.NO_ERROR;
  }

  /** Of a tunnel, upstream, and not its stream alone. */
  get #connectionLost(): boolean {
    const { responseCodeDetails: details } = this.exchange.info;
    return (this.method === 'CONNECT' || this.upgrade) && details.startsWith('upstream_reset_') && !STREAM_LOST.test(details);
  }

  pauseReading(): void {
    this.#paused = true;
  }

  resumeReading(): void {
    this.#paused = false;
    this.#giveBack();
  }

  beginTunnel(): void {
    this.#tunnel = true;
    const early = this.#early;
    this.#early = [];
    for (const bytes of early) this.exchange.fromDownstreamTunnel(bytes);
    if (!this.#paused) this.#giveBack();
    if (this.#requestEnded && this.#stream !== undefined) this.exchange.downstreamTunnelEnd();
  }

  tunnelWrite(buf: Buffer): boolean {
    return this.writeBody(buf, 0, buf.length);
  }

  tunnelEnd(): void {
    this.endBody(false, undefined);
  }

  #touch(): void {
    if (this.touched) return;
    this.touched = true;
    this.#connection.touched(this);
  }

  #giveBack(): void {
    const held = this.#held;
    if (held === 0) return;
    this.#held = 0;
    this.#stream?.consume(held);
  }

  #leave(): Http2Stream | undefined {
    const stream = this.#stream;
    this.#giveBack();
    this.#stream = undefined;
    if (stream !== undefined) stream.user = undefined;
    return stream;
  }

  #over(): void {
    if (this.#early.length > 0) this.#early = [];
    this.#earlySmall = undefined;
    this.headers = NO_HEADERS;
    this.#connection.streamOver(this);
  }
}
