// The windows the peer sends under: what it used, what the owner gave back, and telling the peer once half of a window
// has gathered.
import { T_WINDOW_UPDATE, WINDOW_DEFAULT } from './http2-frame.ts';
import type { Http2Outbox } from './http2-outbox.ts';
import { connectionWindow, type LocalSettings, streamWindow } from './http2-settings.ts';
import { CLOSED, type Http2Stream, REMOTE_DONE } from './http2-stream.ts';
import type { Http2Streams } from './http2-streams.ts';

export class ReceiveWindow {
  /** What the peer may still send on the connection. */
  left: number;
  readonly #size: number;
  readonly #streamSize: number;
  readonly #outbox: Http2Outbox;
  #unannounced = 0;
  #acknowledged = false;

  constructor(options: LocalSettings, outbox: Http2Outbox) {
    this.#size = this.left = connectionWindow(options);
    this.#streamSize = streamWindow(options);
    this.#outbox = outbox;
  }

  /** What a new stream may receive. A smaller window than the RFC's holds from the peer's acknowledgement on. */
  get newStream(): number {
    return this.#acknowledged ? this.#streamSize : Math.max(WINDOW_DEFAULT, this.#streamSize);
  }

  /** The peer acknowledged the SETTINGS; false when it did before. */
  acknowledge(streams: Http2Streams): boolean {
    if (this.#acknowledged) return false;
    const change = this.#streamSize - this.newStream;
    this.#acknowledged = true;
    if (change !== 0) for (const stream of streams.all()) stream.receiveWindow += change;
    return true;
  }

  /** The owner is done with so many bytes of a stream. */
  consumed(stream: Http2Stream, bytes: number): void {
    const given = Math.min(bytes, stream.unconsumed);
    if (given <= 0) return;
    stream.unconsumed -= given;
    if ((stream.state & (REMOTE_DONE | CLOSED)) === 0) {
      stream.unannounced += given;
      if (stream.unannounced * 2 >= this.#streamSize) {
        stream.receiveWindow += stream.unannounced;
        this.#outbox.word(T_WINDOW_UPDATE, stream.id, stream.unannounced);
        stream.unannounced = 0;
      }
    }
    this.giveBack(given);
  }

  /** Bytes of no stream any more. */
  giveBack(bytes: number): void {
    this.#unannounced += bytes;
    if (this.#unannounced * 2 < this.#size) return;
    this.left += this.#unannounced;
    this.#outbox.word(T_WINDOW_UPDATE, 0, this.#unannounced);
    this.#unannounced = 0;
  }
}
