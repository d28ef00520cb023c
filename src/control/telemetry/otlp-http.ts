// OTLP over HTTP: batches of spans POSTed to /v1/traces, as protobuf or JSON, packed with gzip or not. Who may is decided as for OTLP over
// gRPC, and before a byte of the body is kept; what is taken is decided by the same intake. Answers in the form of the request; a problem
// is a google.rpc.Status in it. Bodies are bounded, one by one, unpacked, and all together.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
import { gunzip } from 'node:zlib';
import { GRPC, type GrpcStatus } from '../../wire/grpc-frames.ts';
import { Writer } from '../../xds/wire-format.ts';
import type { GrpcHandler, GrpcPeer } from '../xds/grpc-server.ts';
import type { HttpCall, HttpHandler } from '../xds/http-call.ts';
import { OTLP_BODY_BYTES_MAX, OTLP_HELD_BYTES_MAX } from './limits.ts';
import { exportResponse, type Rejected, type SpanIntake, type SpanTeller } from './span-intake.ts';
import { readSpansJson } from './span-json.ts';
import { readSpans } from './span-reader.ts';

export const TRACES_PATH = '/v1/traces';

/** As much of a request as is needed to say whose it is. */
export interface OtlpCaller {
  readonly peer: GrpcPeer;
  metadata(name: string): string | undefined;
  /** It is known whose call this is. */
  known?(): void;
  end(status: GrpcStatus): void;
}

export interface OtlpHttpOptions {
  readonly take: SpanIntake;
  /** Ends a call whose caller has proven nothing; what it answers takes the batch, once the caller is known. */
  readonly admit: (call: OtlpCaller, batch: (bytes: Uint8Array, teller: SpanTeller) => void) => GrpcHandler;
}

type Form = 'application/x-protobuf' | 'application/json';

/** Shared by the requests of one door. */
interface Room {
  heldBytes: number;
}

export const otlpTraces = (options: OtlpHttpOptions): ((call: HttpCall) => HttpHandler) => {
  const room: Room = { heldBytes: 0 };
  return (call) => new TraceExport(call, options, room);
};

class TraceExport implements HttpHandler {
  readonly #call: HttpCall;
  readonly #room: Room;
  readonly #form: Form | undefined;
  readonly #packed: boolean;
  readonly #handler: GrpcHandler | undefined;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #over = false;

  constructor(call: HttpCall, { take, admit }: OtlpHttpOptions, room: Room) {
    this.#call = call;
    this.#room = room;
    this.#form = formOf(call.header('content-type'));
    const encoding = call.header('content-encoding')?.trim().toLowerCase() ?? 'identity';
    this.#packed = encoding === 'gzip';
    if (call.method !== 'POST') {
      this.#refuse(405, GRPC.UNIMPLEMENTED, 'spans are POSTed', { allow: 'POST' });
      return;
    }
    const caller = { peer: call.peer, metadata: (name: string) => call.header(name), end: (status: GrpcStatus) => this.#end(status) };
    this.#handler = admit(caller, (body, teller) =>
      this.#unpacked(body, (bytes) => {
        const taken = take(bytes, teller, this.#form === 'application/json' ? readSpansJson : readSpans);
        if (taken.ok) this.#answer(200, this.#form === 'application/json' ? jsonResponse(taken.value) : exportResponse(taken.value));
        else this.#end(taken.error);
      }),
    );
    if (this.#over) return;
    if (this.#form === undefined) this.#refuse(415, GRPC.INVALID_ARGUMENT, 'spans come as application/x-protobuf or application/json');
    else if (!this.#packed && encoding !== 'identity' && encoding !== '')
      this.#refuse(415, GRPC.INVALID_ARGUMENT, 'a body is packed with gzip, or not at all', { 'accept-encoding': 'gzip' });
    else if ((call.contentLength ?? 0) > OTLP_BODY_BYTES_MAX) this.#tooLarge();
  }

  body(bytes: Uint8Array): void {
    if (this.#over) return;
    this.#bytes += bytes.length;
    this.#room.heldBytes += bytes.length;
    if (this.#bytes > OTLP_BODY_BYTES_MAX) this.#tooLarge();
    else if (this.#room.heldBytes > OTLP_HELD_BYTES_MAX)
      this.#end({ code: GRPC.UNAVAILABLE, message: 'too many batches are being received at once' });
    else this.#pieces.push(Buffer.from(bytes));
  }

  ended(): void {
    if (this.#over) return;
    const body = Buffer.concat(this.#pieces);
    this.#pieces = [];
    // Who has a promise of being known waits for it with what was sent, packed as it is.
    this.#handler?.message(body);
    this.#handler?.halfClosed();
  }

  #unpacked(body: Uint8Array, then: (bytes: Uint8Array) => void): void {
    if (!this.#packed) then(body);
    else
      gunzip(body, { maxOutputLength: OTLP_BODY_BYTES_MAX }, (error, unpacked) => {
        if (this.#over) return;
        if (error === null) then(unpacked);
        else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') this.#tooLarge();
        else this.#end({ code: GRPC.INVALID_ARGUMENT, message: 'the body is not packed with gzip' });
      });
  }

  closed(): void {
    this.#over = true;
    this.#room.heldBytes -= this.#bytes;
    this.#bytes = 0;
    this.#pieces = [];
    this.#handler?.closed();
  }

  #tooLarge(): void {
    this.#refuse(413, GRPC.INVALID_ARGUMENT, `a batch is larger than ${OTLP_BODY_BYTES_MAX} bytes`);
  }

  #end({ code, message }: GrpcStatus): void {
    const status = STATUS[code] ?? 500;
    this.#refuse(status, code, message, MORE[status] ?? {});
  }

  #refuse(status: number, code: number, message: string, headers: Readonly<Record<string, string>> = {}): void {
    const body = this.#form === 'application/x-protobuf' ? statusMessage(code, message) : Buffer.from(JSON.stringify({ code, message }));
    this.#answer(status, body, headers);
  }

  #answer(status: number, body: Uint8Array, headers: Readonly<Record<string, string>> = {}): void {
    if (this.#over) return;
    this.#over = true;
    this.#call.answer({ status, headers: { 'content-type': this.#form ?? 'application/json', ...headers }, body });
  }
}

const formOf = (contentType: string | undefined): Form | undefined => {
  const type = contentType?.split(';', 1)[0]?.trim().toLowerCase();
  return type === 'application/x-protobuf' || type === 'application/json' ? type : undefined;
};

const jsonResponse = ({ spans, why }: Rejected): Uint8Array =>
  Buffer.from(JSON.stringify(spans === 0 ? {} : { partialSuccess: { rejectedSpans: String(spans), errorMessage: why } }));

/** google.rpc.Status */
const statusMessage = (code: number, message: string): Uint8Array => {
  const w = new Writer();
  w.tag(1, 0);
  w.varint(code);
  w.tag(2, 2);
  w.string(message);
  return w.finish();
};

/** 429 and 503 are what OTLP's clients send again. */
const STATUS: Readonly<Record<number, number>> = {
  [GRPC.INVALID_ARGUMENT]: 400,
  [GRPC.UNAUTHENTICATED]: 401,
  [GRPC.PERMISSION_DENIED]: 403,
  [GRPC.RESOURCE_EXHAUSTED]: 429,
  [GRPC.UNAVAILABLE]: 503,
};
const MORE: Readonly<Record<number, Readonly<Record<string, string>>>> = {
  401: { 'www-authenticate': 'Bearer' },
  429: { 'retry-after': '1' },
  503: { 'retry-after': '1' },
};
