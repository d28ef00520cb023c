// One accepted connection of the local gRPC server: each call of the peer is one `open` of the transport. Bytes wait
// here as long as the peer does not read, bounded per call. Never looks into messages.
import type { Socket } from 'node:net';
import { encodeGrpcMessage, frameMessage, GRPC, type GrpcStatus, GrpcUnframer } from '../wire/grpc-frames.ts';
import { HeaderBlock } from '../wire/header-block.ts';
import { Http2Connection, type Http2Owner, type Http2Stream } from '../wire/http2-connection.ts';
import { H2 } from '../wire/http2-frame.ts';
import type { StreamEvents, XdsStream } from '../xds/transport.ts';
import { GRPC_MESSAGE_BYTES_MAX, LOCAL_STREAMS_MAX, STREAM_BACKLOG_BYTES_MAX } from './limits.ts';

const WINDOW_BYTES = 1024 * 1024;

/** An XdsTransport, or one that looks at what a call brings besides. */
export interface ServedTransport {
  /** A client that has said all goes on listening; else its call is over. */
  readonly staysOpen?: boolean | ((method: string) => boolean);
  open(method: string, events: StreamEvents, metadata: (name: string) => string | undefined): XdsStream;
}

export const serveGrpcConnection = (socket: Socket, transport: ServedTransport): void => {
  const served = new ServedConnection(socket, transport);
  socket.on('data', (chunk: Buffer) => served.receive(chunk));
  socket.on('drain', () => served.drained());
  socket.on('error', () => socket.destroy());
  socket.once('close', () => served.ended());
  served.drained();
};

class ServedConnection implements Http2Owner {
  readonly #socket: Socket;
  readonly #transport: ServedTransport;
  readonly #http2: Http2Connection;
  #full = false;

  constructor(socket: Socket, transport: ServedTransport) {
    this.#socket = socket;
    this.#transport = transport;
    this.#http2 = new Http2Connection('server', this, {
      maxConcurrentStreams: LOCAL_STREAMS_MAX,
      initialStreamWindowSize: WINDOW_BYTES,
      initialConnectionWindowSize: WINDOW_BYTES,
    });
  }

  receive(chunk: Buffer): void {
    this.#http2.execute(chunk);
    if (!this.#http2.done) return;
    this.onOutput();
    this.#socket.end();
  }

  drained(): void {
    this.#full = false;
    this.onOutput();
  }

  ended(): void {
    this.#full = true;
    this.#http2.finish();
  }

  onHead(stream: Http2Stream): void {
    const head = new HeaderBlock();
    head.add('content-type', 'application/grpc');
    this.#http2.respond(stream, 200, head, false);
    stream.user = new ServedCall(stream, this.#transport);
  }
  onData(stream: Http2Stream, buf: Buffer, start: number, end: number): void {
    callOf(stream)?.receive(buf.subarray(start, end));
    stream.consume(end - start);
  }
  onEnd(stream: Http2Stream): void {
    const { staysOpen } = this.#transport;
    if (!(typeof staysOpen === 'function' ? staysOpen(stream.path) : staysOpen)) callOf(stream)?.finish({ code: GRPC.OK, message: '' });
  }
  onReset(stream: Http2Stream): void {
    callOf(stream)?.gone();
  }
  onOutput(): void {
    while (!this.#full) {
      const pieces = this.#http2.takeOutput();
      if (pieces.length === 0) return;
      for (const piece of pieces) this.#full = !this.#socket.write(piece);
    }
  }
  onInformational(): void {}
  onTrailers(): void {}
  onWritable(): void {}
  onGoaway(): void {}
  onPeerSettings(): void {}
  onPingAck(): void {}
  onError(): void {} // `receive` writes the GOAWAY and ends the socket
}

class ServedCall {
  readonly #stream: Http2Stream;
  readonly #upstream: XdsStream;
  readonly #unframer: GrpcUnframer;
  #over = false;

  constructor(stream: Http2Stream, transport: ServedTransport) {
    this.#stream = stream;
    const events = { message: (bytes: Uint8Array) => this.#send(bytes), end: (status: GrpcStatus) => this.finish(status) };
    this.#upstream = transport.open(stream.path, events, (name) => stream.headers.get(name));
    this.#unframer = new GrpcUnframer((message) => this.#upstream.send(message), GRPC_MESSAGE_BYTES_MAX);
  }

  receive(chunk: Buffer): void {
    if (this.#over) return;
    const problem = this.#unframer.push(chunk);
    if (problem) this.finish(problem);
  }

  /** The status goes out behind what is queued; the proxy's side may be open still and must not wait for an end that never comes. */
  finish(status: GrpcStatus): void {
    if (this.#over) return;
    this.gone();
    const trailers = new HeaderBlock();
    trailers.add('grpc-status', String(status.code));
    trailers.add('grpc-message', encodeGrpcMessage(status.message));
    this.#stream.endBody(trailers);
    this.#stream.reset(H2.NO_ERROR);
  }

  gone(): void {
    if (this.#over) return;
    this.#over = true;
    this.#upstream.close();
  }

  #send(message: Uint8Array): void {
    if (this.#over) return;
    const frame = frameMessage(message);
    this.#stream.writeBody(Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength), 0, frame.length);
    if (this.#stream.queuedBytes <= STREAM_BACKLOG_BYTES_MAX) return;
    this.gone();
    this.#stream.reset(H2.ENHANCE_YOUR_CALM);
  }
}

const callOf = (stream: Http2Stream): ServedCall | undefined => (stream.user instanceof ServedCall ? stream.user : undefined);
