// Counts what a hostile peer can make plenty of at no cost of its own, by Envoy's options and names. A method returns
// the detail of the violation, '' when there is none; the connection ends with ENHANCE_YOUR_CALM. No clock: lifetimes
// are measured by the milliseconds its owner gives.
import { F_END_STREAM, F_PADDED, T_CONTINUATION, T_DATA, T_HEADERS, T_PRIORITY, T_WINDOW_UPDATE } from './http2-frame.ts';

export interface FloodLimits {
  readonly maxOutboundFrames?: number | undefined;
  readonly maxOutboundControlFrames?: number | undefined;
  readonly maxConsecutiveInboundFramesWithEmptyPayload?: number | undefined;
  readonly maxInboundPriorityFramesPerStream?: number | undefined;
  readonly maxInboundWindowUpdateFramesPerDataFrameSent?: number | undefined;
  /** Streams ended after which, when most of them were reset at once, the connection ends (overload.premature_reset_total_stream_count). */
  readonly prematureResetTotalStreamCount?: number | undefined;
}

/** A reset before it, and before a response, is premature: more than one whole second (overload.premature_reset_min_stream_lifetime_seconds). */
const LIFETIME_MS = 2000;

export class Http2Guard {
  /** DATA frames sent; the sender counts. */
  dataFramesSent = 0;
  /** Streams opened by either side. */
  streams = 0;
  readonly #outbound: number;
  readonly #outboundControl: number;
  readonly #emptyInARow: number;
  readonly #priorityPerStream: number;
  readonly #windowUpdatesPerData: number;
  readonly #resetCount: number;
  #empty = 0;
  #priorities = 0;
  #windowUpdates = 0;
  #ended = 0;
  #premature = 0;

  constructor(limits: FloodLimits) {
    this.#outbound = limits.maxOutboundFrames ?? 10_000;
    this.#outboundControl = limits.maxOutboundControlFrames ?? 1000;
    this.#emptyInARow = limits.maxConsecutiveInboundFramesWithEmptyPayload ?? 1;
    this.#priorityPerStream = limits.maxInboundPriorityFramesPerStream ?? 100;
    this.#windowUpdatesPerData = limits.maxInboundWindowUpdateFramesPerDataFrameSent ?? 10;
    this.#resetCount = limits.prematureResetTotalStreamCount ?? 500;
  }

  /** Each frame's head; a padded DATA frame tells what it held by `payload` at its end. */
  inbound(type: number, flags: number, length: number): string {
    if (type === T_DATA || type === T_HEADERS || type === T_CONTINUATION) {
      if (type === T_DATA && (flags & F_PADDED) !== 0) return '';
      return this.payload(length > 0 || (flags & F_END_STREAM) !== 0);
    }
    if (type === T_WINDOW_UPDATE) {
      this.#windowUpdates++;
      if (this.#windowUpdates > 5 + 2 * (this.streams + this.#windowUpdatesPerData * this.dataFramesSent))
        return 'codec_error:Too_many_WINDOW_UPDATE_frames';
    } else if (type === T_PRIORITY) {
      this.#priorities++;
      if (this.#priorities > this.#priorityPerStream * (1 + this.streams)) return 'codec_error:Too_many_PRIORITY_frames';
    }
    return '';
  }

  /** A frame held payload or ended its stream, or it did not. */
  payload(any: boolean): string {
    this.#empty = any ? 0 : this.#empty + 1;
    return this.#empty > this.#emptyInARow ? 'http2.inbound_empty_frames_flood' : '';
  }

  /** What waits to be written, because the peer makes us write and does not read. */
  waiting(frames: number, controlFrames: number): string {
    if (controlFrames > this.#outboundControl) return 'codec_error:Too_many_control_frames_in_the_outbound_queue.';
    return frames > this.#outbound ? 'http2.outbound_frames_flood' : '';
  }

  /** A stream of the peer ended; `early`: by a reset of the peer before it had a response. The connection ends when half of the streams did, or are bound to have. */
  ended(early: boolean, ageMs: number): string {
    this.#ended++;
    if (!early || ageMs >= LIFETIME_MS) return '';
    this.#premature++;
    return this.#premature * 2 >= Math.max(this.#ended, this.#resetCount) ? 'too_many_premature_resets' : '';
  }
}
