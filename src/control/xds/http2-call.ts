// One request over HTTP/2 at the gRPC door that is not gRPC's. Its body stays on the client's account only as long as its service takes
// to look at each piece.
import type { GrpcStatus } from '../../wire/grpc-frames.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import type { Http2Connection, Http2Stream } from '../../wire/http2-connection.ts';
import { H2 } from '../../wire/http2-frame.ts';
import type { GrpcPeer } from './grpc-server.ts';
import { type HttpAnswer, type HttpCall, type HttpHandler, type HttpServices, textAnswer } from './http-call.ts';

/** Ticks that a request may last. */
const TICKS_MAX = 2;

export interface Http2CallOptions {
  readonly http2: Http2Connection;
  readonly peer: GrpcPeer;
  readonly failed: (error: unknown) => void;
  readonly gone: () => void;
}

export class Http2Call implements HttpCall {
  readonly peer: GrpcPeer;
  readonly #stream: Http2Stream;
  readonly #options: Http2CallOptions;
  #handler: HttpHandler | undefined;
  #over = false;
  #ticks = 0;

  constructor(stream: Http2Stream, options: Http2CallOptions) {
    this.#stream = stream;
    this.#options = options;
    this.peer = options.peer;
  }

  get method(): string {
    return this.#stream.method;
  }

  get contentLength(): number | undefined {
    return this.#stream.contentLength < 0 ? undefined : this.#stream.contentLength;
  }

  header(name: string): string | undefined {
    return this.#stream.headers.get(name);
  }

  answer({ status, headers, body }: HttpAnswer): void {
    if (this.#over) return;
    const fields = new HeaderBlock();
    for (const [name, value] of Object.entries(headers)) fields.add(name, value);
    fields.add('content-length', String(body.length));
    const bodiless = body.length === 0 || this.method === 'HEAD';
    this.#options.http2.respond(this.#stream, status, fields, bodiless);
    if (!bodiless) {
      this.#stream.writeBody(Buffer.from(body.buffer, body.byteOffset, body.byteLength), 0, body.length);
      this.#stream.endBody(undefined);
    }
    // The client may still be sending; nothing of it is wanted.
    if (!this.#stream.remoteDone) this.#stream.reset(H2.NO_ERROR);
    this.#finish();
  }

  // --- called by the connection ---

  begin(service: NonNullable<ReturnType<HttpServices['get']>>): void {
    this.#guarded(() => {
      this.#handler = service(this);
      if (this.#over) this.#handler.closed();
    });
  }

  received(chunk: Buffer): void {
    if (!this.#over) this.#guarded(() => this.#handler?.body(chunk));
    this.#stream.consume(this.#stream.unconsumed);
  }

  halfClosed(): void {
    if (!this.#over) this.#guarded(() => this.#handler?.ended());
  }

  drained(): void {}

  lost(): void {
    this.#finish();
  }

  tick(): void {
    this.#ticks++;
    if (this.#ticks <= TICKS_MAX || this.#over) return;
    this.#stream.reset(H2.CANCEL);
    this.#finish();
  }

  /** The door closes. */
  end({ message }: GrpcStatus): void {
    this.answer(textAnswer(503, message));
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stream.consume(this.#stream.unconsumed);
    this.#options.gone();
    this.#guarded(() => this.#handler?.closed());
  }

  /** A defect met in one request ends that request, not the process. */
  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#options.failed(error);
      this.answer(textAnswer(500, 'internal error of the control plane'));
    }
  }
}
