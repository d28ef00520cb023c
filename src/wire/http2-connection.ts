// The HTTP/2 machine (RFC 9113) of one connection, for both roles: bytes in any pieces to calls of the owner given at
// construction, and the owner's calls to bytes in an outbox. No I/O, no clock; every table, queue and count is bounded.
//
// Contract: after construction bytes already wait (preface, SETTINGS): take them; onOutput tells of later ones. The
// owner calls `takeOutput` again and again until it is empty or its socket asks to wait, and then not before the socket
// has drained: what is not taken is what makes `writeBody` answer false and what the flood limits count. It sets `nowMs`
// to a coarse clock before `execute`, for the lifetime of reset streams.
import type { HeaderBlock } from './header-block.ts';
import { P_AUTHORITY, P_METHOD, P_PATH, P_PROTOCOL, P_SCHEME } from './hpack-table.ts';
import { H2, MAX_CONCURRENT_DEFAULT, OUTBOX_HEADS_HIGH, PREFACE, STREAM_ID_MAX, T_GOAWAY, T_PING } from './http2-frame.ts';
import { Http2Guard } from './http2-guard.ts';
import type { Http2Options, Http2Owner } from './http2-owner.ts';
import { Http2Receiver } from './http2-receiver.ts';
import { Http2Sender, type SenderEvents } from './http2-sender.ts';
import { tableSize, writeSettings } from './http2-settings.ts';
import { CLOSED, HEAD_SENT, Http2Stream, LOCAL_DONE, LOCAL_ENDING, RELEASED, RESET, type StreamPort } from './http2-stream.ts';
import { Http2Streams } from './http2-streams.ts';

export type { Http2Options, Http2Owner, Http2Problem } from './http2-owner.ts';
export { Http2Stream } from './http2-stream.ts';

export class Http2Connection implements StreamPort, SenderEvents {
  readonly #client: boolean;
  readonly #owner: Http2Owner;
  readonly #guard: Http2Guard;
  readonly #streams: Http2Streams;
  readonly #sender: Http2Sender;
  readonly #receiver: Http2Receiver;
  readonly #ownStreamLimit: number;
  #depth = 1; // calls inside which onOutput is held back; construction is one
  #announced = true;

  constructor(role: 'server' | 'client', owner: Http2Owner, options: Http2Options = {}) {
    this.#client = role === 'client';
    this.#owner = owner;
    this.#guard = new Http2Guard(options);
    this.#streams = new Http2Streams(this, this.#client);
    this.#sender = new Http2Sender(this, this.#guard, tableSize(options));
    this.#receiver = new Http2Receiver(this.#client, owner, options, this.#streams, this.#sender, this.#guard);
    this.#ownStreamLimit = options.maxConcurrentStreams ?? MAX_CONCURRENT_DEFAULT;
    if (this.#client) this.#sender.outbox.raw(PREFACE);
    writeSettings(options, this.#client, this.#sender.outbox);
    this.#depth = 0;
  }

  /** Streams open or half closed. */
  get activeStreams(): number {
    return this.#streams.active;
  }
  /** Bytes in the outbox and queued behind windows, of all streams. */
  get outputBytes(): number {
    return this.#sender.outbox.bytes + this.#sender.queuedBytes;
  }
  /** More heads wait than a peer that reads lets gather: whoever can make more of them should not be read. */
  get crowded(): boolean {
    return this.#sender.outbox.bytes >= OUTBOX_HEADS_HIGH;
  }
  /** The peer's SETTINGS came. */
  get ready(): boolean {
    return this.#receiver.settingsSeen;
  }
  /** Client: `request` may be called now: SETTINGS limits, ids left, no GOAWAY. Allowed before the peer's SETTINGS. */
  get canOpen(): boolean {
    const receiver = this.#receiver;
    const limit = Math.min(this.#ownStreamLimit, receiver.peer.maxConcurrentStreams);
    return !receiver.dead && !receiver.peerGone && this.#streams.active < limit && this.#streams.idsLeft && this.#streams.goawayLast < 0;
  }
  /** The peer's limit on our streams, 2^32-1 when it set none. */
  get peerMaxConcurrentStreams(): number {
    return this.#receiver.peer.maxConcurrentStreams;
  }
  /** The peer allows extended CONNECT (its SETTINGS_ENABLE_CONNECT_PROTOCOL). */
  get peerAllowsConnect(): boolean {
    return this.#receiver.peer.allowsConnect;
  }
  /** The connection can be closed once the outbox is empty: it failed, or either side said GOAWAY and no stream is left. */
  get done(): boolean {
    const receiver = this.#receiver;
    return receiver.dead || ((this.#streams.goawayLast >= 0 || receiver.peerGone) && this.#streams.active === 0);
  }
  /** While onReset is told of what this side ended: Envoy's detail of it. */
  get verdict(): string {
    return this.#receiver.endings.verdict;
  }
  /** Coarse milliseconds, set by the owner. */
  set nowMs(now: number) {
    this.#receiver.endings.nowMs = now;
  }

  /** Takes all bytes. The owner's calls come from inside; it may call any method but this from them. */
  execute(buf: Buffer, start = 0, end: number = buf.length): void {
    this.#depth++;
    this.#receiver.execute(buf, start, end);
    this.#leave();
  }

  /** Server: the final response head; the bytes it took. `headers` without pseudo fields. */
  respond(stream: Http2Stream, status: number, headers: HeaderBlock, endStream: boolean): number {
    if ((stream.state & (CLOSED | LOCAL_DONE | LOCAL_ENDING | HEAD_SENT)) !== 0) return 0;
    stream.state |= HEAD_SENT;
    const bytes = this.#statusHead(stream, status, headers, endStream);
    if (endStream) {
      stream.state |= LOCAL_DONE;
      this.localDone(stream);
    }
    this.#leave();
    return bytes;
  }

  /** Server: a 1xx head. Nothing when the final head was sent, or far too much waits. */
  inform(stream: Http2Stream, status: number, headers: HeaderBlock): number {
    if ((stream.state & (CLOSED | LOCAL_DONE | LOCAL_ENDING | HEAD_SENT)) !== 0) return 0;
    if (this.crowded) return 0;
    const bytes = this.#statusHead(stream, status, headers, false);
    stream.lastFrame = undefined;
    this.#leave();
    return bytes;
  }

  /** Client, when `canOpen` (a closed stream when the connection is over): `protocol` '' but for extended CONNECT; `path` and `scheme` '' for plain CONNECT. The head's bytes are `stream.sentHeadBytes`. */
  request(
    method: string,
    scheme: string,
    authority: string,
    path: string,
    protocol: string,
    headers: HeaderBlock,
    endStream: boolean,
  ): Http2Stream {
    const streams = this.#streams;
    if (this.#receiver.dead) return deadStream(this);
    const stream = streams.add(streams.nextOwnId);
    streams.nextOwnId += 2;
    this.#guard.streams++;
    stream.method = method;
    stream.sendWindow = this.#sender.initialWindow;
    stream.receiveWindow = this.#receiver.window.newStream;
    stream.state |= HEAD_SENT;
    this.#depth++;
    const sender = this.#sender;
    const encoder = sender.encoder;
    sender.beginHead(stream, endStream);
    encoder.pseudo(P_METHOD, method);
    if (scheme !== '') encoder.pseudo(P_SCHEME, scheme);
    if (authority !== '') encoder.pseudo(P_AUTHORITY, authority);
    if (path !== '') encoder.pseudo(P_PATH, path);
    if (protocol !== '') encoder.pseudo(P_PROTOCOL, protocol);
    sender.endHead(stream, headers);
    if (endStream) {
      stream.state |= LOCAL_DONE;
      this.localDone(stream);
    }
    this.#leave();
    return stream;
  }

  /** Server: the stream a client has begun to open, its head not whole yet; 0 none. */
  get unreadHead(): number {
    return this.#receiver.unreadHead;
  }

  /** Server: answers and ends the stream of `unreadHead`, which the owner never saw; what still comes of it is dropped. The head's bytes. */
  answerUnread(status: number, headers: HeaderBlock, body: Buffer): number {
    const id = this.#receiver.unreadHead;
    if (id === 0) return 0;
    this.#streams.lastPeerId = id;
    this.#guard.streams++;
    const stream = this.#streams.add(id);
    stream.sendWindow = this.#sender.initialWindow;
    stream.state |= HEAD_SENT;
    const bytes = this.#statusHead(stream, status, headers, false);
    this.#sender.body(stream, body, 0, body.length);
    this.#sender.end(stream, undefined);
    this.#receiver.endings.reset(stream, H2.NO_ERROR);
    this.#leave();
    return bytes;
  }

  /** GOAWAY. `final` false: last id 2^31-1, new streams are still taken (the first of two steps). */
  goaway(code: number, final: boolean): void {
    const receiver = this.#receiver;
    if (receiver.dead) return;
    this.#depth++;
    const outbox = this.#sender.outbox;
    outbox.beginFrame(T_GOAWAY, 0, 0);
    outbox.u32(final ? this.#streams.servedLast : STREAM_ID_MAX);
    outbox.u32(code);
    outbox.endFrame();
    if (final) this.#streams.goawayLast = this.#streams.servedLast;
    this.#leave();
  }

  /** One PING at a time; onPingAck follows. */
  ping(): void {
    const receiver = this.#receiver;
    if (receiver.dead) return;
    this.#depth++;
    receiver.pingWaits = true;
    receiver.pingNumber = (receiver.pingNumber + 1) >>> 0;
    const outbox = this.#sender.outbox;
    outbox.beginFrame(T_PING, 0, 0);
    outbox.u32(0);
    outbox.u32(receiver.pingNumber);
    outbox.endFrame();
    this.#leave();
  }

  /** What waits, in order, for one writev; small frames lie together, large body pieces by reference. Empty when nothing waits. */
  takeOutput(): Buffer[] {
    this.#depth++;
    const sender = this.#sender;
    if (!this.#receiver.dead) sender.pump();
    const pieces = sender.outbox.take();
    if (pieces.length > 0 && !this.#receiver.dead) sender.pump(); // the room made
    this.#depth--;
    this.#announced = sender.outbox.bytes > 0; // the owner takes again
    if (this.#streams.active === 0) this.#receiver.trim();
    return pieces;
  }

  /** The peer ended its side or the socket is gone: every stream left gets onReset. */
  finish(): void {
    if (this.#receiver.dead) return;
    const endings = this.#receiver.endings;
    endings.dead = true;
    endings.endAll(H2.CANCEL, true);
  }

  // --- StreamPort ---

  consumed(stream: Http2Stream, bytes: number): void {
    this.#depth++;
    this.#receiver.window.consumed(stream, bytes);
    this.#leave();
  }

  writeBody(stream: Http2Stream, buf: Buffer, start: number, end: number): boolean {
    if ((stream.state & (CLOSED | LOCAL_DONE | LOCAL_ENDING)) !== 0 || start >= end) return true;
    this.#depth++;
    const more = this.#sender.body(stream, buf, start, end);
    this.#leave();
    return more;
  }

  endBody(stream: Http2Stream, trailers: HeaderBlock | undefined): void {
    if ((stream.state & (CLOSED | LOCAL_DONE | LOCAL_ENDING)) !== 0) return;
    this.#depth++;
    this.#sender.end(stream, trailers);
    this.#leave();
  }

  resetStream(stream: Http2Stream, code: number): void {
    if ((stream.state & CLOSED) !== 0) return;
    if (code === H2.NO_ERROR && (stream.state & LOCAL_ENDING) !== 0) {
      stream.resetLater = code;
      return;
    }
    this.#depth++;
    this.#receiver.endings.reset(stream, code);
    this.#leave();
  }

  releaseStream(stream: Http2Stream): void {
    if ((stream.state & RELEASED) !== 0) return;
    stream.state |= RELEASED;
    this.consumed(stream, stream.unconsumed);
    if ((stream.state & CLOSED) !== 0) this.#streams.release(stream);
  }

  // --- SenderEvents ---

  localDone(stream: Http2Stream): void {
    if (stream.resetLater >= 0) this.#receiver.endings.reset(stream, stream.resetLater);
    else this.#receiver.endings.closeWhenDone(stream);
  }

  writable(stream: Http2Stream): void {
    this.#owner.onWritable(stream);
  }

  #statusHead(stream: Http2Stream, status: number, headers: HeaderBlock, endStream: boolean): number {
    this.#depth++;
    this.#sender.beginHead(stream, endStream);
    this.#sender.encoder.status(status);
    return this.#sender.endHead(stream, headers);
  }

  #leave(): void {
    this.#depth--;
    if (this.#depth > 0 || this.#announced || this.#sender.outbox.bytes === 0) return;
    this.#announced = true;
    this.#owner.onOutput();
  }
}

const deadStream = (port: StreamPort): Http2Stream => {
  const stream = new Http2Stream(port);
  stream.state = CLOSED | RESET;
  return stream;
};
