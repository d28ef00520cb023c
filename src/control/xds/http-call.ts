// A request at the gRPC door that is not gRPC's, whatever carries it: what serves it sees its head, then its body in pieces, and answers
// once, at any time.
import type { GrpcPeer } from './grpc-server.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface HttpCall {
  readonly method: string;
  readonly peer: GrpcPeer;
  header(name: string): string | undefined;
  /** Of the body, where the head says so. */
  readonly contentLength: number | undefined;
  /** The first answer counts, and none after the client is gone. What still comes of the body is dropped. */
  answer(answer: HttpAnswer): void;
}

/** What serves one request. Nothing is called after `closed`. */
export interface HttpHandler {
  /** A piece of the body; the bytes are the connection's, and change after the call. */
  body(bytes: Uint8Array): void;
  ended(): void;
  /** It is answered, or the client is gone. */
  closed(): void;
}

/** By path. */
export type HttpServices = ReadonlyMap<string, (call: HttpCall) => HttpHandler>;

export const textAnswer = (status: number, text: string): HttpAnswer => ({
  status,
  headers: { 'content-type': 'text/plain; charset=utf-8' },
  body: Buffer.from(`${text}\n`),
});
