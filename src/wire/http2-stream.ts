// One stream of an HTTP/2 connection, as the owner sees it; the connection keeps its own facts of it in `flow`-like fields
// marked below, which nobody else touches.
import { HeaderBlock } from './header-block.ts';
import type { SmallPieces } from './small-pieces.ts';

/** What a stream asks of its connection. */
export interface StreamPort {
  consumed(stream: Http2Stream, bytes: number): void;
  writeBody(stream: Http2Stream, buf: Buffer, start: number, end: number): boolean;
  endBody(stream: Http2Stream, trailers: HeaderBlock | undefined): void;
  resetStream(stream: Http2Stream, code: number): void;
  releaseStream(stream: Http2Stream): void;
}

// Bits of `state`.
export const HEAD_SENT = 1;
export const HEAD_SEEN = 2;
/** END_STREAM was sent. */
export const LOCAL_DONE = 4;
/** endBody was called; END_STREAM waits behind queued bytes. */
export const LOCAL_ENDING = 8;
export const REMOTE_DONE = 16;
/** Not in the connection's table any more. */
export const CLOSED = 32;
/** Ended by a reset, either side's, or with its connection. */
export const RESET = 64;
/** A write answered false: onWritable is due. */
export const BLOCKED = 128;
/** Stands in the connection's list of streams that can write. */
export const LISTED = 256;
/** The owner released it before it was closed. */
export const RELEASED = 512;

export class Http2Stream {
  id = 0;
  /** Regular fields of the peer's head. Its own arena: valid while the stream lives. */
  headers: HeaderBlock = new HeaderBlock();
  method = '';
  scheme = '';
  authority = '';
  path = '';
  /** `:protocol` of an extended CONNECT. */
  protocol = '';
  statusCode = 0;
  /** -1 when the head has none. */
  contentLength = -1;
  /** Bytes of the peer's head block on the wire. */
  headBytes = 0;
  /** Bytes of the head block this side sent last. */
  sentHeadBytes = 0;
  /** Body bytes queued here because a window or the outbox is full. */
  queuedBytes = 0;
  /** Owner's object of this stream. */
  user: unknown = undefined;

  // --- the connection's own ---
  state = 0;
  sendWindow = 0;
  receiveWindow = 0;
  /** Received and not given back by the owner yet. */
  unconsumed = 0;
  /** Given back by the owner and not announced to the peer yet. */
  unannounced = 0;
  /** Body bytes the content-length still promises; -1 when it promises none. */
  bodyLeft = -1;
  queue: Buffer[] | undefined = undefined;
  queueAt = 0;
  small: SmallPieces | undefined = undefined;
  trailers: HeaderBlock | undefined = undefined;
  /** Kept for the next stream of this object. */
  peerTrailers: HeaderBlock | undefined = undefined;
  /** Reset due when the queue is empty; -1 none. */
  resetLater = -1;
  nextListed: Http2Stream | undefined = undefined;
  openedMs = 0;
  /** The last frame sent, while it can still be given END_STREAM. */
  lastFrame: Buffer | undefined = undefined;
  lastFrameAt = 0;
  lastFrameTake = 0;
  readonly #port: StreamPort;

  constructor(port: StreamPort) {
    this.#port = port;
  }

  /** Both ends ended, or it was reset: nothing more comes or goes. */
  get closed(): boolean {
    return (this.state & CLOSED) !== 0;
  }

  /** The peer ended its side. */
  get remoteDone(): boolean {
    return (this.state & REMOTE_DONE) !== 0;
  }

  /** This side ended, though bytes may still be queued. */
  get localDone(): boolean {
    return (this.state & (LOCAL_DONE | LOCAL_ENDING)) !== 0;
  }

  /** Gives so many received body bytes back to the peer's windows. Every byte of onData must be given back at some time. */
  consume(bytes: number): void {
    this.#port.consumed(this, bytes);
  }

  /** False: stop until onWritable. The bytes are taken (large ones by reference) in any case and must not be changed. */
  writeBody(buf: Buffer, start: number, end: number): boolean {
    return this.#port.writeBody(this, buf, start, end);
  }

  /** END_STREAM, with trailers when given. */
  endBody(trailers: HeaderBlock | undefined): void {
    this.#port.endBody(this, trailers);
  }

  /** RST_STREAM; no onReset follows. Code 0 after `endBody` waits until all is written. Nothing when it is closed. */
  reset(code: number): void {
    this.#port.resetStream(this, code);
  }

  /** The owner is done with this object and its headers: it may serve another stream, once it is closed. Optional, and the last thing to do with it. */
  release(): void {
    this.#port.releaseStream(this);
  }

  /** As new, for another stream. */
  recycle(): void {
    this.headers.clear();
    this.peerTrailers?.clear();
    this.method = this.scheme = this.authority = this.path = this.protocol = '';
    this.statusCode = this.headBytes = this.sentHeadBytes = this.queuedBytes = 0;
    this.contentLength = this.bodyLeft = this.resetLater = -1;
    this.unconsumed = this.unannounced = this.queueAt = 0;
    this.state = CLOSED | RELEASED; // whoever still calls it reaches nobody
    this.user = this.queue = this.small = this.trailers = this.nextListed = this.lastFrame = undefined;
  }
}
