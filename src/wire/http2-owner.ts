// What an HTTP/2 connection and its owner agree on: the calls, the options, the problem.
import type { HeaderBlock } from './header-block.ts';
import type { FloodLimits } from './http2-guard.ts';
import type { LocalSettings } from './http2-settings.ts';
import type { Http2Stream } from './http2-stream.ts';

/** Implemented by the connection objects of the proxy. */
export interface Http2Owner {
  /** Server: a request; client: the final response head. The stream's fields are filled. */
  onHead(stream: Http2Stream, endStream: boolean): void;
  /** A head above the limits or against the rules: a server's owner never sees it. `detail` is Envoy's. */
  onHeadRefused?: ((detail: string) => void) | undefined;
  /** Client: a 1xx head; `statusCode` and `headers` are its own until the call returns. */
  onInformational(stream: Http2Stream): void;
  /** Payload only. The range is the caller's buffer of `execute`. The receive window is given back by `stream.consume(bytes)`. */
  onData(stream: Http2Stream, buf: Buffer, start: number, end: number): void;
  /** Trailers; never an empty block. onEnd follows. */
  onTrailers(stream: Http2Stream, trailers: HeaderBlock): void;
  /** END_STREAM was received, after everything else of the stream (called also when onHead said endStream). */
  onEnd(stream: Http2Stream): void;
  /** The stream is over abnormally: at most once, never after both ends, never for a `reset` of the owner itself. */
  onReset(stream: Http2Stream, code: number, remote: boolean): void;
  /** A write that returned false may go on. */
  onWritable(stream: Http2Stream): void;
  onGoaway(lastStreamId: number, code: number): void;
  /** The peer's SETTINGS came (the first ones say that it speaks HTTP/2). */
  onPeerSettings(): void;
  onPingAck(): void;
  /** Connection error; GOAWAY is in the outbox and every stream was reset; the owner flushes and closes. At most once. */
  onError(problem: Http2Problem): void;
  /** Bytes wait in the outbox; called once until taken, never from inside `takeOutput`, and only at the end of `execute`. */
  onOutput(): void;
}

export interface Http2Problem {
  /** RFC 9113 7: the code of GOAWAY. */
  readonly code: number;
  /** Envoy's detail, e.g. `http2.outbound_frames_flood`. */
  readonly detail: string;
  readonly message: string;
}

/** Absent values are Envoy's defaults: windows 16 MiB and 24 MiB, 1024 streams, 4 KiB tables, 60 KiB and 100 fields a head. */
export interface Http2Options extends LocalSettings, FloodLimits {
  readonly maxHeadBytes?: number | undefined;
  readonly maxHeaderCount?: number | undefined;
  /** What becomes of field names with `_` (headers_with_underscores_action). Default: they go on. */
  readonly underscores?: 'reject' | 'drop' | undefined;
  /** An invalid message ends its stream only, not the connection (override_stream_error_on_invalid_http_message). */
  readonly streamErrorOnInvalidMessage?: boolean | undefined;
}
