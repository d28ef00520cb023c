// One request on an HTTP/2 connection to an upstream host: the client's request into frames, the response's frames to the client.
// The object serves one request after the other. What the client has no room for is not given back to the peer's window.

import type { TlsFacts } from '../../plan/stream-info.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { H2 } from '../../wire/http2-frame.ts';
import type { Http2Stream } from '../../wire/http2-stream.ts';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import { changesProtocol } from '../exchange/response-head.ts';
import type { UpstreamHttp2 } from './upstream-http2.ts';
import {
  DISCARD,
  type OutgoingRequest,
  type ResetCause,
  type ResponseHead,
  type UpstreamClient,
  type UpstreamStream,
} from './upstream-stream.ts';

const NO_HEADERS = new HeaderBlock();

export class UpstreamHttp2Stream implements UpstreamStream, ResponseHead {
  readonly protocol = 'HTTP/2';
  readonly #connection: UpstreamHttp2;
  #client: UpstreamClient | undefined;
  #stream: Http2Stream | undefined;
  /** The priority whose request count this one holds; the pool's business. */
  limits: ResourceLimits | undefined;
  /** Already in the connection's list of those to flush after this read. */
  touched = false;
  // ResponseHead.
  statusCode = 0;
  readonly reason = '';
  headers: HeaderBlock = NO_HEADERS;
  headBytes = 0;
  bodyKind: 'none' | 'length' | 'chunked' = 'none';
  #upgrade = '';
  #head = false; // a HEAD request
  #requestDone = false;
  #responseDone = false;
  #held = 0;
  #paused = false;
  #tunnel = false;

  constructor(connection: UpstreamHttp2) {
    this.#connection = connection;
  }

  get id(): number {
    return this.#connection.id;
  }
  get localAddress(): string {
    return this.#connection.localAddress;
  }
  get tls(): TlsFacts | undefined {
    return this.#connection.tls;
  }
  get connectStartMs(): number {
    return this.#connection.connectStartMs;
  }
  get connectedMs(): number {
    return this.#connection.connectedMs;
  }
  get backlog(): number {
    return this.#stream?.queuedBytes ?? 0;
  }

  /** Makes it `client`'s. The request is written by the client before this returns. */
  attach(client: UpstreamClient): void {
    this.#client = client;
    this.#requestDone = false;
    this.#responseDone = false;
    this.#held = 0;
    this.#paused = false;
    this.#tunnel = false;
    client.onReady(this);
  }

  // --- called by the client ---

  writeRequest(request: OutgoingRequest, upgrade: string, _chunked: boolean, ended: boolean): number {
    const headers = request.requestHeaders;
    this.#upgrade = upgrade;
    this.#head = request.method === 'HEAD';
    headers.removeById(H.HOST);
    let method = request.method;
    let protocol = '';
    if (upgrade !== '' && upgrade !== 'connect') {
      method = 'CONNECT';
      protocol = upgrade;
      headers.removeById(H.UPGRADE);
    }
    if (upgrade !== '') headers.removeById(H.CONTENT_LENGTH);
    const plain = method === 'CONNECT' && protocol === '';
    const stream = this.#connection.machine.request(
      method,
      plain ? '' : request.scheme,
      request.authority,
      plain ? '' : request.path,
      protocol,
      headers,
      ended,
    );
    if (protocol !== '') headers.setById(H.UPGRADE, protocol);
    this.#stream = stream;
    stream.user = this;
    this.#requestDone = ended;
    return stream.sentHeadBytes;
  }

  writeBody(buf: Buffer, start: number, end: number): boolean {
    if (this.#stream === undefined || this.#requestDone) return true;
    return this.#stream.writeBody(buf, start, end);
  }

  endRequest(trailers: HeaderBlock | undefined): void {
    if (this.#stream === undefined) return;
    if (!this.#requestDone) {
      this.#requestDone = true;
      this.#stream.endBody(trailers !== undefined && trailers.count > 0 ? trailers : undefined);
    }
    if (this.#responseDone && !this.#connection.reading) this.settle();
  }

  flush(): void {}

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#giveBack();
  }

  beginTunnel(): void {
    this.#tunnel = true;
  }

  tunnelWrite(bytes: Buffer): boolean {
    return this.writeBody(bytes, 0, bytes.length);
  }

  tunnelEnd(): void {
    this.endRequest(undefined);
  }

  handOver(client: UpstreamClient): void {
    this.#client = client;
  }

  abandon(): void {
    const stream = this.#stream;
    if (stream === undefined && this.#client === undefined) return;
    this.#detach();
    if (stream !== undefined) {
      // Where both sides have said all, what is queued still leaves.
      if (!stream.remoteDone || !stream.localDone) stream.reset(H2.INTERNAL_ERROR);
      this.#letGo(stream);
    }
    this.#connection.streamOver(this);
  }

  discard(): void {
    this.#client = DISCARD;
  }

  // --- called by the connection ---

  onInformational(stream: Http2Stream): void {
    this.statusCode = stream.statusCode;
    this.headers = stream.headers;
    this.#client?.onInformational(this);
  }

  onHead(stream: Http2Stream, endStream: boolean): void {
    const headers = stream.headers;
    let status = stream.statusCode;
    if (this.#upgrade !== '' && this.#upgrade !== 'connect' && status === 200) {
      // Inside, an accepted upgrade is what HTTP/1 makes of it.
      status = 101;
      headers.setById(H.UPGRADE, this.#upgrade);
    }
    this.statusCode = status;
    this.headers = headers;
    this.headBytes = stream.headBytes;
    const switching = changesProtocol(this.#upgrade, status);
    // Nothing behind it is a body (RFC 9110 9.3.6).
    if (switching) headers.removeById(H.CONTENT_LENGTH);
    const none = endStream || this.#head || status === 204 || status === 304 || switching;
    this.bodyKind = none ? 'none' : stream.contentLength >= 0 ? 'length' : 'chunked';
    this.#client?.onHead(this);
    this.#touch();
  }

  onData(stream: Http2Stream, buf: Buffer, start: number, end: number): void {
    this.#held += end - start;
    if (this.#tunnel) this.#client?.onTunnelData(buf.subarray(start, end));
    else if (this.bodyKind !== 'none') this.#client?.onBody(buf, start, end);
    if (this.#stream !== stream) return;
    if (!this.#paused) this.#giveBack();
    this.#touch();
  }

  onTrailers(trailers: HeaderBlock): void {
    if (!this.#tunnel) this.#client?.onTrailers(trailers);
  }

  onEnd(): void {
    if (this.#tunnel) {
      this.#client?.onTunnelEnd();
      return;
    }
    this.#responseDone = true;
    this.#client?.onEnd();
    this.#touch();
  }

  onReset(cause: ResetCause): void {
    const client = this.#client;
    if (this.#responseDone) {
      // The peer has answered and wants no more of the request.
      client?.onFlush();
      this.settle();
      return;
    }
    const stream = this.#stream;
    this.#detach();
    this.#connection.streamOver(this);
    client?.onReset(cause, '');
    stream?.release();
  }

  onWritable(): void {
    this.#client?.onDrain();
  }

  /** All bytes of a read were handed on. */
  flushRead(): void {
    if (this.#stream === undefined) return;
    this.#client?.onFlush();
    if (this.#responseDone && this.#requestDone) this.settle();
  }

  /** Response complete, request complete, the client has looked at both. */
  settle(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    const client = this.#client;
    this.#detach();
    this.#letGo(stream);
    this.#connection.streamOver(this);
    client?.onSettled();
  }

  #letGo(stream: Http2Stream): void {
    if (stream.queuedBytes > 0) this.#connection.linger(stream);
    else stream.release();
  }

  #touch(): void {
    if (this.touched || this.#stream === undefined) return;
    this.touched = true;
    this.#connection.touched(this);
  }

  #giveBack(): void {
    const held = this.#held;
    if (held === 0) return;
    this.#held = 0;
    this.#stream?.consume(held);
  }

  #detach(): void {
    this.#giveBack();
    if (this.#stream !== undefined) this.#stream.user = undefined;
    this.#stream = undefined;
    this.#client = undefined;
    this.headers = NO_HEADERS;
  }
}
