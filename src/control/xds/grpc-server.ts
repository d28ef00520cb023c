// A gRPC server of bytes over the HTTP/2 machine: calls are streams of messages both ways, ended by one status; what it sends is not
// packed, what it gets may be, with gzip. What is
// sent is given as pieces that many calls may share; they are queued by reference behind the client's windows. A client that neither
// reads nor opens its windows is ended after a limit, one that does not answer a PING as well. A client whose messages cost much to serve
// is served in turns, and its window stays shut meanwhile. Where it has services of plain HTTP, it takes those requests over HTTP/1 too.
import type { X509Certificate } from 'node:crypto';
import net from 'node:net';
import type tls from 'node:tls';
import { encodeGrpcMessage, GRPC, type GrpcStatus, GrpcUnframer } from '../../wire/grpc-frames.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { Http2Connection, type Http2Owner, type Http2Stream } from '../../wire/http2-connection.ts';
import { H2 } from '../../wire/http2-frame.ts';
import { GRPC_STALL_MS, SHUTDOWN_GRACE_MS } from '../limits.ts';
import { FirstBytes } from './first-bytes.ts';
import type { HttpServices } from './http-call.ts';
import { type DoorConnection, Http1Connection } from './http1-connection.ts';
import { Http2Call } from './http2-call.ts';
import { PacedMessages, type Turns } from './paced-messages.ts';
import { Scratch, WRITE_BYTES } from './scratch.ts';
import { UnpackedMessages } from './unpacked-messages.ts';

/** What serves one call. Nothing is called after `closed`. */
export interface GrpcHandler {
  /** One whole message. The receiver may keep the bytes. */
  message(bytes: Uint8Array): void;
  /** The client sends no more. */
  halfClosed(): void;
  /** `writable` is true again. */
  drained(): void;
  /** The call is over; also after its own `end`. */
  closed(): void;
}

export type GrpcMethod = (call: GrpcServerCall) => GrpcHandler;

export interface GrpcServerOptions {
  readonly methods: ReadonlyMap<string, GrpcMethod>;
  /** Undefined: gRPC alone. */
  readonly http?: HttpServices;
  readonly messageBytesMax: number;
  readonly now: () => number;
  /** A defect in a handler; its call has ended. */
  readonly failed: (error: unknown) => void;
  /** Makes the listener where it is not plain TCP; the sockets that it hands over are past their handshake. */
  readonly secure?: (connected: (socket: tls.TLSSocket, certificate: X509Certificate | undefined) => void) => net.Server;
}

/** The other end of a connection. */
export interface GrpcPeer {
  /** '' on a Unix socket. */
  readonly address: string;
  /** Checked in the handshake; undefined without TLS or when it brought none. */
  readonly certificate: X509Certificate | undefined;
}

/** Windows for what clients send: requests are small. */
const WINDOW_BYTES = 1024 * 1024;
const PING_INTERVAL_MS = 30_000;
const PREFIX_BYTES = 5;
const NO_BYTES = Buffer.alloc(0);
const VECTORED = process.versions['bun'] === undefined;

export class GrpcServer {
  readonly #server: net.Server;
  readonly #connections = new Set<DoorConnection>();
  #tick: NodeJS.Timeout | undefined;

  constructor(options: GrpcServerOptions) {
    const scratch = new Scratch();
    const turns: Turns = { held: 0 };
    const connected = (socket: net.Socket, certificate?: X509Certificate): void => {
      const gone = (connection: DoorConnection): boolean => this.#connections.delete(connection);
      const speaks = (http2: boolean, first: Buffer): void => {
        const connection: Connection | Http1Connection =
          http2 || options.http === undefined
            ? new Connection(socket, certificate, { scratch, turns }, options, () => gone(connection))
            : new Http1Connection(socket, certificate, { services: options.http, failed: options.failed }, () => gone(connection));
        this.#connections.add(connection);
        if (first.length > 0) connection.receive(first);
      };
      if (options.http === undefined) speaks(true, NO_BYTES);
      else {
        const unknown: FirstBytes = new FirstBytes(socket, speaks, () => gone(unknown));
        this.#connections.add(unknown);
      }
    };
    this.#server = options.secure?.(connected) ?? net.createServer({ noDelay: true, allowHalfOpen: false }, (socket) => connected(socket));
  }

  /** The port that was bound; 0 for a path. Rejects when the address cannot be bound. */
  async listen(at: { readonly path: string } | { readonly host: string; readonly port: number }): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ ...at, backlog: 4096 }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    this.#tick = setInterval(() => {
      for (const c of this.#connections) c.tick();
    }, PING_INTERVAL_MS);
    this.#tick.unref();
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Every call ends UNAVAILABLE; who does not read that is cut off. */
  async close(): Promise<void> {
    clearInterval(this.#tick);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const c of this.#connections) c.shutdown();
    const timer = setTimeout(() => {
      for (const c of this.#connections) c.destroy();
    }, SHUTDOWN_GRACE_MS);
    await closed;
    clearTimeout(timer);
  }
}

/** What all connections of one server share. */
interface Shared {
  readonly scratch: Scratch;
  readonly turns: Turns;
}

class Connection implements Http2Owner, DoorConnection {
  readonly peer: GrpcPeer;
  readonly turns: Turns;
  readonly #socket: net.Socket;
  readonly #scratch: Scratch;
  readonly #options: GrpcServerOptions;
  readonly #gone: () => void;
  readonly #http2: Http2Connection;
  #full = false;
  /** Taken from the machine and not written yet. */
  #taken: Buffer[] = [];
  #ended = false;
  #answered = true;
  readonly #calls = new Set<GrpcServerCall | Http2Call>();

  constructor(
    socket: net.Socket,
    certificate: X509Certificate | undefined,
    { scratch, turns }: Shared,
    options: GrpcServerOptions,
    gone: () => void,
  ) {
    this.peer = { address: socket.remoteAddress ?? '', certificate };
    this.#socket = socket;
    this.#scratch = scratch;
    this.turns = turns;
    this.#options = options;
    this.#gone = gone;
    this.#http2 = new Http2Connection('server', this, {
      initialStreamWindowSize: WINDOW_BYTES,
      initialConnectionWindowSize: WINDOW_BYTES,
    });
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
    socket.on('drain', () => {
      this.#full = false;
      this.onOutput();
      this.#closeIfDone();
    });
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
    this.onOutput();
  }

  /** Looks for peers that are gone, and for calls that do not move. */
  tick(): void {
    if (!this.#answered) {
      this.destroy();
      return;
    }
    this.#answered = false;
    this.#http2.ping();
    for (const call of this.#calls) call.tick(this.#options.now());
  }

  shutdown(): void {
    for (const call of [...this.#calls]) call.end({ code: GRPC.UNAVAILABLE, message: 'the control plane stops' });
    this.#http2.goaway(H2.NO_ERROR, true);
    this.#closeIfDone();
  }

  destroy(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#full = true;
    this.#gone();
    this.#http2.finish();
    this.#socket.destroy();
  }

  receive(chunk: Buffer): void {
    if (this.#ended) return;
    this.#http2.nowMs = this.#options.now();
    this.#http2.execute(chunk);
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (!this.#http2.done || this.#ended) return;
    this.onOutput();
    if (this.#taken.length === 0) this.#socket.end();
  }

  // --- Http2Owner ---

  onHead(stream: Http2Stream): void {
    const method = this.#options.methods.get(stream.path);
    const type = stream.headers.get('content-type') ?? '';
    if (stream.method !== 'POST' || !type.startsWith('application/grpc')) {
      const service = this.#options.http?.get(stream.path);
      if (service) {
        const { failed } = this.#options;
        const plain: Http2Call = new Http2Call(stream, {
          http2: this.#http2,
          peer: this.peer,
          failed,
          gone: () => this.#calls.delete(plain),
        });
        stream.user = plain;
        this.#calls.add(plain);
        plain.begin(service);
      } else this.#http2.respond(stream, 415, new HeaderBlock(), true);
      return;
    }
    const call = new GrpcServerCall(stream, this.#http2, this.#options, this, () => this.#calls.delete(call));
    if (!method) {
      call.end({ code: GRPC.UNIMPLEMENTED, message: `unknown method ${stream.path}` });
      return;
    }
    stream.user = call;
    this.#calls.add(call);
    call.begin(method);
  }
  onInformational(): void {}
  onData(stream: Http2Stream, buf: Buffer, start: number, end: number): void {
    const call = callOf(stream);
    if (call) call.received(buf.subarray(start, end));
    else stream.consume(end - start);
  }
  onTrailers(): void {}
  onEnd(stream: Http2Stream): void {
    callOf(stream)?.halfClosed();
  }
  onReset(stream: Http2Stream): void {
    callOf(stream)?.lost();
  }
  onWritable(stream: Http2Stream): void {
    callOf(stream)?.drained();
  }
  onGoaway(): void {}
  onPeerSettings(): void {}
  onPingAck(): void {
    this.#answered = true;
  }
  onError(): void {}
  onOutput(): void {
    while (!this.#full && !this.#ended) {
      if (this.#taken.length === 0) this.#taken = this.#http2.takeOutput();
      if (this.#taken.length === 0) break;
      this.#full = !this.#write(this.#batch());
    }
  }

  /** One call of the system for all, by a vector where the runtime has that, else by a copy. */
  #write(batch: readonly Buffer[]): boolean {
    const [only] = batch;
    if (batch.length === 1 && only) return this.#socket.write(only);
    if (!VECTORED) {
      const scratch = this.#scratch.take();
      let bytes = 0;
      for (const piece of batch) bytes += piece.copy(scratch, bytes);
      return this.#socket.write(scratch.subarray(0, bytes), () => this.#scratch.give(scratch));
    }
    let more = true;
    this.#socket.cork();
    for (const piece of batch) more = this.#socket.write(piece);
    this.#socket.uncork();
    return more;
  }

  /** What a full socket leaves stays by reference. */
  #batch(): readonly Buffer[] {
    let bytes = 0;
    let count = 0;
    for (const piece of this.#taken) {
      if (count > 0 && bytes + piece.length > WRITE_BYTES) break;
      bytes += piece.length;
      count++;
    }
    const batch = this.#taken.slice(0, count);
    this.#taken = this.#taken.slice(count);
    return batch;
  }
}

const callOf = (stream: Http2Stream): GrpcServerCall | Http2Call | undefined =>
  stream.user instanceof GrpcServerCall || stream.user instanceof Http2Call ? stream.user : undefined;

/** One call. After `end`, and after the client is gone, it sends nothing. */
export class GrpcServerCall {
  readonly #stream: Http2Stream;
  readonly #http2: Http2Connection;
  readonly #options: GrpcServerOptions;
  readonly peer: GrpcPeer;
  readonly #gone: () => void;
  readonly #unframer: GrpcUnframer;
  readonly #messages: PacedMessages;
  /** Undefined: the client packs none. */
  readonly #unpacked: UnpackedMessages | undefined;
  #halfClosed = false;
  #handler: GrpcHandler | undefined;
  #headSent = false;
  #writable = true;
  #sending = false;
  #over = false;
  #stalled: { readonly queuedBytes: number; readonly sinceMs: number } | undefined;

  constructor(
    stream: Http2Stream,
    http2: Http2Connection,
    options: GrpcServerOptions,
    { peer, turns }: { readonly peer: GrpcPeer; readonly turns: Turns },
    gone: () => void,
  ) {
    this.#stream = stream;
    this.peer = peer;
    this.#http2 = http2;
    this.#options = options;
    this.#gone = gone;
    this.#messages = new PacedMessages(
      turns,
      (bytes) => this.#guarded(() => this.#handler?.message(bytes)),
      () => this.#caughtUp(),
    );
    const encoding = stream.headers.get('grpc-encoding') ?? 'identity';
    if (encoding !== 'identity')
      this.#unpacked = new UnpackedMessages(encoding, {
        message: (bytes) => this.#messages.push(bytes),
        failed: (problem) => this.end(problem),
        idle: () => this.#caughtUp(),
      });
    const push = (bytes: Uint8Array, packed: boolean): void => (this.#unpacked ?? this.#messages).push(bytes, packed);
    this.#unframer = new GrpcUnframer(push, options.messageBytesMax, this.#unpacked !== undefined);
  }

  /** False: what was sent waits for the client; `drained` follows. */
  get writable(): boolean {
    return this.#writable;
  }

  metadata(name: string): string | undefined {
    return this.#stream.headers.get(name);
  }

  /** It is known whose call this is. Before, nothing that came packed is unpacked. */
  known(): void {
    this.#unpacked?.start();
  }

  /** One message, of these bytes one behind the other; they must not change any more. */
  send(pieces: readonly Uint8Array[]): void {
    if (this.#over) return;
    this.#sendHead();
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt32BE(
      pieces.reduce((sum, piece) => sum + piece.length, 0),
      1,
    );
    // What drains meanwhile is no time for another message.
    this.#sending = true;
    this.#write(prefix);
    for (const piece of pieces) this.#write(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength));
    this.#sending = false;
  }

  end(status: GrpcStatus): void {
    if (this.#over) return;
    const fields = new HeaderBlock();
    if (!this.#headSent) fields.add('content-type', 'application/grpc');
    if (!this.#headSent && this.#unpacked) fields.add('grpc-accept-encoding', 'identity,gzip');
    fields.add('grpc-status', String(status.code));
    if (status.message !== '') fields.add('grpc-message', encodeGrpcMessage(status.message));
    if (this.#headSent) this.#stream.endBody(fields);
    else this.#http2.respond(this.#stream, 200, fields, true);
    // The client may still be sending; nothing of it is wanted.
    if (!this.#stream.remoteDone) this.#stream.reset(H2.NO_ERROR);
    this.#finish();
  }

  // --- called by the connection ---

  begin(method: GrpcMethod): void {
    this.#guarded(() => {
      this.#handler = method(this);
      if (this.#over) this.#handler.closed();
    });
  }

  received(chunk: Buffer): void {
    if (!this.#over) {
      this.#guarded(() => {
        const problem = this.#unframer.push(chunk);
        if (problem) this.end(problem);
      });
    }
    // While messages wait their bytes stay on the client's account.
    if (!this.#held) this.#stream.consume(this.#stream.unconsumed);
  }

  get #held(): boolean {
    return this.#messages.held || this.#unpacked?.held === true;
  }

  #caughtUp(): void {
    if (this.#held) return;
    this.#stream.consume(this.#stream.unconsumed);
    if (this.#halfClosed) this.halfClosed();
  }

  halfClosed(): void {
    if (this.#over) return;
    this.#halfClosed = true;
    if (this.#held) return;
    if (this.#unframer.idle) this.#guarded(() => this.#handler?.halfClosed());
    else this.end({ code: GRPC.INTERNAL, message: 'the client ended the call in the middle of a message' });
  }

  drained(): void {
    this.#writable = true;
    if (!this.#over && !this.#sending) this.#guarded(() => this.#handler?.drained());
  }

  lost(): void {
    this.#finish();
  }

  tick(nowMs: number): void {
    const { queuedBytes } = this.#stream;
    if (this.#writable || this.#over) this.#stalled = undefined;
    else if (this.#stalled?.queuedBytes !== queuedBytes) this.#stalled = { queuedBytes, sinceMs: nowMs };
    else if (nowMs - this.#stalled.sinceMs >= GRPC_STALL_MS) {
      this.#stream.reset(H2.CANCEL);
      this.#finish();
    }
  }

  #write(piece: Buffer): void {
    if (piece.length === 0) return;
    // `drained` may come from inside: it is the later word then.
    this.#writable = false;
    if (this.#stream.writeBody(piece, 0, piece.length)) this.#writable = true;
  }

  #sendHead(): void {
    if (this.#headSent) return;
    this.#headSent = true;
    const fields = new HeaderBlock();
    fields.add('content-type', 'application/grpc');
    this.#http2.respond(this.#stream, 200, fields, false);
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#messages.close();
    this.#unpacked?.close();
    this.#stream.consume(this.#stream.unconsumed);
    this.#gone();
    this.#guarded(() => this.#handler?.closed());
  }

  /** A defect met in one call ends that call, not the process. */
  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#options.failed(error);
      this.end({ code: GRPC.INTERNAL, message: 'internal error of the control plane' });
    }
  }
}
