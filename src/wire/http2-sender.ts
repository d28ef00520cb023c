// The sending half of an HTTP/2 connection: heads, bodies under both windows, and the streams that wait for one of
// them, served in turn a frame each. What cannot go yet is queued by reference.
import type { HeaderBlock } from './header-block.ts';
import { HeaderBlock as Block } from './header-block.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import {
  F_END_HEADERS,
  F_END_STREAM,
  FRAME_SIZE_DEFAULT,
  OUTBOX_HIGH,
  T_DATA,
  T_HEADERS,
  WINDOW_DEFAULT,
  WINDOW_MAX,
} from './http2-frame.ts';
import type { Http2Guard } from './http2-guard.ts';
import { Http2Outbox } from './http2-outbox.ts';
import { BLOCKED, CLOSED, type Http2Stream, LISTED, LOCAL_DONE, LOCAL_ENDING } from './http2-stream.ts';
import { isSmallPiece, SmallPieces } from './small-pieces.ts';

export interface SenderEvents {
  /** END_STREAM is out. */
  localDone(stream: Http2Stream): void;
  writable(stream: Http2Stream): void;
}

export class Http2Sender {
  readonly outbox = new Http2Outbox();
  readonly encoder: HpackEncoder;
  /** The peer's windows and limits. */
  window = WINDOW_DEFAULT;
  initialWindow = WINDOW_DEFAULT;
  frameMax = FRAME_SIZE_DEFAULT;
  /** Bytes queued in streams. */
  queuedBytes = 0;
  readonly #events: SenderEvents;
  readonly #guard: Http2Guard;
  #first: Http2Stream | undefined;
  #last: Http2Stream | undefined;
  #pumping = false;

  constructor(events: SenderEvents, guard: Http2Guard, tableBytes: number) {
    this.#events = events;
    this.#guard = guard;
    this.encoder = new HpackEncoder(this.outbox, tableBytes);
  }

  /** Begins a head; pseudo fields go to `encoder`, then `endHead`. */
  beginHead(stream: Http2Stream, endStream: boolean): void {
    this.outbox.beginFrame(T_HEADERS, endStream ? F_END_HEADERS | F_END_STREAM : F_END_HEADERS, stream.id);
    this.encoder.begin();
  }

  endHead(stream: Http2Stream, headers: HeaderBlock | undefined): number {
    headers?.visit(this.encoder);
    const outbox = this.outbox;
    const at = outbox.frameAt;
    const bytes = outbox.endHead(this.frameMax, stream.id);
    stream.sentHeadBytes = bytes;
    if (bytes <= this.frameMax) this.#remember(stream, at);
    else stream.lastFrame = undefined;
    return bytes;
  }

  /** False when bytes are queued or the outbox is full. */
  body(stream: Http2Stream, buf: Buffer, start: number, end: number): boolean {
    let at = start;
    if (stream.queuedBytes === 0) while (at < end && this.#mayFrame(stream)) at = this.#frame(stream, buf, at, end);
    if (at < end) {
      stream.queue ??= [];
      if (isSmallPiece(stream.queue, buf, at, end)) {
        stream.small ??= new SmallPieces();
        stream.small.add(stream.queue, buf, at, end, stream.queuedBytes);
      } else stream.queue.push(buf.subarray(at, end));
      stream.queuedBytes += end - at;
      this.queuedBytes += end - at;
    }
    if (stream.queuedBytes === 0 && this.outbox.bytes < OUTBOX_HIGH) return true;
    stream.state |= BLOCKED;
    this.#list(stream);
    return false;
  }

  /** END_STREAM, now or behind what is queued. */
  end(stream: Http2Stream, trailers: HeaderBlock | undefined): void {
    stream.state &= ~BLOCKED;
    if (stream.queuedBytes > 0) {
      stream.state |= LOCAL_ENDING;
      if (trailers !== undefined) {
        stream.trailers = new Block();
        stream.trailers.copyFrom(trailers);
        stream.trailers.own();
      }
      return;
    }
    stream.state = (stream.state & ~LOCAL_ENDING) | LOCAL_DONE;
    if (trailers !== undefined && trailers.count > 0) {
      this.beginHead(stream, true);
      this.endHead(stream, trailers);
    } else if (stream.lastFrame !== undefined && stream.lastFrameTake === this.outbox.takes) {
      const flagsAt = stream.lastFrameAt + 4;
      stream.lastFrame[flagsAt] = (stream.lastFrame[flagsAt] as number) | F_END_STREAM;
    } else {
      this.outbox.beginFrame(T_DATA, F_END_STREAM, stream.id);
      this.outbox.endFrame();
      this.#guard.dataFramesSent++;
    }
    stream.lastFrame = undefined;
    this.#events.localDone(stream);
  }

  /** Forgets what a stream has queued. */
  drop(stream: Http2Stream): void {
    this.queuedBytes -= stream.queuedBytes;
    stream.queuedBytes = 0;
    stream.queue = undefined;
    stream.small = undefined;
    stream.queueAt = 0;
    stream.lastFrame = undefined;
  }

  /** The peer opened a stream's window; false when it overflows. */
  openStream(stream: Http2Stream, bytes: number): boolean {
    stream.sendWindow += bytes;
    if (stream.sendWindow > WINDOW_MAX) return false;
    if (stream.queuedBytes > 0 && stream.sendWindow > 0) this.#list(stream);
    return true;
  }

  /** Lets waiting streams write as far as windows and the outbox allow. */
  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#first !== undefined && this.outbox.bytes < OUTBOX_HIGH) {
      const stream = this.#first;
      if (stream.queuedBytes > 0 && this.window <= 0 && (stream.state & CLOSED) === 0) break;
      this.#first = stream.nextListed;
      if (this.#first === undefined) this.#last = undefined;
      stream.nextListed = undefined;
      stream.state &= ~LISTED;
      if ((stream.state & CLOSED) === 0) this.#serve(stream);
    }
    this.#pumping = false;
  }

  #serve(stream: Http2Stream): void {
    if (stream.queuedBytes > 0) {
      if (stream.sendWindow <= 0) return; // its own WINDOW_UPDATE lists it again
      this.#serveQueue(stream);
      if (stream.queuedBytes > 0) {
        this.#list(stream);
        return;
      }
    }
    if ((stream.state & LOCAL_ENDING) !== 0) this.end(stream, stream.trailers);
    else if ((stream.state & BLOCKED) !== 0) {
      stream.state &= ~BLOCKED;
      this.#events.writable(stream);
    }
  }

  /** One frame from the queue. */
  #serveQueue(stream: Http2Stream): void {
    const queue = stream.queue as Buffer[];
    const piece = queue[stream.queueAt] as Buffer;
    const sent = this.#frame(stream, piece, 0, piece.length);
    stream.queuedBytes -= sent;
    this.queuedBytes -= sent;
    if (sent < piece.length) queue[stream.queueAt] = piece.subarray(sent);
    else if (++stream.queueAt === queue.length) {
      stream.queue = undefined;
      stream.small = undefined;
      stream.queueAt = 0;
    } else queue[stream.queueAt - 1] = EMPTY;
  }

  #mayFrame(stream: Http2Stream): boolean {
    return this.window > 0 && stream.sendWindow > 0 && this.outbox.bytes < OUTBOX_HIGH;
  }

  /** One DATA frame as large as allowed; where it ended. */
  #frame(stream: Http2Stream, buf: Buffer, start: number, end: number): number {
    const bytes = Math.min(end - start, this.frameMax, this.window, stream.sendWindow);
    this.window -= bytes;
    stream.sendWindow -= bytes;
    this.#guard.dataFramesSent++;
    this.#remember(stream, this.outbox.data(stream.id, 0, buf, start, start + bytes));
    return start + bytes;
  }

  #remember(stream: Http2Stream, at: number): void {
    stream.lastFrame = this.outbox.buf;
    stream.lastFrameAt = at;
    stream.lastFrameTake = this.outbox.takes;
  }

  #list(stream: Http2Stream): void {
    if ((stream.state & LISTED) !== 0) return;
    stream.state |= LISTED;
    if (this.#last === undefined) this.#first = stream;
    else this.#last.nextListed = stream;
    this.#last = stream;
  }
}

const EMPTY = Buffer.alloc(0);
