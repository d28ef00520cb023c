// gRPC calls over one HTTP/2 connection, the client's side: a machine without I/O. Whoever owns the socket gives it the
// received bytes and a link for the bytes to send. Calls are streams of messages both ways, uncompressed; their end is
// one status, told once. It never replays a call, and never logs or keeps metadata.
import { frameMessage, GRPC, type GrpcStatus, GrpcUnframer, grpcStatusOf, grpcStatusOfHttp } from './grpc-frames.ts';
import { HeaderBlock } from './header-block.ts';
import { Http2Connection, type Http2Owner, type Http2Problem, type Http2Stream } from './http2-connection.ts';
import { H2 } from './http2-frame.ts';

export interface GrpcCallEvents {
  /** One whole message. The receiver may keep the bytes. */
  message(bytes: Uint8Array): void;
  /** Once, unless the call was closed by its owner. */
  end(status: GrpcStatus): void;
}

/** The socket's side of a connection. */
export interface GrpcLink {
  /** False: the socket is full; `drained` is to follow. */
  write(pieces: readonly Buffer[]): boolean;
  /** The peer's SETTINGS came: it speaks HTTP/2. */
  ready(): void;
  /** The peer takes no new calls; those begun go on. */
  closing(): void;
  pong(): void;
  /** The connection has no use any more: an error, or the last call behind a GOAWAY. What had to be sent was written. */
  over(problem: string): void;
}

export interface GrpcConnectionOptions {
  readonly scheme: 'http' | 'https';
  readonly authority: string;
  readonly messageBytesMax: number;
}

/** Wide enough for a whole configuration at once over some distance. */
const WINDOW_BYTES = 1024 * 1024;

export class GrpcConnection implements Http2Owner {
  readonly #link: GrpcLink;
  readonly #options: GrpcConnectionOptions;
  readonly #http2: Http2Connection;
  #full = true; // until `start`
  #ready = false;
  #problem = '';

  constructor(link: GrpcLink, options: GrpcConnectionOptions) {
    this.#link = link;
    this.#options = options;
    this.#http2 = new Http2Connection('client', this, { initialStreamWindowSize: WINDOW_BYTES, initialConnectionWindowSize: WINDOW_BYTES });
  }

  /** A call may be opened: no GOAWAY, no error, room for one more. */
  get canOpen(): boolean {
    return this.#http2.canOpen;
  }

  /** The socket is connected. Calls opened before wait for this. */
  start(): void {
    this.drained();
  }

  receive(chunk: Buffer): void {
    this.#http2.execute(chunk);
    this.#closeIfDone();
  }

  /** The socket takes bytes again. */
  drained(): void {
    this.#full = false;
    this.onOutput();
  }

  /** The socket is gone: every call left ends UNAVAILABLE. */
  ended(problem: string): void {
    this.#problem = problem;
    this.#full = true;
    this.#http2.finish();
  }

  ping(): void {
    this.#http2.ping();
  }

  /** Only when `canOpen`. `method` as `/package.Service/Method`; `fields` are the metadata, lower-case names. */
  open(method: string, fields: Readonly<Record<string, string>>, events: GrpcCallEvents): GrpcCall {
    const headers = new HeaderBlock();
    headers.add('content-type', 'application/grpc');
    headers.add('te', 'trailers');
    for (const [name, value] of Object.entries(fields)) headers.add(name, value);
    const { scheme, authority } = this.#options;
    const stream = this.#http2.request('POST', scheme, authority, method, '', headers, false);
    const call = new GrpcCall(stream, events, this.#options.messageBytesMax);
    stream.user = call;
    return call;
  }

  // --- Http2Owner ---

  onHead(stream: Http2Stream): void {
    const call = callOf(stream);
    const status = statusIn(stream.headers);
    if (status !== undefined) call?.finish(status);
    else if (stream.statusCode !== 200) call?.finish(grpcStatusOfHttp(stream.statusCode));
  }
  onInformational(): void {}
  onData(stream: Http2Stream, buf: Buffer, start: number, end: number): void {
    callOf(stream)?.receive(buf.subarray(start, end));
    stream.consume(end - start);
  }
  onTrailers(stream: Http2Stream, trailers: HeaderBlock): void {
    callOf(stream)?.finish(statusIn(trailers) ?? { code: GRPC.UNKNOWN, message: 'trailers without grpc-status' });
  }
  onEnd(stream: Http2Stream): void {
    callOf(stream)?.finish({ code: GRPC.UNAVAILABLE, message: 'the stream was closed' });
  }
  onReset(stream: Http2Stream, code: number): void {
    callOf(stream)?.finish({ code: GRPC.UNAVAILABLE, message: this.#problem === '' ? `stream reset with code ${code}` : this.#problem });
  }
  onWritable(): void {}
  onGoaway(): void {
    this.#link.closing();
  }
  onPeerSettings(): void {
    if (this.#ready) return;
    this.#ready = true;
    this.#link.ready();
  }
  onPingAck(): void {
    this.#link.pong();
  }
  onError(problem: Http2Problem): void {
    this.#problem = problem.message;
  }
  onOutput(): void {
    while (!this.#full) {
      const pieces = this.#http2.takeOutput();
      if (pieces.length === 0) break;
      this.#full = !this.#link.write(pieces);
    }
  }

  #closeIfDone(): void {
    if (!this.#http2.done) return;
    this.onOutput();
    this.#link.over(this.#problem);
  }
}

/** One call. After its end, and after `close`, it tells nothing and sends nothing. */
export class GrpcCall {
  readonly #stream: Http2Stream;
  readonly #events: GrpcCallEvents;
  readonly #unframer: GrpcUnframer;
  #over = false;

  constructor(stream: Http2Stream, events: GrpcCallEvents, messageBytesMax: number) {
    this.#stream = stream;
    this.#events = events;
    this.#unframer = new GrpcUnframer((message) => {
      if (!this.#over) events.message(message);
    }, messageBytesMax);
  }

  send(message: Uint8Array): void {
    if (this.#over) return;
    const frame = frameMessage(message);
    this.#stream.writeBody(Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength), 0, frame.length);
  }

  /** No more messages from this side. */
  halfClose(): void {
    if (!this.#over) this.#stream.endBody(undefined);
  }

  close(): void {
    this.#over = true;
    this.#stream.reset(H2.CANCEL);
  }

  receive(chunk: Buffer): void {
    if (this.#over) return;
    const problem = this.#unframer.push(chunk);
    if (problem) this.finish(problem);
  }

  finish(status: GrpcStatus): void {
    if (this.#over) return;
    this.close(); // our half may be open still
    this.#events.end(status);
  }
}

const callOf = (stream: Http2Stream): GrpcCall | undefined => (stream.user instanceof GrpcCall ? stream.user : undefined);

const statusIn = (headers: HeaderBlock): GrpcStatus | undefined =>
  grpcStatusOf({ 'grpc-status': headers.get('grpc-status'), 'grpc-message': headers.get('grpc-message') });
