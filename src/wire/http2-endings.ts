// How streams and the connection end: by both sides' END_STREAM, by a reset of either side, by a connection error.
import { H2, T_GOAWAY, T_RST_STREAM } from './http2-frame.ts';
import type { Http2Guard } from './http2-guard.ts';
import { BAD_MESSAGE, TOO_LARGE } from './http2-head.ts';
import type { Http2Owner } from './http2-owner.ts';
import type { ReceiveWindow } from './http2-receive-window.ts';
import type { Http2Sender } from './http2-sender.ts';
import { CLOSED, HEAD_SEEN, HEAD_SENT, type Http2Stream, LOCAL_DONE, RELEASED, REMOTE_DONE, RESET } from './http2-stream.ts';
import type { Http2Streams } from './http2-streams.ts';

/** Envoy's detail for what its codec library refuses without a name. */
const UNNAMED = 'http2.unknown.nghttp2.error';
/** And of streams that end with a connection they did not break. */
const OTHERS = 'codec_error:The_user_callback_function_failed';

export class Http2Endings {
  /** The connection is over: nothing is read or written any more. */
  dead = false;
  /** Coarse milliseconds. */
  nowMs = 0;
  /** Envoy's detail for what this side ends now. */
  verdict = OTHERS;
  readonly #client: boolean;
  readonly #owner: Http2Owner;
  readonly #streams: Http2Streams;
  readonly #sender: Http2Sender;
  readonly #guard: Http2Guard;
  readonly #window: ReceiveWindow;
  readonly #streamError: boolean;

  constructor(
    client: boolean,
    owner: Http2Owner,
    streams: Http2Streams,
    sender: Http2Sender,
    guard: Http2Guard,
    window: ReceiveWindow,
    streamError: boolean,
  ) {
    this.#client = client;
    this.#owner = owner;
    this.#streams = streams;
    this.#sender = sender;
    this.#guard = guard;
    this.#window = window;
    this.#streamError = streamError;
  }

  /** Connection error: GOAWAY, every stream reset, the owner told. `culprit`: the stream whose fault it is. */
  fail(code: number, message: string, detail = UNNAMED, culprit?: Http2Stream): void {
    if (this.dead) return;
    const outbox = this.#sender.outbox;
    outbox.beginFrame(T_GOAWAY, 0, 0);
    outbox.u32(this.#streams.servedLast);
    outbox.u32(code);
    outbox.endFrame();
    this.dead = true;
    if (culprit !== undefined) {
      this.verdict = detail;
      this.abort(culprit, code, false);
    }
    this.verdict = code === H2.ENHANCE_YOUR_CALM ? detail : OTHERS;
    this.endAll(code, false);
    this.#owner.onError({ code, detail, message });
  }

  protocolError(message: string): void {
    this.fail(H2.PROTOCOL_ERROR, message);
  }

  /** `detail` '' when there is none. */
  flood(detail: string): void {
    if (detail !== '') this.fail(H2.ENHANCE_YOUR_CALM, 'flood', detail);
  }

  /** A frame's size is right, or the connection ends. */
  sized(right: boolean, frame: string): boolean {
    if (!right) this.fail(H2.FRAME_SIZE_ERROR, `${frame} of a wrong size`);
    return right;
  }

  endAll(code: number, remote: boolean): void {
    for (const stream of this.#streams.all()) this.abort(stream, code, remote);
  }

  closeWhenDone(stream: Http2Stream): void {
    const both = LOCAL_DONE | REMOTE_DONE;
    if ((stream.state & (both | CLOSED)) !== both) return;
    this.#close(stream, false);
    this.#releaseIfDue(stream);
    if (!this.#client) this.flood(this.#guard.ended(false, 0));
  }

  /** The owner resets a stream: it is not told. */
  reset(stream: Http2Stream, code: number): void {
    this.sendReset(stream.id, code);
    this.#close(stream, true);
    this.#releaseIfDue(stream);
  }

  /** This side's verdict on a stream: RST_STREAM, and the owner is told when it knows the stream. */
  streamFailed(stream: Http2Stream, code: number, detail = UNNAMED): void {
    const early = (stream.state & HEAD_SENT) === 0;
    const ageMs = this.nowMs - stream.openedMs;
    this.sendReset(stream.id, code);
    this.verdict = detail;
    this.abort(stream, code, false);
    if (!this.#client) this.flood(this.#guard.ended(early, ageMs));
  }

  /** RFC 9113 8.1.1: a stream error; Envoy ends the connection unless told otherwise. A head too large ends its stream only. */
  malformed(stream: Http2Stream, fault: number, reason: string): void {
    const tooLarge = fault === TOO_LARGE;
    const detail = tooLarge ? reason : fault === BAD_MESSAGE ? 'http2.violation.of.messaging.rule' : 'http2.invalid.header.field';
    if ((stream.state & HEAD_SEEN) === 0) this.#owner.onHeadRefused?.(detail);
    if (!tooLarge && !this.#streamError) this.fail(H2.PROTOCOL_ERROR, reason, detail, stream);
    else this.streamFailed(stream, tooLarge ? H2.INTERNAL_ERROR : H2.PROTOCOL_ERROR, detail);
  }

  /** Over without a frame of ours. */
  abort(stream: Http2Stream, code: number, remote: boolean): void {
    const known = this.#client || (stream.state & HEAD_SEEN) !== 0;
    this.#close(stream, true);
    if (known && (stream.state & RELEASED) === 0) this.#owner.onReset(stream, code, remote);
    else this.#streams.release(stream);
  }

  #releaseIfDue(stream: Http2Stream): void {
    if ((stream.state & RELEASED) !== 0) this.#streams.release(stream);
  }

  sendReset(id: number, code: number): void {
    this.#streams.noteReset(id);
    const outbox = this.#sender.outbox;
    outbox.word(T_RST_STREAM, id, code);
    outbox.controlFrames++;
  }

  /** Out of the table. What its owner still holds of its bytes stays charged until given back, unless it was reset. */
  #close(stream: Http2Stream, byReset: boolean): void {
    stream.state |= byReset ? CLOSED | RESET : CLOSED;
    this.#streams.remove(stream);
    this.#sender.drop(stream);
    if (!byReset || stream.unconsumed === 0) return;
    this.#window.giveBack(stream.unconsumed);
    stream.unconsumed = 0;
  }
}
