// The streams of one HTTP/2 connection by id: which are open, which were, and which this side reset a moment ago.
import { RESET_MEMORY, STREAM_ID_MAX } from './http2-frame.ts';
import { Http2Stream, LISTED, type StreamPort } from './http2-stream.ts';
import { Http2StreamTable } from './http2-stream-table.ts';

/** Stream objects kept for reuse. */
const SPARE_MAX = 256;

export class Http2Streams {
  /** The highest id the peer opened, and the next one of this side. */
  lastPeerId = 0;
  nextOwnId: number;
  /** The last id the final GOAWAY named; streams above it are not served. -1 before. */
  goawayLast = -1;
  readonly #port: StreamPort;
  readonly #open = new Http2StreamTable();
  readonly #ownParity: number;
  #spare: Http2Stream[] = [];
  #resets: Int32Array | undefined;
  #resetsAt = 0;
  // The stream last looked up: frames of one come in runs.
  #cached: Http2Stream | undefined;

  constructor(port: StreamPort, client: boolean) {
    this.#port = port;
    this.nextOwnId = client ? 1 : 2;
    this.#ownParity = client ? 1 : 0;
  }

  /** What a GOAWAY may name: never more than one did before (RFC 9113 6.8). */
  get servedLast(): number {
    return this.goawayLast >= 0 ? this.goawayLast : this.lastPeerId;
  }

  get active(): number {
    return this.#open.size;
  }

  get idsLeft(): boolean {
    return this.nextOwnId <= STREAM_ID_MAX;
  }

  get(id: number): Http2Stream | undefined {
    const cached = this.#cached;
    if (cached !== undefined && cached.id === id) return cached;
    const stream = this.#open.get(id);
    if (stream !== undefined) this.#cached = stream;
    return stream;
  }

  all(): Http2Stream[] {
    return this.#open.all();
  }

  add(id: number): Http2Stream {
    const stream = this.#spare.pop() ?? new Http2Stream(this.#port);
    stream.id = id;
    stream.state = 0;
    this.#open.add(stream);
    this.#cached = stream;
    return stream;
  }

  remove(stream: Http2Stream): void {
    this.#open.remove(stream);
    if (this.#cached === stream) this.#cached = undefined;
  }

  /** Keeps a closed stream's object for another one. */
  release(stream: Http2Stream): void {
    if ((stream.state & LISTED) !== 0 || this.#spare.length >= SPARE_MAX) return;
    stream.recycle();
    this.#spare.push(stream);
  }

  /** No frame of this stream was ever sent by either side. */
  isIdle(id: number): boolean {
    return (id & 1) === this.#ownParity ? id >= this.nextOwnId : id > this.lastPeerId;
  }

  /** This side reset it: frames may still come that were sent before the peer heard of it. */
  noteReset(id: number): void {
    this.#resets ??= new Int32Array(RESET_MEMORY);
    this.#resets[this.#resetsAt] = id;
    this.#resetsAt = (this.#resetsAt + 1) % RESET_MEMORY;
  }

  /** The peer has reset it too: it sends nothing more of it. */
  forgetReset(id: number): void {
    const at = this.#resets?.indexOf(id) ?? -1;
    if (at >= 0) this.#resets?.fill(0, at, at + 1);
  }

  wasReset(id: number): boolean {
    return this.#resets?.includes(id) ?? false;
  }
}
