// One HTTP/1 connection at the gRPC door: request by request to the service of its path, 404 for any other. A request that takes too
// long, and a client that says nothing or reads nothing, lose the connection. What was not asked for is not buffered: while a request is
// being served the socket is not read.
import type { X509Certificate } from 'node:crypto';
import type net from 'node:net';
import { H } from '../../wire/header-name.ts';
import { Http1Parser, type Http1Problem, type Http1Sink } from '../../wire/http1-parser.ts';
import { CONTINUE_HEAD, STATUS_REASONS } from '../../wire/http1-writer.ts';
import { PAGE_HEAD_BYTES_MAX } from '../../wire/limits.ts';
import type { GrpcPeer } from './grpc-server.ts';
import { type HttpAnswer, type HttpCall, type HttpHandler, type HttpServices, textAnswer } from './http-call.ts';

/** A connection as its door keeps it. */
export interface DoorConnection {
  /** Called every half minute or so. */
  tick(): void;
  /** No further request; what is under way may end. */
  shutdown(): void;
  destroy(): void;
}

export interface Http1Options {
  readonly services: HttpServices;
  /** A defect in a service; its request has been answered. */
  readonly failed: (error: unknown) => void;
}

/** Ticks that a request, or a silence between two, may last. */
const TICKS_MAX = 2;
/** Answers that a client has not read. */
const UNREAD_BYTES_MAX = 64 * 1024;
const NO_BYTES = Buffer.alloc(0);

export class Http1Connection implements Http1Sink, DoorConnection {
  readonly #socket: net.Socket;
  readonly #peer: GrpcPeer;
  readonly #options: Http1Options;
  readonly #gone: () => void;
  readonly #parser: Http1Parser = new Http1Parser('request', this, {
    acceptHttp10: true,
    customMethods: true,
    headBytesMax: PAGE_HEAD_BYTES_MAX,
  });
  #handler: HttpHandler | undefined;
  #answered = false;
  /** The request is here, or nothing more of it is wanted. */
  #received = false;
  #last = false;
  #over = false;
  #ticks = 0;
  #rest: Buffer = NO_BYTES;

  constructor(socket: net.Socket, certificate: X509Certificate | undefined, options: Http1Options, gone: () => void) {
    this.#socket = socket;
    this.#peer = { address: socket.remoteAddress ?? '', certificate };
    this.#options = options;
    this.#gone = gone;
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
  }

  receive(chunk: Buffer): void {
    // After the last answer only the end is waited for.
    if (this.#over) return;
    if (this.#rest.length > 0 || this.#parser.paused) {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      return;
    }
    const taken = this.#parser.execute(chunk);
    if (taken < chunk.length && !this.#over) this.#rest = Buffer.from(chunk.subarray(taken));
    this.#next();
  }

  tick(): void {
    this.#ticks++;
    if (this.#ticks > TICKS_MAX) this.destroy();
  }

  shutdown(): void {
    this.#last = true;
    if (this.#parser.idle && this.#handler === undefined) this.#end();
  }

  destroy(): void {
    this.#over = true;
    this.#rest = NO_BYTES;
    this.#parser.stop();
    this.#closeHandler();
    this.#gone();
    this.#socket.destroy();
  }

  onHead(parser: Http1Parser): void {
    this.#ticks = 0;
    this.#answered = false;
    this.#received = false;
    if (!parser.keepAlive || parser.versionMinor === 0 || parser.upgrade) this.#last = true;
    const service = this.#options.services.get(parser.path);
    if (service === undefined) {
      // It takes the door for another.
      this.#last = true;
      this.#answer(textAnswer(404, 'there is nothing at this path'));
      return;
    }
    this.#guarded(() => {
      this.#handler = service(this.#call(parser));
      if (this.#answered) this.#closeHandler();
    });
    if (!this.#answered && parser.bodyKind !== 'none' && parser.headers.getById(H.EXPECT)?.toLowerCase() === '100-continue')
      this.#socket.write(CONTINUE_HEAD);
  }

  onBody(buf: Buffer, start: number, end: number): void {
    this.#guarded(() => this.#handler?.body(buf.subarray(start, end)));
  }

  onEnd(): void {
    this.#received = true;
    if (!this.#answered) this.#socket.pause();
    this.#guarded(() => this.#handler?.ended());
  }

  onError(problem: Http1Problem): void {
    this.#last = true;
    if (this.#answered) this.#end();
    else this.#answer(textAnswer(problem.status, problem.message));
  }

  #call(parser: Http1Parser): HttpCall {
    const { method, headers, bodyKind } = parser;
    return {
      method,
      peer: this.#peer,
      contentLength: bodyKind === 'chunked' ? undefined : parser.contentLength,
      header: (name) => headers.get(name),
      answer: (answer) => this.#answer(answer),
    };
  }

  #answer({ status, headers, body }: HttpAnswer): void {
    if (this.#answered || this.#over) return;
    this.#answered = true;
    // Who is answered before all was sent may send on for ever: the connection ends with the answer.
    if (!this.#received && this.#parser.bodyKind !== 'none') this.#last = true;
    const lines = [`HTTP/1.1 ${status} ${STATUS_REASONS[status] ?? 'Unknown'}`];
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value.replace(/[^\x20-\x7e]/g, ' ')}`);
    if (this.#last) lines.push('connection: close');
    lines.push(`content-length: ${body.length}`, '\r\n');
    const head = Buffer.from(lines.join('\r\n'));
    this.#socket.write(this.#parser.method === 'HEAD' ? head : Buffer.concat([head, body]));
    this.#ticks = 0;
    this.#closeHandler();
    if (this.#last) this.#end();
    else if (this.#socket.writableLength > UNREAD_BYTES_MAX) this.destroy();
    else if (this.#received) this.#resumeLater();
  }

  /** Not from inside the parser, which has not returned yet where the answer came at once. */
  #resumeLater(): void {
    setImmediate(() => {
      if (this.#over) return;
      this.#next();
      this.#socket.resume();
    });
  }

  #next(): void {
    while (!this.#over && this.#parser.paused && this.#answered) {
      this.#parser.resume();
      const rest = this.#rest;
      this.#rest = NO_BYTES;
      if (rest.length === 0) return;
      const taken = this.#parser.execute(rest);
      if (taken < rest.length && !this.#over) this.#rest = rest.subarray(taken);
    }
  }

  /** What the client still sends is read and dropped until it has seen the answer. */
  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#parser.stop();
    this.#rest = NO_BYTES;
    this.#closeHandler();
    this.#socket.end();
    this.#socket.resume();
  }

  #closeHandler(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    this.#guarded(() => handler?.closed());
  }

  /** A defect met in one request ends that request, not the process. */
  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#options.failed(error);
      this.#answer(textAnswer(500, 'internal error of the control plane'));
    }
  }
}
