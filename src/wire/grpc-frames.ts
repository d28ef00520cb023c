// gRPC over HTTP/2 without the HTTP/2: length-prefixed messages and the status in trailers. A machine without I/O.
// Contract: bytes in, whole messages to the sink; never compresses, refuses compressed messages and messages above the limit.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

export interface GrpcStatus {
  readonly code: number;
  readonly message: string;
}

/** The codes that Skein itself makes or tells apart. */
export const GRPC = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

const PREFIX_BYTES = 5;

/** One message with its five-byte prefix, uncompressed. */
export const frameMessage = (message: Uint8Array): Uint8Array => {
  const out = new Uint8Array(PREFIX_BYTES + message.length);
  new DataView(out.buffer).setUint32(1, message.length);
  out.set(message, PREFIX_BYTES);
  return out;
};

/** Collects chunks into messages. After a returned problem the stream is to be reset: nothing more is delivered. */
export class GrpcUnframer {
  readonly #sink: (message: Uint8Array, packed: boolean) => void;
  readonly #messageBytesMax: number;
  readonly #takesPacked: boolean;
  #chunks: Uint8Array[] = [];
  #buffered = 0;
  /** Bytes of prefix and message being waited for. */
  #needed = PREFIX_BYTES;
  #problem: GrpcStatus | undefined;

  /** `takesPacked`: compressed messages are told as they are; else they are a problem. */
  constructor(sink: (message: Uint8Array, packed: boolean) => void, messageBytesMax: number, takesPacked = false) {
    this.#sink = sink;
    this.#messageBytesMax = messageBytesMax;
    this.#takesPacked = takesPacked;
  }

  /** True when the bytes so far end between two messages. */
  get idle(): boolean {
    return this.#buffered === 0 && this.#problem === undefined;
  }

  push(chunk: Uint8Array): GrpcStatus | undefined {
    if (this.#problem) return this.#problem;
    if (chunk.length === 0) return undefined;
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    while (this.#buffered >= this.#needed && this.#problem === undefined) this.#step();
    return this.#problem;
  }

  #step(): void {
    const bytes = this.#joined();
    const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(1);
    const packed = bytes[0] !== 0;
    if (packed && !(this.#takesPacked && bytes[0] === 1)) {
      this.#fail({ code: GRPC.UNIMPLEMENTED, message: 'compressed gRPC message' });
      return;
    }
    if (length > this.#messageBytesMax) {
      this.#fail({ code: GRPC.RESOURCE_EXHAUSTED, message: `gRPC message of ${length} bytes, at most ${this.#messageBytesMax}` });
      return;
    }
    this.#needed = PREFIX_BYTES + length;
    if (bytes.length < this.#needed) return;
    const message = bytes.subarray(PREFIX_BYTES, this.#needed);
    const rest = bytes.subarray(this.#needed);
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.#buffered = rest.length;
    this.#needed = PREFIX_BYTES;
    this.#sink(message, packed);
  }

  #joined(): Uint8Array {
    const [only] = this.#chunks;
    if (this.#chunks.length === 1 && only) return only;
    const out = new Uint8Array(this.#buffered);
    let at = 0;
    for (const c of this.#chunks) {
      out.set(c, at);
      at += c.length;
    }
    this.#chunks = [out];
    return out;
  }

  #fail(problem: GrpcStatus): void {
    this.#problem = problem;
    this.#chunks = [];
    this.#buffered = 0;
  }
}

type HeaderValues = { readonly [name: string]: string | readonly string[] | number | undefined };

/** The status that headers or trailers carry; undefined when there is none (`grpc-status` absent). */
export const grpcStatusOf = (headers: HeaderValues): GrpcStatus | undefined => {
  const raw = headers['grpc-status'];
  if (raw === undefined) return undefined;
  const text = String(raw);
  const code = /^\d{1,3}$/.test(text) ? Number(text) : GRPC.UNKNOWN;
  const message = headers['grpc-message'];
  return { code, message: message === undefined ? '' : decodeGrpcMessage(String(message)) };
};

/** The status that stands for an HTTP answer that is not gRPC's (http-grpc-status-mapping.md). */
export const grpcStatusOfHttp = (httpStatus: number): GrpcStatus => {
  const message = `HTTP status ${httpStatus}`;
  switch (httpStatus) {
    case 400:
      return { code: GRPC.INTERNAL, message };
    case 401:
      return { code: GRPC.UNAUTHENTICATED, message };
    case 403:
      return { code: GRPC.PERMISSION_DENIED, message };
    case 404:
      return { code: GRPC.UNIMPLEMENTED, message };
    case 429:
    case 502:
    case 503:
    case 504:
      return { code: GRPC.UNAVAILABLE, message };
    default:
      return { code: GRPC.UNKNOWN, message };
  }
};

/** Percent-encoded UTF-8 as `grpc-message` carries it; a malformed escape stays as it is. */
export const decodeGrpcMessage = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

const utf8 = new TextEncoder();
export const encodeGrpcMessage = (text: string): string => {
  let out = '';
  for (const byte of utf8.encode(text)) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    out += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
};
